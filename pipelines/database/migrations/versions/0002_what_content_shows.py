"""What content shows: ratings, and the manifest of CLIP vectors"""

import sqlalchemy as sa
from alembic import op

from pipelines.database.tables import UTCDateTime

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "content_shards",
        sa.Column("shard_id", sa.String(), nullable=False),
        sa.Column("model_id", sa.String(), nullable=False),
        sa.Column("dimension", sa.Integer(), nullable=False),
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("vectors", sa.Integer(), nullable=False),
        sa.Column("created_at", UTCDateTime(), nullable=False),
        sa.Column("seal", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("shard_id", name=op.f("pk_content_shards")),
    )
    op.create_table(
        "contents",
        sa.Column("content_sha256", sa.String(length=64), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("rating_model_id", sa.String(), nullable=True),
        sa.Column("nsfw_score", sa.Float(), nullable=True),
        sa.Column("clip_model_id", sa.String(), nullable=True),
        sa.Column("clip_shard_id", sa.String(), nullable=True),
        sa.Column("described_at", UTCDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("content_sha256", name=op.f("pk_contents")),
    )
    op.create_index(op.f("ix_contents_clip_shard_id"), "contents", ["clip_shard_id"], unique=False)


def downgrade() -> None:
    op.drop_table("contents")
    op.drop_table("content_shards")
