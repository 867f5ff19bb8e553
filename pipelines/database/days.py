"""The table of approved days, which :mod:`pipelines.runs.days` writes."""

from __future__ import annotations

import sqlalchemy as sa

from pipelines.database.tables import metadata
from pipelines.database.times import UTCDateTime

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
