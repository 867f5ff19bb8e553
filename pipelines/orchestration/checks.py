"""Asset checks of the nightly run, and the job that lets a stopped day go on. Those that block stop everything
downstream when they fail.

    scanned_items  content_could_be_fetched  blocking from ``sweep.min_items_for_rates`` items on: not an outage (I1)
    scanned_items  content_could_be_read  blocking: no login page or cut bodies in place of the content (I1)
    scanned_items  scanner_is_in_order  a warning from one item on, blocking from ``sweep.max_scanner_fault_rate`` on
    matches    canary_is_found          blocking: the known face is found, and only there (I7)
    matches    gallery_fits_its_calibration  a warning: more templates than the thresholds in force were calibrated for
    matches    hit_rate_is_plausible    blocking from ``sweep.min_items_for_rates`` scannable items on
    verdicts   coverage_is_total        blocking: every pair compared, every hit judged (I1, I2); moves the watermark
    takedowns  delivery_is_in_order     a warning: no address configured, dead letters, refused messages, a service that
                                        answered 410, or open cases that differ from ours

What blocks before the verdicts does so because a verdict may write a takedown. Each result is of one partition, a day.
A check that stops a day is written down with its run and writes the day's report, which says so. Of the first three and
the hit rate a person may approve the figures (:mod:`pipelines.runs.days`): they are then a warning, as long as nothing
gets worse.
"""

# No postponed annotations here: Dagster reads the type of `context` at import.

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import sqlalchemy as sa
from dagster import (
    AssetCheckExecutionContext,
    AssetCheckResult,
    AssetChecksDefinition,
    AssetCheckSeverity,
    AssetObservation,
    AssetsDefinition,
    Config,
    MetadataValue,
    OpExecutionContext,
    PreviewWarning,
    asset_check,
    in_process_executor,
    job,
    op,
)

from embeddings.errors import CorruptionError, InputError, LikenessError, NotReadyError
from pipelines.calibration.fit import read_fit
from pipelines.database import get_state
from pipelines.database.times import moment
from pipelines.home.actors import service
from pipelines.home.workspace import Workspace
from pipelines.matching.galleries import load_gallery
from pipelines.orchestration.assets import (
    DAYS,
    TRY_AGAIN,
    as_asked,
    day_scope,
    match_report,
    matches,
    night_scope,
    record_id,
    scanned_items,
    takedowns,
    verdicts,
)
from pipelines.orchestration.resources import SERVICE, Home, LikenessHome, explained
from pipelines.orchestration.run_tags import BY_HAND_TAGS, ONCE
from pipelines.registry.subjects import active_versions
from pipelines.report import write_report
from pipelines.runs.day_blocks import record_check
from pipelines.runs.day_checks import FETCHED, HIT_RATE, READ, SCANNER, check_day
from pipelines.runs.days import approval_digest, standing_approval
from pipelines.runs.days import approve_day as approve_day_stage
from pipelines.runs.delivery import compare_with_service
from pipelines.runs.sweep import advance_watermark, measure_coverage, read_watermark
from pipelines.takedown.effects import count_refused
from pipelines.takedown.outbox import counts_by_state
from pipelines.text.visible import visible

Context = AssetCheckExecutionContext


@dataclass(frozen=True, slots=True)
class CheckOutcome:
    """What a check found: whether the day passes, whether it stops otherwise, and the words and figures for it."""

    passed: bool
    words: str | None = None
    stops: bool = True
    figures: Mapping[str, Any] = field(default_factory=dict)


def day_check(*, asset: AssetsDefinition, blocking: bool) -> Callable[..., AssetChecksDefinition]:
    """Make a function that returns :class:`CheckOutcome` a check of one asset, by day."""

    def make(own: Callable[[Context, LikenessHome], CheckOutcome]) -> AssetChecksDefinition:
        def evaluated(context: AssetCheckExecutionContext, home: Home) -> AssetCheckResult:
            return _result(context, home.workspace(), own.__name__, own(context, home), blocking=blocking)

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PreviewWarning)  # Dagster's, of checks by partition
            return asset_check(
                asset=asset,
                name=own.__name__,
                description=own.__doc__,
                blocking=blocking,
                partitions_def=DAYS,
                retry_policy=TRY_AGAIN,
            )(explained(evaluated))

    return make


