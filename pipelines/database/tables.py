"""The tables, as SQLAlchemy Core metadata. The migrations create exactly these (a test compares them).

Nothing here may hold a name, a vector, a crop or an uploaded text in clear (I8): such columns are called ``sealed_*``
and hold what :mod:`pipelines.home.sealing` made. Identifiers are opaque strings.
"""

from __future__ import annotations

import sqlalchemy as sa

from pipelines.database.times import UTCDateTime as UTCDateTime

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

state = sa.Table(
    "state",
    metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("value", sa.String, nullable=False),
)
"""Single facts: ``registry_version``, ``seed_version``, ``key_check``, ``watermark``, ``endpoint_stopped``,
``audit_head``, ``last_seen_time``, ``weighed_by``, ``calibration:<model>``, ``licence_accepted:<pack>``,
``registry_rescan``, ``evidence_rescan``, ``request_counts``, ``pool_number``, ``seal``, ``sealed_columns``."""

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
    sa.Index("ix_items_content_model", "content_sha256", "model_id"),
    sa.Index("ix_items_shard", "shard_id", "live", "status", "model_id", "faces"),  # coverage without a row's record
)
"""The ledger: one row per item ever listed, with exactly one status (I1).

``text_digest``: a MAC of its texts as listed (title, prompt, tags, trigger words), which changes when they do; null: it
has none. ``platform_level``: the platform's own rating as 0 none, 1 suggestive, 2 mature, 3 explicit; null: none given.
``attempts``: tries in a row that gave nothing; ``retry_at``: when the next is due; null: its status is settled.
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
"""Manifests that were listed to their end, by the SHA-256 of the file: one of them lists nothing new."""

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

``path`` null: nothing is kept of its faces (:mod:`pipelines.corpus.retention`). ``vector_salt``: of the file that holds
the vectors apart. ``created_at``: when its oldest faces were embedded. ``dead_since``: when a compaction first saw rows
of items that are gone. ``covered_version``: every subject that was active at this registry version has been compared
with every face of the shard, at ``covered_threshold`` or lower.
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
"""What content shows, once per content however many items have it. A null model id: missing, to be filled later.
``attempts``: failed fetches since it was last described; ``retry_at``: when the next is due, null: none.

``clip_shard_id`` names the row of ``content_shards`` that has the vectors; null for content that cannot be decoded.
``concepts``: JSON, concept -> score; ``concepts_id``: of which list of concepts with which CLIP weights; null: of none.
"""

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

subjects = sa.Table(
    "subjects",
    metadata,
    sa.Column("subject_id", sa.String, primary_key=True),
    sa.Column("state", sa.String, nullable=False),  # pending, active, withdrawn, erased, rejected; expired: see below
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("expires_at", UTCDateTime, nullable=False),
    sa.Column("created_at", UTCDateTime, nullable=False),
    sa.Column("ended_at", UTCDateTime),
    sa.Column("sealed_identity", sa.LargeBinary),
    sa.Column("lapsed_at", UTCDateTime),
    sa.Column("told_days", sa.Integer),
    sa.Column("accepted_end", UTCDateTime),
    sa.Column("update_approval", sa.Text),
    sa.Index("ix_subjects_state_version", "state", "version"),
)
"""The registry. ``version`` is the registry version at which the subject last changed what must be compared.

