"""Asset checks of the nightly run. Those that block stop everything downstream when they fail.

    scanned_items  content_could_be_fetched  blocking from ``sweep.hit_rate_items`` items on: not an outage (I1)
    scanned_items  content_could_be_read  blocking: no login page or cut bodies in place of the content (I1)
    scanned_items  scanner_is_in_order  a warning from one item on, blocking from ``sweep.max_scanner_fault_rate`` on
    matches    canary_is_found          blocking: the known face is found, and only there (I7)
    matches    gallery_fits_its_calibration  a warning: more templates than the thresholds in force were calibrated for
    matches    hit_rate_is_plausible    blocking from ``sweep.hit_rate_items`` scannable items on
    verdicts   coverage_is_total        blocking: every pair compared, every hit judged (I1, I2); moves the watermark
    takedowns  delivery_is_in_order     a warning: no address configured, dead letters, a service that answered 410, or
                                        open cases that differ from ours

What blocks before the verdicts does so because a verdict may write a takedown.
"""

# No postponed annotations here: Dagster reads the type of `context` at import.

from dagster import AssetCheckExecutionContext, AssetCheckResult, AssetCheckSeverity, asset_check

from embeddings.errors import CorruptionError, NotReadyError
from pipelines.assets import day_scope, matches, night_scope, scanned_items, takedowns, verdicts
from pipelines.calibration.fit import read_fit
from pipelines.config import SweepConfig
from pipelines.database import get_state
from pipelines.database.times import moment
from pipelines.delivery import compare_with_service
from pipelines.galleries import load_gallery
from pipelines.judging import hit_rate
from pipelines.ledger import count_statuses, count_unreadable, scanner_faults
from pipelines.registry import active_versions
from pipelines.resources import Home
from pipelines.sweep import advance_watermark, measure_coverage, read_watermark
from pipelines.takedown.outbox import counts_by_state
from pipelines.visible import visible
from pipelines.workspace import Workspace


@asset_check(asset=matches, blocking=True)
def canary_is_found(home: Home) -> AssetCheckResult:
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
        return AssetCheckResult(passed=False, description=visible(str(error)))
    return AssetCheckResult(passed=True, metadata={"subjects": len(versions)})


@asset_check(asset=scanned_items, blocking=True)
def content_could_be_fetched(context: AssetCheckExecutionContext, home: Home) -> AssetCheckResult:
    """At most ``sweep.max_fetch_failed_rate`` of the day's items could not be fetched: more is an outage, not a day."""
    workspace = home.workspace()
    config = workspace.config.sweep
    with workspace.database.read() as connection:
        statuses = count_statuses(connection, day_scope(workspace, context.partition_key))
    total = sum(statuses.values())
    failed = sum(count for status, count in statuses.items() if status.startswith("fetch_failed:"))
    share = config.max_fetch_failed_rate
    return AssetCheckResult(
        passed=failed <= share * total,
        severity=_severity(total, config),
        description=f"{failed} of {total} items could not be fetched",
        metadata={"fetch_failed": failed, "items": total, "max_fetch_failed_rate": share},
    )


@asset_check(asset=scanned_items, blocking=True)
def content_could_be_read(context: AssetCheckExecutionContext, home: Home) -> AssetCheckResult:
    """At most ``sweep.max_unscannable_rate`` of the day's items could not be read: more is a server that sends login
    pages or cut bodies, until somebody looked. `likeness status` counts what will be tried again by itself, and
    `likeness sweep --retry` asks again for what is settled.

    Items without content, and model files of known formats that are never read, are not counted.
    """
    workspace = home.workspace()
    config = workspace.config.sweep
    with workspace.database.read() as connection:
        found = count_unreadable(connection, day_scope(workspace, context.partition_key))
    share = config.max_unscannable_rate
    reasons = ", ".join(f"{count} {reason}" for reason, count in found.reasons.items())
    return AssetCheckResult(
        passed=found.unreadable <= share * found.items,
        severity=_severity(found.items, config),
        description=f"{found.unreadable} of {found.items} items could not be read"
        + (f": {reasons}" if reasons else ""),
        metadata={"unreadable": found.unreadable, "items": found.items, "max_unscannable_rate": share},
    )


@asset_check(asset=scanned_items, blocking=True)
def scanner_is_in_order(context: AssetCheckExecutionContext, home: Home) -> AssetCheckResult:
    """No item of the day made the scanner fail; up to ``sweep.max_scanner_fault_rate`` of them are a warning."""
    workspace = home.workspace()
    config = workspace.config.sweep
    with workspace.database.read() as connection:
        statuses = count_statuses(connection, day_scope(workspace, context.partition_key))
    total, failed = sum(statuses.values()), scanner_faults(statuses)
    many = total >= config.hit_rate_items and failed > config.max_scanner_fault_rate * total
    return AssetCheckResult(
        passed=not failed,
        severity=AssetCheckSeverity.ERROR if many else AssetCheckSeverity.WARN,
        description=f"{failed} of {total} items made the scanner fail: see their status, and the log",
        metadata={
            "scanner_faults": failed,
            "items": total,
            "max_scanner_fault_rate": config.max_scanner_fault_rate,
        },
    )


