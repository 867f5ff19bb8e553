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

seeds = sa.Table(
    "seeds",
    metadata,
    sa.Column("seed_id", sa.String, primary_key=True),
    sa.Column("version", sa.Integer, nullable=False, unique=True),
    sa.Column("subject_id", sa.String, nullable=False, index=True),
    sa.Column("kind", sa.String, nullable=False),  # sha256, payload, pdq
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("model_id", sa.String, nullable=False),  # the kind of hash: seeds of another are not compared
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
