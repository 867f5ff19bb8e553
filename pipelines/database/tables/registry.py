"""People and what they are known by: tables of :mod:`pipelines.database.tables`."""

from __future__ import annotations

import sqlalchemy as sa

from pipelines.database.tables.base import metadata
from pipelines.database.times import UTCDateTime

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

The end of a consent (``expires_at``) is no state (:mod:`pipelines.database.in_force`); only older versions stored
``expired``. ``lapsed_at``: when a run first found the consent over; later comparisons left this subject out. Null while
it is in force. ``told_days``: the smallest number of days before the end at which a warning was given;
``accepted_end``: the end that somebody accepted as meant (:mod:`pipelines.registry.endings`). ``update_approval``:
JSON, the first approval of an update that needs two."""

subject_keys = sa.Table(
    "subject_keys",
    metadata,
    sa.Column("subject_id", sa.String, primary_key=True),
    sa.Column("wrapped_key", sa.LargeBinary, nullable=False),
)
"""One wrapped data key per subject. Erasing a subject deletes the row, and nobody can open what the key sealed."""

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

seeds = sa.Table(
    "seeds",
    metadata,
    sa.Column("seed_id", sa.String, primary_key=True),
    sa.Column("version", sa.Integer, nullable=False, unique=True),
    sa.Column("subject_id", sa.String, nullable=False, index=True),
    sa.Column("kind", sa.String, nullable=False),  # sha256, payload, pdq, made_by
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("model_id", sa.String, nullable=False),  # the kind of hash: seeds of another are not compared
    sa.Column("decision_id", sa.String, nullable=False, index=True),
    sa.Column("created_at", UTCDateTime, nullable=False),
    sa.Column("revoked_at", UTCDateTime),
    sa.Column("ground", sa.String),  # face, seen, bytes, text, tensors; null: sown before it was recorded
    sa.Column("share", sa.Float),
    sa.Index("ix_seeds_kind_digest", "kind", "digest"),
)
"""Fingerprints of content that a person confirmed to show a subject. They outlive the content, but not the subject's
erasure. ``ground``: the confirmed part (:mod:`pipelines.registry.seeds`). ``share``: share of the picture's area that
the largest confirmed face fills, 0 to 1; null: no picture, or not known. ``version`` rises by one with each seed, so
that ``examined.seed_version`` can say which seeds an item was compared with.
"""

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
"""Removal requests. :mod:`pipelines.judging.request_progress` computes their present state from these facts, from hits
and from messages.

``received_at``: time from which the deadline counts; null: the opening. ``searched_at``: when every live item had been
compared with the subject. ``completed_at``: when it ended in its ``state``: ``completed`` once every hit was decided
and every message acknowledged. ``impact``: JSON, what the subject would hit (:mod:`pipelines.cases.impact`);
``first_approval``: the first approval of a request that needs two."""