@asset_check(asset=matches)
def gallery_fits_its_calibration(home: Home) -> AssetCheckResult:
    """The FPIR that the present gallery has at the threshold in force is bounded by the calibration's target."""
    workspace = home.workspace()
    with workspace.database.read() as connection:
        fit = read_fit(connection, workspace)
    numbers = {name: getattr(fit, name) for name in ("templates", "threshold", "most_templates", "fpir_upper")}
    return AssetCheckResult(
        passed=not fit.outgrown,
        severity=AssetCheckSeverity.WARN,
        description=visible(fit.remark),
        metadata={name: value for name, value in numbers.items() if value is not None},
    )


@asset_check(asset=matches, blocking=True)
def hit_rate_is_plausible(context: AssetCheckExecutionContext, home: Home) -> AssetCheckResult:
    """At most ``sweep.max_hit_rate`` of the day's scannable items are hits: more is a fault until somebody looked.

    Should the day's hits be judged all the same, by another run, their takedowns are held in the outbox.

    Among fewer than ``sweep.hit_rate_items`` items a high rate is only warned about.
    """
    workspace = home.workspace()
    config = workspace.config.sweep
    with workspace.database.read() as connection:
        statuses = count_statuses(connection, day_scope(workspace, context.partition_key))
    hit = statuses.get("hit", 0)
    scannable = hit + statuses.get("clean", 0) + statuses.get("no_face", 0)
    rate = hit_rate(statuses, at_least=1) or 0.0
    return AssetCheckResult(
        passed=rate <= config.max_hit_rate,
        severity=_severity(scannable, config),
        description=f"{hit} of {scannable} scannable items are hits, at most {config.max_hit_rate:.0%} is plausible",
        metadata={"hit": hit, "scannable": scannable, "rate": rate, "max_hit_rate": config.max_hit_rate},
    )


@asset_check(asset=verdicts, blocking=True)
def coverage_is_total(context: AssetCheckExecutionContext, home: Home) -> AssetCheckResult:
    """Every live item of the day is compared with every active subject and every hit is judged; and so is what is dated
    before the first day there is, or in the future.

    Passing is what moves the watermark. A subject that became active during the run and was not rescanned for yet
    fails it: the day then comes again with the next nightly run.
    """
    workspace = home.workspace()
    scope = night_scope(workspace, context.partition_key)
    description = None
    try:
        advance_watermark(workspace, scope)
    except CorruptionError:
        raise
    except NotReadyError as error:
        description = visible(str(error))
    with workspace.database.read() as connection:
        coverage = measure_coverage(connection, workspace, scope)
        watermark = read_watermark(connection)
    return AssetCheckResult(
        passed=description is None,
        description=description,
        metadata={
            "coverage": coverage.fraction,
            "pairs": coverage.pairs,
            "settled": coverage.settled,
            "watermark": watermark.isoformat() if watermark else "none",
        },
    )


@asset_check(asset=takedowns)
def delivery_is_in_order(home: Home) -> AssetCheckResult:
    """Takedowns have somewhere to go and get there. Never blocks: what waits in the outbox is not lost."""
    workspace = home.workspace()
    with workspace.database.read() as connection:
        counts = counts_by_state(connection)
        stopped = get_state(connection, "endpoint_stopped") is not None
    differs = workspace.environment.takedown_cases_url is not None and not _agrees(workspace)
    problems = {
        "the service's open cases differ from ours, or could not be had: see `likeness reconcile`": differs,
        "LIKENESS_TAKEDOWN_URL is not set": not workspace.environment.takedown_url,
        "the takedown service answered 410 (gone)": stopped,
        f"{counts['dead']} messages could not be delivered": counts["dead"] > 0,
    }
    return AssetCheckResult(
        passed=not any(problems.values()),
        severity=AssetCheckSeverity.WARN,
        description="; ".join(text for text, found in problems.items() if found) or None,
        metadata=dict(counts),
    )


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


def _severity(items: int, config: SweepConfig) -> AssetCheckSeverity:
    """Of a share that is too large: blocking among ``sweep.hit_rate_items`` items or more, else a warning."""
    return AssetCheckSeverity.ERROR if items >= config.hit_rate_items else AssetCheckSeverity.WARN


def _agrees(workspace: Workspace) -> bool:
    """Whether the service's open cases are the takedowns that we delivered. Unknown is not agreement (I7)."""
    try:
        return compare_with_service(workspace).agrees
    except NotReadyError:
        return False
