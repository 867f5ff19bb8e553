"""The rescan: new subjects against everything on the platform. Pending requests are merged into one pass."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from embeddings.errors import StateError
from pipelines.cases.requests import finish_search, get_request, list_requests, retry_request
from pipelines.corpus.manifest import ListedShard, list_shards, named_shards, uncovered
from pipelines.database import get_state, set_state
from pipelines.database.tables import examined, hits, items
from pipelines.database.times import moment
from pipelines.hits.counting import hits_in_force
from pipelines.home import audit
from pipelines.home.clock import acts
from pipelines.home.progress import Progress, silent
from pipelines.home.workspace import Workspace
from pipelines.intake.ledger import Scope, count_outdated
from pipelines.judging import judge_pending
from pipelines.judging.request_progress import settle_requests
from pipelines.matching.coverage import is_examined_for, required, unexamined_count
from pipelines.matching.faces import match_pending
from pipelines.matching.names import examine_pending
from pipelines.matching.pool_coverage import lacking_subjects
from pipelines.registry.subjects import active_versions, expire_subjects
from pipelines.runs.run_log import begin_run, finish_run
from pipelines.runs.sweep import Coverage, measure_coverage

_REGISTRY = "registry:"
_EVIDENCE = "evidence:"
_RETRIED = {_REGISTRY: "registry_rescan", _EVIDENCE: "evidence_rescan"}
"""The facts that count failed rescans for subjects without a request, and for names and fingerprints."""


@dataclass(frozen=True, slots=True)
class RescanSummary:
    """What a rescan did. ``hits``: all hits of the rescanned subjects now; ``new_hits``: found by this run.

    ``searched_requests``: requests whose search is finished now; ``completed_requests``: requests with nothing left to
    do.
    """

    run_id: str
    subjects: int
    shards: int
    faces: int
    hits: int
    new_hits: int
    takedowns: int
    searched_requests: int
    completed_requests: int
    coverage: float
    unexamined: int
    seconds: float


@dataclass(frozen=True, slots=True)
class WantedRescans:
    """Keys of the rescans that are wanted, one for each attempt, and the number of those given up.

    ``<request id>:<attempt>`` for an accepted request; ``registry:<version>:<attempt>`` for the subjects that became
    active without one, up to that version of the registry; ``registry:<version>@<calibration>:<attempt>`` where
    thresholds are calibrated, because a lower one makes the same subjects due again;
    ``evidence:<version>.<seed>:<attempt>`` for names of such subjects and for what was confirmed since items were
    examined, so that copies of it are found at once and not by the next sweep.
    """

    keys: tuple[str, ...]
    given_up: int


@acts
def rescan(
    workspace: Workspace, *, request_id: str | None = None, run_id: str | None = None, progress: Progress = silent
) -> RescanSummary:
    """Compare the subject of one request, or every subject that is not covered yet, with everything on the platform.

    Items that arrive meanwhile are compared with the subject by their own sweep, which reads the registry later.
    """
    from pipelines.calibration.following import follow_registry  # loads what measures

    started = time.monotonic()
    expire_subjects(workspace)
    follow_registry(workspace)
    subject_ids = _subjects_of(workspace, request_id)
    run_id = begin_run(workspace, kind="rescan", day=None, run_id=run_id)
    matched = match_pending(workspace, found_by="rescan", subject_ids=subject_ids, progress=progress)
    judged = judge_pending(workspace, progress=progress)  # before the texts, which take longer
    found = examine_pending(workspace, found_by="rescan", subject_ids=subject_ids, progress=progress)
    judged += judge_pending(workspace, progress=progress)
    finished = finish_searches(workspace)
    summary = RescanSummary(
        run_id=run_id,
        subjects=matched.subjects,
        shards=matched.shards,
        faces=matched.faces,
        hits=_count_hits(workspace, subject_ids),
        new_hits=matched.hits + found.hits,
        takedowns=judged.takedowns,
        searched_requests=finished.searched,
        completed_requests=finished.completed,
        coverage=_coverage(workspace).fraction,
        unexamined=_unexamined(workspace),
        seconds=round(time.monotonic() - started, 3),
    )
    finish_run(workspace, run_id, asdict(summary))
    return summary


@dataclass(frozen=True, slots=True)
class FinishedRequests:
    """Requests that changed. ``searched``: compared with everything now; ``completed``: with nothing left to do."""

    searched: int
    completed: int


def finish_searches(workspace: Workspace) -> FinishedRequests:
    """Record the accepted requests whose subject has been compared with every live item: faces, texts, fingerprints.

    A shard that no live item names any more (all its items changed, went, or have newer models' vectors) is left out:
    other models' shards are never compared again.
    """
    searched = 0
    with workspace.database.write() as tx:
        now = workspace.now()
        versions = active_versions(tx, now=moment(tx))
        named = named_shards(tx)
        listed = [shard for shard in list_shards(tx, workspace.sealer) if shard.entry.shard_id in named]
        waiting = _waiting(tx, workspace, listed, versions) | lacking_subjects(tx, workspace, versions)
        for request in list_requests(tx, state="accepted"):
            compared = request.subject_id in versions and request.subject_id not in waiting
            if compared and is_examined_for(tx, workspace, request.subject_id):
                finish_search(tx, request.request_id, now=now)
                searched += 1
        return FinishedRequests(searched, completed=settle_requests(tx, now=now))


def _waiting(
    connection: Connection, workspace: Workspace, listed: Sequence[ListedShard], versions: Mapping[str, int]
) -> frozenset[str]:
    """Return the subjects that some shard was not compared with, at the threshold of the shard's own models."""
    waiting: frozenset[str] = frozenset()
    for model_id in {shard.entry.model_id for shard in listed}:
        thresholds = workspace.thresholds_of(connection, model_id) or workspace.thresholds_at(connection)
        of_model = [shard for shard in listed if shard.entry.model_id == model_id]
        waiting = waiting.union(*uncovered(connection, of_model, versions, threshold=thresholds.review).values())
    return waiting


def wanted_rescans(workspace: Workspace) -> WantedRescans:
    """Read from requests and coverage which rescans are wanted. Loads no model.

    A shard that was never compared is not counted: the sweep that wrote it compares it with everybody. Nor is a shard
    of earlier models: only a backfill can bring its items to a new subject, and completes the request then.
    """
    most = workspace.config.registry.max_rescan_attempts
    with workspace.database.read() as connection:
        accepted = list_requests(connection, state="accepted")
        left = _left_to_backfill(workspace, connection, {request.subject_id for request in accepted})
        in_force = active_versions(connection, now=moment(connection))
        attempts = {
            request.request_id: request.attempt
            for request in accepted
            if request.subject_id not in left and request.subject_id in in_force
        }
        version = _uncovered_version(workspace, connection, without={request.subject_id for request in accepted})
        if version is not None:
            calibration_id = workspace.thresholds_at(connection).calibration_id
            name = f"{_REGISTRY}{version}" + (f"@{calibration_id}" if calibration_id else "")
            attempts[name] = _attempt(connection, name)
        elif behind := _behind(workspace, connection, without={request.subject_id for request in accepted}):
            attempts[behind] = _attempt(connection, behind)
    keys = tuple(sorted(f"{name}:{attempt}" for name, attempt in attempts.items() if attempt <= most))
    return WantedRescans(keys, given_up=len(attempts) - len(keys))


def retry_rescan(workspace: Workspace, key: str, *, actor: str) -> bool:
    """Count a failed attempt, so that it is wanted again under the next key. False if it is over or was counted."""
    name, _, attempt = key.rpartition(":")
    if not name.startswith(tuple(_RETRIED)):
        return retry_request(workspace, name, attempt=int(attempt), actor=actor)
    with workspace.database.write() as tx:
        if _attempt(tx, name) != int(attempt):
            return False
        set_state(tx, _fact(name), f"{name}:{int(attempt) + 1}")
        audit.append(tx, workspace.sealer, actor=actor, action="rescan.retry", now=workspace.now(), rescan=name)
    return True


def _fact(name: str) -> str:
    return next(fact for prefix, fact in _RETRIED.items() if name.startswith(prefix))


def _attempt(connection: Connection, name: str) -> int:
    known, _, attempt = (get_state(connection, _fact(name)) or "").rpartition(":")
    return int(attempt) if known == name else 1


def _behind(workspace: Workspace, connection: Connection, *, without: Collection[str]) -> str | None:
    """Return the key part for items that have to be examined again: the newest subject version and the newest seed.

    Items that were never examined are left out: the sweep that scans them examines them.
    """
    versions = active_versions(connection, now=moment(connection))
    newest = max((version for subject_id, version in versions.items() if subject_id not in without), default=0)
    seed = required(connection, workspace).seed_version
    behind = sa.or_(examined.c.registry_version < newest, examined.c.seed_version < seed)
    live = sa.and_(items.c.item_id == examined.c.item_id, items.c.live)
    found = connection.execute(sa.select(examined.c.item_id).join(items, live).where(behind).limit(1)).first()
    return f"{_EVIDENCE}{newest}.{seed}" if found and versions else None


def _uncovered_version(workspace: Workspace, connection: Connection, *, without: Collection[str]) -> int | None:
    """The newest version among active subjects, other than these, that some compared shard, or some pool, lacks."""
    listed = list_shards(connection, workspace.sealer, model_id=workspace.model_id)
    compared = [shard for shard in listed if shard.covered_threshold is not None]
    versions = active_versions(connection, now=moment(connection))
    others = {subject_id: version for subject_id, version in versions.items() if subject_id not in without}
    missing = uncovered(connection, compared, others, threshold=workspace.thresholds_at(connection).review)
    lacking = lacking_subjects(connection, workspace, others).union(*missing.values())
    return max((versions[subject_id] for subject_id in lacking), default=None)


def days_with_new_hits(workspace: Workspace, *, since: datetime) -> list[date]:
    """Days whose items have hits found at or after ``since``: their reports are out of date."""
    with workspace.database.read() as connection:
        found = hits_in_force(moment(connection)).where(hits.c.found_at >= since)
        query = found.with_only_columns(items.c.day).distinct().order_by(items.c.day)
        return [date.fromisoformat(day) for day in connection.execute(query).scalars()]


def _left_to_backfill(workspace: Workspace, connection: Connection, subject_ids: Collection[str]) -> set[str]:
    """Return the subjects compared with every vector of the models in force while vectors of other models remain."""
    if not count_outdated(connection, Scope(None, None), model_id=workspace.model_id):
        return set()
    active = active_versions(connection, now=moment(connection))
    versions = {subject_id: active[subject_id] for subject_id in subject_ids if subject_id in active}
    listed = list_shards(connection, workspace.sealer, model_id=workspace.model_id)
    missing = uncovered(connection, listed, versions, threshold=workspace.thresholds_at(connection).review)
    return versions.keys() - frozenset[str]().union(*missing.values())


def _subjects_of(workspace: Workspace, request_id: str | None) -> Collection[str] | None:
    if request_id is None:
        return None
    with workspace.database.read() as connection:
        request = get_request(connection, request_id)
    if request.accepted_at is None or request.ended_at is not None:
        raise StateError(f"this request is {request.state}: accept it before rescanning")
    return (request.subject_id,)


def _count_hits(workspace: Workspace, subject_ids: Collection[str] | None) -> int:
    with workspace.database.read() as connection:
        query = hits_in_force(moment(connection))
        if subject_ids is not None:
            query = query.where(hits.c.subject_id.in_(list(subject_ids)))
        return int(connection.execute(sa.select(sa.func.count()).select_from(query.subquery())).scalar_one())


def _coverage(workspace: Workspace) -> Coverage:
    with workspace.database.read() as connection:
        return measure_coverage(connection, workspace, Scope(None, None))


def _unexamined(workspace: Workspace) -> int:
    with workspace.database.read() as connection:
        return unexamined_count(connection, workspace)
