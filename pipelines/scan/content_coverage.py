"""Measures how many of the contents of live items are described by the models in force."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from pipelines.database.tables import contents, items
from pipelines.home.workspace import Workspace
from pipelines.intake.ledger import Scope
from pipelines.intake.model_reading import SAFETENSORS
from pipelines.scan.concepts import is_due, stored_model_ids


@dataclass(frozen=True, slots=True)
class ContentCoverage:
    """Counts of the distinct contents of live scannable items: rated, with CLIP vectors, and lacking wanted ones.

    ``concepts_missing``: contents with vectors but without scores by the list of concepts in force.
    """

    contents: int
    rated: int
    clip_embedded: int
    clip_missing: int
    concepts_missing: int


def measure_content(connection: Connection, workspace: Workspace, scope: Scope) -> ContentCoverage:
    """Count the contents in scope that are described by the models in force. Loads no model."""
    models = workspace.content_models
    seen = scannable_contents(scope).subquery()
    joined = seen.outerjoin(contents, contents.c.content_sha256 == seen.c.content_sha256)
    rated = sa.and_(contents.c.nsfw_score.is_not(None), contents.c.rating_model_id == models.rating_model_id)
    # Without weights the id is None, and only contents without vectors of any model count as missing.
    lacking: sa.ColumnElement[bool] = contents.c.clip_model_id.is_(None)
    if models.clip_model_id is not None:
        lacking = sa.or_(lacking, contents.c.clip_model_id != models.clip_model_id)
    embedded = sa.and_(contents.c.clip_shard_id.is_not(None), ~lacking)
    unscored = is_due(workspace, stored_model_ids(connection))
    counted = [sa.func.count(), *(_number_of(part) for part in (rated, embedded, lacking, unscored))]
    row = tuple(connection.execute(sa.select(*counted).select_from(joined)).one())
    total, done, encoded, missing, due = (int(value or 0) for value in row)
    return ContentCoverage(total, done, encoded, missing if models.clip_wanted else 0, due)


def _number_of(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
    return sa.func.sum(sa.case((condition, 1), else_=0))


def scannable_contents(scope: Scope) -> sa.Select[Any]:
    """Select the distinct contents of live items in scope that the scan could decode, each with one of its items.

    A model file without an image in its header has nothing to decode.
    """
    scanned = items.c.status.in_(("pending", "clean", "hit", "no_face"))
    decoded = sa.and_(scanned, items.c.format.is_distinct_from(SAFETENSORS))
    return (
        sa.select(items.c.content_sha256, sa.func.min(items.c.item_id).label("item_id"))
        .where(*scope.where(), items.c.content_sha256.is_not(None), decoded)
        .group_by(items.c.content_sha256)
    )
