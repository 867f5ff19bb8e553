"""Calibrations, and by which of them a hit was found and a verdict made (null: by none)"""

import sqlalchemy as sa
from alembic import op

from pipelines.database.tables import UTCDateTime

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "calibrations",
        sa.Column("calibration_id", sa.String(), nullable=False),
        sa.Column("model_id", sa.String(), nullable=False),
        sa.Column("created_at", UTCDateTime(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("templates", sa.Integer(), nullable=False),
        sa.Column("target_fpir", sa.Float(), nullable=False),
        sa.Column("review", sa.Float(), nullable=True),
        sa.Column("strong", sa.Float(), nullable=True),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("seal", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("calibration_id", name=op.f("pk_calibrations")),
    )
    op.create_index(op.f("ix_calibrations_model_id"), "calibrations", ["model_id"], unique=False)
    for table in ("hits", "verdicts"):
        with op.batch_alter_table(table, schema=None) as batch_op:
            batch_op.add_column(sa.Column("calibration_id", sa.String(), nullable=True))


def downgrade() -> None:
    for table in ("verdicts", "hits"):
        with op.batch_alter_table(table, schema=None) as batch_op:
            batch_op.drop_column("calibration_id")
    op.drop_index(op.f("ix_calibrations_model_id"), table_name="calibrations")
    op.drop_table("calibrations")
