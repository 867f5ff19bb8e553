"""Reading and writing the tables of pools: what has to be pooled again, what is stored, and who was compared with it.

A *post* is what one uploader has in one model. Its faces are pooled by themselves, so that what a stranger attaches to
a model is never part of what its owner's pictures say. What has to be pooled again is found by comparing the ledger
with what was pooled, whatever changed it (I2, I6).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from embeddings.errors import CorruptionError
from embeddings.types import Float32, check_unit
from indexes.pooling import POOLING_VERSION
from indexes.thresholds import Bands
from pipelines.database import get_state, set_state
from pipelines.database.parts import parts
from pipelines.database.tables import items, pool_faces, pooled_items, pools
from pipelines.hits.counting import model_of_item
from pipelines.home.sealing import Sealer, associated_data, seal, unseal
from pipelines.intake.ledger import Scope

_NUMBER = "pool_number"
_OF_FACE = ("item_id", "frame", "seconds", "face", "x1", "y1", "x2", "y2", "view")


class Post(NamedTuple):
    """A model, or a bounty, and who posted the pictures; None: nobody is named."""

    model: str
    uploader: str | None

    @property
    def order(self) -> tuple[str, bool, str]:
        """Sorts posts."""
        return self.model, self.uploader is not None, self.uploader or ""


@dataclass(frozen=True, slots=True)
class NewPool:
    """A pool that is not stored yet. ``faces``: rows of the corpus, the pivot first, with ``weight``; ``vectors``: of
    these faces; ``oldest_at``: when the oldest of them was embedded."""

    post: Post
    faces: tuple[dict[str, Any], ...]
    vectors: Float32 = field(repr=False)
    vector: Float32 = field(repr=False)
    oldest_at: datetime

    @property
    def digest(self) -> str:
        """Of the faces: what hits and decisions name."""
        named = sorted([face["content_sha256"].hex(), face["frame"], face["face"]] for face in self.faces)
        return hashlib.sha256(json.dumps(named).encode()).hexdigest()


def pooling_settings(model_id: str, bands: Bands, *, duplicate_distance: int) -> str:
    """A digest of what decides which faces are pooled and what is said of them; where it differs all is pooled anew."""
    stated = [value for one in (bands.single, bands.pooled) for value in (one.review, one.strong)]
    deciding = [POOLING_VERSION, model_id, stated, duplicate_distance]
    return hashlib.sha256(json.dumps(deciding).encode()).hexdigest()[:32]


def is_poolable(model_id: str) -> sa.ColumnElement[bool]:
    """Condition on ``items``: has faces by these models, and belongs to a model or bounty or is one."""
    return sa.and_(
        items.c.live,
        items.c.model_id == model_id,
        items.c.shard_id.is_not(None),
        items.c.content_sha256.is_not(None),
        model_of_item().is_not(None),
    )


def changed_posts(
    connection: Connection, *, model_id: str, settings: str, scope: Scope | None = None
) -> dict[Post, None]:
    """Posts whose items are not what was pooled, in order; with ``scope``: those that have an item in it."""
    same = sa.and_(
        pooled_items.c.model.is_not_distinct_from(model_of_item()),
        pooled_items.c.uploader.is_not_distinct_from(items.c.uploader),
        pooled_items.c.content_sha256.is_not_distinct_from(items.c.content_sha256),
        pooled_items.c.settings == settings,
    )
    within = scope.where() if scope else []
    joined = sa.outerjoin(items, pooled_items, pooled_items.c.item_id == items.c.item_id)
    unlike = sa.or_(pooled_items.c.item_id.is_(None), sa.not_(same))
    new = sa.select(model_of_item(), items.c.uploader).select_from(joined)
    new = new.where(is_poolable(model_id), unlike, *within).distinct()
    joined = sa.outerjoin(pooled_items, items, pooled_items.c.item_id == items.c.item_id)
    lost = sa.or_(items.c.item_id.is_(None), sa.not_(is_poolable(model_id)), sa.not_(same))
    old = sa.select(pooled_items.c.model, pooled_items.c.uploader).select_from(joined)
    old = old.where(sa.func.coalesce(lost, sa.true()), *within).distinct()
    found = {Post(*row) for query in (new, old) for row in connection.execute(query)}
    return dict.fromkeys(sorted(found, key=lambda post: post.order))


def rows_of(connection: Connection, posts: Collection[Post], *, model_id: str) -> dict[Post, list[sa.Row[Any]]]:
    """The poolable items of each of these posts, by id; an empty list where there is none. ``embedded_at``: when their
    faces were."""
    found: dict[Post, list[sa.Row[Any]]] = {post: [] for post in posts}
    model = model_of_item().label("model")
    names = ("item_id", "uploader", "content_sha256", "pdq", "shard_id", "faces")
    when = sa.func.coalesce(items.c.scanned_at, items.c.first_seen).label("embedded_at")
    for some in parts(sorted({post.model for post in posts})):
        here = sa.or_(items.c.parent_model.in_(some), items.c.item_id.in_(some))
        query = sa.select(model, when, *(items.c[name] for name in names)).where(is_poolable(model_id), here)
        for row in connection.execute(query.order_by(items.c.item_id)):
            if (post := Post(row.model, row.uploader)) in found:
                found[post].append(row)
    return found


def pools_of(connection: Connection, posts: Collection[Post], *, model_id: str) -> list[sa.Row[Any]]:
    """The stored pools of these posts by these models: number, digest, model, uploader."""
    found: list[sa.Row[Any]] = []
    query = sa.select(*(pools.c[name] for name in ("number", "digest", "model", "uploader")))
    for some in parts(sorted({post.model for post in posts})):
        rows = connection.execute(query.where(pools.c.model.in_(some), pools.c.model_id == model_id))
        found += [row for row in rows if Post(row.model, row.uploader) in posts]
    return found


def delete_pools(tx: Connection, numbers: Sequence[int]) -> None:
    """Delete pools with all that is stored of them."""
    for some in parts(numbers):
        tx.execute(sa.delete(pool_faces).where(pool_faces.c.number.in_(some)))
        tx.execute(sa.delete(pools).where(pools.c.number.in_(some)))


def insert_pools(
    tx: Connection,
    sealer: Sealer,
    new: Sequence[NewPool],
    *,
    model_id: str,
    version: int,
    threshold: float,
    keep: bool,
    now: datetime,
) -> None:
    """Store pools that were compared with everybody up to ``version``; ``keep``: with their vectors."""
    first = int(get_state(tx, _NUMBER) or 0) + 1
    numbered = list(enumerate(new, start=first))
    if not numbered:
        return
    set_state(tx, _NUMBER, str(first + len(new) - 1))
    common = {"model_id": model_id, "covered_version": version, "covered_threshold": threshold, "pooled_at": now}
    tx.execute(
        sa.insert(pools),
        [
            {
                "number": number,
                "digest": pool.digest,
                **pool.post._asdict(),
                "dimension": len(pool.vector),
                "pictures": len(pool.faces),
                "sealed_vector": _sealed(sealer, number, model_id, pool.vector) if keep else None,
                "oldest_at": pool.oldest_at,
            }
            | common
            for number, pool in numbered
        ],
    )
    faces = [(number, place, face) for number, pool in numbered for place, face in enumerate(pool.faces)]
    tx.execute(
        sa.insert(pool_faces),
        [
            {name: face[name] for name in _OF_FACE}
            | {"number": number, "place": place, "weight": face["weight"], "detector_score": face["score"]}
            | {"content_sha256": face["content_sha256"].hex()}
            for number, place, face in faces
        ],
    )


def enter_items(tx: Connection, rows: Mapping[Post, Sequence[sa.Row[Any]]], *, settings: str) -> None:
    """Note what was pooled, in place of what was noted of these posts and items before."""
    for some in parts(sorted({post.model for post in rows})):
        noted = sa.select(pooled_items).where(pooled_items.c.model.in_(some))
        gone = [row.item_id for row in tx.execute(noted) if Post(row.model, row.uploader) in rows]
        for ids in parts(gone):
            tx.execute(sa.delete(pooled_items).where(pooled_items.c.item_id.in_(ids)))
    new = [
        post._asdict() | {"item_id": row.item_id, "content_sha256": row.content_sha256, "settings": settings}
        for post, own in rows.items()
        for row in own
    ]
    for ids in parts([row["item_id"] for row in new]):
        tx.execute(sa.delete(pooled_items).where(pooled_items.c.item_id.in_(ids)))
    if new:
        tx.execute(sa.insert(pooled_items), new)


def open_vectors(sealer: Sealer, rows: Sequence[sa.Row[Any]]) -> Float32:
    """The stored vectors of rows of ``pools`` that have one, float32 (n, d). Raises :class:`CorruptionError`."""
    key = sealer.shard_key(_KEY)
    opened = [unseal(key, row.sealed_vector, _aad(row.number, row.model_id)) for row in rows]
    if any(len(data) != 4 * row.dimension for data, row in zip(opened, rows, strict=True)):
        raise CorruptionError("a pool's vector is not what was written: restore the database from a backup")
    return check_unit(np.stack([np.frombuffer(data, dtype="<f4") for data in opened]).astype(np.float32))


_KEY = "pools"
"""One key for all of them: each has a nonce of its own, and a key for each would take longer than opening it."""


def _sealed(sealer: Sealer, number: int, model_id: str, vector: Float32) -> bytes:
    check_unit(vector[None, :])
    return seal(sealer.shard_key(_KEY), vector.astype("<f4").tobytes(), _aad(number, model_id))


def _aad(number: int, model_id: str) -> bytes:
    return associated_data("pool", number, model_id, "1")


def is_waiting(model_id: str, version: int, threshold: float, *, after: int) -> sa.ColumnElement[bool]:
    """Condition on ``pools`` above number ``after``: the pool does not say itself that everybody up to ``version`` was
    compared at ``threshold``."""
    lacking = sa.or_(pools.c.covered_version < version, pools.c.covered_threshold > threshold)
    return sa.and_(pools.c.model_id == model_id, pools.c.number > after, lacking)


def next_pools(connection: Connection, *conditions: sa.ColumnElement[bool], most: int) -> list[sa.Row[Any]]:
    """The first pools by number that meet the conditions, at most so many."""
    return list(connection.execute(sa.select(pools).where(*conditions).order_by(pools.c.number).limit(most)).all())


def faces_of(connection: Connection, numbers: Sequence[int]) -> dict[int, list[sa.Row[Any]]]:
    """The faces of each of these pools, the pivot first, with the shard that each is in now; None: in none."""
    found: dict[int, list[sa.Row[Any]]] = {}
    joined = pool_faces.join(items, sa.and_(items.c.item_id == pool_faces.c.item_id, items.c.live), isouter=True)
    query = sa.select(pool_faces, items.c.shard_id).select_from(joined)
    for some in parts(numbers):
        rows = connection.execute(query.where(pool_faces.c.number.in_(some)))
        for row in rows.all():
            found.setdefault(int(row.number), []).append(row)
    return {number: sorted(rows, key=lambda row: row.place) for number, rows in found.items()}
