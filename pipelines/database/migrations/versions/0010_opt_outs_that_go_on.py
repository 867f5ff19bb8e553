"""What is kept of an opt-out whose consent is over, or that was changed; state and hits themselves stay as they are"""

import sqlalchemy as sa
from alembic import op

import pipelines.database.tables

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    moment = pipelines.database.tables.UTCDateTime()
    with op.batch_alter_table("subjects", schema=None) as batch_op:
        batch_op.add_column(sa.Column("lapsed_at", moment, nullable=True))
        batch_op.add_column(sa.Column("told_days", sa.Integer(), nullable=True))
        batch_op.add_column(sa.Column("accepted_end", moment, nullable=True))
        batch_op.add_column(sa.Column("update_approval", sa.Text(), nullable=True))
    with op.batch_alter_table("hits", schema=None) as batch_op:
        batch_op.add_column(sa.Column("dropped_at", moment, nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("hits", schema=None) as batch_op:
        batch_op.drop_column("dropped_at")
    with op.batch_alter_table("subjects", schema=None) as batch_op:
        for name in ("update_approval", "accepted_end", "told_days", "lapsed_at"):
            batch_op.drop_column(name)
