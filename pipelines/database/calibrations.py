"""The table of calibrations, which :mod:`pipelines.home.calibrations` writes."""

from __future__ import annotations

import sqlalchemy as sa

from pipelines.database.tables import UTCDateTime, metadata

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
