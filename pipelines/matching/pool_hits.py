"""What pools were found to show: hits on each of their pictures, committed with the pools and with coverage."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from pipelines.database.parts import parts
from pipelines.database.tables import hits, pool_faces, pools
from pipelines.database.times import moment
from pipelines.hits.counting import POOLED, is_carried_by
from pipelines.hits.statuses import settle_statuses
from pipelines.home.workspace import Workspace
from pipelines.judging import judge_without
from pipelines.matching.found_hits import insert_found
from pipelines.matching.pool_comparison import Found
from pipelines.matching.pool_plan import PoolCounts, PoolPlan
from pipelines.matching.pool_store import (
    NewPool,
    Post,
    delete_pools,
    enter_items,
    insert_pools,
    pools_of,
    rows_of,
)
from pipelines.registry.subjects import active_versions, note_lapsed
from pipelines.scan.again import leave

if TYPE_CHECKING:
    from pipelines.scan.again import LeavingItem

POSTS_AT_ONCE: Final = 200
"""Posts that are entered in one transaction."""


def commit_posts(
    workspace: Workspace,
    plan: PoolPlan,
    rows: Mapping[Post, Sequence[Any]],
    new: Mapping[Post, Sequence[NewPool]],
    found: Mapping[Post, Sequence[Found]],
) -> PoolCounts:
    """Store the pools of posts that are still what was pooled, with hits and coverage, some posts in a transaction."""
    counts, waiting = PoolCounts(), iter(rows)
    while some := list(islice(waiting, POSTS_AT_ONCE)):
        with workspace.database.write() as tx:
            current = rows_of(tx, some, model_id=plan.gallery.model_id)
            same = [post for post in some if _pictures(current[post]) == _pictures(rows[post])]
            own = [pool for post in same for pool in new[post]]
            hit_count = _replace(tx, workspace, plan, {post: rows[post] for post in same}, own, found)
            workspace.failpoints.pass_by("before_pool_commit")
        workspace.failpoints.pass_by("after_pool_commit")
        counts += PoolCounts(len(same), len(own), hit_count)
    return counts


def _pictures(rows: Sequence[Any]) -> list[tuple[str, str]]:
    return [(row.item_id, row.content_sha256) for row in rows]


def _replace(
    tx: Connection,
    workspace: Workspace,
    plan: PoolPlan,
    rows: Mapping[Post, Sequence[Any]],
    new: Sequence[NewPool],
    found: Mapping[Post, Sequence[Found]],
) -> int:
    """Put the pools of posts in the place of those they had. Returns new hits."""
    now, model_id = workspace.now(), plan.gallery.model_id
    note_lapsed(tx, now=now)
    old = pools_of(tx, rows.keys(), model_id=model_id)
    before = pairs_of(tx, [row.number for row in old])
    delete_pools(tx, [row.number for row in old])
    insert_pools(
        tx,
        workspace.sealer,
        new,
        model_id=model_id,
        version=plan.gallery.registry_version,
        threshold=plan.bands.pooled.review,
        keep=workspace.config.corpus.mode != "none",
        now=now,
    )
    enter_items(tx, rows, settings=plan.settings)
    written = [one for post in rows for one in found.get(post, ())]
    hit_count, after = _write(tx, workspace, plan, written)
    if lost := before - after:
        judge_without(tx, workspace, pairs=lost)
    settle_statuses(tx, {item_id for item_id, _ in before | after})
    return hit_count


def pairs_of(tx: Connection, numbers: Sequence[int]) -> set[tuple[str, str]]:
    """(item, subject) pairs of the hits that these pools carry."""
    found: set[tuple[str, str]] = set()
    joined = pools.join(pool_faces, pool_faces.c.number == pools.c.number).join(
        hits, sa.and_(hits.c.item_id == pool_faces.c.item_id, is_carried_by(pools))
    )
    query = sa.select(hits.c.item_id, hits.c.subject_id).select_from(joined)
    for some in parts(numbers):
        rows = tx.execute(query.where(pools.c.number.in_(some), hits.c.tier == POOLED))
        found.update((row.item_id, row.subject_id) for row in rows)
    return found


def _write(
    tx: Connection, workspace: Workspace, plan: PoolPlan, found: Sequence[Found]
) -> tuple[int, set[tuple[str, str]]]:
    """Write the hits of subjects that are still what was compared. Returns how many are new, and all their pairs.

    As with single faces, what was dropped with a reference is another finding now, and what the thresholds, raised
    meanwhile, would not find counts for nothing.
    """
    active = active_versions(tx, now=moment(tx))
    same = {subject_id for subject_id, version in active.items() if plan.versions.get(subject_id) == version}
    rows = [row for one in found if one.subject_id in same for row in _rows(workspace, plan, one)]
    new = insert_found(tx, rows, review=workspace.bands_at(tx).pooled.review if rows else 0.0, now=workspace.now())
    return new, {(row["item_id"], row["subject_id"]) for row in rows}


def _rows(workspace: Workspace, plan: PoolPlan, found: Found) -> list[dict[str, Any]]:
    """Rows of the table of hits, one for each picture of which the pool says more than the picture's own face does."""
    pooled, model_id = plan.bands.pooled, plan.gallery.model_id
    nothing: dict[str, Any] = {column.name: None for column in hits.columns}
    common = nothing | {
        "content_key": found.digest,
        "subject_id": found.subject_id,
        "template_id": found.template_id,
        "tier": POOLED,
        "band": found.band(plan.bands),
        "score": found.score,
        "threshold": pooled.review,
        "threshold_source": pooled.source,
        "calibration_id": pooled.calibration_id,
        "found_by_id": model_id,
        "policy_version": workspace.policy.version,
        "place": found.post.model,
        "pictures": len(found.faces),
        "found_by": found.found_by,
        "found_at": workspace.now(),
    }
    telling = found.telling(plan.bands)
    return [common | face | {"hit_id": _hit_id(found, face["item_id"], model_id)} for face in telling]


def _hit_id(found: Found, item_id: str, model_id: str) -> str:
    named = [POOLED, item_id, found.digest, found.subject_id, model_id]
    return f"hit_{hashlib.sha256(json.dumps(named).encode()).hexdigest()[:32]}"


def commit_found(workspace: Workspace, plan: PoolPlan, found: Sequence[Found]) -> int:
    """Write hits of pools that are stored still. Returns new ones."""
    if not found:
        return 0
    with workspace.database.write() as tx:
        stored = _stored(tx, {one.number for one in found if one.number is not None})
        new, pairs = _write(tx, workspace, plan, [one for one in found if one.number in stored])
        settle_statuses(tx, {item_id for item_id, _ in pairs})
        workspace.failpoints.pass_by("before_pool_commit")
    workspace.failpoints.pass_by("after_pool_commit")
    return new


def _stored(tx: Connection, numbers: Collection[int]) -> set[int]:
    found: set[int] = set()
    for some in parts(sorted(numbers)):
        found.update(tx.execute(sa.select(pools.c.number).where(pools.c.number.in_(some))).scalars())
    return found


def let_leave(workspace: Workspace, leaving: Mapping[str, Sequence[LeavingItem]]) -> None:
    """Write down that items are not what they were, each out of the shard that it was in."""
    if not leaving:
        return
    with workspace.database.write() as tx:
        for shard_id, some in leaving.items():
            leave(tx, shard_id, some)
