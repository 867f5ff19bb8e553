"""The table of what a second network says of hits. See :mod:`pipelines.evidence.second_opinions`."""

from __future__ import annotations

import sqlalchemy as sa

from pipelines.database.tables import UTCDateTime, metadata

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
