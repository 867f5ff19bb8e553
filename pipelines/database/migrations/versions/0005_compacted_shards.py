"""Shards whose vectors lie apart, since when a shard holds rows of items that are gone, and coverage by an index"""

import sqlalchemy as sa
from alembic import op

import pipelines.database.tables

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("shards", schema=None) as batch_op:
        batch_op.add_column(sa.Column("vector_salt", sa.String(length=64), nullable=True))
        batch_op.add_column(sa.Column("vector_bytes", sa.BigInteger(), nullable=True))
        batch_op.add_column(sa.Column("dead_since", pipelines.database.tables.UTCDateTime(), nullable=True))
    op.drop_index("ix_items_shard_id", table_name="items")
    op.create_index("ix_items_shard", "items", ["shard_id", "live", "status", "model_id", "faces"])


def downgrade() -> None:
    op.drop_index("ix_items_shard", table_name="items")
    op.create_index("ix_items_shard_id", "items", ["shard_id"])
    with op.batch_alter_table("shards", schema=None) as batch_op:
        batch_op.drop_column("dead_since")
        batch_op.drop_column("vector_bytes")
        batch_op.drop_column("vector_salt")