def _result(
    context: Context, workspace: Workspace, name: str, found: CheckOutcome, *, blocking: bool
) -> AssetCheckResult:
    """Make the result for Dagster; record a day that the check stops, and write its report."""
    stopped = blocking and found.stops and not found.passed
    metadata: dict[str, Any] = dict(found.figures)
    if blocking:
        day, words = date.fromisoformat(context.partition_key), found.words or "it failed"
        record_check(workspace, day, name, run_id=record_id(context), words=words if stopped else None)
    if stopped:
        metadata["what_to_do"] = (
            "see the description of the asset and the day's report; `likeness day list` shows what may be approved"
        )
        metadata["report"] = _report_stopped(context, workspace, name)
    severity = AssetCheckSeverity.ERROR if blocking and found.stops else AssetCheckSeverity.WARN
    return AssetCheckResult(passed=found.passed, severity=severity, description=found.words, metadata=metadata)


def _report_stopped(context: Context, workspace: Workspace, name: str) -> MetadataValue[Any]:
    """Write the report of a stopped day, whose own asset is not reached, and report it as that asset's."""
    scope = day_scope(workspace, context.partition_key)
    try:
        files = write_report(workspace, day=scope.day, folder=workspace.home / "reports", source_id=scope.source_id)
    except (LikenessError, OSError, sa.exc.SQLAlchemyError) as error:
        return MetadataValue.text(f"could not be written ({type(error).__name__})")
    report = MetadataValue.path(files.html)
    context.op_execution_context.log_event(
        AssetObservation(
            match_report.key,
            partition=context.partition_key,
            metadata={"report": report, "blocked_by": name},
            description="the report of a day that was stopped",
        )
    )
    return report


def _figure(context: Context, home: LikenessHome, name: str) -> CheckOutcome:
    """Run one check of the day's figures; an approval of these or worse figures turns a failure into a warning."""
    workspace = home.workspace()
    scope = day_scope(workspace, context.partition_key)
    with workspace.database.read() as connection:
        weighed = check_day(connection, workspace, scope)
        approval = standing_approval(connection, scope.day, scope.source_id or "") if scope.day else None
    check, source = weighed[name], scope.source_id or ""
    approved = approval is not None and check.stops and approval.covers(check)
    words = check.description + (f"; approved by {approval.actor}" if approval and approved else "")
    figures: dict[str, Any] = {**check.figures, "share": check.share, "limit": check.limit, "approved": approved}
    if check.stops and not approved:
        failed = [one for one in weighed.values() if one.stops]
        figures["digest"] = approval_digest(source, context.partition_key, failed)
    return CheckOutcome(check.passed, visible(words), stops=check.blocking and not approved, figures=figures)


@day_check(asset=scanned_items, blocking=True)
def content_could_be_fetched(context: Context, home: LikenessHome) -> CheckOutcome:
    """At most ``sweep.max_fetch_failed_rate`` of the day's items could not be fetched: more is an outage, not a day."""
    return _figure(context, home, FETCHED)


@day_check(asset=scanned_items, blocking=True)
def content_could_be_read(context: Context, home: LikenessHome) -> CheckOutcome:
    """At most ``sweep.max_unscannable_rate`` of the day's items could not be read: more is a server that sends login
    pages or cut bodies, until somebody looked. `likeness status` counts what will be tried again by itself, and
    `likeness sweep --retry` asks again for what is settled.

    Items without content, and model files of known formats that are never read, are not counted.
    """
    return _figure(context, home, READ)


@day_check(asset=scanned_items, blocking=True)
def scanner_is_in_order(context: Context, home: LikenessHome) -> CheckOutcome:
    """No item of the day made the scanner fail; up to ``sweep.max_scanner_fault_rate`` of them are a warning."""
    return _figure(context, home, SCANNER)


@day_check(asset=matches, blocking=True)
def canary_is_found(context: Context, home: LikenessHome) -> CheckOutcome:
    """A gallery of all active subjects, loaded afresh, finds the planted face strongly and in no stranger."""
    workspace = home.workspace()
    try:
        with workspace.database.read() as connection:
            versions = active_versions(connection, now=moment(connection))
            gallery = load_gallery(workspace, connection, subject_ids=versions)
        workspace.canary.require_found(gallery, workspace.thresholds)
    except CorruptionError:
        raise
    except NotReadyError as error:
        return CheckOutcome(False, visible(str(error)))
    return CheckOutcome(True, figures={"subjects": len(versions)})


@day_check(asset=matches, blocking=False)
def gallery_fits_its_calibration(context: Context, home: LikenessHome) -> CheckOutcome:
    """The FPIR that the present gallery has at the threshold in force is bounded by the calibration's target."""
    workspace = home.workspace()
    with workspace.database.read() as connection:
        fit = read_fit(connection, workspace)
    numbers = {name: getattr(fit, name) for name in ("templates", "threshold", "most_templates", "fpir_upper")}
    known = {name: value for name, value in numbers.items() if value is not None}
    return CheckOutcome(not fit.outgrown, visible(fit.remark), figures=known)


