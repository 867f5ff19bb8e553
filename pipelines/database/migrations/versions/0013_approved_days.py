"""Days that somebody let go on although checks had stopped them"""

import sqlalchemy as sa
from alembic import op

import pipelines.database.times

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "day_approvals",
        sa.Column("approval_id", sa.String(), nullable=False),
        sa.Column("source_id", sa.String(), nullable=False),
        sa.Column("day", sa.String(length=10), nullable=False),
        sa.Column("checks", sa.Text(), nullable=False),
        sa.Column("digest", sa.String(length=32), nullable=False),
        sa.Column("sealed_reason", sa.LargeBinary(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("approved_at", pipelines.database.times.UTCDateTime(), nullable=False),
        sa.Column("withdrawn_at", pipelines.database.times.UTCDateTime(), nullable=True),
        sa.Column("withdrawn_by", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("approval_id", name="pk_day_approvals"),
    )
    op.create_index("ix_day_approvals_day", "day_approvals", ["day"])


def downgrade() -> None:
    op.drop_index("ix_day_approvals_day", table_name="day_approvals")
    op.drop_table("day_approvals")
