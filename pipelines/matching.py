"""The matching stage: stored faces against the registry, shard by shard, whatever is not covered yet.

A nightly sweep (new shards, all subjects) and a rescan (all shards, new subjects) are the same join over the pairs that
coverage does not show (DESIGN 3). Each shard ends in one transaction that writes its hits, its items' statuses and its
coverage together, so that work cut off anywhere is simply found uncovered again (I2, I6).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from embeddings.errors import StateError
from embeddings.types import vectors_of
from indexes.calibration import Thresholds
from indexes.corpus import ShardEntry
from indexes.gallery import Gallery, GalleryMatches
from pipelines.database import insert_missing
from pipelines.database.tables import hits, items
from pipelines.manifest import ListedShard, list_shards, mark_covered, record_coverage, require_not_ahead, uncovered
from pipelines.policy import band_of
from pipelines.progress import Progress, silent
from pipelines.registry import active_versions, load_gallery, registry_version, require_active
from pipelines.workspace import Workspace

FoundBy = Literal["sweep", "rescan"]


@dataclass(frozen=True, slots=True)
class MatchCounts:
    """What one run of the stage did. ``faces``: compared; ``hits``: new ones."""

    shards: int = 0
    faces: int = 0
    subjects: int = 0
    hits: int = 0


@dataclass(frozen=True, slots=True)
class MatchPlan:
    """A consistent picture of what is to be compared: shards, the gallery, and the subjects' versions."""

    shards: tuple[ListedShard, ...]
    gallery: Gallery | None
    versions: Mapping[str, int]
    thresholds: Thresholds
    """In force when the plan was made, and for all of it: coverage states the threshold that was compared at."""


def match_pending(
    workspace: Workspace,
    *,
    found_by: FoundBy,
    subject_ids: Collection[str] | None = None,
    progress: Progress = silent,
) -> MatchCounts:
    """Compare what coverage does not show.

    ``sweep`` takes the shards that were never compared, with every active subject; ``rescan`` takes every shard, with
    the subjects it lacks (``subject_ids`` limits them). Raises :class:`NotReadyError` for an empty registry (I7).
    """
    plan = plan_matching(workspace, found_by=found_by, subject_ids=subject_ids)
    progress("match", 0, len(plan.shards))
    faces = found = 0
    if plan.gallery is not None:
        side = Side(found_by, tuple(sorted(plan.versions)), plan.gallery.registry_version, plan.thresholds)
        workspace.galleries = {side: plan.gallery}
        entries = [shard.entry for shard in plan.shards]
        compared = workspace.engine.map(compare_shard, workspace, side, entries)
        for done, (shard, comparison) in enumerate(zip(plan.shards, compared, strict=True), start=1):
            faces += comparison.faces
            found += commit_comparison(workspace, plan, plan.gallery, shard, comparison)
            progress("match", done, len(plan.shards))
    return MatchCounts(shards=len(plan.shards), faces=faces, subjects=len(plan.versions), hits=found)


def plan_matching(workspace: Workspace, *, found_by: FoundBy, subject_ids: Collection[str] | None = None) -> MatchPlan:
    """Read registry, manifest and coverage in one transaction and decide what to compare with what."""
    with workspace.database.read() as connection:
        thresholds = workspace.thresholds_at(connection)
        versions = active_versions(connection, now=workspace.now())
        require_active(workspace, versions)
        if subject_ids is not None:
            versions = _limited(versions, subject_ids)
        listed = list_shards(connection, workspace.sealer, model_id=workspace.models.model_id)
        require_not_ahead(registry_version(connection), listed)
        if found_by == "sweep":
            todo = [shard for shard in listed if shard.covered_threshold is None]
            wanted: Collection[str] = versions
        else:
            missing = uncovered(connection, listed, versions, threshold=thresholds.review)
            todo = [shard for shard in listed if shard.entry.shard_id in missing]
            wanted = frozenset[str]().union(*missing.values())
        gallery = load_gallery(workspace, connection, subject_ids=wanted)
    return MatchPlan(tuple(todo), gallery if todo else None, {key: versions[key] for key in wanted}, thresholds)


def _limited(versions: Mapping[str, int], subject_ids: Collection[str]) -> dict[str, int]:
    inactive = [subject_id for subject_id in subject_ids if subject_id not in versions]
    if inactive:
        raise StateError(f"{len(inactive)} of the subjects to rescan for are not active")
    return {subject_id: versions[subject_id] for subject_id in subject_ids}


@dataclass(frozen=True, slots=True)
class Side:
    """What every shard of a plan is compared with, in terms that any process can make a gallery of."""

    found_by: FoundBy
    subject_ids: tuple[str, ...]
    registry_version: int
    thresholds: Thresholds


@dataclass(frozen=True, slots=True)
class Comparison:
    """What comparing one shard with a gallery found, not yet committed: opaque ids, boxes and scores, no vectors."""

    shard_id: str
    faces: int
    rows: tuple[dict[str, Any], ...]
    """Rows of the table of hits."""


def compare_shard(workspace: Workspace, side: Side, entry: ShardEntry) -> Comparison:
    """Compare the faces of a shard's live items with the gallery of ``side``: a task of an engine.

    Reads only; repeating it changes nothing. Raises :class:`StateError` for a registry older than the plan's.
    """
    gallery = _gallery_of(workspace, side)
    with workspace.database.read() as connection:
        live = _items_of(connection, entry.shard_id)
    table = workspace.corpus.read(entry, key=workspace.sealer.shard_key(entry.shard_id))
    faces = table.filter(pc.is_in(table["item_id"], value_set=pa.array(list(live), type=pa.string())))
    vectors = vectors_of(faces["vector"], entry.dimension)
    matches = gallery.match(vectors, model_id=entry.model_id, threshold=side.thresholds.review)
    rows = _hit_rows(workspace, gallery, faces, matches, side=side, shard_id=entry.shard_id)
    workspace.failpoints.pass_by("during_comparison")
    return Comparison(entry.shard_id, len(faces), tuple(rows))


