"""Evidence that is no face: model files, names in texts, fingerprints of confirmed items; decisions, model verdicts"""

from typing import Any

import sqlalchemy as sa
from alembic import op

from pipelines.database.tables import UTCDateTime

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_FACE_ONLY: dict[str, sa.types.TypeEngine[Any]] = {
    "template_id": sa.String(),
    "frame": sa.Integer(),
    "face": sa.Integer(),
    "x1": sa.Float(),
    "y1": sa.Float(),
    "x2": sa.Float(),
    "y2": sa.Float(),
    "detector_score": sa.Float(),
    "shard_id": sa.String(),
}


def upgrade() -> None:
    _create_evidence()
    _create_decisions()
    with op.batch_alter_table("items", schema=None) as batch_op:
        batch_op.add_column(sa.Column("text_digest", sa.String(length=64), nullable=True))
        batch_op.add_column(sa.Column("platform_level", sa.Integer(), nullable=True))
    with op.batch_alter_table("contents", schema=None) as batch_op:
        batch_op.add_column(sa.Column("concepts_id", sa.String(), nullable=True))
        batch_op.add_column(sa.Column("concepts", sa.Text(), nullable=True))
    with op.batch_alter_table("hits", schema=None) as batch_op:
        for name, kind in _FACE_ONLY.items():
            batch_op.alter_column(name, existing_type=kind, nullable=True)
        for name in ("place", "match", "seed_id"):
            batch_op.add_column(sa.Column(name, sa.String(), nullable=True))
        batch_op.add_column(sa.Column("sealed_term", sa.LargeBinary(), nullable=True))
    with op.batch_alter_table("verdicts", schema=None) as batch_op:
        batch_op.alter_column("best_score", existing_type=sa.Float(), nullable=True)
        batch_op.add_column(sa.Column("tiers", sa.String(), nullable=False, server_default="face"))
        batch_op.add_column(sa.Column("decided_by", sa.String(), nullable=False, server_default="automated"))
        batch_op.add_column(sa.Column("priority", sa.Integer(), nullable=False, server_default="0"))
    with op.batch_alter_table("outbox", schema=None) as batch_op:
        batch_op.add_column(sa.Column("priority", sa.Integer(), nullable=False, server_default="0"))
        batch_op.add_column(sa.Column("decided_by", sa.String(), nullable=False, server_default="automated"))
    with op.batch_alter_table("requests", schema=None) as batch_op:
        batch_op.add_column(sa.Column("first_approval", sa.String(), nullable=True))
        batch_op.add_column(sa.Column("impact", sa.Text(), nullable=True))


