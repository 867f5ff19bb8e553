"""What holds for the whole home, what ran, and what was approved: tables of :mod:`pipelines.database.tables`."""

from __future__ import annotations

import sqlalchemy as sa

from pipelines.database.tables.base import metadata
from pipelines.database.times import UTCDateTime

state = sa.Table(
    "state",
    metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("value", sa.String, nullable=False),
)
"""Single facts: ``registry_version``, ``seed_version``, ``key_check``, ``watermark``, ``endpoint_stopped``,
``audit_head``, ``last_seen_time``, ``refused_logins``, ``weighed_by``, ``calibration:<model>``,
``licence_accepted:<pack>``, ``registry_rescan``, ``evidence_rescan``, ``request_counts``, ``pool_number``,
``checked_again``, ``seal``, ``sealed_columns``."""

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
"""Runs, with their models, policy and final coverage. ``finished_at`` null: running or interrupted."""

calibrations = sa.Table(
    "calibrations",
    metadata,
    sa.Column("calibration_id", sa.String, primary_key=True),
    sa.Column("model_id", sa.String, nullable=False, index=True),
    sa.Column("created_at", UTCDateTime, nullable=False),
    sa.Column("kind", sa.String, nullable=False),  # pairs or impostors
    sa.Column("templates", sa.Integer, nullable=False),
    sa.Column("target_fpir", sa.Float, nullable=False),
    sa.Column("review", sa.Float),
    sa.Column("strong", sa.Float),
    sa.Column("document", sa.Text, nullable=False),
    sa.Column("seal", sa.String(64), nullable=False),
)
"""Calibrations, which are never changed. The id is a digest of ``document``, from which the other columns are copied;
a null threshold is one that the data could not support. ``seal`` is a MAC over the row. The calibration in force is
named by a fact in ``state``, with a MAC of its own."""

day_approvals = sa.Table(
    "day_approvals",
    metadata,
    sa.Column("approval_id", sa.String, primary_key=True),
    sa.Column("source_id", sa.String, nullable=False),
    sa.Column("day", sa.String(10), nullable=False, index=True),
    sa.Column("checks", sa.Text, nullable=False),
    sa.Column("digest", sa.String(32), nullable=False),
    sa.Column("sealed_reason", sa.LargeBinary, nullable=False),
    sa.Column("actor", sa.String, nullable=False),
    sa.Column("approved_at", UTCDateTime, nullable=False),
    sa.Column("withdrawn_at", UTCDateTime),
    sa.Column("withdrawn_by", sa.String),
)
"""Days that somebody approved although checks had stopped them. ``checks``: JSON, check -> the approved figures; worse
ones stop the day again. ``digest``: digest of day, source and figures as they were shown. The approval in force is the
one without ``withdrawn_at``."""

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
