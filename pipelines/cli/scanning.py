"""``likeness sweep``, ``rescan`` and ``hits``."""

from __future__ import annotations

from datetime import date

import click

from pipelines.cli.console import command_options, emit, opened, parse_day, progress, to_plain
from pipelines.environment import Environment
from pipelines.hits import list_hits
from pipelines.rescan import rescan as run_rescan
from pipelines.sweep import configured_source
from pipelines.sweep import sweep as run_sweep

_SHOWN = ("hit_id", "item_id", "subject_id", "band", "score", "threshold", "verdict", "rule")


@click.command()
@click.option("--source", help="directory:PATH or manifest:PATH [LIKENESS_SOURCE, or `source` in likeness.toml].")
@click.option("--day", callback=parse_day, help="Only items received on this UTC day.")
@click.option("--all", "everything", is_flag=True, help="All days (the default).")
@command_options
def sweep(environment: Environment, as_json: bool, source: str | None, day: date | None, everything: bool) -> None:
    """Compare new items with everybody in the registry. Repeat it after an interruption: it goes on where it was."""
    if day and everything:
        raise click.UsageError("--day and --all exclude each other")
    with opened(environment) as workspace, progress(as_json) as report:
        summary = run_sweep(workspace, configured_source(workspace, source), day=day, progress=report)
    emit(summary, as_json=as_json)
    if summary.coverage < 1:
        click.echo("some items are not compared with everybody yet: run `likeness rescan --pending`", err=True)


@click.command()
@click.option("--request", "request_id", help="Only this request's subject.")
@click.option("--pending", is_flag=True, help="Every subject not compared with everything yet (the default).")
@command_options
def rescan(environment: Environment, as_json: bool, request_id: str | None, pending: bool) -> None:
    """Compare new subjects with everything on the platform. Resumes by shard."""
    if request_id and pending:
        raise click.UsageError("--request and --pending exclude each other")
    with opened(environment) as workspace, progress(as_json) as report:
        summary = run_rescan(workspace, request_id=request_id, progress=report)
    emit(summary, as_json=as_json)


@click.command()
@click.option("--subject", "subject_id", help="Only hits of this subject.")
@click.option("--item", "item_id", help="Only hits of this item.")
@click.option("--day", callback=parse_day, help="Only items received on this UTC day.")
@click.option("--verdict", type=click.Choice(["takedown", "review", "clear"]), help="Only hits with this verdict.")
@command_options
def hits(
    environment: Environment,
    as_json: bool,
    subject_id: str | None,
    item_id: str | None,
    day: date | None,
    verdict: str | None,
) -> None:
    """List hits in force, best score first. --json gives every field that explains them."""
    with opened(environment) as workspace, workspace.database.read() as connection:
        found = list_hits(connection, subject_id=subject_id, item_id=item_id, day=day, verdict=verdict)
    if as_json:
        emit(found, as_json=True)
    else:
        emit([{name: row[name] for name in _SHOWN} for row in to_plain(found)], as_json=False)
