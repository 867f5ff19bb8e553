"""``likeness init``, ``dispatch``, ``receiver``, ``report``, ``status``, ``verify`` and ``restore``."""

from __future__ import annotations

import sys
from datetime import date
from pathlib import Path
from typing import Any

import click

from embeddings.errors import ConfigError
from pipelines.cli.console import (
    actor,
    command_options,
    emit,
    opened,
    parse_day,
    progress,
    say,
    shown_warnings,
    to_plain,
)
from pipelines.cli.private_text import text_option
from pipelines.settings.environment import Environment


@click.command()
@command_options
def init(environment: Environment, as_json: bool) -> None:
    """Make the home folder, its sealing key and its database, and load the models once. Safe to repeat."""
    from pipelines.home.workspace import create_workspace

    with shown_warnings(), create_workspace(environment) as workspace:
        facts = {"home": str(workspace.home), "model_id": workspace.models.model_id}
        facts |= {"policy_version": workspace.policy.version}
    emit(facts, as_json=as_json)


@click.command()
@click.option("--release", "release_ids", multiple=True, help="First let this held message go; may be repeated.")
@click.option(
    "--revive", "revive_ids", multiple=True, help="First give this dead letter a new schedule; may be repeated."
)
@click.option("--resume", is_flag=True, help="First resume an endpoint that answered 410.")
@command_options
def dispatch(
    environment: Environment, as_json: bool, release_ids: tuple[str, ...], revive_ids: tuple[str, ...], resume: bool
) -> None:
    """Send what is due to the takedown service (LIKENESS_TAKEDOWN_URL, LIKENESS_TAKEDOWN_SECRET); 1 if it refuses any.

    Also if a message was not acknowledged for another reason (no answer, a fault of the service, 410), even if it is
    going to be sent again: 0 means that the service has everything that was due. Says which answers came from which
    host.
    """
    from pipelines.runs.delivery import deliver, intervene

    with opened(environment) as workspace, progress(as_json) as report:
        intervene(workspace, release_ids=release_ids, revive_ids=revive_ids, resume=resume, actor=actor())
        summary = deliver(workspace, progress=report)
    emit(summary, as_json=as_json)
    if not summary.all_acknowledged:
        say(*summary.complaints, err=True)
        sys.exit(1)


@click.command()
@command_options
def reconcile(environment: Environment, as_json: bool) -> None:
    """Compare delivered takedowns with the service's open cases (LIKENESS_TAKEDOWN_CASES_URL); 1 if they differ."""
    from pipelines.runs.delivery import compare_with_service

    with opened(environment) as workspace:
        found = compare_with_service(workspace)
    emit(found, as_json=as_json)
    if not found.agrees:
        sys.exit(1)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8787, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one.")
@click.option("--log", type=click.Path(path_type=Path, dir_okay=False), help="Keep cases in this file (JSON lines).")
@command_options
def receiver(environment: Environment, as_json: bool, host: str, port: int, log: Path | None) -> None:
    """Run a development receiver: verifies signatures, de-duplicates by key, shows cases at /cases."""
    from pipelines.takedown.receiver import serve

    if not environment.takedown_secrets:
        raise ConfigError("set LIKENESS_TAKEDOWN_SECRET (whsec_...) so that signatures can be verified")

    def ready(url: str) -> None:
        emit({"url": url}, as_json=as_json)
        sys.stdout.flush()

    serve(host, port, environment.takedown_secrets, log_path=log, ready=ready)


@click.command()
@click.option("--day", callback=parse_day, help="Items received on this UTC day [all].")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Folder [HOME/reports].")
@command_options
def report(environment: Environment, as_json: bool, day: date | None, out: Path | None) -> None:
    """Write the match report: a page, a CSV and a Parquet file of opaque ids."""
    from pipelines.report import write_report

    with opened(environment) as workspace:
        files = write_report(workspace, day=day, folder=out or workspace.home / "reports")
    emit(files, as_json=as_json)


@click.command()
@click.option("--purge", is_flag=True, help="Rewrite every shard that holds a row of an item that is gone, now.")
@command_options
def compact(environment: Environment, as_json: bool, purge: bool) -> None:
    """Merge small shards, and delete from the disk what is not searched any more. Safe to repeat and to interrupt."""
    from pipelines.runs.compaction import compact as run_compact

    with opened(environment) as workspace, progress(as_json) as report_progress:
        summary = run_compact(workspace, purge=purge, progress=report_progress)
    emit(summary, as_json=as_json)


