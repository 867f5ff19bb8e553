"""What a pooled face is of: the pictures that were compared together, and what each of them scores alone (I10)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from pipelines.database.tables import hits, pool_faces, pools
from pipelines.hits.counting import POOLED, is_carried_by


@dataclass(frozen=True, slots=True)
class PooledPicture:
    """One picture of a pool. ``hit_id``: of the hit that it has for the same subject, its own face's where that says as
    much as the pool, else the pooled one; ``alone_score``: with the nearest reference; both None: not known any more.
    ``weight``: in the mean; None once the pool is gone."""

    item_id: str
    hit_id: str | None
    alone_score: float | None
    weight: float | None


def pictures_of_pool(connection: Connection, hit_id: str) -> tuple[PooledPicture, ...]:
    """The pictures of a pooled hit's pool, by item; of a pool that is gone, those that had a hit by it. Empty for a hit
    that is none."""
    own = connection.execute(sa.select(hits).where(hits.c.hit_id == hit_id, hits.c.tier == POOLED)).first()
    if own is None:
        return ()
    of_pool = (pools.c.digest == own.content_key, pools.c.model_id == own.found_by_id, pools.c.model == own.place)
    joined = pool_faces.join(pools, pools.c.number == pool_faces.c.number)
    query = sa.select(pool_faces.c.number, pool_faces.c.item_id, pool_faces.c.content_sha256, pool_faces.c.weight)
    faces = connection.execute(query.select_from(joined).where(*of_pool).order_by(pools.c.number.desc())).all()
    with_own = [face for face in faces if face.number == _number_with(faces, own.item_id)]
    told = {row.item_id: row for row in connection.execute(_of_pool(own))}
    if not with_own:
        return tuple(PooledPicture(row.item_id, row.hit_id, row.alone_score, None) for row in told.values())
    alone = _alone(
        connection, own, {face.item_id: face.content_sha256 for face in with_own if face.item_id not in told}
    )
    pictures = []
    for face in sorted(with_own, key=lambda face: face.item_id):
        found = told.get(face.item_id)
        hit_of, score = (found.hit_id, found.alone_score) if found else alone.get(face.item_id, (None, None))
        pictures.append(PooledPicture(face.item_id, hit_of, score, face.weight))
    return tuple(pictures)


def content_of_pooled(connection: Connection, hit_id: str) -> str | None:
    """The content whose face a pooled hit is of, while its pool is stored; None: nobody knows any more."""
    joined = hits.join(pools, is_carried_by(pools)).join(
        pool_faces, sa.and_(pool_faces.c.number == pools.c.number, pool_faces.c.item_id == hits.c.item_id)
    )
    query = sa.select(pool_faces.c.content_sha256).select_from(joined).where(hits.c.hit_id == hit_id)
    found = connection.execute(query).scalar()
    return None if found is None else str(found)


def _number_with(faces: Any, item_id: str) -> int | None:
    """The stored pool of these faces that has the item: copies of the same pictures may be pooled elsewhere."""
    return next((face.number for face in faces if face.item_id == item_id), None)


def _of_pool(own: Any) -> sa.Select[Any]:
    same = (hits.c[name] == getattr(own, name) for name in ("content_key", "subject_id", "found_by_id", "place"))
    columns = (hits.c.item_id, hits.c.hit_id, hits.c.alone_score)
    return sa.select(*columns).where(hits.c.tier == POOLED, *same).order_by(hits.c.item_id)


def _alone(connection: Connection, own: Any, contents: dict[str, str]) -> dict[str, tuple[str, float]]:
    """Item -> hit and score of its best face for the same subject: pictures that speak for themselves."""
    same = (hits.c.subject_id == own.subject_id, hits.c.found_by_id == own.found_by_id, hits.c.tier == "face")
    query = sa.select(hits.c.item_id, hits.c.hit_id, hits.c.score, hits.c.content_key).where(
        *same, hits.c.item_id.in_(sorted(contents))
    )
    found: dict[str, tuple[str, float]] = {}
    for row in connection.execute(query.order_by(hits.c.score)):
        if row.content_key == contents[row.item_id]:
            found[row.item_id] = (row.hit_id, row.score)
    return found
