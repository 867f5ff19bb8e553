"""What pictures say of their making, and which model files they name"""

import sqlalchemy as sa
from alembic import op

from pipelines.database.times import UTCDateTime

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "picture_texts",
        sa.Column("content_sha256", sa.String(length=64), nullable=False),
        sa.Column("reader", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("sealed_texts", sa.LargeBinary(), nullable=True),
        sa.Column("read_at", UTCDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("content_sha256", name="pk_picture_texts"),
    )
    op.create_table(
        "made_with",
        sa.Column("content_sha256", sa.String(length=64), nullable=False),
        sa.Column("named", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("content_sha256", "named", name="pk_made_with"),
    )
    op.create_index("ix_made_with_named", "made_with", ["named", "content_sha256"])


def downgrade() -> None:
    op.drop_table("made_with")
    op.drop_table("picture_texts")
