"""The nightly sweep: new items against all subjects. The stages here are what the command line and Dagster both call.

    list_source -> scan_pending -> describe_pending -> match_pending -> examine_pending -> judge_pending

Each stage finds its own work in the database and may be repeated or cut off at any point.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from itertools import islice
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from embeddings.errors import ConfigError, NotReadyError
from pipelines.corpus.manifest import list_shards, uncovered
from pipelines.database import get_state, set_state
from pipelines.database.tables import items, runs, verdicts
from pipelines.database.times import moment
from pipelines.hits.counting import hits_in_force
from pipelines.hits.verdicts import verdicts_in_force
from pipelines.home.clock import acts
from pipelines.home.progress import Progress, silent
from pipelines.home.workspace import Workspace
from pipelines.intake.ledger import (
    Scope,
    count_damaged,
    count_outdated,
    count_statuses,
    count_unsettled,
    outdated,
    scanner_faults,
    source_id,
)
from pipelines.intake.listing import ListedCounts, record_listing, remember_listed, was_listed
from pipelines.intake.retries import retry_is_due
from pipelines.judging import judge_pending, unjudged_count
from pipelines.matching.coverage import unexamined_count
from pipelines.registry.subjects import active_versions, expire_subjects, require_active
from pipelines.registry.templates import require_templates, subjects_without
from pipelines.runs.run_log import begin_run, finish_run
from pipelines.scan.content_coverage import measure_content

if TYPE_CHECKING:
    from pipelines.scan.faces import ScanCounts

LISTING_BATCH = 500
NIGHTLY = "nightly"
"""The kind of run that moves the watermark."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """How many pairs of live item and active subject are settled, as to faces.

    An item is unsettled while it is ``pending`` or its result is of other models than those in force, and for every
    subject that its shard has not been compared with. ``unscannable``, ``no_face`` and ``fetch_failed`` are settled,
    even if they will be tried again, and are also counted by status.
    """

    pairs: int
    settled: int

    @property
    def fraction(self) -> float:
        """1.0 when everything is settled; also when there is nothing to settle."""
        return self.settled / self.pairs if self.pairs else 1.0


@dataclass(frozen=True, slots=True)
class SweepSummary:
    """The state of the swept scope after the sweep, and the speed of this run.

    ``outdated``: items whose result is of earlier models. ``unexamined``: items not compared with every name and seed.
    ``unpooled``: models with pictures in scope whose faces were not compared together with everybody, as they are now.
    ``unsettled``: items not fetched or not read that will be tried again. ``scanner_faults``: unscannable items where
    the fault may be the scanner's. ``passed_over``: listed rows that changed nothing, because they are not known to be
    newer; ``damaged``: items scanned although their file is damaged or odd, by how; ``undated``: listed rows
    without a readable date; ``bad_fields``: unreadable fields, by name. ``checked_again``: stored faces that the other
    engine compared again and found the same of.
    """

    run_id: str
    items: int
    faces: int
    clean: int
    hit: int
    no_face: int
    unscannable: int
    scanner_faults: int
    fetch_failed: int
    pending: int
    unsettled: int
    outdated: int
    statuses: dict[str, int]
    damaged: dict[str, int]
    hits: int
    takedowns: int
    review: int
    coverage: float
    unexamined: int
    unpooled: int
    listed: int
    passed_over: dict[str, int]
    undated: int
    bad_fields: dict[str, int]
    embedded: int
    reused: int
    checked_again: int
    seconds: float
    images_per_second: float
    rated: int
    clip_embedded: int
    clip_missing: int


@acts
def sweep(workspace: Workspace, source_uri: str, *, day: date | None, progress: Progress = silent) -> SweepSummary:
    """Sweep one source, one day of it or all, and return the summary that is also stored with the run."""
    from pipelines.matching.faces import match_pending
    from pipelines.matching.names import examine_pending
    from pipelines.matching.second_engine import check_by_other_engine
    from pipelines.scan.describe import describe_pending
    from pipelines.scan.faces import scan_pending

    started = time.monotonic()
    source_uri = configured_source(workspace, source_uri)
    require_registry(workspace)
    scope = Scope(source_id(source_uri), day)
    run_id = begin_run(workspace, kind="sweep", day=day)
    listed = list_source(workspace, source_uri, day=day, progress=progress)
    # A day is swept with new models too; other outdated items are left to the backfill.
    scanned = scan_pending(workspace, scope, work="all" if day else "new", progress=progress)
    describe_pending(workspace, scope, progress=progress)
    checked = check_by_other_engine(workspace)
    match_pending(workspace, found_by="sweep", progress=progress)
    examine_pending(workspace, found_by="sweep", progress=progress)
    judge_pending(workspace, progress=progress)
    seconds = time.monotonic() - started
    summary = summarise(
        workspace, scope, run_id=run_id, listed=listed, scanned=scanned, checked_again=checked.faces, seconds=seconds
    )
    finish_run(workspace, run_id, asdict(summary))
    return summary


def require_registry(workspace: Workspace) -> None:
    """Record opt-outs that ended, then require a usable registry before any work is done (I7), and have thresholds by
    strangers follow its size.

    Raises :class:`NotReadyError` for an empty registry, or templates of other models than those in force.
    """
    from pipelines.calibration.following import follow_registry  # loads what measures

    expire_subjects(workspace)
    model_id = workspace.model_id
    with workspace.database.read() as connection:
        versions = active_versions(connection, now=moment(connection))
        require_active(workspace, versions)
        without = subjects_without(connection, model_id=model_id, states=("active",))
    require_templates(sum(subject_id in versions for subject_id in without), model_id=model_id)
    follow_registry(workspace)


def configured_source(workspace: Workspace, given: str | None = None) -> str:
    """Return the source named on the command line, in ``LIKENESS_SOURCE`` or in ``likeness.toml``."""
    uri = given or workspace.config.source
    if not uri:
        raise ConfigError("no source: give --source, or set `source` in likeness.toml or LIKENESS_SOURCE")
    kind, _, path = uri.partition(":")
    # The path is made absolute, because it is stored and a retry may start from another folder.
    return f"{kind}:{os.path.realpath(path)}" if kind in ("directory", "manifest") and path else uri


def list_source(
    workspace: Workspace, source_uri: str, *, day: date | None, progress: Progress = silent
) -> ListedCounts:
    """Enter everything that the source lists into the ledger, in batches; count rows passed over or unreadable."""
    from pipelines.sources import open_source

    config = workspace.config
    source = open_source(source_uri, settings=config.fetch, head=config.exchange, kinds=config.sources.kinds)
    digest = source.digest()
    with workspace.database.read() as connection:
        again = was_listed(connection, digest)
    total = ListedCounts()
    listed = source.items(day)
    for batch in iter(lambda: list(islice(listed, LISTING_BATCH)), []):
        with workspace.database.write() as tx:
            now = workspace.now()
            total += record_listing(tx, workspace.sealer, batch, source_uri=source_uri, now=now, again=again)
        progress("list", total.listed, 0)
    if day is None and not again:
        with workspace.database.write() as tx:
            remember_listed(tx, digest, now=workspace.now())
    return total


def summarise(
    workspace: Workspace,
    scope: Scope,
    *,
    run_id: str,
    listed: ListedCounts | None = None,
    scanned: ScanCounts | None = None,
    checked_again: int = 0,
    seconds: float = 0.0,
) -> SweepSummary:
    """Read the scope's present state from the database."""
    from pipelines.scan.faces import ScanCounts

    scanned, listed = scanned or ScanCounts(), listed or ListedCounts()
    with workspace.database.read() as connection:
        statuses, (faces, hit_count) = count_statuses(connection, scope), _count_found(connection, scope)
        judged, coverage = count_verdicts(connection, scope), measure_coverage(connection, workspace, scope)
        not_examined = unexamined_count(connection, workspace, scope=scope)
        not_pooled = count_unpooled(connection, workspace, scope)
        outdated_items = count_outdated(connection, scope, model_id=workspace.model_id)
        content = measure_content(connection, workspace, scope)
        unsettled, damaged = count_unsettled(connection, scope), count_damaged(connection, scope)
    return SweepSummary(
        run_id=run_id,
        items=sum(statuses.values()),
        faces=faces,
        **_by_family(statuses),
        scanner_faults=scanner_faults(statuses),
        unsettled=unsettled,
        outdated=outdated_items,
        statuses=statuses,
        damaged=damaged,
        hits=hit_count,
        takedowns=judged.get("takedown", 0),
        review=judged.get("review", 0),
        coverage=coverage.fraction,
        unexamined=not_examined,
        unpooled=not_pooled,
        listed=listed.listed,
        passed_over={reason: count for reason, count in listed.passed_over.items() if count},
        undated=listed.undated,
        bad_fields=dict(listed.bad_fields),
        embedded=scanned.embedded,
        reused=scanned.reused,
        checked_again=checked_again,
        seconds=round(seconds, 3),
        images_per_second=round(scanned.items / seconds, 2) if seconds else 0.0,
        rated=content.rated,
        clip_embedded=content.clip_embedded,
        clip_missing=content.clip_missing,
    )


