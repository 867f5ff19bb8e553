"""Reads the concept scores that :mod:`pipelines.scan.concepts` wrote, so that an operator can choose thresholds."""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import sqlalchemy as sa

from embeddings.errors import ConfigError
from pipelines.database.tables import contents, items
from pipelines.home.workspace import Workspace
from pipelines.scan.concepts import is_due, parse_scores, stored_model_ids

_AT_ONCE = 5000


@dataclass(frozen=True, slots=True)
class ConceptCoverage:
    """Contents with vectors: ``scored`` by the list in force, and ``due``."""

    scored: int
    due: int


@dataclass(frozen=True, slots=True)
class ItemScore:
    """One live item's score. ``present``: it reaches the concept's threshold."""

    item_id: str
    score: float
    present: bool


def concept_coverage(workspace: Workspace) -> ConceptCoverage:
    """Count contents with vectors by whether they are scored. Loads no model."""
    with workspace.database.read() as connection:
        due = is_due(workspace, stored_model_ids(connection))
        waiting = sa.func.sum(sa.case((due, 1), else_=0))
        query = sa.select(sa.func.count().label("all"), waiting.label("due"))
        row = connection.execute(query.where(contents.c.clip_shard_id.is_not(None))).one()
    return ConceptCoverage(int(row.all) - int(row.due or 0), int(row.due or 0))


def list_scores(workspace: Workspace, concept: str, *, limit: int, at_most: float | None = None) -> list[ItemScore]:
    """Return the ``limit`` live items with the highest scores for ``concept``, none above ``at_most``, best first.

    Only scores by the list in force count. Raises ``ConfigError`` for a concept that it does not have.
    """
    listed = workspace.concept_list
    if concept not in listed.names:
        raise ConfigError(f"there is no such concept; the list in force has {', '.join(listed.names)}")
    threshold = listed.settings.concepts[concept].threshold
    best: list[tuple[float, str]] = []
    with workspace.database.read() as connection:
        due = is_due(workspace, stored_model_ids(connection))
        query = (
            sa.select(items.c.item_id, contents.c.concepts)
            .join(contents, contents.c.content_sha256 == items.c.content_sha256)
            .where(items.c.live, contents.c.clip_shard_id.is_not(None), ~due)
        )
        for part in connection.execute(query.execution_options(yield_per=_AT_ONCE)).partitions():
            scores = ((parse_scores(row.concepts)[concept], row.item_id) for row in part)
            best += [pair for pair in scores if at_most is None or pair[0] <= at_most]
            best = heapq.nsmallest(limit, best, key=lambda pair: (-pair[0], pair[1]))
    return [ItemScore(item_id, score, score >= threshold) for score, item_id in best]
