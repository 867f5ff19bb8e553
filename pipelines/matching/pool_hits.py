"""What pools were found to show: hits on each of their pictures, committed with the pools and with coverage."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from embeddings.types import Float32
from indexes.gallery import Gallery
from indexes.join import pair_scores
from indexes.thresholds import Thresholds
from pipelines.database import insert_missing
from pipelines.database.parts import parts
from pipelines.database.tables import hits, pool_faces, pools
from pipelines.database.times import moment
from pipelines.hits.counting import POOLED
from pipelines.hits.statuses import settle_statuses
from pipelines.home.workspace import Workspace
from pipelines.judging import judge_without
from pipelines.matching.comparison import FoundBy
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
from pipelines.policy import Band, band_of
from pipelines.registry.subjects import active_versions, note_lapsed
from pipelines.scan.again import leave

if TYPE_CHECKING:
    from pipelines.scan.again import LeavingItem

POSTS_AT_ONCE: Final = 200
"""Posts that are entered in one transaction."""
_OF_FACE: Final = ("frame", "seconds", "face", "x1", "y1", "x2", "y2", "view")


@dataclass(frozen=True, slots=True)
class Found:
    """A pool that resembles a subject. ``faces``: what rows of hits do not share; ``number``: of a stored pool."""

    post: Post
    digest: str
    subject_id: str
    template: int
    score: float
    found_by: FoundBy
    faces: tuple[dict[str, Any], ...] = field(repr=False)
    number: int | None = None

    @classmethod
    def of_stored(
        cls,
        row: Any,
        faces: Sequence[Any],
        vectors: Float32 | None,
        *,
        template: int,
        score: float,
        plan: PoolPlan,
        found_by: FoundBy,
    ) -> Found:
        """Of a row of ``pools`` with its ``faces``; ``vectors`` None: what each alone scores cannot be told."""
        post, subject_id = Post(row.model, row.uploader), plan.gallery.subject_ids[template]
        alone = _alone(vectors, plan.gallery, subject_id) if vectors is not None else [None] * len(faces)
        of_faces = tuple(
            {name: face._mapping[name] for name in (*_OF_FACE, "item_id", "detector_score")} | {"alone_score": own}
            for face, own in zip(faces, alone, strict=True)
        )
        return cls(post, row.digest, subject_id, template, score, found_by, of_faces, row.number)

    def rows(self, workspace: Workspace, plan: PoolPlan) -> list[dict[str, Any]]:
        """Rows of the table of hits, one for each picture of which the pool says more than its own face does.

        A picture whose own face reaches the band of the pool speaks for itself, and has a hit that says so.
        """
        pooled, gallery = plan.pooled, plan.gallery
        nothing: dict[str, Any] = {column.name: None for column in hits.columns}
        common = nothing | {
            "content_key": self.digest,
            "subject_id": self.subject_id,
            "template_id": gallery.template_ids[self.template],
            "tier": POOLED,
            "band": band_of(self.score, pooled),
            "score": self.score,
            "threshold": pooled.review,
            "threshold_source": pooled.source,
            "calibration_id": pooled.calibration_id,
            "found_by_id": gallery.model_id,
            "policy_version": workspace.policy.version,
            "place": self.post.model,
            "pictures": len(self.faces),
            "found_by": self.found_by,
            "found_at": workspace.now(),
        }
        band = common["band"]
        return [
            common | face | {"hit_id": self._hit_id(face["item_id"], gallery.model_id)}
            for face in self.faces
            if not _says_as_much(face["alone_score"], band, plan.single)
        ]

    def _hit_id(self, item_id: str, model_id: str) -> str:
        named = [POOLED, item_id, self.digest, self.subject_id, model_id]
        return f"hit_{hashlib.sha256(json.dumps(named).encode()).hexdigest()[:32]}"


def compare_pools(
    new: Sequence[NewPool], plan: PoolPlan, *, found_by: FoundBy, workspace: Workspace
) -> dict[Post, list[Found]]:
    """Compare new pools with the plan's gallery: what each resembles, by post. The canary is left out."""
    found: dict[Post, list[Found]] = {}
    if not new:
        return found
    probes, gallery = np.stack([pool.vector for pool in new]), plan.gallery
    matches = gallery.match(probes, model_id=gallery.model_id, threshold=plan.pooled.review)
    for probe, template, score in zip(matches.probe, matches.template, matches.scores, strict=True):
        pool, subject_id = new[probe], gallery.subject_ids[template]
        if subject_id == workspace.canary.subject_id:
            continue
        alone = _alone(pool.vectors, gallery, subject_id)
        faces = tuple(
            {name: face[name] for name in (*_OF_FACE, "item_id")}
            | {"detector_score": face["score"], "alone_score": own}
            for face, own in zip(pool.faces, alone, strict=True)
        )
        one = Found(pool.post, pool.digest, subject_id, int(template), float(score), found_by, faces)
        found.setdefault(pool.post, []).append(one)
    return found


def _alone(vectors: Float32, gallery: Gallery, subject_id: str) -> list[float]:
    """What each vector (n, d) by itself scores with the nearest reference of a subject."""
    references = gallery.vectors[[row for row, owner in enumerate(gallery.subject_ids) if owner == subject_id]]
    scores = [pair_scores(vectors, np.broadcast_to(one, vectors.shape)) for one in references]
    return [float(score) for score in np.max(scores, axis=0)]


def _says_as_much(alone: float | None, band: Band, single: Thresholds) -> bool:
    """Whether a face that scores so by itself is in the same band as its pool, or a higher one."""
    return alone is not None and alone >= (single.strong if band == "strong" else single.review)


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
        threshold=plan.pooled.review,
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
        hits, sa.and_(hits.c.item_id == pool_faces.c.item_id, hits.c.content_key == pools.c.digest)
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
    rows = [row for one in found if one.subject_id in same for row in one.rows(workspace, plan)]
    for some in parts([row["hit_id"] for row in rows]):
        tx.execute(sa.delete(hits).where(hits.c.hit_id.in_(some), hits.c.dropped_at.is_not(None)))
        tx.execute(sa.update(hits).where(hits.c.hit_id.in_(some)).values(judged_at=None))
    review, now = workspace.pooled_thresholds_at(tx).review if rows else 0.0, workspace.now()
    lapsed = [row | {"lapsed_at": now if row["score"] < review else None} for row in rows]
    return insert_missing(tx, hits, lapsed), {(row["item_id"], row["subject_id"]) for row in rows}


def commit_found(workspace: Workspace, plan: PoolPlan, found: Sequence[Found]) -> int:
    """Write hits of pools that are stored still. Returns new ones."""
    own = [one for one in found if one.subject_id != workspace.canary.subject_id]
    if not own:
        return 0
    with workspace.database.write() as tx:
        stored = _stored(tx, {one.number for one in own if one.number is not None})
        new, pairs = _write(tx, workspace, plan, [one for one in own if one.number in stored])
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
