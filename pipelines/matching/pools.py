"""Pooling: the faces of each model's pictures put together, and compared with everybody.

::

    ledger beside what was pooled ──> posts that changed ──> their faces ──> pools ──┐
                                                                                     ├── gallery ──> hits, coverage
    pools that coverage lacks somebody for ─────────────────────────────────────────┘

A post's pools are stored in the transaction that has them compared with everybody, so one that exists was compared
with all who were active then; who came later is compared with all pools there are, and that is recorded for the person.
Both are found in the database, whatever was cut off (I2, I6). docs/pooling.md says why it is like this.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
from sqlalchemy.engine import Connection

from embeddings.types import Float32
from indexes.pooling import distinct_pictures, face_weight, pool_faces, pooled_vector
from pipelines.database.registry_version import registry_version
from pipelines.database.times import moment
from pipelines.home.clock import acts
from pipelines.home.progress import Progress, silent
from pipelines.home.workspace import Workspace
from pipelines.matching.comparison import FoundBy
from pipelines.matching.galleries import load_gallery
from pipelines.matching.pool_coverage import read_pool_coverage, record_pool_coverage, settings_of
from pipelines.matching.pool_ends import forget_broken, let_go_of_vectors
from pipelines.matching.pool_hits import Found, commit_found, commit_posts, compare_pools, let_leave
from pipelines.matching.pool_plan import PoolCounts, PoolPlan
from pipelines.matching.pool_store import (
    NewPool,
    Post,
    changed_posts,
    faces_of,
    open_vectors,
    rows_of,
    waiting_pools,
)
from pipelines.matching.pool_vectors import read_faces
from pipelines.registry.subjects import active_versions, require_active, take_up

FACES_AT_ONCE: Final = 1 << 16
"""Faces whose vectors are in memory at once: 128 MB at 512 dimensions. A post is never cut in two."""
POOLS_AT_ONCE: Final = 1 << 13
_ROUNDS: Final = 3
"""How often what changed while it was being pooled is looked at again; what is left then is left to the next run."""


@acts
def pool_pending(
    workspace: Workspace,
    *,
    found_by: FoundBy,
    subject_ids: Collection[str] | None = None,
    progress: Progress = silent,
) -> PoolCounts:
    """Pool again what has changed, compare it with everybody, and every other pool with whom it lacks.

    ``subject_ids``: of the other pools, only with these. Safe to repeat, and at once. Raises :class:`NotReadyError` for
    an empty registry (I7).
    """
    take_up(workspace)
    let_go_of_vectors(workspace)
    if found_by == "sweep":
        forget_broken(workspace)
    counts = PoolCounts()
    for _ in range(_ROUNDS):
        with workspace.database.exclusive("pool"):
            changed = _changed(workspace)
            for plan, rows in _parts(workspace, changed):
                progress("pool", counts.posts, max(counts.posts, len(changed)))
                counts += _pool_part(workspace, plan, rows, found_by)
        if not changed:
            break
    return counts + _compare_lacking(workspace, found_by, subject_ids)


def _changed(workspace: Workspace) -> list[Post]:
    with workspace.database.read() as connection:
        settings = settings_of(workspace, connection)
        return list(changed_posts(connection, model_id=workspace.model_id, settings=settings))


def _plan(workspace: Workspace, connection: Connection, subject_ids: Collection[str] | None = None) -> PoolPlan:
    versions = active_versions(connection, now=moment(connection))
    require_active(workspace, versions)
    wanted = versions if subject_ids is None else {key: versions[key] for key in subject_ids if key in versions}
    return PoolPlan(
        gallery=load_gallery(workspace, connection, subject_ids=wanted),
        versions=wanted,
        single=workspace.thresholds_at(connection),
        pooled=workspace.pooled_thresholds_at(connection),
        settings=settings_of(workspace, connection),
    )


_Rows = dict[Post, list[Any]]


def _parts(workspace: Workspace, posts: Sequence[Post]) -> Iterator[tuple[PoolPlan, _Rows]]:
    """The posts with their items, as many at a time as have so many faces, each part as one transaction sees it."""
    done = 0
    while done < len(posts):
        with workspace.database.read() as connection:
            plan, part, faces = _plan(workspace, connection), _Rows(), 0
            while done < len(posts) and faces < FACES_AT_ONCE:
                for post, rows in rows_of(connection, posts[done : done + 100], model_id=workspace.model_id).items():
                    part[post] = rows
                    faces += sum(int(row.faces or 0) for row in rows)
                    done += 1
        yield plan, part


def _pool_part(workspace: Workspace, plan: PoolPlan, rows: _Rows, found_by: FoundBy) -> PoolCounts:
    """Pool the faces of some posts, compare and commit. What changes meanwhile is left as it is, and found again."""
    distinct = {
        post: distinct_pictures({row.content_sha256: row.pdq for row in own}, distance=_distance(workspace))
        for post, own in rows.items()
    }
    several = {post: own for post, own in rows.items() if len(set(distinct[post].values())) > 1}
    shards = {row.item_id: row.shard_id for own in several.values() for row in own}
    read = read_faces(workspace, shards, dimension=workspace.models.dimension)
    if read.leaving or read.superseded:
        let_leave(workspace, read.leaving)
        return PoolCounts()
    of_item: dict[str, list[int]] = {}
    for number, face in enumerate(read.faces):
        of_item.setdefault(face["item_id"], []).append(number)
    new: dict[Post, list[NewPool]] = {post: [] for post in rows}
    for post, own in several.items():
        faces = [number for row in own for number in of_item.get(row.item_id, ())]
        when = {row.item_id: row.embedded_at for row in own}
        new[post] = _pools(
            post, [read.faces[number] for number in faces], read.vectors[faces], distinct[post], when, plan
        )
    found = compare_pools([pool for own in new.values() for pool in own], plan, found_by=found_by, workspace=workspace)
    return commit_posts(workspace, plan, rows, new, found)


def _pools(
    post: Post,
    faces: Sequence[dict[str, Any]],
    vectors: Float32,
    distinct: Mapping[str, int],
    when: Mapping[str, Any],
    plan: PoolPlan,
) -> list[NewPool]:
    """The pools of two or more distinct pictures of one post."""
    weights = np.array([weight_of(face) for face in faces], dtype=np.float64)
    pictures = [distinct[face["content_sha256"].hex()] for face in faces]
    return [
        NewPool(
            post=post,
            faces=tuple(faces[row] | {"weight": float(weights[row])} for row in pool.rows),
            vectors=vectors[list(pool.rows)],
            vector=pool.vector,
            oldest_at=min(when[faces[row]["item_id"]] for row in pool.rows),
        )
        for pool in pool_faces(vectors, weights, pictures, threshold=plan.single.review)
        if len(pool.rows) > 1
    ]


def weight_of(face: Mapping[str, Any]) -> float:
    """What a face of the corpus weighs in a pool."""
    from embeddings.faces.alignment import CROP_SIDE  # loads OpenCV, which whoever only reads coverage need not

    width, height = face["x2"] - face["x1"], face["y2"] - face["y1"]
    return face_weight(face["score"], width, height, side=CROP_SIDE)


def _distance(workspace: Workspace) -> int:
    return workspace.policy.settings.takedown.duplicate_distance


def _compare_lacking(workspace: Workspace, found_by: FoundBy, subject_ids: Collection[str] | None) -> PoolCounts:
    """Compare every pool with the subjects that coverage lacks of it; record it once all of them are."""
    with workspace.database.read() as connection:
        versions = active_versions(connection, now=moment(connection))
        threshold = workspace.pooled_thresholds_at(connection).review
        known = read_pool_coverage(connection, versions, model_id=workspace.model_id, threshold=threshold)
        known.require_not_ahead(registry_version(connection))
        wanted = {
            key: version
            for key, version in versions.items()
            if (subject_ids is None or key in subject_ids) and known.lacks(key, version)
        }
        if not wanted:
            return PoolCounts()
        plan = _plan(workspace, connection, wanted)
    counts, after = PoolCounts(), min(known.least.get(key, 0) for key in wanted)
    while True:
        with workspace.database.read() as connection:
            rows = waiting_pools(
                connection,
                model_id=workspace.model_id,
                version=max(wanted.values()),
                threshold=plan.pooled.review,
                after=after,
                upto=known.newest,
                most=POOLS_AT_ONCE,
            )
        if not rows:
            break
        after = rows[-1].number
        found = _compare_stored(workspace, plan, rows, found_by)
        counts += PoolCounts(0, len(rows), commit_found(workspace, plan, found))
    with workspace.database.write() as tx:
        now = active_versions(tx, now=moment(tx))
        same = {key: version for key, version in wanted.items() if now.get(key) == version}
        same = {key: version for key, version in same.items() if version <= plan.gallery.registry_version}
        record_pool_coverage(
            tx,
            same,
            model_id=workspace.model_id,
            threshold=plan.pooled.review,
            upto=known.newest,
            now=workspace.now(),
        )
    return counts


def _compare_stored(workspace: Workspace, plan: PoolPlan, rows: Sequence[Any], found_by: FoundBy) -> list[Found]:
    """Compare pools by their stored vectors, or by those of their faces where none is kept.

    A pool that cannot be made again has a post that changed, and is pooled anew with that.
    """
    kept = [row for row in rows if row.sealed_vector is not None]
    again = [row.number for row in rows if row.sealed_vector is None]
    vectors = dict(zip([row.number for row in kept], open_vectors(workspace.sealer, kept), strict=True)) if kept else {}
    members = _members(workspace, again)
    for number, (faces, own) in members.items():
        made = pooled_vector(own, np.array([face.weight for face in faces]))
        if made is not None:
            vectors[number] = made
    ordered = [row for row in rows if row.number in vectors]
    if not ordered:
        return []
    probes = np.stack([vectors[row.number] for row in ordered])
    matches = plan.gallery.match(probes, model_id=workspace.model_id, threshold=plan.pooled.review)
    matched = sorted({int(probe) for probe in matches.probe})
    members |= _members(workspace, [ordered[probe].number for probe in matched if ordered[probe].number not in members])
    with workspace.database.read() as connection:
        stored = faces_of(connection, [ordered[probe].number for probe in matched])
    return [
        Found.of_stored(
            ordered[probe],
            stored[ordered[probe].number],
            members.get(ordered[probe].number, ((), None))[1],
            template=int(template),
            score=float(score),
            plan=plan,
            found_by=found_by,
        )
        for probe, template, score in zip(matches.probe, matches.template, matches.scores, strict=True)
        if ordered[probe].number in stored
    ]


def _members(workspace: Workspace, numbers: Sequence[int]) -> dict[int, tuple[list[Any], Float32]]:
    """The faces of pools with their vectors (n, d); without those of which something cannot be had."""
    if not numbers:
        return {}
    with workspace.database.read() as connection:
        stored = faces_of(connection, numbers)
    shards = {row.item_id: row.shard_id for rows in stored.values() for row in rows if row.shard_id}
    read = read_faces(workspace, shards, dimension=workspace.models.dimension)
    let_leave(workspace, read.leaving)
    place = {
        (face["item_id"], face["content_sha256"].hex(), face["frame"], face["face"]): number
        for number, face in enumerate(read.faces)
    }
    found = {}
    for number, rows in stored.items():
        places = [place.get((row.item_id, row.content_sha256, row.frame, row.face)) for row in rows]
        if all(at is not None for at in places):
            found[number] = (rows, read.vectors[[at for at in places if at is not None]])
    return found
