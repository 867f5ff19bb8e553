"""What vectors there are, and what was compared with whom: tables of :mod:`pipelines.database.tables`."""

from __future__ import annotations

import sqlalchemy as sa

from pipelines.database.tables.base import metadata
from pipelines.database.times import UTCDateTime

shards = sa.Table(
    "shards",
    metadata,
    sa.Column("shard_id", sa.String, primary_key=True),
    sa.Column("model_id", sa.String, nullable=False),
    sa.Column("dimension", sa.Integer, nullable=False),
    sa.Column("path", sa.String),
    sa.Column("sha256", sa.String(64)),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("faces", sa.Integer, nullable=False),
    sa.Column("created_at", UTCDateTime, nullable=False),
    sa.Column("covered_version", sa.Integer, nullable=False),
    sa.Column("covered_threshold", sa.Float),
    sa.Column("seal", sa.String(64), nullable=False),
    sa.Column("vector_salt", sa.String(64)),
    sa.Column("vector_bytes", sa.BigInteger),
    sa.Column("dead_since", UTCDateTime),
)
"""The manifest: readers open only the files listed here. ``seal`` is a MAC over the row but for the two times.

``path`` null: no file is kept of its faces (:mod:`pipelines.corpus.retention`). ``vector_salt``: salt of the file that
holds the vectors apart. ``created_at``: when its oldest faces were embedded. ``dead_since``: when a compaction first
saw rows of items that are gone. ``covered_version``: every subject that was active at this registry version has been
compared with every face of the shard, at ``covered_threshold`` or lower.
"""

content_shards = sa.Table(
    "content_shards",
    metadata,
    sa.Column("shard_id", sa.String, primary_key=True),
    sa.Column("model_id", sa.String, nullable=False),
    sa.Column("dimension", sa.Integer, nullable=False),
    sa.Column("path", sa.String, nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("vectors", sa.Integer, nullable=False),
    sa.Column("created_at", UTCDateTime, nullable=False),
    sa.Column("seal", sa.String(64), nullable=False),
)
"""The manifest of CLIP vectors: readers open only the files listed here. ``seal`` is a MAC over the row."""

coverage = sa.Table(
    "coverage",
    metadata,
    sa.Column("shard_id", sa.String, sa.ForeignKey("shards.shard_id", ondelete="CASCADE"), primary_key=True),
    sa.Column("subject_id", sa.String, primary_key=True),
    sa.Column("subject_version", sa.Integer, nullable=False),
    sa.Column("threshold", sa.Float, nullable=False),
    sa.Column("policy_version", sa.String, nullable=False),
    sa.Column("compared_at", UTCDateTime, nullable=False),
)
"""Comparisons of single subjects with a shard, beyond what ``shards.covered_version`` says."""

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
"""Coverage of names and seeds: up to which registry version an item's texts were searched for names, and up to which
seed its content was compared. A row holds for the text and content that it names, and for no other."""
