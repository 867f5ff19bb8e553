"""Shards whose vectors lie apart, and since when a shard holds rows of items that are gone"""

import sqlalchemy as sa
from alembic import op

import pipelines.database.tables

revision = "0004_corpus"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("shards", schema=None) as batch_op:
        batch_op.add_column(sa.Column("vector_salt", sa.String(length=64), nullable=True))
        batch_op.add_column(sa.Column("vector_bytes", sa.BigInteger(), nullable=True))
        batch_op.add_column(sa.Column("dead_since", pipelines.database.tables.UTCDateTime(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("shards", schema=None) as batch_op:
        batch_op.drop_column("dead_since")
        batch_op.drop_column("vector_bytes")
        batch_op.drop_column("vector_salt")
