"""The tables, as SQLAlchemy Core metadata. The migrations create exactly these (a test compares them).

Nothing here may hold a name, a vector, a crop or an uploaded text in clear (I8): such columns are called ``sealed_*``
and hold what :mod:`pipelines.home.sealing` made. Identifiers are opaque strings. A table lies in the file of its
subject, and is named here, which completes the metadata.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipelines.database.tables.base import metadata
from pipelines.database.tables.corpus import content_shards, coverage, examined, shards
from pipelines.database.tables.findings import decisions, hits, kept_evidence, model_verdicts, second_opinions, verdicts
from pipelines.database.tables.ledger import (
    contents,
    items,
    made_with,
    manifests,
    model_files,
    picture_texts,
    superseded,
)
from pipelines.database.tables.messages import outbox
from pipelines.database.tables.pooling import pool_coverage, pool_faces, pooled_items, pools
from pipelines.database.tables.record import audit, calibrations, day_approvals, runs, state
from pipelines.database.tables.registry import requests, seeds, subject_keys, subjects, templates
from pipelines.database.tables.review import accounts, case_notes, checks, claims, preferences, sessions
from pipelines.database.times import UTCDateTime

if TYPE_CHECKING:
    import sqlalchemy as sa

__all__ = [
    "UTCDateTime",
    "accounts",
    "audit",
    "calibrations",
    "case_notes",
    "checks",
    "claims",
    "content_shards",
    "contents",
    "coverage",
    "day_approvals",
    "decisions",
    "examined",
    "hits",
    "items",
    "kept_evidence",
    "made_with",
    "manifests",
    "metadata",
    "model_files",
    "model_verdicts",
    "outbox",
    "picture_texts",
    "pool_coverage",
    "pool_faces",
    "pooled_items",
    "pools",
    "preferences",
    "requests",
    "runs",
    "second_opinions",
    "seeds",
    "sessions",
    "shards",
    "state",
    "subject_keys",
    "subjects",
    "superseded",
    "tables_about_people",
    "templates",
    "verdicts",
]


def tables_about_people() -> list[sa.Table]:
    """Return the tables whose rows hold something of a person: a sealed column, or whom they are about."""
    return [
        table
        for table in metadata.sorted_tables
        if any(column.name.startswith("sealed_") or column.name in ("subject_id", "wrapped_key") for column in table.c)
    ]