def _gallery_of(workspace: Workspace, side: Side) -> Gallery:
    """The plan's gallery, made anew (and kept for the next shard) where this process did not make the plan.

    A newer registry serves as well: whoever changed has a newer version than the plan's coverage will claim.
    """
    if side not in workspace.galleries:
        with workspace.database.read() as connection:
            gallery = load_gallery(workspace, connection, subject_ids=side.subject_ids)
        if gallery.registry_version < side.registry_version:
            raise StateError("this worker reads an older registry than the plan was made of: is it another database?")
        workspace.galleries = {side: gallery}
    return workspace.galleries[side]


def commit_comparison(
    workspace: Workspace, plan: MatchPlan, gallery: Gallery, shard: ListedShard, found: Comparison
) -> int:
    """Write hits, statuses and coverage of one shard in one transaction. Returns new hits."""
    with workspace.database.write() as tx:
        active = active_versions(tx, now=workspace.now())
        new = _commit_hits(tx, shard.entry.shard_id, found.rows, active)
        _commit_coverage(tx, workspace, plan, gallery, shard, active)
        workspace.failpoints.pass_by("before_match_commit")
    workspace.failpoints.pass_by("after_match_commit")
    return new


def _items_of(connection: Connection, shard_id: str) -> dict[str, str]:
    """Item id -> content digest of the live items whose faces this shard holds now."""
    query = sa.select(items.c.item_id, items.c.content_sha256).where(items.c.shard_id == shard_id, items.c.live)
    return {str(item_id): str(digest) for item_id, digest in connection.execute(query)}


def _hit_rows(
    workspace: Workspace, gallery: Gallery, faces: pa.Table, matches: GalleryMatches, *, side: Side, shard_id: str
) -> list[dict[str, Any]]:
    """Hit rows of everything but the canary, ordered by face and subject."""
    thresholds = side.thresholds
    now = workspace.now()
    common = {
        "tier": "face",
        "threshold": thresholds.review,
        "threshold_source": thresholds.source,
        "calibration_id": thresholds.calibration_id,
        "model_id": gallery.model_id,
        "policy_version": workspace.policy.version,
        "shard_id": shard_id,
        "found_by": side.found_by,
        "found_at": now,
    }
    matched = faces.drop_columns(["vector"]).take(pa.array(np.asarray(matches.probe))).to_pylist()
    rows = []
    for face, template, score in zip(matched, matches.template, matches.scores, strict=True):
        subject_id = gallery.subject_ids[template]
        if subject_id == workspace.canary.subject_id:
            continue
        content = face.pop("content_sha256").hex()
        identity = json.dumps([face["item_id"], content, subject_id, gallery.model_id, face["face"]])
        rows.append(
            {
                "hit_id": f"hit_{hashlib.sha256(identity.encode()).hexdigest()[:32]}",
                "content_sha256": content,
                "subject_id": subject_id,
                "template_id": gallery.template_ids[template],
                "score": float(score),
                "band": band_of(float(score), thresholds),
                "detector_score": face.pop("score"),
                **face,
                **common,
            }
        )
    return rows


def _commit_hits(tx: Connection, shard_id: str, rows: Sequence[dict[str, Any]], active: Collection[str]) -> int:
    """Write the hits that are still true: the item is live with that content, the subject is still active."""
    live = _items_of(tx, shard_id)
    true = [row for row in rows if live.get(row["item_id"]) == row["content_sha256"] and row["subject_id"] in active]
    hit_items = sorted({row["item_id"] for row in true})
    for start in range(0, len(hit_items), 500):
        part = hit_items[start : start + 500]
        tx.execute(sa.update(items).where(items.c.item_id.in_(part)).values(status="hit"))
    # A hit found again belongs to an item that came back, perhaps with another parent: what corroborates it may be new.
    for start in range(0, len(true), 500):
        again = [row["hit_id"] for row in true[start : start + 500]]
        tx.execute(sa.update(hits).where(hits.c.hit_id.in_(again)).values(judged_at=None))
    return insert_missing(tx, hits, true)


def _commit_coverage(
    tx: Connection,
    workspace: Workspace,
    plan: MatchPlan,
    gallery: Gallery,
    shard: ListedShard,
    active: Mapping[str, int],
) -> None:
    """Enter what has been compared: in the shard's own row once that is everybody up to the plan's version.

    Only then can the shard's pending items be called clean.
    """
    threshold, now = plan.thresholds.review, workspace.now()
    known = {subject_id: version for subject_id, version in active.items() if version <= gallery.registry_version}
    missing = uncovered(tx, [shard], known, threshold=threshold).get(shard.entry.shard_id, frozenset())
    if any(plan.versions.get(subject_id) != known[subject_id] for subject_id in missing):
        policy_version = workspace.policy.version
        record_coverage(tx, shard.entry, plan.versions, threshold=threshold, policy_version=policy_version, now=now)
        return
    mark_covered(tx, workspace.sealer, shard.entry, version=gallery.registry_version, threshold=threshold)
    compared = sa.and_(items.c.shard_id == shard.entry.shard_id, items.c.status == "pending")
    tx.execute(sa.update(items).where(compared).values(status="clean"))
