"""When an item or a content that gave nothing is asked for again; null where its status is settled"""

import sqlalchemy as sa
from alembic import op

import pipelines.database.tables

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_TRIES_BEFORE = 5
"""How many failed fetches settled an item before."""


def upgrade() -> None:
    for table in ("items", "contents"):
        with op.batch_alter_table(table, schema=None) as batch_op:
            batch_op.add_column(sa.Column("retry_at", pipelines.database.tables.UTCDateTime(), nullable=True))
    op.create_index("ix_items_retry_at", "items", ["retry_at"])
    waiting = f"status LIKE 'fetch_failed:%' AND attempts < {_TRIES_BEFORE}"
    op.execute(f"UPDATE items SET retry_at = COALESCE(scanned_at, first_seen) WHERE {waiting}")
    op.execute(f"UPDATE contents SET retry_at = described_at WHERE attempts > 0 AND attempts < {_TRIES_BEFORE}")


def downgrade() -> None:
    op.drop_index("ix_items_retry_at", table_name="items")
    for table in ("items", "contents"):
        with op.batch_alter_table(table, schema=None) as batch_op:
            batch_op.drop_column("retry_at")