That a consent is over (``expires_at``) is no state: :mod:`pipelines.database.in_force`. Only older versions stored
``expired``. ``lapsed_at``: when a run first found it over; what was compared since then was not compared with this
subject. Null while it is in force. ``told_days``: the smallest number of days ahead that its end was told at;
``accepted_end``: the end that somebody said is meant (:mod:`pipelines.registry.endings`). ``update_approval``: JSON,
who approved which update of one that needs two."""

subject_keys = sa.Table(
    "subject_keys",
    metadata,
    sa.Column("subject_id", sa.String, primary_key=True),
    sa.Column("wrapped_key", sa.LargeBinary, nullable=False),
)
"""One wrapped data key per subject. Erasing a subject deletes the row: what was sealed under it is gone."""

templates = sa.Table(
    "templates",
    metadata,
    sa.Column("template_id", sa.String, primary_key=True),
    sa.Column("subject_id", sa.String, sa.ForeignKey("subjects.subject_id"), nullable=False, index=True),
    sa.Column("model_id", sa.String, nullable=False),
    sa.Column("dimension", sa.Integer, nullable=False),
    sa.Column("detector_score", sa.Float, nullable=False),
    sa.Column("sealed_vector", sa.LargeBinary, nullable=False),
    sa.Column("sealed_crop", sa.LargeBinary, nullable=False),
    sa.Column("created_at", UTCDateTime, nullable=False),
)

requests = sa.Table(
    "requests",
    metadata,
    sa.Column("request_id", sa.String, primary_key=True),
    sa.Column("subject_id", sa.String, sa.ForeignKey("subjects.subject_id"), nullable=False, index=True),
    sa.Column("state", sa.String, nullable=False),  # what is on record: open, accepted, completed, rejected, withdrawn
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("sealed_reason", sa.LargeBinary),
    sa.Column("opened_at", UTCDateTime, nullable=False),
    sa.Column("due_at", UTCDateTime, nullable=False),
    sa.Column("accepted_at", UTCDateTime),
    sa.Column("completed_at", UTCDateTime),
    sa.Column("first_approval", sa.String),
    sa.Column("impact", sa.Text),
    sa.Column("received_at", UTCDateTime),
    sa.Column("previewed_at", UTCDateTime),
    sa.Column("searched_at", UTCDateTime),
)
"""Removal requests. What one is now follows from these facts, from hits and from messages: see
:mod:`pipelines.judging.request_progress`.

``received_at``: from which the deadline counts; null: at its opening. ``searched_at``: when every live item had been
compared with the subject. ``completed_at``: when it ended, as ``state`` says: ``completed`` once every hit was decided
and every message acknowledged. ``impact``: JSON, what of today's platform the subject would hit; ``first_approval``:
who approved one that needs two."""

hits = sa.Table(
    "hits",
    metadata,
    sa.Column("hit_id", sa.String, primary_key=True),
    sa.Column("item_id", sa.String, nullable=False, index=True),
    sa.Column("content_sha256", sa.String(64), nullable=False),
    sa.Column("subject_id", sa.String, nullable=False, index=True),
    sa.Column("template_id", sa.String),
    sa.Column("tier", sa.String, nullable=False),  # face, pooled_face, exact, header, text
    sa.Column("band", sa.String, nullable=False),
    sa.Column("score", sa.Float, nullable=False),
    sa.Column("threshold", sa.Float, nullable=False),
    sa.Column("threshold_source", sa.String, nullable=False),
    sa.Column("calibration_id", sa.String),  # by which it was found; null: by none
    sa.Column("model_id", sa.String, nullable=False),
    sa.Column("policy_version", sa.String, nullable=False),
    sa.Column("frame", sa.Integer),
    sa.Column("face", sa.Integer),
    sa.Column("x1", sa.Float),
    sa.Column("y1", sa.Float),
    sa.Column("x2", sa.Float),
    sa.Column("y2", sa.Float),
    sa.Column("detector_score", sa.Float),
    sa.Column("view", sa.String),  # by which view the face was found, see embeddings.faces.views; null: not recorded
    sa.Column("shard_id", sa.String),
    sa.Column("place", sa.String),
    sa.Column("match", sa.String),
    sa.Column("sealed_term", sa.LargeBinary),
    sa.Column("seed_id", sa.String),
    sa.Column("found_by", sa.String, nullable=False),  # sweep or rescan
    sa.Column("found_at", UTCDateTime, nullable=False),
    sa.Column("judged_at", UTCDateTime),
    sa.Column("lapsed_at", UTCDateTime),
    sa.Column("dropped_at", UTCDateTime),
    sa.Column("alone_score", sa.Float),
    sa.Column("pictures", sa.Integer),
)
"""Evidence above threshold linking an item to a subject: enough to explain itself (I10). ``judged_at`` null: to do.
``lapsed_at``: when the thresholds in force came to be above its score, so that it does not count; null: they are not.

