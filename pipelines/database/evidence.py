"""The tables of what is no face: model files, coverage of names and fingerprints, seeds, decisions, model verdicts; and
what is kept to look at.

Part of the metadata in :mod:`pipelines.database.tables`, under the same rules.
"""

from __future__ import annotations

import sqlalchemy as sa

from pipelines.database.tables import metadata
from pipelines.database.times import UTCDateTime

model_files = sa.Table(
    "model_files",
    metadata,
    sa.Column("content_sha256", sa.String(64), primary_key=True),
    sa.Column("status", sa.String, nullable=False),  # read, or unscannable:<reason> for the header tier
    sa.Column("format", sa.String),
    sa.Column("header_bytes", sa.Integer),
    sa.Column("tensors", sa.Integer),
    sa.Column("payload_sha256", sa.String(64), index=True),
    sa.Column("sealed_header", sa.LargeBinary),
    sa.Column("read_at", UTCDateTime, nullable=False),
)
"""What the headers of model files say, once per content. ``sealed_header``: the texts in it that a name may hide in.
``payload_sha256``: of the tensors alone; null where it was not streamed."""

examined = sa.Table(
    "examined",
    metadata,
    sa.Column("item_id", sa.String, primary_key=True),
    sa.Column("text_digest", sa.String(64)),
    sa.Column("content_sha256", sa.String(64)),
    sa.Column("rules_id", sa.String, nullable=False),
    sa.Column("registry_version", sa.Integer, nullable=False),
    sa.Column("seed_version", sa.Integer, nullable=False),
    sa.Column("examined_at", UTCDateTime, nullable=False),
)
"""Coverage of what is not a face: up to which registry version an item's texts were searched for names, and up to which
seed its content was compared with the seeds. True of the text and content named here only."""

seeds = sa.Table(
    "seeds",
    metadata,
    sa.Column("seed_id", sa.String, primary_key=True),
    sa.Column("version", sa.Integer, nullable=False, unique=True),
    sa.Column("subject_id", sa.String, nullable=False, index=True),
    sa.Column("kind", sa.String, nullable=False),  # sha256, payload, pdq
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("model_id", sa.String, nullable=False),  # of the hash: seeds of another are not compared
    sa.Column("decision_id", sa.String, nullable=False, index=True),
    sa.Column("created_at", UTCDateTime, nullable=False),
    sa.Column("revoked_at", UTCDateTime),
    sa.Column("ground", sa.String),  # face, seen, bytes, text, tensors; null: sown before it was recorded
    sa.Column("share", sa.Float),
    sa.Index("ix_seeds_kind_digest", "kind", "digest"),
)
"""Fingerprints of what a person confirmed to show a subject. They outlive the content, not the subject's erasure.
``ground``: what of the content was confirmed, see :mod:`pipelines.registry.seeds`. ``share``: of the picture's area
that the largest confirmed face fills, 0 to 1; null: of no picture, or not known. ``version`` rises by one with each
seed, so that ``examined.seed_version`` can say what an item was compared with.
"""

decisions = sa.Table(
    "decisions",
    metadata,
    sa.Column("decision_id", sa.String, primary_key=True),
    sa.Column("batch_id", sa.String, nullable=False, index=True),
    sa.Column("decision", sa.String, nullable=False),  # confirm, reject, unsure
    sa.Column("reason", sa.String, nullable=False),
    sa.Column("hit_id", sa.String, nullable=False, index=True),
    sa.Column("item_id", sa.String, nullable=False, index=True),
    sa.Column("subject_id", sa.String, nullable=False),
    sa.Column("content_key", sa.String(64), nullable=False),
    sa.Column("found_by_id", sa.String, nullable=False),
    sa.Column("actor", sa.String, nullable=False),
    sa.Column("decided_at", UTCDateTime, nullable=False),
    sa.Column("reversed_at", UTCDateTime),
    sa.Column("reversed_by", sa.String),
    sa.Index("ix_decisions_scope", "subject_id", "content_key", "found_by_id"),
)
"""What people said about hits. It holds for the (subject, content key, finder) of the hit, whichever item has that
content; a rejection that was not reversed is a remembered negative. ``reason`` is a fixed word."""

model_verdicts = sa.Table(
    "model_verdicts",
    metadata,
    sa.Column("model", sa.String, primary_key=True),
    sa.Column("subject_id", sa.String, primary_key=True),
    sa.Column("verdict", sa.String, nullable=False),  # likeness_model, suspected, clear
    sa.Column("rule", sa.String, nullable=False),
    sa.Column("images", sa.Integer, nullable=False),
    sa.Column("images_with_face", sa.Integer, nullable=False),
    sa.Column("distinct_images", sa.Integer, nullable=False),
    sa.Column("best_score", sa.Float),
    sa.Column("median_score", sa.Float),
    sa.Column("tiers", sa.String, nullable=False),
    sa.Column("rating", sa.String, nullable=False),
    sa.Column("generator_block", sa.Boolean, nullable=False),
    sa.Column("priority", sa.Integer, nullable=False),
    sa.Column("policy_version", sa.String, nullable=False),
    sa.Column("reasons", sa.Text, nullable=False),
    sa.Column("judged_at", UTCDateTime, nullable=False),
    sa.Index("ix_model_verdicts_subject", "subject_id"),
)
"""What all evidence of a model (or bounty) and its images says of a subject. ``model``: its item id, which its images
name as their parent."""

kept_evidence = sa.Table(
    "kept_evidence",
    metadata,
    sa.Column("hit_id", sa.String, primary_key=True),
    sa.Column("subject_id", sa.String, nullable=False, index=True),
    sa.Column("sealed_picture", sa.LargeBinary),
    sa.Column("sealed_passage", sa.LargeBinary),
    sa.Column("width", sa.Integer),
    sa.Column("height", sa.Integer),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column(
        "problem", sa.String
    ),  # why there is no picture yet, or none at all; null: there is, or there is none to have
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("retry_at", UTCDateTime),
    sa.Column("kept_at", UTCDateTime, nullable=False),
    sa.Column("lapsed_at", UTCDateTime),
)
"""What a hit was found in, kept to be looked at whatever becomes of the source, sealed under the subject's key.

``sealed_picture``: a JPEG of the face with its margin, or of the whole picture; ``sealed_passage``: the text around a
name. ``bytes``: of both as sealed. ``problem``: why there is no picture so far; null: there is, or the item is none.
``attempts`` and ``retry_at``: as of ``contents``. ``lapsed_at``: when a run first saw that the hit is not in force any
more; null: it is."""
