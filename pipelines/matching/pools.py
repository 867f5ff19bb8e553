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
from indexes.pooling import distinct_pictures, face_weight, pool_faces
from pipelines.corpus.manifest import require_not_ahead
from pipelines.database.registry_version import registry_version
from pipelines.database.tables import pools
from pipelines.database.times import moment
from pipelines.home.clock import acts
from pipelines.home.progress import Progress, silent
from pipelines.home.workspace import Workspace
from pipelines.matching.comparison import FoundBy
from pipelines.matching.galleries import load_gallery
from pipelines.matching.pool_comparison import POOLS_AT_ONCE, compare_pools, compare_stored
from pipelines.matching.pool_coverage import read_lacking, record_pool_coverage, settings_of
from pipelines.matching.pool_ends import forget_broken, let_go_of_vectors
from pipelines.matching.pool_hits import commit_found, commit_posts, let_leave
from pipelines.matching.pool_plan import PoolCounts, PoolPlan
from pipelines.matching.pool_store import (
    NewPool,
    Post,
    changed_posts,
    is_waiting,
    next_pools,
    rows_of,
)
from pipelines.matching.pool_vectors import read_faces
from pipelines.registry.subjects import active_versions, require_active, take_up

FACES_AT_ONCE: Final = 1 << 16
"""Faces whose vectors are in memory at once: 128 MB at 512 dimensions. A post is never cut in two."""
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
        settings = settings_of(workspace, workspace.bands_at(connection))
        return list(changed_posts(connection, model_id=workspace.model_id, settings=settings))


def _plan(workspace: Workspace, connection: Connection, subject_ids: Collection[str] | None = None) -> PoolPlan:
    versions = active_versions(connection, now=moment(connection))
    require_active(workspace, versions)
    wanted = versions if subject_ids is None else {key: versions[key] for key in subject_ids if key in versions}
    bands = workspace.bands_at(connection)
    gallery = load_gallery(workspace, connection, subject_ids=wanted)
    return PoolPlan(gallery, wanted, bands, settings_of(workspace, bands))


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
    made = [pool for own in new.values() for pool in own]
    found = compare_pools(made, plan.gallery, plan.bands, found_by=found_by, workspace=workspace)
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
        for pool in pool_faces(vectors, weights, pictures, threshold=plan.bands.single.review)
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
        asked = versions if subject_ids is None else {key: versions[key] for key in subject_ids if key in versions}
        lacking = read_lacking(connection, workspace, asked, workspace.bands_at(connection))
        require_not_ahead(registry_version(connection), lacking.covered)
        if not lacking.wanted:
            return PoolCounts()
        plan = _plan(workspace, connection, lacking.wanted)
    counts, after = PoolCounts(), lacking.after
    while True:
        waiting = is_waiting(workspace.model_id, lacking.version, plan.bands.pooled.review, after=after)
        with workspace.database.read() as connection:
            rows = next_pools(connection, waiting, pools.c.number <= lacking.newest, most=POOLS_AT_ONCE)
        if not rows:
            break
        after = rows[-1].number
        compared = compare_stored(workspace, plan.gallery, plan.bands, rows, found_by=found_by)
        let_leave(workspace, compared.leaving)
        counts += PoolCounts(0, len(rows), commit_found(workspace, plan, compared.found))
    with workspace.database.write() as tx:
        now = active_versions(tx, now=moment(tx))
        same = {key: version for key, version in lacking.wanted.items() if now.get(key) == version}
        same = {key: version for key, version in same.items() if version <= plan.gallery.registry_version}
        record_pool_coverage(
            tx,
            same,
            model_id=workspace.model_id,
            threshold=plan.bands.pooled.review,
            upto=lacking.newest,
            now=workspace.now(),
        )
    return counts