@click.command()
@click.option("--check", is_flag=True, help="Say only what has to be seen to, a line each; 1 if there is anything.")
@command_options
def status(environment: Environment, as_json: bool, check: bool) -> None:
    """Show coverage by status, watermark, outbox by state, and requests with the time left.

    --check is for cron and monitors: exit code 1 on anything overdue, dead, held for longer than takedown.held_hours,
    or not covered, on an endpoint that was stopped and on opt-outs that have ended.
    """
    from pipelines.runs.status import read_status

    if check:
        _check(environment, as_json=as_json)
        return
    with opened(environment) as workspace:
        facts = to_plain(read_status(workspace))
    if not as_json:
        clocks = facts.pop("requests")
        recent = facts.pop("last_runs")
        facts["requests"] = [_request_words(clock) for clock in clocks]
        facts["endings"] = [f"{one['subject_id']} ends in {one['days_left']} days" for one in facts["endings"]]
        facts["backfill"] = _backfill_words(facts["backfill"])
        facts["last runs"] = [
            f"{run['kind']} {run['day'] or ''} {run['finished_at'] or 'unfinished'}" for run in recent
        ]
    emit(facts, as_json=as_json)


def _check(environment: Environment, *, as_json: bool) -> None:
    from pipelines.runs.alarms import read_alarms

    with opened(environment) as workspace:
        found = read_alarms(workspace)
    if as_json:
        emit({"ok": not found, "alarms": found}, as_json=True)
    else:
        say(*[f"{alarm.cause}: {alarm.detail}" for alarm in found] or ["nothing has to be seen to"])
    if found:
        sys.exit(1)


def _request_words(clock: dict[str, Any]) -> str:
    left = [f"{count} {name}" for name, count in (clock["open"] or {}).items() if count]
    hours = clock["hours_left"]
    time_left = f"overdue by {-hours:.1f} h" if clock["overdue"] else f"{hours:.1f} h left"
    return ", ".join([f"{clock['request_id']} {clock['state'].replace('_', ' ')}", time_left, *left])


def _backfill_words(facts: dict[str, Any]) -> str:
    words = str(facts["state"])
    if words == "none":
        return words
    words += f": {facts['items_outdated']} items and {facts['subjects_missing']} subjects left"
    if facts["days_left"]:
        words += f", received on {len(facts['days_left'])} days from {facts['days_left'][0]}"
    if facts["last_progress_at"]:
        words += f", {facts['items_done']} items done by {facts['last_progress_at']}"
    if facts["estimated_finish"]:
        words += f", {facts['items_per_second']:.3g} per second, until about {facts['estimated_finish']}"
    return words


@click.command()
@command_options
def verify(environment: Environment, as_json: bool) -> None:
    """Re-check digests, manifest, templates, audit chain, and that every hit has its verdict and outbox row."""
    from pipelines.runs.verify import verify as run_verify

    with opened(environment) as workspace, progress(as_json) as report_progress:
        findings = run_verify(workspace, progress=report_progress)
    emit(findings, as_json=as_json)
    if not all(finding.ok for finding in findings):
        sys.exit(1)


@click.command()
@click.option("--accept", is_flag=True, help="Go on from this database, and end again whoever had ended.")
@text_option("--reason", "reason", help="With --accept: why, for the audit chain; it is sealed.")
@command_options
def restore(environment: Environment, as_json: bool, accept: bool, reason: str | None) -> None:
    """Say what an older or altered database lacks of what this home remembers; 1 if anything. With --accept, go on."""
    from pipelines.home.workspace import open_unchecked
    from pipelines.runs.restore import accept as accept_state
    from pipelines.runs.restore import compare as compare_state

    why = (reason or "").strip()
    if accept and not why:
        raise ConfigError("--accept needs --reason: it stands in the audit chain")
    with open_unchecked(environment) as workspace, workspace:
        found = accept_state(workspace, reason=why, actor=actor()) if accept else compare_state(workspace)
    emit(found, as_json=as_json)
    if not (accept or found.agrees):
        sys.exit(1)
