"""The nightly sweep as Dagster assets: one per stage, each calling the function that the command line calls.

    uploads -> scanned_items -> matches -> verdicts -> takedowns -> match_report

The stages hand over through the database, so an asset returns counts and no data, and a partition is a day of arrival,
never an item. What is reported here is seen by everybody who sees the web server: counts, statuses, opaque run ids and
where the report lies; no names, item ids, scores or vectors (I8).
"""

# No postponed annotations here: Dagster reads the type of `context` at import.

import logging
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import date
from typing import Any

from dagster import (
    AssetExecutionContext,
    DagsterEventType,
    DailyPartitionsDefinition,
    IntMetadataValue,
    MaterializeResult,
    MetadataValue,
    TableColumn,
    TableRecord,
    TableSchema,
    asset,
)

from pipelines.actors import service
from pipelines.backfill import backfill_templates
from pipelines.content import describe_pending
from pipelines.delivery import deliver
from pipelines.examine import examine_pending
from pipelines.examined import unexamined_count
from pipelines.judging import judge_pending
from pipelines.ledger import Scope, count_statuses, source_id
from pipelines.listing import ListedCounts
from pipelines.matching import match_pending
from pipelines.progress import Progress
from pipelines.report import write_report
from pipelines.resources import Home
from pipelines.scan import ScanCounts, scan_pending
from pipelines.sweep import (
    NIGHTLY,
    begin_run,
    configured_source,
    finish_run,
    list_source,
    measure_coverage,
    require_registry,
    summarise,
)
from pipelines.takedown.outbox import counts_by_state
from pipelines.visible import visible
from pipelines.workspace import Workspace

FIRST_DAY = "2022-01-01"
"""The first partition: before the first public models of this kind. Every night takes older items as well."""
DAYS = DailyPartitionsDefinition(start_date=FIRST_DAY, timezone="UTC", end_offset=1)
"""One partition for each UTC day of arrival; ``end_offset`` adds today, so that it can be swept before it is over."""
TAKEDOWN_POOL = "takedown"
"""The pool that keeps delivery to one process at a time; its limit is in ``dagster.yaml``."""
_PROGRESS_SECONDS = 20.0
_BAD_FIELD = "bad_field: "


@asset(partitions_def=DAYS, group_name="likeness")
def uploads(context: AssetExecutionContext, home: Home) -> MaterializeResult[None]:
    """Everything the source lists, in the ledger: what changed, was deleted or came late on other days as well."""
    workspace = home.workspace()
    scope = day_scope(workspace, context.partition_key)
    begin_run(workspace, kind=NIGHTLY, day=scope.day, run_id=record_id(context))
    # After a change of pack the night needs the new templates at once; the items there were are the backfill's.
    backfill_templates(workspace, actor=service("dagster"), progress=logged_progress(context.log))
    require_registry(workspace)
    listed = list_source(workspace, configured_source(workspace), day=None, progress=logged_progress(context.log))
    counts = asdict(listed)
    wrong = {f"{_BAD_FIELD}{name}": count for name, count in counts.pop("bad_fields").items()}
    return MaterializeResult(metadata=counts | wrong)


@asset(partitions_def=DAYS, deps=[uploads], group_name="likeness")
def scanned_items(context: AssetExecutionContext, home: Home) -> MaterializeResult[None]:
    """The day's faces, embedded, in sealed shards; a status for every item; ratings and CLIP vectors.

    And those of items that no partition has: dated before the first, or in the future.
    """
    workspace = home.workspace()
    scope = day_scope(workspace, context.partition_key)
    wanted = night_scope(workspace, context.partition_key)
    counts = scan_pending(workspace, wanted, progress=logged_progress(context.log))
    described = describe_pending(workspace, wanted, progress=logged_progress(context.log))
    metadata: dict[str, Any] = asdict(counts) | asdict(described)
    return MaterializeResult(metadata=metadata | {"statuses": status_table(workspace, scope)})


@asset(partitions_def=DAYS, deps=[scanned_items], group_name="likeness")
def matches(context: AssetExecutionContext, home: Home) -> MaterializeResult[None]:
    """New faces compared with every active subject, texts with names, fingerprints with seeds: hits, and coverage."""
    workspace = home.workspace()
    scope = day_scope(workspace, context.partition_key)
    counts = match_pending(workspace, found_by="sweep", progress=logged_progress(context.log))
    examined = examine_pending(workspace, found_by="sweep", progress=logged_progress(context.log))
    with workspace.database.read() as connection:
        coverage = measure_coverage(connection, workspace, scope)
        unexamined = unexamined_count(connection, workspace, scope=scope)
    found = {"examined": examined.items, "examined_hits": examined.hits, "unexamined": unexamined}
    metadata: dict[str, Any] = asdict(counts) | found | {"coverage": coverage.fraction, "pairs": coverage.pairs}
    return MaterializeResult(metadata=metadata | {"statuses": status_table(workspace, scope)})


