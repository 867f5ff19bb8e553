"""The nightly sweep as Dagster assets: one per stage, each calling the function that the command line calls.

    uploads -> scanned_items -> matches -> verdicts -> takedowns -> match_report
    registry, requests, corpus, calibration   observed beside them: what the nights depend on and do not make

The stages hand over through the database, so an asset returns counts and no data, and a partition is a day of arrival,
never an item. What is reported here is seen by everybody who sees the web server: counts, statuses, opaque run ids and
where the report lies; no names, item ids, scores or vectors (I8).
"""

# No postponed annotations here: Dagster reads the type of `context` at import.

import logging
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import date, timedelta
from typing import Any

from dagster import (
    AssetCheckExecutionContext,
    AssetExecutionContext,
    AssetsDefinition,
    AssetSpec,
    BetaWarning,
    DagsterEventType,
    DailyPartitionsDefinition,
    DataVersion,
    FreshnessPolicy,
    IntMetadataValue,
    MaterializeResult,
    MetadataValue,
    ObserveResult,
    RetryPolicy,
    TableColumn,
    TableRecord,
    TableSchema,
    asset,
    multi_observable_source_asset,
)

from pipelines.home.actors import service
from pipelines.home.progress import Progress
from pipelines.home.workspace import Workspace
from pipelines.intake.ledger import Scope, count_statuses, source_id
from pipelines.intake.listing import ListedCounts
from pipelines.judging import judge_pending
from pipelines.matching.coverage import unexamined_count
from pipelines.matching.faces import match_pending
from pipelines.matching.names import examine_pending
from pipelines.matching.second_engine import check_by_other_engine
from pipelines.orchestration.load_time import read_load_time
from pipelines.orchestration.observed import observe_home
from pipelines.orchestration.resources import SERVICE, Home, explained
from pipelines.orchestration.run_tags import FIRST_DAY_TAG
from pipelines.report import write_report
from pipelines.runs.backfill import backfill_templates
from pipelines.runs.day_blocks import forget_blocks
from pipelines.runs.delivery import deliver
from pipelines.runs.run_log import begin_run, finish_run
from pipelines.runs.sweep import (
    NIGHTLY,
    configured_source,
    count_unpooled,
    list_source,
    measure_coverage,
    require_registry,
    summarise,
)
from pipelines.scan.describe import describe_pending
from pipelines.scan.faces import ScanCounts, scan_pending
from pipelines.takedown.outbox import counts_by_state
from pipelines.text.visible import visible

LOAD_TIME = read_load_time()
FIRST_DAY = LOAD_TIME.first_day.isoformat()
"""The first partition: the first item's day, as it was when this code was loaded. Every night takes older items too."""
DAYS = DailyPartitionsDefinition(start_date=FIRST_DAY, timezone="UTC", end_offset=1)
"""One partition for each UTC day of arrival; ``end_offset`` adds today, so that it can be swept before it is over."""
TAKEDOWN_POOL = "takedown"
"""The pool that keeps delivery to one process at a time; its limit is in ``dagster.yaml``."""
OWNERS = LOAD_TIME.owners
TRY_AGAIN = RetryPolicy(max_retries=1)
"""At once, and only what may be mended by it (:func:`pipelines.orchestration.resources.failure_of`): a database waits
by itself."""
MORNING = FreshnessPolicy.cron(deadline_cron="0 8 * * *", lower_bound_delta=timedelta(hours=7), timezone="UTC")
"""Nights begin at 02:00 UTC: whoever looks at 08:00 has last night's, or sees that it is late."""
OBSERVED = {
    "registry": "Who opted out, as the nights see it; changes with every enrolment, withdrawal and end of a consent.",
    "requests": "Removal requests by state. Overdue ones are in `likeness status`; the job `rescan` serves them.",
    "corpus": "Stored faces of live items: what a rescan searches. It shrinks by compaction alone.",
    "calibration": "Thresholds in force and where they come from. `likeness calibration list` has the measurements.",
}
_PROGRESS_SECONDS = 20.0
_BAD_FIELD = "bad_field: "


