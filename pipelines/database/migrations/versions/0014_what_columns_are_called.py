"""Columns that are called by what they hold; and hits no longer name the file of vectors that their item is in"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_RENAMED = (
    ("examined", "matcher_id", "rules_id"),
    ("hits", "content_sha256", "content_key"),
    ("hits", "model_id", "found_by_id"),
    ("verdicts", "content_sha256", "content_key"),
    ("outbox", "content_sha256", "content_key"),
    ("decisions", "content_sha256", "content_key"),
    ("decisions", "model_id", "found_by_id"),
)


def upgrade() -> None:
    for table, before, after in _RENAMED:
        op.alter_column(table, before, new_column_name=after)
    with op.batch_alter_table("hits", schema=None) as batch_op:
        batch_op.drop_column("shard_id")


def downgrade() -> None:
    with op.batch_alter_table("hits", schema=None) as batch_op:
        batch_op.add_column(sa.Column("shard_id", sa.String(), nullable=True))
    for table, before, after in _RENAMED:
        op.alter_column(table, after, new_column_name=before)
