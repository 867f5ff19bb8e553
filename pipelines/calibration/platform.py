"""Strangers of the operator's own platform: faces that different uploaders posted with different models.

After the first night every platform has them, and nobody has to label or to collect anything. They are read for a
moment from the corpus, for one measurement, and kept nowhere else: they go when their items go, as ever.

What such strangers cannot say is more than what a folder of them cannot (:data:`WARNING`). Nobody knows whether two
uploaders show the same person, and on a platform of likenesses they often do. So whoever is as alike as the strong
threshold in force asks, is taken for one person, and one of their faces is left out. That cuts off the upper end of
the scores of strangers: no strong threshold can follow from the rest, and none is stated. Nor does a review threshold
follow that is far above the strong one, whatever the platform shows.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from embeddings.errors import CalibrationError
from embeddings.types import Float32
from pipelines.corpus.retention import expiry
from pipelines.database.tables import hits, items
from pipelines.home.workspace import Workspace
from pipelines.matching.pool_vectors import read_faces

WARNING: Final = (
    "from faces of this platform that nobody labelled: who resembles another one at the strong threshold is taken for "
    "the same person and left out, so this bounds how often all others are taken for somebody, and only if that is so. "
    "Strangers who are that alike, and how often a registered person is missed, are not measured"
)


def draw_strangers(workspace: Workspace, *, least: float = 1) -> Float32:
    """Return one face for each of as many strangers as one measurement compares, unit float32 (n, d).

    One picture for each uploader and for each model, drawn by its digest; of several faces the largest. Left out are
    items in which somebody registered was ever found, and faces that resemble one that is taken already. ``least``:
    comparisons that they have to make possible. Raises :class:`CalibrationError` where they do not, before any vector
    is read if that is known then; also where vectors are not kept.
    """
    with workspace.database.read() as connection:
        strong = workspace.thresholds_at(connection).strong
        shard_of = _drawn(connection, workspace)
    _require_enough(len(shard_of), least)
    read = read_faces(workspace, shard_of, dimension=workspace.models.dimension, again=False)
    largest: dict[str, int] = {}
    for number, face in enumerate(read.faces):
        kept = largest.setdefault(face["item_id"], number)
        if _area(face) > _area(read.faces[kept]):
            largest[face["item_id"]] = number
    rows = [largest[item_id] for item_id in shard_of if item_id in largest]
    found = _unlike(read.vectors[rows], threshold=strong)
    _require_enough(len(found), least)
    return found


def _require_enough(people: int, least: float) -> None:
    if people * (people - 1) / 2 < least:
        raise CalibrationError(
            f"this platform has faces of {people} different uploaders, with vectors that are kept, and "
            f"{math.ceil(least)} comparisons of two of them are needed at least"
        )


def _drawn(connection: Connection, workspace: Workspace) -> dict[str, str]:
    """Item -> shard, of one item for each uploader and each model, in the order of their digests."""
    ever = sa.select(hits.c.hit_id).where(hits.c.item_id == items.c.item_id).correlate(items).exists()
    limit = expiry(workspace)
    usable = (
        items.c.live,
        items.c.status == "clean",
        items.c.faces > 0,
        items.c.model_id == workspace.model_id,
        items.c.shard_id.is_not(None),
        items.c.uploader.is_not(None),
        ~ever,
        *([items.c.scanned_at > limit] if limit else []),
    )
    first = sa.select(items.c.uploader, sa.func.min(items.c.content_sha256).label("content")).where(*usable)
    chosen = first.group_by(items.c.uploader).subquery()
    same = sa.and_(items.c.uploader == chosen.c.uploader, items.c.content_sha256 == chosen.c.content)
    query = sa.select(items.c.item_id, items.c.shard_id, items.c.content_sha256, items.c.uploader, items.c.parent_model)
    query = query.select_from(items.join(chosen, same)).where(*usable)
    shard_of: dict[str, str] = {}
    taken: set[tuple[str, str]] = set()
    most = _people(workspace.config.calibration.max_comparisons)
    for row in connection.execute(query.order_by(items.c.content_sha256, items.c.item_id)):
        named = {
            ("uploader", row.uploader),
            ("content", row.content_sha256),
            ("model", row.parent_model or row.item_id),
        }
        if taken.isdisjoint(named):
            taken |= named
            shard_of[row.item_id] = row.shard_id
            if len(shard_of) == most:
                break
    return shard_of


def _people(comparisons: int) -> int:
    """Of how many people all pairs are at most so many comparisons."""
    return int((1 + np.sqrt(1 + 8 * comparisons)) / 2)


def _area(face: dict[str, Any]) -> float:
    return float((face["x2"] - face["x1"]) * (face["y2"] - face["y1"]))


def _unlike(vectors: Float32, *, threshold: float) -> Float32:
    """Those of unit ``vectors`` (n, d), in order, that score below ``threshold`` with every one kept before them."""
    kept = np.empty_like(vectors)
    count = 0
    for vector in vectors:
        if not count or float((kept[:count] @ vector).max()) < threshold:
            kept[count] = vector
            count += 1
    return kept[:count]
