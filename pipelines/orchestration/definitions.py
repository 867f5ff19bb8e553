"""What ``dagster dev -w workspace.yaml`` loads."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from dagster import DagsterInstance, Definitions, RunRequest, build_schedule_context, build_sensor_context

from pipelines.orchestration.assets import ASSETS
from pipelines.orchestration.automation import (
    backfill,
    compaction,
    compaction_schedule,
    dispatch,
    dispatch_schedule,
    failed_runs,
    nightly,
    nightly_schedule,
    pack_changes,
    removal_requests,
    rescan,
)
from pipelines.orchestration.checks import CHECKS, approve_day
from pipelines.orchestration.resources import LikenessHome

home = LikenessHome()
"""Opened by whatever runs first in this process and shared by everything after it."""

defs = Definitions(
    assets=ASSETS,
    asset_checks=CHECKS,
    jobs=[nightly, rescan, dispatch, backfill, compaction, approve_day],
    schedules=[nightly_schedule, dispatch_schedule, compaction_schedule],
    sensors=[removal_requests, pack_changes, failed_runs],
    resources={"home": home},
)


def open_instance(folder: Path) -> DagsterInstance:
    """Return the persistent Dagster instance of this folder (a ``DAGSTER_HOME``); a context manager."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    (folder / "dagster.yaml").touch()
    return DagsterInstance.from_config(str(folder))


def run_schedule(name: str, at: datetime, *, instance: DagsterInstance) -> list[bool]:
    """Evaluate a schedule as the daemon does at ``at``, and run in this process what it asks for; success of each."""
    schedule = defs.resolve_schedule_def(name)
    context = build_schedule_context(
        instance=instance,
        scheduled_execution_time=at,
        resources={"home": home},
        repository_def=defs.get_repository_def(),
    )
    with context:
        tick = schedule.evaluate_tick(context)
    return [_run(schedule.job.name, request, instance) for request in tick.run_requests or ()]


def run_sensor(name: str, *, instance: DagsterInstance) -> list[bool]:
    """Evaluate a sensor once from its beginning, and run in this process what it asks for; success of each."""
    sensor = defs.resolve_sensor_def(name)
    context = build_sensor_context(
        instance=instance, sensor_name=name, resources={"home": home}, repository_def=defs.get_repository_def()
    )
    with context:
        tick = sensor.evaluate_tick(context)
    return [_run(sensor.job.name, request, instance) for request in tick.run_requests or ()]


def _run(job_name: str, request: RunRequest, instance: DagsterInstance) -> bool:
    result = defs.resolve_job_def(job_name).execute_in_process(
        run_config={**request.run_config, "loggers": {"console": {"config": {"log_level": "ERROR"}}}},
        partition_key=request.partition_key,
        tags={**request.tags, **({"dagster/run_key": request.run_key} if request.run_key else {})},
        instance=instance,
        raise_on_error=False,
    )
    return result.success
