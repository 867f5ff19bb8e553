"""What hits were found in, kept to be looked at; hits below the thresholds in force; bounties that are text alone"""

import sqlalchemy as sa
from alembic import op

import pipelines.database.tables

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_UTC = pipelines.database.tables.UTCDateTime


def upgrade() -> None:
    op.create_table(
        "kept_evidence",
        sa.Column("hit_id", sa.String(), nullable=False),
        sa.Column("subject_id", sa.String(), nullable=False),
        sa.Column("sealed_picture", sa.LargeBinary(), nullable=True),
        sa.Column("sealed_passage", sa.LargeBinary(), nullable=True),
        sa.Column("width", sa.Integer(), nullable=True),
        sa.Column("height", sa.Integer(), nullable=True),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("problem", sa.String(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("retry_at", _UTC(), nullable=True),
        sa.Column("kept_at", _UTC(), nullable=False),
        sa.Column("lapsed_at", _UTC(), nullable=True),
        sa.PrimaryKeyConstraint("hit_id", name=op.f("pk_kept_evidence")),
    )
    op.create_index(op.f("ix_kept_evidence_subject_id"), "kept_evidence", ["subject_id"])
    with op.batch_alter_table("hits", schema=None) as batch_op:
        batch_op.add_column(sa.Column("lapsed_at", _UTC(), nullable=True))
    text_alone = "status = 'unscannable:no_content' AND kind IN ('bounty', 'bounty_entry') AND text_digest IS NOT NULL"
    op.execute(f"UPDATE items SET status = 'clean', attempts = 0, retry_at = NULL WHERE {text_alone}")


def downgrade() -> None:
    with op.batch_alter_table("hits", schema=None) as batch_op:
        batch_op.drop_column("lapsed_at")
    op.drop_index(op.f("ix_kept_evidence_subject_id"), table_name="kept_evidence")
    op.drop_table("kept_evidence")
