"""When things run: jobs, schedules and sensors.

    nightly_schedule   02:00 UTC  -> nightly    one run for each day from the watermark to yesterday
    compaction_schedule  05:00 UTC -> compaction  merges shards, deletes what must not be kept
    removal_requests   every 30 s -> rescan     one run for everything that is newly wanted
    dispatch_schedule  every 5 min -> dispatch  when messages are due
    pack_changes       every 60 s -> backfill   one run when something has vectors of other models than those in force
    failed_runs                                 records a failed run; a failed rescan is wanted again

Requested runs are remembered twice: by our own state (watermark, attempts, outbox), which decides, and by run keys and
cursors, which keep Dagster from asking twice. Run keys, tags and run configuration hold opaque ids only (I8).
"""

# No postponed annotations here: Dagster reads the type of `context` at import.

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import date, datetime, timedelta
from typing import Any

from dagster import (
    AssetSelection,
    Config,
    DagsterInstance,
    DagsterRunStatus,
    DefaultScheduleStatus,
    DefaultSensorStatus,
    In,
    Nothing,
    OpExecutionContext,
    RunFailureSensorContext,
    RunRequest,
    RunsFilter,
    ScheduleEvaluationContext,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
    define_asset_job,
    in_process_executor,
    job,
    op,
    run_failure_sensor,
    schedule,
    sensor,
)
from pydantic import Field

from embeddings.errors import NotReadyError
from pipelines.home import audit
from pipelines.home.actors import service
from pipelines.orchestration.assets import ASSETS, FIRST_DAY, TAKEDOWN_POOL, TRY_AGAIN, deliver_due, logged_progress
from pipelines.orchestration.resources import SERVICE, Home, explained
from pipelines.orchestration.run_tags import FIRST_DAY_TAG, ONCE, job_tags
from pipelines.report import write_report
from pipelines.runs.backfill import backfill as backfill_stage
from pipelines.runs.backfill_progress import wanted_backfill
from pipelines.runs.compaction import compact as compact_stage
from pipelines.runs.rescan import days_with_new_hits, retry_rescan, wanted_rescans
from pipelines.runs.rescan import rescan as rescan_stage
from pipelines.runs.sweep import nightly_days, read_watermark, unfinished_days
from pipelines.takedown import leases

_LOST_AFTER = timedelta(minutes=10)
_WAITING = [
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
]

nightly = define_asset_job(
    "nightly",
    selection=AssetSelection.assets(*ASSETS),  # with their checks
    executor_def=in_process_executor,
    description="Sweep one day's uploads: list, embed, match, judge, deliver, report.",
    tags=job_tags("nightly"),
)


class RescanConfig(Config):
    """``request_id`` limits the rescan to one request's subject; ``asked`` are the attempts that the run answers."""

    request_id: str | None = None
    asked: list[str] = Field(default_factory=list)


@op(
    retry_policy=TRY_AGAIN,
    description="Compare subjects that are not covered yet with every stored face, judge, and complete requests.",
)
@explained
def rescan_corpus(context: OpExecutionContext, config: RescanConfig, home: Home) -> None:
    """Rescan for one request, or in one pass for everything that lacks coverage. Fails if the asked is left undone."""
    workspace = home.workspace()
    began = workspace.now()
    summary = rescan_stage(
        workspace,
        request_id=config.request_id,
        run_id=context.run.root_run_id or context.run_id,
        progress=logged_progress(context.log),
    )
    names = (
        "subjects",
        "shards",
        "faces",
        "hits",
        "new_hits",
        "takedowns",
        "searched_requests",
        "completed_requests",
        "coverage",
    )
    context.add_output_metadata({name: getattr(summary, name) for name in names})
    for day in days_with_new_hits(workspace, since=began):  # else their reports would stay out of date
        write_report(workspace, day=day, folder=workspace.home / "reports")
    left = set(config.asked) & set(wanted_rescans(workspace).keys)
    if left:
        raise NotReadyError(f"{len(left)} of {len(config.asked)} asked rescans are not complete after this run")


@op(
    ins={"after": In(Nothing)},
    pool=TAKEDOWN_POOL,
    retry_policy=TRY_AGAIN,
    description="Deliver what is due in the outbox.",
)
@explained
def deliver_takedowns(context: OpExecutionContext, home: Home) -> None:
    """Dispatch due messages; without a configured address everything stays pending and the log says so."""
    context.add_output_metadata(deliver_due(home.workspace(), log=context.log))


@job(
    executor_def=in_process_executor,
    tags=job_tags("rescan") | ONCE,
    description="Compare newly active subjects with everything on the platform, then deliver.",
)
def rescan() -> None:
    """The job of a removal request."""
    deliver_takedowns(after=rescan_corpus())


