"""The tables of pools: the faces of one model's pictures by one uploader, put together.

See :mod:`pipelines.matching.pools` for what is done with them and docs/pooling.md for why.
"""

from __future__ import annotations

import sqlalchemy as sa

from pipelines.database.tables.base import metadata
from pipelines.database.times import UTCDateTime

pooled_items = sa.Table(
    "pooled_items",
    metadata,
    sa.Column("item_id", sa.String, primary_key=True),
    sa.Column("model", sa.String, nullable=False, index=True),
    sa.Column("uploader", sa.String),
    sa.Column("content_sha256", sa.String(64), nullable=False),
    sa.Column("settings", sa.String(32), nullable=False),
)
"""Items with faces as they were when the faces of their model were last pooled. Where an item is not like this any
more, its model is pooled again. ``settings``: a digest of all that decides which faces are pooled, with the models."""

pools = sa.Table(
    "pools",
    metadata,
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("digest", sa.String(64), nullable=False, index=True),
    sa.Column("model", sa.String, nullable=False, index=True),
    sa.Column("uploader", sa.String),
    sa.Column("model_id", sa.String, nullable=False),
    sa.Column("dimension", sa.Integer, nullable=False),
    sa.Column("pictures", sa.Integer, nullable=False),
    sa.Column("sealed_vector", sa.LargeBinary),
    sa.Column("oldest_at", UTCDateTime, nullable=False),
    sa.Column("covered_version", sa.Integer, nullable=False),
    sa.Column("covered_threshold", sa.Float, nullable=False),
    sa.Column("pooled_at", UTCDateTime, nullable=False),
    sa.Index("ix_pools_covered", "model_id", "covered_version", "covered_threshold", "number"),
)
"""Faces of one person in two or more distinct pictures of a model by one uploader. ``number`` rises and is given once.

``digest``: of the pooled faces; what a hit and a decision name. ``sealed_vector``: null: not kept, and pooled again
from its pictures when it is needed. ``oldest_at``: when the oldest of its faces was embedded. ``covered_version``:
every subject that was active at this registry version was compared when it was pooled, at ``covered_threshold``."""

pool_faces = sa.Table(
    "pool_faces",
    metadata,
    sa.Column("number", sa.BigInteger, sa.ForeignKey("pools.number", ondelete="CASCADE"), primary_key=True),
    sa.Column("item_id", sa.String, primary_key=True),
    sa.Column("place", sa.Integer, nullable=False),
    sa.Column("content_sha256", sa.String(64), nullable=False),
    sa.Column("frame", sa.Integer, nullable=False),
    sa.Column("seconds", sa.Float),
    sa.Column("face", sa.Integer, nullable=False),
    sa.Column("x1", sa.Float, nullable=False),
    sa.Column("y1", sa.Float, nullable=False),
    sa.Column("x2", sa.Float, nullable=False),
    sa.Column("y2", sa.Float, nullable=False),
    sa.Column("detector_score", sa.Float, nullable=False),
    sa.Column("view", sa.String),
    sa.Column("weight", sa.Float, nullable=False),
    sa.Index("ix_pool_faces_item", "item_id"),
)
"""Whose faces a pool is of, the pivot at ``place`` 0: one for each picture, with what it weighs in the mean."""

pool_coverage = sa.Table(
    "pool_coverage",
    metadata,
    sa.Column("subject_id", sa.String, primary_key=True),
    sa.Column("model_id", sa.String, primary_key=True),
    sa.Column("subject_version", sa.Integer, nullable=False),
    sa.Column("threshold", sa.Float, nullable=False),
    sa.Column("upto", sa.BigInteger, nullable=False),
    sa.Column("compared_at", UTCDateTime, nullable=False),
)
"""Subjects that were compared with every pool up to the number ``upto``, beyond what ``pools.covered_version`` says."""
