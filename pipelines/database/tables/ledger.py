"""What the platform lists, and what its content is: tables of :mod:`pipelines.database.tables`."""

from __future__ import annotations

import sqlalchemy as sa

from pipelines.database.tables.base import metadata
from pipelines.database.times import UTCDateTime

items = sa.Table(
    "items",
    metadata,
    sa.Column("item_id", sa.String, primary_key=True),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("parent_model", sa.String, index=True),
    sa.Column("uploader", sa.String),
    sa.Column("received_at", UTCDateTime, nullable=False),
    sa.Column("day", sa.String(10), nullable=False),
    sa.Column("live", sa.Boolean, nullable=False),
    sa.Column("live_since", UTCDateTime, nullable=False),
    sa.Column("problem", sa.String),
    sa.Column("source_id", sa.String, nullable=False),
    sa.Column("source_digest", sa.String(64), nullable=False),
    sa.Column("content_digest", sa.String(64), nullable=False),
    sa.Column("sealed_record", sa.LargeBinary, nullable=False),
    sa.Column("status", sa.String, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("retry_at", UTCDateTime, index=True),
    sa.Column("content_sha256", sa.String(64)),
    sa.Column("format", sa.String),
    sa.Column("width", sa.Integer),
    sa.Column("height", sa.Integer),
    sa.Column("frames", sa.Integer),
    sa.Column("frames_total", sa.Integer),
    sa.Column("faces", sa.Integer),
    sa.Column("faces_dropped", sa.Integer),
    sa.Column("pdq", sa.String(64)),
    sa.Column("damage", sa.String),
    sa.Column("model_id", sa.String),
    sa.Column("shard_id", sa.String),
    sa.Column("text_digest", sa.String(64)),
    sa.Column("platform_level", sa.Integer),
    sa.Column("first_seen", UTCDateTime, nullable=False),
    sa.Column("scanned_at", UTCDateTime),
    sa.Column("updated_at", UTCDateTime),
    sa.Column("generation", sa.BigInteger),
    sa.Column("deleted_at", UTCDateTime),
    sa.Index("ix_items_day_status", "day", "status"),
    sa.Index("ix_items_received", "received_at", "item_id"),
    sa.Index("ix_items_uploader", "uploader", "received_at", "item_id"),
    sa.Index("ix_items_content_model", "content_sha256", "model_id"),
    sa.Index("ix_items_shard", "shard_id", "live", "status", "model_id", "faces"),  # coverage without a row's record
)
"""The ledger: one row per item ever listed, with exactly one status (I1).

``text_digest``: a MAC of its texts as listed (title, prompt, tags, trigger words), which changes when they do; null: it
has none. ``platform_level``: the platform's own rating as 0 none, 1 suggestive, 2 mature, 3 explicit; null: none given.
``damage``: the gravest of what is wrong with a file that was scanned all the same (:mod:`embeddings.images.damage`);
null: nothing. ``attempts``: tries in a row that gave nothing; ``retry_at``: when the next is due; null: its status is
settled.
``updated_at``, ``generation``: the newest that its listings said of their age; null: nothing. ``deleted_at``: when a
deletion was listed that said nothing of its own time.
"""

superseded = sa.Table(
    "superseded",
    metadata,
    sa.Column("item_id", sa.String, primary_key=True),
    sa.Column("source_digest", sa.String(64), primary_key=True),
    sa.Column("left_at", UTCDateTime, nullable=False),
)
"""States (``items.source_digest``) that an item was listed in before, by which an older listing is known."""

manifests = sa.Table(
    "manifests",
    metadata,
    sa.Column("digest", sa.String(64), primary_key=True),
    sa.Column("listed_at", UTCDateTime, nullable=False),
)
"""Manifests that were listed to their end, by the SHA-256 of the file: listing one again brings nothing new."""

contents = sa.Table(
    "contents",
    metadata,
    sa.Column("content_sha256", sa.String(64), primary_key=True),
    sa.Column("status", sa.String, nullable=False),  # described, unscannable:<reason> or fetch_failed:<reason>
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("retry_at", UTCDateTime),
    sa.Column("rating_model_id", sa.String),
    sa.Column("nsfw_score", sa.Float),
    sa.Column("clip_model_id", sa.String),
    sa.Column("clip_shard_id", sa.String, index=True),
    sa.Column("described_at", UTCDateTime, nullable=False),
    sa.Column("concepts_id", sa.String),
    sa.Column("concepts", sa.Text),
)
"""Ratings and CLIP vectors, once per content however many items have it. A null model id: missing, to be filled later.
``attempts``: failed fetches since it was last described; ``retry_at``: when the next is due; null: none is.

``clip_shard_id`` names the row of ``content_shards`` that has the vectors; null for content that cannot be decoded.
``concepts``: JSON, concept -> score; ``concepts_id``: the list of concepts and CLIP weights behind them; null: no
score.
"""

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
    sa.Column("reader", sa.Integer, index=True),
    sa.Column("notes", sa.String),
)
"""What the headers of model files say, once per content. ``sealed_header``: the texts in it that a name may hide in.
``payload_sha256``: of the tensors alone; null where it was not streamed. ``reader``: which version read it; null: the
first. ``notes``: what was odd about it, as words with commas between them; null: nothing."""

picture_texts = sa.Table(
    "picture_texts",
    metadata,
    sa.Column("content_sha256", sa.String(64), primary_key=True),
    sa.Column("reader", sa.Integer, nullable=False),
    sa.Column("status", sa.String, nullable=False),  # read, or unscannable:<reason> for what could not be
    sa.Column("sealed_texts", sa.LargeBinary),
    sa.Column("read_at", UTCDateTime, nullable=False),
)
"""What pictures say of their making, once per content. ``reader``: the version that read it. ``sealed_texts``: the
texts in which a name may stand; null: there are none. A picture without a row was not read."""

made_with = sa.Table(
    "made_with",
    metadata,
    sa.Column("content_sha256", sa.String(64), primary_key=True),
    sa.Column("named", sa.String(64), primary_key=True),
    sa.Index("ix_made_with_named", "named", "content_sha256"),
)
"""Model files that a picture names as those it was made with: ``hash:<hex digits>`` or ``version:<number>``
(:mod:`pipelines.intake.picture_texts`). Hashes of public files, and no text of anybody's."""