def _create_evidence() -> None:
    op.create_table(
        "model_files",
        sa.Column("content_sha256", sa.String(length=64), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("format", sa.String(), nullable=True),
        sa.Column("header_bytes", sa.Integer(), nullable=True),
        sa.Column("tensors", sa.Integer(), nullable=True),
        sa.Column("payload_sha256", sa.String(length=64), nullable=True),
        sa.Column("sealed_header", sa.LargeBinary(), nullable=True),
        sa.Column("read_at", UTCDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("content_sha256", name=op.f("pk_model_files")),
    )
    op.create_index(op.f("ix_model_files_payload_sha256"), "model_files", ["payload_sha256"], unique=False)
    op.create_table(
        "examined",
        sa.Column("item_id", sa.String(), nullable=False),
        sa.Column("text_digest", sa.String(length=64), nullable=True),
        sa.Column("content_sha256", sa.String(length=64), nullable=True),
        sa.Column("matcher_id", sa.String(), nullable=False),
        sa.Column("registry_version", sa.Integer(), nullable=False),
        sa.Column("seed_version", sa.Integer(), nullable=False),
        sa.Column("examined_at", UTCDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("item_id", name=op.f("pk_examined")),
    )
    op.create_table(
        "seeds",
        sa.Column("seed_id", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("subject_id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("model_id", sa.String(), nullable=False),
        sa.Column("decision_id", sa.String(), nullable=False),
        sa.Column("created_at", UTCDateTime(), nullable=False),
        sa.Column("revoked_at", UTCDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("seed_id", name=op.f("pk_seeds")),
        sa.UniqueConstraint("version", name=op.f("uq_seeds_version")),
    )
    op.create_index(op.f("ix_seeds_subject_id"), "seeds", ["subject_id"], unique=False)
    op.create_index(op.f("ix_seeds_decision_id"), "seeds", ["decision_id"], unique=False)
    op.create_index("ix_seeds_kind_digest", "seeds", ["kind", "digest"], unique=False)


def _create_decisions() -> None:
    op.create_table(
        "decisions",
        sa.Column("decision_id", sa.String(), nullable=False),
        sa.Column("batch_id", sa.String(), nullable=False),
        sa.Column("decision", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("hit_id", sa.String(), nullable=False),
        sa.Column("item_id", sa.String(), nullable=False),
        sa.Column("subject_id", sa.String(), nullable=False),
        sa.Column("content_sha256", sa.String(length=64), nullable=False),
        sa.Column("model_id", sa.String(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("decided_at", UTCDateTime(), nullable=False),
        sa.Column("reversed_at", UTCDateTime(), nullable=True),
        sa.Column("reversed_by", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("decision_id", name=op.f("pk_decisions")),
    )
    for name in ("batch_id", "hit_id", "item_id"):
        op.create_index(op.f(f"ix_decisions_{name}"), "decisions", [name], unique=False)
    op.create_index("ix_decisions_scope", "decisions", ["subject_id", "content_sha256", "model_id"], unique=False)
    op.create_table(
        "model_verdicts",
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("subject_id", sa.String(), nullable=False),
        sa.Column("verdict", sa.String(), nullable=False),
        sa.Column("rule", sa.String(), nullable=False),
        sa.Column("images", sa.Integer(), nullable=False),
        sa.Column("images_with_face", sa.Integer(), nullable=False),
        sa.Column("distinct_images", sa.Integer(), nullable=False),
        sa.Column("best_score", sa.Float(), nullable=True),
        sa.Column("median_score", sa.Float(), nullable=True),
        sa.Column("tiers", sa.String(), nullable=False),
        sa.Column("rating", sa.String(), nullable=False),
        sa.Column("generator_block", sa.Boolean(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("policy_version", sa.String(), nullable=False),
        sa.Column("reasons", sa.Text(), nullable=False),
        sa.Column("judged_at", UTCDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("model", "subject_id", name=op.f("pk_model_verdicts")),
    )
    op.create_index("ix_model_verdicts_subject", "model_verdicts", ["subject_id"], unique=False)


def downgrade() -> None:
    for table, names in {
        "requests": ("impact", "first_approval"),
        "outbox": ("decided_by", "priority"),
        "verdicts": ("priority", "decided_by", "tiers"),
        "contents": ("concepts", "concepts_id"),
        "items": ("platform_level", "text_digest"),
    }.items():
        with op.batch_alter_table(table, schema=None) as batch_op:
            for name in names:
                batch_op.drop_column(name)
    op.execute("DELETE FROM hits WHERE tier <> 'face'")
    op.execute("DELETE FROM verdicts WHERE best_score IS NULL")
    with op.batch_alter_table("verdicts", schema=None) as batch_op:
        batch_op.alter_column("best_score", existing_type=sa.Float(), nullable=False)
    with op.batch_alter_table("hits", schema=None) as batch_op:
        for name in ("sealed_term", "seed_id", "match", "place"):
            batch_op.drop_column(name)
        for name, kind in _FACE_ONLY.items():
            batch_op.alter_column(name, existing_type=kind, nullable=False)
    for name in ("model_verdicts", "decisions", "seeds", "examined", "model_files"):
        op.drop_table(name)
