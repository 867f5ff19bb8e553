"""What is wrong with files that were scanned all the same, and when in a video or animation a face is seen"""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("items", schema=None) as batch_op:
        batch_op.add_column(sa.Column("damage", sa.String(), nullable=True))
    for table in ("hits", "pool_faces"):
        with op.batch_alter_table(table, schema=None) as batch_op:
            batch_op.add_column(sa.Column("seconds", sa.Float(), nullable=True))


def downgrade() -> None:
    for table in ("pool_faces", "hits"):
        with op.batch_alter_table(table, schema=None) as batch_op:
            batch_op.drop_column("seconds")
    with op.batch_alter_table("items", schema=None) as batch_op:
        batch_op.drop_column("damage")
