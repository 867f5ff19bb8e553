"""The matching stage: compares stored faces with the registry, shard by shard, where coverage is missing.

A nightly sweep (new shards, all subjects) and a rescan (all shards, new subjects) are the same join over the pairs that
coverage does not show. Each shard ends in one transaction that writes its hits, its items' statuses and its
coverage together, so that work cut off anywhere is found uncovered again (I2, I6).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from embeddings.errors import StateError
from indexes.corpus import ShardEntry
from indexes.gallery import Gallery
from indexes.thresholds import Thresholds
from pipelines.corpus.manifest import (
    ListedShard,
    find_shard,
    keep_nothing,
    list_shards,
    mark_covered,
    record_coverage,
    require_not_ahead,
    uncovered,
)
from pipelines.corpus.retention import let_go
from pipelines.database.parts import parts
from pipelines.database.registry_version import registry_version
from pipelines.database.tables import items, shards
from pipelines.database.times import moment
from pipelines.evidence.keeping import keep_evidence, tend_evidence
from pipelines.evidence.second_opinions import ask_second_network
from pipelines.hits.statuses import settle_statuses
from pipelines.home.clock import acts
from pipelines.home.isolation import resume
from pipelines.home.progress import Pace, Progress, silent
from pipelines.home.workspace import Workspace
from pipelines.matching.comparison import Comparison, FoundBy, Side, compare_shard
from pipelines.matching.found_hits import insert_found
from pipelines.matching.galleries import load_gallery
from pipelines.matching.pool_plan import PoolCounts
from pipelines.matching.pools import pool_pending
from pipelines.registry.subjects import active_versions, note_lapsed, require_active, take_up
from pipelines.registry.templates import subjects_with
from pipelines.scan.again import STAGE, embed_alone, leave, refuse_item


@dataclass(frozen=True, slots=True)
class MatchCounts:
    """Counts of one run of the stage. ``faces``: compared; ``hits``: new ones."""

    shards: int = 0
    faces: int = 0
    subjects: int = 0
    hits: int = 0


@dataclass(frozen=True, slots=True)
class MatchPlan:
    """What is to be compared, read in one transaction: shards, the gallery, and the subjects' versions."""

    shards: tuple[ListedShard, ...]
    gallery: Gallery | None
    versions: Mapping[str, int]
    thresholds: Thresholds
    """The thresholds in force when the plan was made, used for all of it and stated in its coverage."""
    upto: int | None = None
    """The registry version up to which the plan has all subjects, where one pass does not take all."""
    left: bool = False
    """Whether more remains to compare than one pass takes."""

    def side(self, found_by: FoundBy, gallery: Gallery) -> Side:
        """Return what any process needs to load the plan's gallery."""
        subject_ids = tuple(sorted(self.versions))
        return Side(found_by, gallery.model_id, subject_ids, gallery.registry_version, self.upto, self.thresholds)


@acts
def match_pending(
    workspace: Workspace,
    *,
    found_by: FoundBy,
    subject_ids: Collection[str] | None = None,
    progress: Progress = silent,
) -> MatchCounts:
    """Compare the shards and subjects that coverage does not show as compared.

    ``sweep`` takes the shards that were never compared, with every active subject; ``rescan`` takes every shard, with
    the subjects it lacks (``subject_ids`` limits them). The evidence of new hits is kept before anything acts on them
    (:mod:`pipelines.evidence.keeping`), and a second network is asked about them where one is configured. Raises
    :class:`NotReadyError` for an empty registry (I7).
    """
    resume(workspace, STAGE, embed_alone, refuse_item)
    pooled = PoolCounts()
    if found_by == "sweep":  # while the vectors of new pictures are there, also where nothing is kept
        pooled = pool_pending(workspace, found_by=found_by, progress=progress)
    total, subjects = MatchCounts(), set[str]()
    for model_id in _models(workspace, found_by):
        again = True
        while again:
            let_go(workspace)
            take_up(workspace)
            plan = plan_matching(workspace, found_by=found_by, subject_ids=subject_ids, model_id=model_id)
            counts, again = _compare_planned(workspace, plan, found_by, progress)
            subjects.update(plan.versions)
            total = MatchCounts(
                shards=total.shards + counts.shards,
                faces=total.faces + counts.faces,
                subjects=len(subjects),
                hits=total.hits + counts.hits,
            )
    if found_by == "rescan":  # after single faces, which are the answer that somebody waits for
        pooled = pool_pending(workspace, found_by=found_by, subject_ids=subject_ids, progress=progress)
    total = replace(total, hits=total.hits + pooled.hits)
    if found_by == "sweep":
        tend_evidence(workspace, progress=progress)
    else:
        keep_evidence(workspace, subject_ids=subject_ids, progress=progress)
    ask_second_network(workspace, subject_ids=subject_ids, progress=progress)
    return total