@op(
    retry_policy=TRY_AGAIN,
    description="Embed again what has vectors of other models than those in force; compare, judge.",
)
@explained
def reembed_outdated(context: OpExecutionContext, home: Home) -> None:
    """Backfill outdated items, in turns with the sweeps; items that cannot be fetched keep their result, and are
    counted."""
    workspace = home.workspace()
    began = workspace.now()
    progress = logged_progress(context.log)
    summary = backfill_stage(workspace, actor=service(SERVICE), run_id=context.run_id, progress=progress)
    names = (
        "outcome",
        "templates",
        "items",
        "hits",
        "subjects_missing",
        "items_outdated",
        "searched_requests",
        "completed_requests",
    )
    days = {"days_failed": ", ".join(summary.days_failed) or "none"}
    context.add_output_metadata({name: getattr(summary, name) for name in names} | days)
    if summary.outcome != "complete":
        context.log.error(
            f"the backfill is not complete: {summary.items_outdated} items of {days['days_failed']} and "
            f"{summary.subjects_missing} subjects are left; it is asked for again in a day"
        )
    for day in days_with_new_hits(workspace, since=began):
        write_report(workspace, day=day, folder=workspace.home / "reports")


@job(
    executor_def=in_process_executor,
    tags=job_tags("backfill") | ONCE,
    description="After a change of pack: bring everything to the new models. `likeness status` shows how far.",
)
def backfill() -> None:
    """The job after a change of pack. The dispatch schedule delivers its takedowns as they come."""
    reembed_outdated()


@op(retry_policy=TRY_AGAIN, description="Merge small shards; delete from the disk what is not searched any more.")
@explained
def compact_corpus(context: OpExecutionContext, home: Home) -> None:
    """Compact the corpus, in turns with the sweeps."""
    summary = compact_stage(home.workspace(), run_id=context.run_id, progress=logged_progress(context.log))
    context.add_output_metadata({name: value for name, value in asdict(summary).items() if name != "run_id"})


@job(
    executor_def=in_process_executor,
    tags=job_tags("compaction") | ONCE,
    description="Keep the corpus in few large shards, and what is gone off the disk. `likeness status` shows both.",
)
def compaction() -> None:
    """The job at the end of the night; the next one makes up for a failed one."""
    compact_corpus()


@job(
    executor_def=in_process_executor,
    tags=job_tags("dispatch") | ONCE,
    description="Deliver what is due in the outbox: retries, and what an analyst decided.",
)
def dispatch() -> None:
    """The job that delivers due messages."""
    deliver_takedowns()


@schedule(
    job=nightly, cron_schedule="0 2 * * *", execution_timezone="UTC", default_status=DefaultScheduleStatus.RUNNING
)
@explained
def nightly_schedule(context: ScheduleEvaluationContext, home: Home) -> list[RunRequest] | SkipReason:
    """One run for each day from the watermark, or from two days back, to yesterday, the oldest first.

    Earlier days follow as long as they have items that wait or whose fetch is to be tried again.
    A day whose last run is still waiting or running is left to it.
    """
    today = context.scheduled_execution_time.date()
    workspace = home.workspace()
    with workspace.database.read() as connection:
        watermark = read_watermark(connection)
        unfinished = unfinished_days(connection, workspace)
    running = {run.tags.get("dagster/partition") for run in _unfinished(context.instance, nightly.name)}
    # Every night also takes the items that no partition has (pipelines.orchestration.assets.night_scope).
    wanted = {*nightly_days(watermark, today), *(day for day in unfinished if day < today)}
    due = sorted(day for day in wanted if day >= date.fromisoformat(FIRST_DAY))
    days = [day for day in due if day.isoformat() not in running]
    if not days:
        return SkipReason("every day that is due is being swept already")
    tags = {FIRST_DAY_TAG: FIRST_DAY}
    return [RunRequest(run_key=f"{today}:{day}", partition_key=day.isoformat(), tags=tags) for day in days]


@schedule(
    job=dispatch, cron_schedule="*/5 * * * *", execution_timezone="UTC", default_status=DefaultScheduleStatus.RUNNING
)
@explained
def dispatch_schedule(context: ScheduleEvaluationContext, home: Home) -> RunRequest | SkipReason:
    """A delivery run when messages are due and none is at it."""
    workspace = home.workspace()
    with workspace.database.read() as connection:
        caps = leases.caps_of(workspace.config.takedown)
        due = leases.due(connection, now=workspace.now(), limit=1, after=None, caps=caps)
    if not due:
        return SkipReason("nothing is due")
    if not workspace.environment.takedown_url:
        return SkipReason("messages are due, but LIKENESS_TAKEDOWN_URL is not set")
    if _unfinished(context.instance, dispatch.name):
        return SkipReason("the last delivery run is not finished")
    return RunRequest(run_key=context.scheduled_execution_time.isoformat())


@schedule(
    job=compaction, cron_schedule="0 5 * * *", execution_timezone="UTC", default_status=DefaultScheduleStatus.RUNNING
)
@explained
def compaction_schedule(context: ScheduleEvaluationContext) -> RunRequest | SkipReason:
    """One compaction a day, when the night's sweep is usually over; where it is not, they take turns."""
    if _unfinished(context.instance, compaction.name):
        return SkipReason("the last compaction is not finished")
    return RunRequest(run_key=context.scheduled_execution_time.date().isoformat())