def stage(
    *,
    deps: Sequence[AssetsDefinition | str],
    kinds: set[str],
    freshness: FreshnessPolicy | None = None,
    pool: str | None = None,
) -> Callable[[Callable[..., MaterializeResult[None]]], AssetsDefinition]:
    """Make a function one stage of the night: an asset by day, with owners, kinds and errors that say what to do."""

    def make(own: Callable[..., MaterializeResult[None]]) -> AssetsDefinition:
        return asset(
            partitions_def=DAYS,
            group_name="likeness",
            deps=deps,
            owners=OWNERS,
            kinds=kinds,
            tags={"likeness/stage": "night"},
            retry_policy=TRY_AGAIN,
            freshness_policy=freshness,
            pool=pool,
        )(explained(own))

    return make


@explained
def observe(home: Home) -> list[ObserveResult]:
    """Observe, in one transaction, everything that the nights depend on and do not make."""
    workspace = home.workspace()
    with workspace.database.read() as connection:
        found = observe_home(connection, workspace)
    return [
        ObserveResult(asset_key=one.name, data_version=DataVersion(one.version), metadata=one.counts) for one in found
    ]


def observe_each(home: Home) -> Iterator[ObserveResult]:
    """Registry, requests, corpus and calibration: a version that changes when they do, and counts."""
    yield from observe(home)


with warnings.catch_warnings():
    warnings.simplefilter("ignore", BetaWarning)  # Dagster's, of assets that are observed together
    observed_home: AssetsDefinition = multi_observable_source_asset(
        name="observe_home",
        specs=[
            AssetSpec(name, description=words, group_name="likeness", owners=OWNERS, kinds={"sql"})
            for name, words in OBSERVED.items()
        ],
    )(observe_each)


@stage(deps=["registry"], kinds={"python", "sql"})
def uploads(context: AssetExecutionContext, home: Home) -> MaterializeResult[None]:
    """Everything the source lists, in the ledger: what changed, was deleted or came late on other days as well.

    If it fails: is the source reachable (`source`, LIKENESS_SOURCE), and does the registry have an active subject?
    """
    workspace = home.workspace()
    scope = day_scope(workspace, context.partition_key)
    begin_run(workspace, kind=NIGHTLY, day=scope.day, run_id=record_id(context))
    forget_blocks(workspace, date.fromisoformat(context.partition_key))
    # After a change of pack the night needs the new templates at once; existing items are left to the backfill.
    backfill_templates(workspace, actor=service(SERVICE), progress=logged_progress(context.log))
    require_registry(workspace)
    listed = list_source(workspace, configured_source(workspace), day=None, progress=logged_progress(context.log))
    counts = asdict(listed)
    wrong = {f"{_BAD_FIELD}{name}": count for name, count in counts.pop("bad_fields").items()}
    return MaterializeResult(metadata=counts | wrong)


@stage(deps=[uploads], kinds={"python", "onnx", "parquet"})
def scanned_items(context: AssetExecutionContext, home: Home) -> MaterializeResult[None]:
    """The day's faces, embedded, in sealed shards; a status for every item; ratings and CLIP vectors.

    And those of items that no partition has: dated before the first, or in the future. If a check stops here: the
    source or its network is out of order, or the scanner is. Mend it and have the day run again, or look at the items
    and approve the day (`likeness day approve`).
    """
    workspace = home.workspace()
    scope = day_scope(workspace, context.partition_key)
    wanted = as_asked(night_scope(workspace, context.partition_key), context)
    counts = scan_pending(workspace, wanted, progress=logged_progress(context.log))
    described = describe_pending(workspace, wanted, progress=logged_progress(context.log))
    metadata: dict[str, Any] = asdict(counts) | asdict(described)
    return MaterializeResult(metadata=metadata | {"statuses": status_table(workspace, scope)})