def _models(workspace: Workspace, found_by: FoundBy) -> list[str]:
    """Return the models in force and, for a rescan, earlier ones whose vectors no backfill has replaced yet."""
    current = workspace.models.model_id
    if found_by == "sweep":
        return [current]
    with workspace.database.read() as connection:
        listed = {shard.entry.model_id for shard in list_shards(connection, workspace.sealer) if shard.entry.path}
        return [current, *(one for one in sorted(listed - {current}) if workspace.thresholds_of(connection, one))]


def _compare_planned(
    workspace: Workspace, plan: MatchPlan, found_by: FoundBy, progress: Progress
) -> tuple[MatchCounts, bool]:
    """Compare and commit shard by shard; also return whether work remains, by plan or because of a compaction."""
    if plan.gallery is None:
        progress("match", 0, 0)
        return MatchCounts(), False
    pace = Pace("match", [shard.entry.rows for shard in plan.shards], progress)
    faces = found = superseded = 0
    side = plan.side(found_by, plan.gallery)
    workspace.galleries = {side: plan.gallery}
    comparisons = workspace.engine.map(compare_shard, workspace, side, _entries(workspace, plan.shards))
    for shard, compared in zip(plan.shards, comparisons, strict=True):
        superseded += compared.superseded
        faces += compared.faces
        found += commit_comparison(workspace, plan, plan.gallery, shard, compared)
        pace.step()
    left = plan.left or superseded > 0 or _unlisted(workspace, plan.shards)
    return MatchCounts(shards=len(plan.shards), faces=faces, hits=found), left


def _entries(workspace: Workspace, planned: Sequence[ListedShard]) -> Iterator[ShardEntry]:
    """Yield the shards to compare, reading the next one ahead where this process compares."""
    for shard, following in zip_longest(planned, planned[1:]):
        if following is not None and not workspace.engine.remote:
            workspace.corpus.prefetch(following.entry)
        yield shard.entry


def _unlisted(workspace: Workspace, planned: Sequence[ListedShard]) -> bool:
    with workspace.database.read() as connection:
        listed = set(connection.execute(sa.select(shards.c.shard_id)).scalars())
    return any(shard.entry.shard_id not in listed for shard in planned)


def plan_matching(
    workspace: Workspace,
    *,
    found_by: FoundBy,
    subject_ids: Collection[str] | None = None,
    model_id: str | None = None,
) -> MatchPlan:
    """Read registry, manifest and coverage in one transaction and decide what to compare with what.

    ``model_id``: the models in force, unless given. Vectors of earlier models are compared with the subjects that have
    templates by those models; all others wait for the backfill.
    """
    model_id = model_id or workspace.models.model_id
    with workspace.database.read() as connection:
        thresholds = workspace.thresholds_of(connection, model_id)
        versions = active_versions(connection, now=moment(connection))
        require_active(workspace, versions)
        if subject_ids is not None:
            versions = _limited(versions, subject_ids)
        listed = list_shards(connection, workspace.sealer, model_id=model_id)
        require_not_ahead(registry_version(connection), (shard.covered_version for shard in listed))
        if model_id != workspace.models.model_id:
            known = subjects_with(connection, model_id=model_id)
            versions = {subject_id: version for subject_id, version in versions.items() if subject_id in known}
            listed = [shard for shard in listed if shard.entry.path and versions]
        if thresholds is None or not (listed or model_id == workspace.models.model_id):
            return MatchPlan((), None, {}, workspace.thresholds_at(connection))
        if found_by == "sweep":
            todo = [shard for shard in listed if shard.covered_threshold is None]
            wanted, upto, left = frozenset(versions), None, False
        else:
            missing = uncovered(connection, listed, versions, threshold=thresholds.review)
            todo, wanted, upto = _one_pass(listed, missing, versions, most=workspace.config.corpus.merged_subjects)
            left = len(todo) < len(missing) or upto is not None
        gallery = _gallery(workspace, connection, wanted, model_id, upto)
    compared = {key: versions[key] for key in wanted}
    return MatchPlan(tuple(todo), gallery if todo else None, compared, thresholds, upto, left)


def _gallery(
    workspace: Workspace, connection: Connection, wanted: Collection[str], model_id: str, upto: int | None
) -> Gallery | None:
    """Load the gallery, even for no subjects, so that the canary is searched for; earlier models have no canary."""
    if not wanted and model_id != workspace.models.model_id:
        return None
    return load_gallery(workspace, connection, subject_ids=wanted, model_id=model_id, upto=upto)


def _one_pass(
    listed: Sequence[ListedShard], missing: Mapping[str, frozenset[str]], versions: Mapping[str, int], *, most: int
) -> tuple[list[ListedShard], frozenset[str], int | None]:
    """Choose what one pass compares: shards, subjects, and the version up to which all subjects are included, if not
    all.

    New shards come first, with everybody, as in a sweep. Then the whole store with the ``most`` subjects that have
    waited longest: further ones would cost their full share and delay the answer for the first.
    """
    todo = [shard for shard in listed if shard.entry.shard_id in missing]
    new = [shard for shard in todo if shard.covered_threshold is None]
    todo = new or todo
    wanted = frozenset[str]().union(*(missing[shard.entry.shard_id] for shard in todo))
    if new or len(wanted) <= most:
        return todo, wanted, None
    upto = sorted(versions[subject_id] for subject_id in wanted)[most - 1]
    wanted = frozenset(subject_id for subject_id in wanted if versions[subject_id] <= upto)
    return [shard for shard in todo if missing[shard.entry.shard_id] & wanted], wanted, upto


