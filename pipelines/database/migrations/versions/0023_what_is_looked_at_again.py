"""Decided cases that are looked at again, and claims by when they ended"""

import sqlalchemy as sa
from alembic import op

from pipelines.database.times import UTCDateTime

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "checks",
        sa.Column("claim_id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("case_id", sa.String(), nullable=False),
        sa.Column("batch_id", sa.String(), nullable=False),
        sa.Column("decided_by", sa.String(), nullable=False),
        sa.Column("decided", sa.String(), nullable=False),
        sa.Column("hits", sa.Integer(), nullable=False),
        sa.Column("items", sa.Integer(), nullable=False),
        sa.Column("tiers", sa.String(), nullable=False),
        sa.Column("harm", sa.Integer(), nullable=False),
        sa.Column("found_at", UTCDateTime(), nullable=False),
        sa.Column("due_at", UTCDateTime(), nullable=False),
        sa.Column("answer", sa.String(), nullable=True),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("answered_by", sa.String(), nullable=False),
        sa.Column("answered_at", UTCDateTime(), nullable=True),
        sa.Column("undone_at", UTCDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("claim_id", name="pk_checks"),
    )
    op.create_index("ix_checks_batch_id", "checks", ["batch_id"])
    op.create_index("ix_claims_outcome_ended", "claims", ["outcome", "ended_at"])


def downgrade() -> None:
    op.drop_index("ix_claims_outcome_ended", "claims")
    op.drop_table("checks")