@stage(deps=[scanned_items, "registry", "calibration"], kinds={"python", "faiss"})
def matches(context: AssetExecutionContext, home: Home) -> MaterializeResult[None]:
    """New faces compared with every active subject, texts with names, fingerprints with seeds: hits, and coverage.

    If a check stops here: the canary was missed (models or index are broken: `likeness verify`), or far too much was
    hit (a wrong reference, a low threshold): look at the report before anybody approves the day. If two engines are
    said to differ, the search itself cannot be relied on.
    """
    workspace = home.workspace()
    scope = day_scope(workspace, context.partition_key)
    checked = check_by_other_engine(workspace)
    counts = match_pending(workspace, found_by="sweep", progress=logged_progress(context.log))
    examined = examine_pending(workspace, found_by="sweep", progress=logged_progress(context.log))
    with workspace.database.read() as connection:
        coverage = measure_coverage(connection, workspace, scope)
        unexamined = unexamined_count(connection, workspace, scope=scope)
        unpooled = count_unpooled(connection, workspace, scope)
    found = {"examined": examined.items, "examined_hits": examined.hits, "unexamined": unexamined}
    found |= {"unpooled": unpooled, "checked_again": checked.faces}
    metadata: dict[str, Any] = asdict(counts) | found | {"coverage": coverage.fraction, "pairs": coverage.pairs}
    return MaterializeResult(metadata=metadata | {"statuses": status_table(workspace, scope)})


@stage(deps=[matches], kinds={"python", "sql"}, freshness=MORNING)
def verdicts(context: AssetExecutionContext, home: Home) -> MaterializeResult[None]:
    """Every hit weighed by the policy, and takedowns in the outbox. Ends the run's record, as a sweep by hand does.

    If its check stops here: items wait, or a person is not compared with everything yet. The job `rescan`, or the next
    night, does what is left; nobody can approve that.
    """
    workspace = home.workspace()
    scope = day_scope(workspace, context.partition_key)
    begin_run(workspace, kind=NIGHTLY, day=scope.day, run_id=record_id(context))
    judged = judge_pending(workspace, progress=logged_progress(context.log))
    earlier = _counts_so_far(context)
    scan = earlier.get("scanned_items", {})
    summary = summarise(
        workspace,
        scope,
        run_id=record_id(context),
        listed=_listed_so_far(earlier.get("uploads", {})),
        scanned=ScanCounts(**{name: scan.get(name, 0) for name in ScanCounts.__dataclass_fields__}),
        checked_again=earlier.get("matches", {}).get("checked_again", 0),
        seconds=_seconds_so_far(context),
    )
    finish_run(workspace, summary.run_id, asdict(summary))
    metadata: dict[str, Any] = {
        "judged": judged.judged,
        "new_takedowns": judged.takedowns,
        **{name: getattr(summary, name) for name in ("items", "faces", "hits", "takedowns", "review", "coverage")},
    }
    return MaterializeResult(metadata=metadata | {"statuses": count_table("status", summary.statuses)})


@stage(deps=[verdicts], kinds={"python"}, pool=TAKEDOWN_POOL)
def takedowns(context: AssetExecutionContext, home: Home) -> MaterializeResult[None]:
    """What is due in the outbox, of any day, delivered. Without an address it stays pending and says so.

    What was held stays held until somebody releases it.
    """
    workspace = home.workspace()
    return MaterializeResult(metadata=deliver_due(workspace, log=context.log))


@stage(deps=[takedowns, "requests", "corpus"], kinds={"python", "html"}, freshness=MORNING)
def match_report(context: AssetExecutionContext, home: Home) -> MaterializeResult[None]:
    """The day's report for analysts, written below the home folder. A day that a check stops has its report as well:
    written by the check, it says what stopped the day."""
    workspace = home.workspace()
    scope = day_scope(workspace, context.partition_key)
    files = write_report(workspace, day=scope.day, folder=workspace.home / "reports", source_id=scope.source_id)
    with workspace.database.read() as connection:
        outbox = counts_by_state(connection)
    counts: dict[str, Any] = asdict(files.counts)
    statuses, tiers = counts.pop("statuses"), counts.pop("hits_by_tier")
    tables = {"outbox": count_table("state", outbox), "statuses": count_table("status", statuses)}
    tables["hits_by_tier"] = count_table("tier", tiers)
    return MaterializeResult(metadata=counts | tables | {"report": MetadataValue.path(files.html)})


STAGES = [uploads, scanned_items, matches, verdicts, takedowns, match_report]
ASSETS = [observed_home, *STAGES]