def _limited(versions: Mapping[str, int], subject_ids: Collection[str]) -> dict[str, int]:
    inactive = [subject_id for subject_id in subject_ids if subject_id not in versions]
    if inactive:
        raise StateError(f"{len(inactive)} of the subjects to rescan for are not active, or their consent is over")
    return {subject_id: versions[subject_id] for subject_id in subject_ids}


def commit_comparison(
    workspace: Workspace, plan: MatchPlan, gallery: Gallery, shard: ListedShard, found: Comparison
) -> int:
    """Write hits, statuses and coverage of one shard in one transaction; return the number of new hits.

    Nothing is written when the shard is no longer listed: the shard in its place has the coverage that it had.
    """
    if found.superseded:
        return 0
    files: tuple[str, ...] = ()
    with workspace.database.write() as tx:
        current = find_shard(tx, workspace.sealer, shard.entry.shard_id)
        if current is None or not shard.is_again(current):
            return 0
        active = active_versions(tx, now=moment(tx))
        note_lapsed(tx, now=workspace.now())
        leave(tx, shard.entry.shard_id, found.leaving)
        same = {subject_id for subject_id, version in active.items() if plan.versions.get(subject_id) == version}
        new = _commit_hits(tx, workspace, shard.entry.shard_id, found.rows, same)
        if _commit_coverage(tx, workspace, plan, gallery, current, active):
            files = _keep_no_longer(tx, workspace, shard.entry.shard_id)
        workspace.failpoints.pass_by("before_match_commit")
    workspace.failpoints.pass_by("after_match_commit")
    workspace.corpus.delete(files)
    return new


def _keep_no_longer(tx: Connection, workspace: Workspace, shard_id: str) -> tuple[str, ...]:
    """Where nothing is to be kept, take the files of a shard compared with everybody off the manifest; return them."""
    shard = find_shard(tx, workspace.sealer, shard_id)
    if workspace.config.corpus.mode != "none" or shard is None or shard.entry.path is None:
        return ()
    return keep_nothing(tx, workspace.sealer, shard)


def _live_items(connection: Connection, shard_id: str, among: Collection[str]) -> dict[str, str]:
    """Return the content digests, by item, of the items that are live and whose faces this shard holds now."""
    live, wanted = dict[str, str](), sorted(among)
    here = sa.select(items.c.item_id, items.c.content_sha256).where(items.c.shard_id == shard_id, items.c.live)
    for some in parts(wanted):
        part = here.where(items.c.item_id.in_(some))
        live.update((str(item_id), str(digest)) for item_id, digest in connection.execute(part))
    return live


def _commit_hits(
    tx: Connection, workspace: Workspace, shard_id: str, rows: Sequence[dict[str, Any]], active: Collection[str]
) -> int:
    """Write the hits that still hold: the item is live with the same content, the subject is in force, and the
    reference is still the subject's. A subject that changed meanwhile is compared again.
    """
    live = _live_items(tx, shard_id, {row["item_id"] for row in rows})
    true = [row for row in rows if live.get(row["item_id"]) == row["content_key"] and row["subject_id"] in active]
    # Today's thresholds say nothing of earlier models' hits (I4). All rows are by the plan's models.
    current = bool(true) and true[0]["found_by_id"] == workspace.models.model_id
    review = workspace.thresholds_at(tx).review if current else -math.inf
    new = insert_found(tx, true, review=review, now=workspace.now())
    settle_statuses(tx, {row["item_id"] for row in true})
    return new


def _commit_coverage(
    tx: Connection,
    workspace: Workspace,
    plan: MatchPlan,
    gallery: Gallery,
    shard: ListedShard,
    active: Mapping[str, int],
) -> bool:
    """Record coverage: in the shard's own row once everybody up to the plan's version was compared with it.

    Only then can the shard's pending items become clean. Returns whether that is so.
    """
    threshold, now = plan.thresholds.review, workspace.now()
    known = {subject_id: version for subject_id, version in active.items() if version <= gallery.registry_version}
    missing = uncovered(tx, [shard], known, threshold=threshold).get(shard.entry.shard_id, frozenset())
    if any(plan.versions.get(subject_id) != known[subject_id] for subject_id in missing):
        policy_version = workspace.policy.version
        record_coverage(tx, shard.entry, plan.versions, threshold=threshold, policy_version=policy_version, now=now)
        return False
    mark_covered(tx, workspace.sealer, shard.entry, version=gallery.registry_version, threshold=threshold)
    if shard.covered_threshold is None:  # an older shard has no pending items, and the search for them is slow
        compared = sa.and_(items.c.shard_id == shard.entry.shard_id, items.c.status == "pending")
        tx.execute(sa.update(items).where(compared).values(status="clean"))
    return True
