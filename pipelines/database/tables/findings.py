"""What was found of whom, what the policy makes of it, what people said: tables of :mod:`pipelines.database.tables`."""

from __future__ import annotations

import sqlalchemy as sa

from pipelines.database.tables.base import metadata
from pipelines.database.times import UTCDateTime

hits = sa.Table(
    "hits",
    metadata,
    sa.Column("hit_id", sa.String, primary_key=True),
    sa.Column("item_id", sa.String, nullable=False, index=True),
    sa.Column("content_key", sa.String(64), nullable=False),
    sa.Column("subject_id", sa.String, nullable=False),
    sa.Column("template_id", sa.String),
    sa.Column("tier", sa.String, nullable=False),  # face, pooled_face, exact, made_by, header, text
    sa.Column("band", sa.String, nullable=False),
    sa.Column("score", sa.Float, nullable=False),
    sa.Column("threshold", sa.Float, nullable=False),
    sa.Column("threshold_source", sa.String, nullable=False),
    sa.Column("calibration_id", sa.String),  # by which it was found; null: by none
    sa.Column("found_by_id", sa.String, nullable=False),
    sa.Column("policy_version", sa.String, nullable=False),
    sa.Column("frame", sa.Integer),
    sa.Column("seconds", sa.Float),  # when that frame is shown, in an animation or a video
    sa.Column("face", sa.Integer),
    sa.Column("x1", sa.Float),
    sa.Column("y1", sa.Float),
    sa.Column("x2", sa.Float),
    sa.Column("y2", sa.Float),
    sa.Column("detector_score", sa.Float),
    sa.Column("view", sa.String),  # by which view the face was found, see embeddings.faces.views; null: not recorded
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
    # Each ends in what tells rows apart, so that a page of a list begins where the one before it ended. The tier comes
    # last and not first: without statistics SQLite would take an index by tier for one as narrow as that by item.
    sa.Index("ix_hits_subject_found", "subject_id", "found_at", "hit_id"),
    sa.Index("ix_hits_found", "found_at", "hit_id", "tier"),
    sa.Index("ix_hits_score", "score", "hit_id", "tier"),
)
"""Evidence above threshold linking an item to a subject: enough to explain itself (I10). ``judged_at`` null: not judged
yet. ``lapsed_at``: when the thresholds in force rose above its score, so that it does not count; null: they are below.

``content_key``: digest of what the evidence is in: the content, but the item's ``text_digest`` for a name in what is
listed. Only a face has template, frame and box. ``place``: where a name stands (``title``, ``header:ss_output_name``,
``infotext:prompt``), which fingerprint matched (``sha256``, ``payload``, ``pdq``), or by what a picture names a model
(``hash``, ``version``); ``match``: by which rule; ``sealed_term``: the words found,
sealed under the subject's key. ``found_by_id``: id of the face pack, the matcher of names, or the hash. ``dropped_at``:
when the subject lost the reference or the name that made the hit, which does not count until it is found again.

A ``pooled_face`` is on each of the ``pictures`` whose faces were pooled: ``content_key`` is the digest of the pool,
``place`` the model that they belong to, ``score`` the pool's, ``alone_score`` that of this picture's own face.
"""

kept_evidence = sa.Table(
    "kept_evidence",
    metadata,
    sa.Column("hit_id", sa.String, primary_key=True),
    sa.Column("subject_id", sa.String, nullable=False, index=True),
    sa.Column("sealed_picture", sa.LargeBinary),
    sa.Column("sealed_passage", sa.LargeBinary),
    sa.Column("width", sa.Integer),
    sa.Column("height", sa.Integer),
    sa.Column("frame_width", sa.Integer),
    sa.Column("frame_height", sa.Integer),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column(
        "problem", sa.String
    ),  # why there is no picture yet, or none at all; null: there is, or there is none to have
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("retry_at", UTCDateTime),
    sa.Column("kept_at", UTCDateTime, nullable=False),
    sa.Column("lapsed_at", UTCDateTime),
)
"""What each hit was found in, sealed under the subject's key, to be looked at when the source has it no more.

``sealed_picture``: a JPEG of the face with its margin, or of the whole picture; ``sealed_passage``: the text around a
name. ``frame_width`` and ``frame_height``: of the upright frame that the picture was cut from, at full size; null: not
recorded, and the item's. ``bytes``: size of both as sealed. ``problem``: why there is no picture so far; null: there is
one, or the item is no picture. ``attempts`` and ``retry_at``: as in ``contents``. ``lapsed_at``: when a run first saw
that the hit is no longer in force; null: it is in force."""

second_opinions = sa.Table(
    "second_opinions",
    metadata,
    sa.Column("hit_id", sa.String, primary_key=True),
    sa.Column("subject_id", sa.String, nullable=False, index=True),
    sa.Column("network_id", sa.String, nullable=False),
    sa.Column("opinion", sa.String, nullable=False),  # agrees, denies, or why there is none: see below
    sa.Column("score", sa.Float),
    sa.Column("threshold", sa.Float, nullable=False),
    sa.Column("threshold_source", sa.String, nullable=False),
    sa.Column("reference_id", sa.String),
    sa.Column("subject_version", sa.Integer, nullable=False),
    sa.Column("given_at", UTCDateTime, nullable=False),
)
"""At most one row per hit, of the network that was asked last. ``opinion``: ``agrees`` where ``score`` reaches
``threshold``, else ``denies``; ``none:<reason>``: it could not be asked, and says nothing. ``score``: of the reference
``reference_id``, the most alike of those that the subject had at ``subject_version``."""

verdicts = sa.Table(
    "verdicts",
    metadata,
    sa.Column("item_id", sa.String, primary_key=True),
    sa.Column("content_key", sa.String(64), primary_key=True),
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
"""Verdicts of the policy on an item and a subject. ``content_key``: the item's content, or its ``text_digest`` without
readable content. ``best_score``: of its faces; null without any. ``priority``: higher is sooner."""

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
    sa.Index("ix_model_verdicts_judged", "judged_at", "model", "subject_id"),
)
"""Verdicts on a model (or bounty) with its images and a subject. ``model``: its item id, which its images name as
their parent."""

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
    sa.Index("ix_decisions_decided", "decided_at", "decision_id"),
    sa.Index("ix_decisions_actor", "actor", "decided_at", "decision_id"),
)
"""Decisions of people about hits. A decision holds for the (subject, content key, finder) of the hit, whichever item
has that content; a rejection that was not reversed is a remembered negative. ``reason`` is a fixed word."""
