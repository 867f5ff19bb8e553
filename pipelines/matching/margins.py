"""How much of a face hit rests on one reference, and who else looks like it: measured when somebody asks.

A hit stores the score of its best reference alone. What it would be without that reference, and who comes second,
changes with every reference and every person of the registry; so it is not stored, but computed exactly from the sealed
vector of the face and the sealed templates in force. Where the vector is not kept any more, that is said. Reads only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from embeddings.errors import StateError
from embeddings.types import Float32, vectors_of
from indexes.join import pair_scores
from pipelines.corpus.manifest import find_shard
from pipelines.corpus.retention import read_kept_of
from pipelines.database.tables import hits, items
from pipelines.database.times import moment
from pipelines.home.workspace import Workspace
from pipelines.registry.subjects import active_versions, open_templates
from pipelines.registry.templates import subjects_with

GONE = "the face's vector is not kept any more, or is of other models"


@dataclass(frozen=True, slots=True)
class Margin:
    """What stands behind the score of a face hit, by the references and people in force now.

    ``reference_id`` and ``score``: the subject's most alike reference; ``score_without`` it: that of the next one, None
    where there is no other, and then everything rests on one photograph. ``second_subject`` and ``second_score``: who
    of the others is most alike, None where nobody else is registered; ``margin``: how far behind. ``rank``: of the
    subject's most alike reference among all ``references`` in force, 1 where none is more alike; ``own``: of these, the
    subject's. ``problem``: why nothing can be measured.
    """

    reference_id: str | None = None
    score: float | None = None
    score_without: float | None = None
    second_subject: str | None = None
    second_score: float | None = None
    margin: float | None = None
    rank: int | None = None
    references: int = 0
    own: int = 0
    problem: str | None = None


def measure_margin(workspace: Workspace, hit_id: str) -> Margin | None:
    """The margin of a hit; None: it is no face. Loads no model, and opens every template in force.

    Raises :class:`StateError` if there is no such hit, :class:`CorruptionError` for what is not as it was written.
    """
    with workspace.database.read() as connection:
        columns = (items.c.shard_id, items.c.content_sha256)
        joined = hits.outerjoin(items, items.c.item_id == hits.c.item_id)
        row = connection.execute(sa.select(hits, *columns).select_from(joined).where(hits.c.hit_id == hit_id)).first()
        if row is None:
            raise StateError("there is no such hit")
        if row.tier != "face":
            return None
        vector = _vector_of(connection, workspace, row)
        if vector is None:
            return Margin(problem=GONE)
        known = subjects_with(connection, model_id=row.found_by_id)
        owners = sorted(known & active_versions(connection, now=moment(connection)).keys())
        if row.subject_id not in owners:
            return Margin(problem="the person has no reference by these models that is in force")
        vectors, references, of = open_templates(
            connection, workspace.sealer, subject_ids=owners, model_id=row.found_by_id
        )
    scores = pair_scores(np.broadcast_to(vector, vectors.shape), vectors)
    return _margin(scores, np.array(references), np.array(of), row.subject_id)


def _margin(scores: Float32, references: Any, owners: Any, subject_id: str) -> Margin:
    own, others = owners == subject_id, owners != subject_id
    ordered = np.sort(scores[own])[::-1]
    best = int(np.flatnonzero(own)[scores[own].argmax()])
    second = int(np.flatnonzero(others)[scores[others].argmax()]) if others.any() else None
    return Margin(
        reference_id=str(references[best]),
        score=float(ordered[0]),
        score_without=float(ordered[1]) if len(ordered) > 1 else None,
        second_subject=None if second is None else str(owners[second]),
        second_score=None if second is None else float(scores[second]),
        margin=None if second is None else float(ordered[0] - scores[second]),
        rank=1 + int((scores > ordered[0]).sum()),
        references=len(scores),
        own=len(ordered),
    )


def _vector_of(connection: Connection, workspace: Workspace, row: Any) -> Float32 | None:
    """The unit vector of a hit's face, float32 (d,); None where it is not kept, or is of other models by now."""
    import pyarrow.compute as pc

    shard = find_shard(connection, workspace.sealer, row.shard_id) if row.shard_id else None
    if shard is None or shard.entry.path is None or row.content_sha256 != row.content_key:
        return None
    if shard.entry.model_id != row.found_by_id:
        return None
    table = read_kept_of(workspace, shard.entry, (row.item_id,))
    if table is None:
        return None
    found = vectors_of(table.filter(pc.equal(table["face"], row.face))["vector"], shard.entry.dimension)
    return found[0].copy() if len(found) else None
