"""What a second network says of hits"""

import sqlalchemy as sa
from alembic import op

import pipelines.database.times

revision = "0016"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "second_opinions",
        sa.Column("hit_id", sa.String(), nullable=False),
        sa.Column("subject_id", sa.String(), nullable=False),
        sa.Column("network_id", sa.String(), nullable=False),
        sa.Column("opinion", sa.String(), nullable=False),
        sa.Column("score", sa.Float(), nullable=True),
        sa.Column("threshold", sa.Float(), nullable=False),
        sa.Column("threshold_source", sa.String(), nullable=False),
        sa.Column("reference_id", sa.String(), nullable=True),
        sa.Column("subject_version", sa.Integer(), nullable=False),
        sa.Column("given_at", pipelines.database.times.UTCDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("hit_id", name="pk_second_opinions"),
    )
    op.create_index("ix_second_opinions_subject_id", "second_opinions", ["subject_id"])


def downgrade() -> None:
    op.drop_index("ix_second_opinions_subject_id", table_name="second_opinions")
    op.drop_table("second_opinions")