@sensor(job=rescan, minimum_interval_seconds=30, default_status=DefaultSensorStatus.RUNNING)
@explained
def removal_requests(context: SensorEvaluationContext, home: Home) -> SensorResult:
    """One rescan for all accepted requests, and subjects added without one, that were not asked for yet.

    The cursor holds the attempts asked for and when. A failed attempt comes back under the next number; so does one
    whose run is gone without a failure that could be noticed: cancelled, deleted, or failed while the database was out.
    """
    workspace = home.workspace()
    now = workspace.now()
    asked: dict[str, str] = json.loads(context.cursor) if context.cursor else {}
    wanted = wanted_rescans(workspace)
    old = [key for key in wanted.keys if key in asked and abs(now - datetime.fromisoformat(asked[key])) > _LOST_AFTER]
    if old and not _unfinished(context.instance, rescan.name):
        for key in old:
            retry_rescan(workspace, key, actor=service(SERVICE))
        wanted = wanted_rescans(workspace)
    new = [key for key in wanted.keys if key not in asked]
    cursor = json.dumps({key: asked.get(key, now.isoformat()) for key in wanted.keys})
    if wanted.given_up:
        context.log.error(
            f"{wanted.given_up} rescans failed registry.max_rescan_attempts times and are not tried again: "
            "see the audit chain, remove the cause and launch the job `rescan`"
        )
    if not new:
        done = f"{len(wanted.keys)} rescans are asked for already, {wanted.given_up} given up"
        return SensorResult(skip_reason=SkipReason(done), cursor=cursor)
    request = RunRequest(run_key=rescan_key(new), run_config=rescan_config(new))
    return SensorResult(run_requests=[request], cursor=cursor)


@sensor(job=backfill, minimum_interval_seconds=60, default_status=DefaultSensorStatus.RUNNING)
@explained
def pack_changes(context: SensorEvaluationContext, home: Home) -> SensorResult:
    """One backfill when items or subjects have vectors of other models than those in force, and none is at it.

    Which attempt is wanted follows from the record of backfills, so that a failed one comes under the next number. The
    cursor holds what was asked for and when: a run that was gone before it began is asked for again under a new name.
    """
    now = home.workspace().now()
    asked: dict[str, Any] = json.loads(context.cursor) if context.cursor else {}
    if _unfinished(context.instance, backfill.name):
        return SensorResult(skip_reason=SkipReason("a backfill is under way"), cursor=context.cursor)
    wanted = wanted_backfill(home.workspace())
    if wanted.given_up:
        context.log.error(f"{wanted.reason}; none is started any more: remove the cause and launch the job `backfill`")
    if wanted.key is None:
        return SensorResult(skip_reason=SkipReason(wanted.reason), cursor=context.cursor)
    lost = 0
    if asked.get("key") == wanted.key:
        if abs(now - datetime.fromisoformat(asked["at"])) <= _LOST_AFTER:
            return SensorResult(skip_reason=SkipReason("this backfill is asked for already"), cursor=context.cursor)
        lost = asked["lost"] + 1
    cursor = json.dumps({"key": wanted.key, "at": now.isoformat(), "lost": lost})
    run_key = f"{wanted.key}:lost-{lost}" if lost else wanted.key
    return SensorResult(run_requests=[RunRequest(run_key=run_key)], cursor=cursor)


def rescan_key(keys: Sequence[str]) -> str:
    """Return the run key of a rescan: the attempt itself, or a digest of all the attempts that are merged."""
    if len(keys) == 1:
        return keys[0]
    return f"merged:{hashlib.sha256(json.dumps(sorted(keys)).encode()).hexdigest()[:32]}"


def rescan_config(keys: Sequence[str]) -> dict[str, Any]:
    """Return the run configuration of a rescan that answers these attempts."""
    return {"ops": {rescan_corpus.name: {"config": {"asked": list(keys)}}}}


@run_failure_sensor(
    monitored_jobs=[nightly, rescan, dispatch, backfill, compaction], default_status=DefaultSensorStatus.RUNNING
)
@explained
def failed_runs(context: RunFailureSensorContext, home: Home) -> None:
    """Record a failed run in the audit chain. If it was a rescan, its attempts are counted and wanted again."""
    run = context.dagster_run
    workspace = home.workspace()
    steps = [event.step_key or "" for event in context.get_step_failure_events()]
    with workspace.database.write() as tx:
        audit.append(
            tx,
            workspace.sealer,
            actor=service(SERVICE),
            action="run.failed",
            now=workspace.now(),
            run_id=run.run_id,
            job=run.job_name,
            steps=",".join(steps),
        )
    retried = sum(retry_rescan(workspace, key, actor=service(SERVICE)) for key in _asked(run.run_config))
    context.log.error(f"run {run.run_id} of {run.job_name} failed in {steps}; {retried} rescans are wanted again")


def _asked(run_config: Mapping[str, Any]) -> list[str]:
    """The attempts that a rescan run was to answer; none for another job or a run started by hand."""
    ops = run_config.get("ops", {})
    return list(ops.get(rescan_corpus.name, {}).get("config", {}).get("asked", []))


def _unfinished(instance: DagsterInstance, job_name: str) -> Sequence[Any]:
    return instance.get_runs(RunsFilter(job_name=job_name, statuses=_WAITING))