def _count_found(connection: Connection, scope: Scope) -> tuple[int, int]:
    """Count the faces, and the hits in force, of the live items in scope."""
    in_scope = hits_in_force(moment(connection)).where(*scope.where())
    hit_count = connection.execute(sa.select(sa.func.count()).select_from(in_scope.subquery())).scalar_one()
    faces = connection.execute(sa.select(sa.func.sum(items.c.faces)).where(*scope.where())).scalar_one()
    return int(faces or 0), int(hit_count)


def _by_family(statuses: Mapping[str, int]) -> dict[str, int]:
    family: Counter[str] = Counter()
    for status, count in statuses.items():
        family[status.partition(":")[0]] += count
    return {name: family[name] for name in ("clean", "hit", "no_face", "unscannable", "fetch_failed", "pending")}


def count_verdicts(connection: Connection, scope: Scope) -> dict[str, int]:
    """Verdicts in force for live items in scope and active subjects, by verdict."""
    found = verdicts_in_force(verdicts.c.verdict, sa.func.count(), scope=scope, now=moment(connection))
    query = found.group_by(verdicts.c.verdict)
    return {str(verdict): int(count) for verdict, count in connection.execute(query)}


def measure_coverage(connection: Connection, workspace: Workspace, scope: Scope) -> Coverage:
    """Count settled pairs of live items in scope and active subjects (I1, I2)."""
    versions = active_versions(connection, now=moment(connection))
    listed = list_shards(connection, workspace.sealer)
    missing = uncovered(connection, listed, versions, threshold=workspace.thresholds_at(connection).review)
    old = count_outdated(connection, scope, model_id=workspace.model_id)
    current = [sa.func.coalesce(sa.not_(outdated(model_id=workspace.model_id)), sa.true())] if old else []
    total, unsettled = old, old * len(versions)
    query = sa.select(items.c.shard_id, items.c.status, sa.func.count()).where(*scope.where(), *current)
    for shard_id, status, count in connection.execute(query.group_by(items.c.shard_id, items.c.status)):
        total += int(count)
        if shard_id is None:
            unsettled += int(count) * len(versions) * (status == "pending")
        else:
            unsettled += int(count) * len(missing.get(shard_id, ()))
    pairs = total * len(versions)
    return Coverage(pairs=pairs, settled=pairs - unsettled)


