"""Faces of a model's pictures, pooled"""

import sqlalchemy as sa
from alembic import op

import pipelines.database.times

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "pooled_items",
        sa.Column("item_id", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("uploader", sa.String(), nullable=True),
        sa.Column("content_sha256", sa.String(length=64), nullable=False),
        sa.Column("settings", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("item_id", name="pk_pooled_items"),
    )
    op.create_index("ix_pooled_items_model", "pooled_items", ["model"])
    op.create_table(
        "pools",
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("uploader", sa.String(), nullable=True),
        sa.Column("model_id", sa.String(), nullable=False),
        sa.Column("dimension", sa.Integer(), nullable=False),
        sa.Column("pictures", sa.Integer(), nullable=False),
        sa.Column("sealed_vector", sa.LargeBinary(), nullable=True),
        sa.Column("oldest_at", pipelines.database.times.UTCDateTime(), nullable=False),
        sa.Column("covered_version", sa.Integer(), nullable=False),
        sa.Column("covered_threshold", sa.Float(), nullable=False),
        sa.Column("pooled_at", pipelines.database.times.UTCDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_pools"),
    )
    op.create_index("ix_pools_digest", "pools", ["digest"])
    op.create_index("ix_pools_model", "pools", ["model"])
    op.create_index("ix_pools_covered", "pools", ["model_id", "covered_version", "covered_threshold", "number"])
    op.create_table(
        "pool_faces",
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("item_id", sa.String(), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("content_sha256", sa.String(length=64), nullable=False),
        sa.Column("frame", sa.Integer(), nullable=False),
        sa.Column("face", sa.Integer(), nullable=False),
        sa.Column("x1", sa.Float(), nullable=False),
        sa.Column("y1", sa.Float(), nullable=False),
        sa.Column("x2", sa.Float(), nullable=False),
        sa.Column("y2", sa.Float(), nullable=False),
        sa.Column("detector_score", sa.Float(), nullable=False),
        sa.Column("view", sa.String(), nullable=True),
        sa.Column("weight", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["number"], ["pools.number"], name="fk_pool_faces_number", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("number", "item_id", name="pk_pool_faces"),
    )
    op.create_index("ix_pool_faces_item", "pool_faces", ["item_id"])
    op.create_table(
        "pool_coverage",
        sa.Column("subject_id", sa.String(), nullable=False),
        sa.Column("model_id", sa.String(), nullable=False),
        sa.Column("subject_version", sa.Integer(), nullable=False),
        sa.Column("threshold", sa.Float(), nullable=False),
        sa.Column("upto", sa.BigInteger(), nullable=False),
        sa.Column("compared_at", pipelines.database.times.UTCDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("subject_id", "model_id", name="pk_pool_coverage"),
    )
    op.add_column("hits", sa.Column("alone_score", sa.Float(), nullable=True))
    op.add_column("hits", sa.Column("pictures", sa.Integer(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("hits") as batch_op:
        batch_op.drop_column("pictures")
        batch_op.drop_column("alone_score")
    for table in ("pool_coverage", "pool_faces", "pools", "pooled_items"):
        op.drop_table(table)