@day_check(asset=matches, blocking=True)
def hit_rate_is_plausible(context: Context, home: LikenessHome) -> CheckOutcome:
    """At most ``sweep.max_hit_rate`` of the day's scannable items are hits: more is a fault until somebody looked.

    Should the day's hits be judged all the same, by another run or after an approval, their takedowns are held in the
    outbox. Among fewer than ``sweep.min_items_for_rates`` items a high rate is only warned about.
    """
    return _figure(context, home, HIT_RATE)


@day_check(asset=verdicts, blocking=True)
def coverage_is_total(context: Context, home: LikenessHome) -> CheckOutcome:
    """Every live item of the day is compared with every active subject and every hit is judged; and so is what is dated
    before the first day there is, or in the future.

    Passing is what moves the watermark. A subject that became active during the run and was not rescanned for yet
    fails it: the day then comes again with the next nightly run.
    """
    workspace = home.workspace()
    scope = as_asked(night_scope(workspace, context.partition_key), context)
    words = None
    try:
        advance_watermark(workspace, scope)
    except CorruptionError:
        raise
    except NotReadyError as error:
        words = visible(str(error))
    with workspace.database.read() as connection:
        coverage = measure_coverage(connection, workspace, scope)
        watermark = read_watermark(connection)
    figures = {"coverage": coverage.fraction, "pairs": coverage.pairs, "settled": coverage.settled}
    return CheckOutcome(
        words is None, words, figures=figures | {"watermark": watermark.isoformat() if watermark else "none"}
    )


@day_check(asset=takedowns, blocking=False)
def delivery_is_in_order(context: Context, home: LikenessHome) -> CheckOutcome:
    """Takedowns have somewhere to go and get there. Never blocks: what waits in the outbox is not lost."""
    workspace = home.workspace()
    with workspace.database.read() as connection:
        counts = counts_by_state(connection)
        stopped = get_state(connection, "endpoint_stopped") is not None
        refused = count_refused(connection)
    differs = workspace.environment.takedown_cases_url is not None and not _agrees(workspace)
    problems = {
        "the service's open cases differ from ours, or could not be had: see `likeness reconcile`": differs,
        "LIKENESS_TAKEDOWN_URL is not set": not workspace.environment.takedown_url,
        "the takedown service answered 410 (gone)": stopped,
        f"{counts['dead']} messages could not be delivered": counts["dead"] > 0,
        f"{refused} messages were refused by the takedown service and are sent again": refused > 0,
    }
    words = "; ".join(text for text, there in problems.items() if there) or None
    return CheckOutcome(not any(problems.values()), words, figures=dict(counts))


class ApprovalConfig(Config):
    """``day``: as 2026-11-21. ``reason``: why it may go on; Dagster keeps run configuration in clear, so no names.
    ``expect``: the digest that `likeness day list` shows, to approve nothing but that."""

    day: str
    reason: str
    expect: str | None = None


@op(description="Let a blocked day go on, with the figures that its checks have now; the next night completes it.")
@explained
def approve_blocked_day(context: OpExecutionContext, config: ApprovalConfig, home: Home) -> None:
    """The audit chain names the account that Dagster runs under: the web server cannot tell who launched this."""
    try:
        day = date.fromisoformat(config.day)
    except ValueError:
        raise InputError("`day` is no date: give one such as 2026-11-21") from None
    workspace, actor = home.workspace(), service(SERVICE)
    approval = approve_day_stage(workspace, day, reason=config.reason, actor=actor, expect=config.expect)
    checks = ", ".join(approval.checks)
    context.add_output_metadata({"day": approval.day, "checks": checks, "digest": approval.digest, "actor": actor})


@job(
    executor_def=in_process_executor,
    tags=BY_HAND_TAGS | ONCE,
    description="Let a day go on that a check of its figures stopped. It sends nothing: what is held stays held. Never "
    "for a missed canary, nor with items that nobody has looked at. `likeness day approve` names who did it; this "
    "names the account of Dagster.",
)
def approve_day() -> None:
    """The job that a person launches after looking at a blocked day."""
    approve_blocked_day()


CHECKS = [
    content_could_be_fetched,
    content_could_be_read,
    scanner_is_in_order,
    canary_is_found,
    gallery_fits_its_calibration,
    hit_rate_is_plausible,
    coverage_is_total,
    delivery_is_in_order,
]


def _agrees(workspace: Workspace) -> bool:
    """Whether the service's open cases are the takedowns that we delivered. Unknown is not agreement (I7)."""
    try:
        return compare_with_service(workspace).agrees
    except NotReadyError:
        return False