@asset(partitions_def=DAYS, deps=[matches], group_name="likeness")
def verdicts(context: AssetExecutionContext, home: Home) -> MaterializeResult[None]:
    """Every hit weighed by the policy, and takedowns in the outbox. Ends the run's record, as a sweep by hand does."""
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
        seconds=_seconds_so_far(context),
    )
    finish_run(workspace, summary.run_id, asdict(summary))
    metadata: dict[str, Any] = {
        "judged": judged.judged,
        "new_takedowns": judged.takedowns,
        **{name: getattr(summary, name) for name in ("items", "faces", "hits", "takedowns", "review", "coverage")},
    }
    return MaterializeResult(metadata=metadata | {"statuses": count_table("status", summary.statuses)})


@asset(partitions_def=DAYS, deps=[verdicts], group_name="likeness", pool=TAKEDOWN_POOL)
def takedowns(context: AssetExecutionContext, home: Home) -> MaterializeResult[None]:
    """What is due in the outbox, of any day, delivered. Without an address it stays pending and says so."""
    workspace = home.workspace()
    return MaterializeResult(metadata=deliver_due(workspace, log=context.log))


@asset(partitions_def=DAYS, deps=[takedowns], group_name="likeness")
def match_report(context: AssetExecutionContext, home: Home) -> MaterializeResult[None]:
    """The day's report for analysts, written below the home folder."""
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


ASSETS = [uploads, scanned_items, matches, verdicts, takedowns, match_report]


def deliver_due(workspace: Workspace, *, log: logging.Logger) -> dict[str, Any]:
    """Dispatch what is due, and say as metadata what came of it. Without a configured address everything waits."""
    if not workspace.environment.takedown_url:
        with workspace.database.read() as connection:
            waiting = counts_by_state(connection)
        log.warning(f"LIKENESS_TAKEDOWN_URL is not set: {waiting['pending']} messages stay pending")
        return {"delivery": "not configured", **waiting}
    summary = deliver(workspace, progress=logged_progress(log))
    return {"delivery": "stopped by the service" if summary.endpoint_stopped else "done", **asdict(summary)}


def day_scope(workspace: Workspace, partition_key: str) -> Scope:
    """The configured source on the partition's day. Raises ``ConfigError`` when no source is configured."""
    return Scope(source_id(configured_source(workspace)), date.fromisoformat(partition_key))


def night_scope(workspace: Workspace, partition_key: str) -> Scope:
    """The day, and with it what no partition has: items dated before the first, and items dated after today.

    They would be in no night otherwise, or in one that is years away.
    """
    outside = (date.fromisoformat(FIRST_DAY), workspace.now().date())
    return replace(day_scope(workspace, partition_key), outside=outside)


def record_id(context: AssetExecutionContext) -> str:
    """The id of our record of this run: a run that Dagster starts again after a failure continues the first one's."""
    return context.run.root_run_id or context.run.run_id


def status_table(workspace: Workspace, scope: Scope) -> MetadataValue[Any]:
    """Live items in scope by status."""
    with workspace.database.read() as connection:
        return count_table("status", count_statuses(connection, scope))


def count_table(name: str, counts: Mapping[str, int]) -> MetadataValue[Any]:
    """A table of two columns: what is counted, and how many."""
    return MetadataValue.table(
        records=[TableRecord({name: key, "count": count}) for key, count in counts.items()],
        schema=TableSchema(columns=[TableColumn(name, "string"), TableColumn("count", "int")]),
    )


def logged_progress(log: logging.Logger) -> Progress:
    """Tell Dagster's log how far a stage is, every now and then and at its end."""
    last = time.monotonic()

    def progress(stage: str, done: int, total: int, detail: str = "") -> None:
        nonlocal last
        if time.monotonic() - last >= _PROGRESS_SECONDS or (total and done == total):
            last = time.monotonic()
            words = f"{stage}: {done} of {total}" if total else f"{stage}: {done}"
            log.info(visible(f"{words}, {detail}" if detail else words))

    return progress


def _counts_so_far(context: AssetExecutionContext) -> dict[str, dict[str, int]]:
    """Asset -> the counts that it reported earlier in this run. Empty for what another run did."""
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
    """What this run's listing counted, as ``uploads`` reported it."""
    whole = {name: counts.get(name, 0) for name in ListedCounts.__dataclass_fields__ if name != "bad_fields"}
    wrong = {name.removeprefix(_BAD_FIELD): count for name, count in counts.items() if name.startswith(_BAD_FIELD)}
    return ListedCounts(**whole, bad_fields=wrong)


def _seconds_so_far(context: AssetExecutionContext) -> float:
    record = context.instance.get_run_record_by_id(context.run.run_id)
    return time.time() - record.start_time if record and record.start_time else 0.0