def deliver_due(workspace: Workspace, *, log: logging.Logger) -> dict[str, Any]:
    """Dispatch due messages, and return the result as metadata. Without a configured address everything waits."""
    if not workspace.environment.takedown_url:
        with workspace.database.read() as connection:
            waiting = counts_by_state(connection)
        log.warning(f"LIKENESS_TAKEDOWN_URL is not set: {waiting['pending']} messages stay pending")
        return {"delivery": "not configured", **waiting}
    summary = deliver(workspace, progress=logged_progress(log))
    for complaint in summary.complaints:
        log.warning(complaint)
    done = "done" if summary.all_acknowledged else "not acknowledged"
    return {"delivery": "stopped by the service" if summary.endpoint_stopped else done, **asdict(summary)}


def day_scope(workspace: Workspace, partition_key: str) -> Scope:
    """Return the configured source on the partition's day. Raises ``ConfigError`` when no source is configured."""
    return Scope(source_id(configured_source(workspace)), date.fromisoformat(partition_key))


def night_scope(workspace: Workspace, partition_key: str) -> Scope:
    """Return the day, together with the items that no partition has: dated before the first day, or after today.

    Without this, no night would take them, or one that is years away.
    """
    outside = (date.fromisoformat(FIRST_DAY), workspace.now().date())
    return replace(day_scope(workspace, partition_key), outside=outside)


def as_asked(scope: Scope, context: AssetExecutionContext | AssetCheckExecutionContext) -> Scope:
    """Widen a night's scope by the first day that the schedule knew: a run loads this code anew and may find an earlier
    first day, and the schedule asked for none of the days between the two."""
    asked = context.run.tags.get(FIRST_DAY_TAG)
    if scope.outside is None or asked is None:
        return scope
    first, last = scope.outside
    return replace(scope, outside=(max(first, date.fromisoformat(asked)), last))


def record_id(context: AssetExecutionContext | AssetCheckExecutionContext) -> str:
    """Return the id of our record of this run: a run that Dagster restarts after a failure continues the first
    one's."""
    return context.run.root_run_id or context.run.run_id


def status_table(workspace: Workspace, scope: Scope) -> MetadataValue[Any]:
    """Live items in scope by status."""
    with workspace.database.read() as connection:
        return count_table("status", count_statuses(connection, scope))


def count_table(name: str, counts: Mapping[str, int]) -> MetadataValue[Any]:
    """Return a table of two columns: what is counted, and how many."""
    return MetadataValue.table(
        records=[TableRecord({name: key, "count": count}) for key, count in counts.items()],
        schema=TableSchema(columns=[TableColumn(name, "string"), TableColumn("count", "int")]),
    )


def logged_progress(log: logging.Logger) -> Progress:
    """Return a progress that writes to Dagster's log at intervals and at the end of a stage."""
    last = time.monotonic()

    def progress(stage: str, done: int, total: int, detail: str = "") -> None:
        nonlocal last
        if time.monotonic() - last >= _PROGRESS_SECONDS or (total and done == total):
            last = time.monotonic()
            words = f"{stage}: {done} of {total}" if total else f"{stage}: {done}"
            log.info(visible(f"{words}, {detail}" if detail else words))

    return progress


def _counts_so_far(context: AssetExecutionContext) -> dict[str, dict[str, int]]:
    """Return, by asset, the counts that it reported earlier in this run; empty for assets that another run made."""
    records = context.instance.get_records_for_run(
        context.run.run_id, of_type=DagsterEventType.ASSET_MATERIALIZATION
    ).records
    counts: dict[str, dict[str, int]] = {}
    for record in records:
        if event := record.asset_materialization:
            values = {
                name: value.value for name, value in event.metadata.items() if isinstance(value, IntMetadataValue)
            }
            counts[event.asset_key.to_user_string()] = {name: value or 0 for name, value in values.items()}
    return counts


def _listed_so_far(counts: Mapping[str, int]) -> ListedCounts:
    """Rebuild the counts of this run's listing from the metadata of ``uploads``."""
    whole = {name: counts.get(name, 0) for name in ListedCounts.__dataclass_fields__ if name != "bad_fields"}
    wrong = {name.removeprefix(_BAD_FIELD): count for name, count in counts.items() if name.startswith(_BAD_FIELD)}
    return ListedCounts(**whole, bad_fields=wrong)


def _seconds_so_far(context: AssetExecutionContext) -> float:
    record = context.instance.get_run_record_by_id(context.run.run_id)
    return time.time() - record.start_time if record and record.start_time else 0.0