``content_sha256``: digest of what the evidence is in: the content, but the item's ``text_digest`` for tier ``text``.
Only a face has template, frame, box and shard. ``place``: where a name stands (``title``, ``header:ss_output_name``) or
which fingerprint matched (``sha256``, ``payload``, ``pdq``); ``match``: by which rule; ``sealed_term``: the very words,
sealed under the subject's key. ``model_id``: of the face pack, the matcher of names, or the hash. ``dropped_at``: since
when the reference or the name that made it is not the subject's any more; it does not count until it is found again.

A ``pooled_face`` is on each of the ``pictures`` whose faces were pooled: ``content_sha256`` is the digest of the pool,
``place`` the model that they belong to, ``score`` the pool's, ``alone_score`` that of this picture's own face.
"""

verdicts = sa.Table(
    "verdicts",
    metadata,
    sa.Column("item_id", sa.String, primary_key=True),
    sa.Column("content_sha256", sa.String(64), primary_key=True),
    sa.Column("subject_id", sa.String, primary_key=True),
    sa.Column("verdict", sa.String, nullable=False),  # takedown, review, clear
    sa.Column("rule", sa.String, nullable=False),
    sa.Column("best_score", sa.Float),
    sa.Column("distinct_images", sa.Integer, nullable=False),
    sa.Column("policy_version", sa.String, nullable=False),
    sa.Column("reasons", sa.Text, nullable=False),
    sa.Column("calibration_id", sa.String),
    sa.Column("judged_at", UTCDateTime, nullable=False),
    sa.Column("tiers", sa.String, nullable=False),
    sa.Column("decided_by", sa.String, nullable=False),  # automated or human
    sa.Column("priority", sa.Integer, nullable=False),
    sa.Index("ix_verdicts_subject", "subject_id"),
)
"""What the policy makes of an item and a subject. ``content_sha256``: the item's content, or its ``text_digest`` if it
has no content that could be read. ``best_score``: of its faces; null without. ``priority``: higher is sooner."""

outbox = sa.Table(
    "outbox",
    metadata,
    sa.Column("message_id", sa.String, primary_key=True),
    sa.Column("key", sa.String(64), nullable=False, unique=True),
    sa.Column("action", sa.String, nullable=False),  # takedown, generator.block or withdrawal
    sa.Column("withdraws_key", sa.String(64)),
    sa.Column("item_id", sa.String, nullable=False, index=True),
    sa.Column("content_sha256", sa.String(64), nullable=False),
    sa.Column("subject_id", sa.String, nullable=False, index=True),
    sa.Column("policy_version", sa.String, nullable=False),
    sa.Column("due_at", UTCDateTime, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("state", sa.String, nullable=False),  # pending, held, leased, done, dead, withdrawn
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("created_at", UTCDateTime, nullable=False),
    sa.Column("next_attempt_at", UTCDateTime, nullable=False),
    sa.Column("retrying_since", UTCDateTime),
    sa.Column("lease_owner", sa.String),
    sa.Column("leased_until", UTCDateTime),
    sa.Column("last_result", sa.String),
    sa.Column("finished_at", UTCDateTime),
    sa.Column("priority", sa.Integer, nullable=False),
    sa.Column("decided_by", sa.String, nullable=False),  # automated or human
    sa.Index("ix_outbox_state_next", "state", "next_attempt_at"),
)
"""Messages to the takedown service, written in the transaction that decided them."""

runs = sa.Table(
    "runs",
    metadata,
    sa.Column("run_id", sa.String, primary_key=True),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("day", sa.String(10)),
    sa.Column("started_at", UTCDateTime, nullable=False),
    sa.Column("finished_at", UTCDateTime),
    sa.Column("model_id", sa.String, nullable=False),
    sa.Column("policy_version", sa.String, nullable=False),
    sa.Column("registry_version", sa.Integer, nullable=False),
    sa.Column("summary", sa.Text),
)
"""What ran, with which models and policy, and the coverage it ended with. ``finished_at`` null: interrupted."""

audit = sa.Table(
    "audit",
    metadata,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("at", UTCDateTime, nullable=False),
    sa.Column("actor", sa.String, nullable=False),
    sa.Column("action", sa.String, nullable=False),
    sa.Column("facts", sa.Text, nullable=False),
    sa.Column("previous", sa.String(64), nullable=False),
    sa.Column("mac", sa.String(64), nullable=False),
)
"""The chain of operator actions; each row authenticates the one before it."""