def count_unpooled(connection: Connection, workspace: Workspace, scope: Scope) -> int:
    """Models with pictures in scope whose faces were not pooled as they are now, or of which a pool was not compared
    with everybody."""
    from pipelines.matching.pool_coverage import uncompared_count, unpooled_count

    unpooled = unpooled_count(connection, workspace, scope=scope)
    return unpooled + uncompared_count(connection, workspace, scope=scope)


def require_complete(workspace: Workspace, scope: Scope) -> Coverage:
    """Raise :class:`NotReadyError` unless every pair in scope is settled, every model's faces are pooled and compared,
    every item is examined and every hit judged.

    A pending item counts as unsettled even if there is no subject to compare it with.
    """
    with workspace.database.read() as connection:
        coverage = measure_coverage(connection, workspace, scope)
        left = unexamined_count(connection, workspace, scope=scope)
        waiting = unjudged_count(connection, scope)
        unpooled = count_unpooled(connection, workspace, scope)
        pending = count_statuses(connection, scope).get("pending", 0)
    if coverage.settled != coverage.pairs or left or waiting or pending or unpooled:
        pairs = f"{coverage.pairs - coverage.settled} of {coverage.pairs} pairs are not compared"
        models = f"{unpooled} models whose pictures are not compared together"
        raise NotReadyError(f"{pairs}, {models}, {pending} items pending, {left} not examined, {waiting} not judged")
    return coverage


def nightly_days(watermark: date | None, today: date) -> list[date]:
    """Return the days a nightly run covers: from the watermark, or two days back if that is earlier, to yesterday."""
    yesterday = today - timedelta(days=1)
    two_back = today - timedelta(days=2)
    first = min(watermark, two_back) if watermark else two_back
    return [first + timedelta(days=n) for n in range((yesterday - first).days + 1)]


def unfinished_days(connection: Connection, workspace: Workspace) -> list[date]:
    """Days with live items that wait to be scanned, or that gave nothing and are due to be tried again."""
    retry = retry_is_due(items.c.retry_at, now=workspace.now(), config=workspace.config)
    query = sa.select(items.c.day).where(items.c.live, sa.or_(items.c.status == "pending", retry)).distinct()
    return [date.fromisoformat(day) for day in connection.execute(query.order_by(items.c.day)).scalars()]


def read_watermark(connection: Connection) -> date | None:
    """Return the next day to be completed; at first, the earliest day for which a nightly run has begun."""
    day = get_state(connection, "watermark")
    if day is None:
        day = connection.execute(sa.select(sa.func.min(runs.c.day)).where(runs.c.kind == NIGHTLY)).scalar()
    return date.fromisoformat(day) if day else None


@acts
def advance_watermark(workspace: Workspace, scope: Scope) -> Coverage:
    """Require the scope's day to be complete, and move the watermark past it if it is the next one.

    A day that is not over cannot be completed, because more items will come; nor can a day while an earlier one has
    waiting items, which were listed, or got their date, after its own night. Raises :class:`NotReadyError`, moving
    nothing, as :func:`require_complete` does.
    """
    if scope.day is None:
        raise ValueError("a watermark needs a day")
    coverage = require_complete(workspace, scope)
    with workspace.database.write() as tx:
        expected = read_watermark(tx) or scope.day
        over = scope.day < workspace.now().date()
        if scope.day == expected and over and not _waits_before(tx, scope.source_id, scope.day):
            set_state(tx, "watermark", (scope.day + timedelta(days=1)).isoformat())
    return coverage


def _waits_before(connection: Connection, source_id: str | None, day: date) -> bool:
    """Whether a live item of the source, of an earlier day, is pending."""
    waits = [items.c.status == "pending", items.c.day < day.isoformat(), *Scope(source_id, None).where()]
    return connection.execute(sa.select(sa.true()).where(*waits).limit(1)).first() is not None
