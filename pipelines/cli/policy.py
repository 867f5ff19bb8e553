"""``likeness policy``: check a policy file, compare two, and see what one would have made of past hits."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import click

from pipelines.cli.console import COUNT, command_options, emit, opened, parse_day, progress, to_plain
from pipelines.judging.simulation import differences
from pipelines.judging.simulation import simulate as run_simulation
from pipelines.policy import load_policy
from pipelines.settings.environment import Environment

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.group()
def policy() -> None:
    """The policy that every verdict is made by."""


@policy.command("check")
@click.argument("file", required=False, type=_FILE)
@command_options
def check_policy(environment: Environment, as_json: bool, file: Path | None) -> None:
    """Say whether FILE (or the packaged policy) is sound, its version, and where it differs from the packaged one."""
    checked = load_policy(file)
    emit({"version": checked.version, "differs": differences(load_policy(None), checked)}, as_json=as_json)


@policy.command("diff")
@click.argument("one", type=_FILE)
@click.argument("other", type=_FILE)
@command_options
def diff_policies(environment: Environment, as_json: bool, one: Path, other: Path) -> None:
    """List the entries in which two policy files differ."""
    found = differences(load_policy(one), load_policy(other))
    if as_json:
        emit(found, as_json=True)
    else:
        emit([{"entry": name, **change} for name, change in to_plain(found).items()], as_json=False)


@policy.command("simulate")
@click.option("--policy", "file", required=True, type=_FILE, help="The policy file to try.")
@click.option("--since", callback=parse_day, help="Only groups with a hit found on this UTC day or later [all].")
@click.option(
    "--list", "most", default=100, show_default=True, type=click.IntRange(0, COUNT.max), help="Changes to list."
)
@command_options
def simulate_policy(environment: Environment, as_json: bool, file: Path, since: date | None, most: int) -> None:
    """Show what a policy would make of the evidence there is. Changes nothing."""
    tried = load_policy(file)
    start = datetime(since.year, since.month, since.day, tzinfo=UTC) if since else None
    with opened(environment) as workspace, progress(as_json) as report:
        found = run_simulation(workspace, tried, since=start, most_listed=most, progress=report)
    if as_json:
        emit(found, as_json=True)
        return
    facts: dict[str, Any] = to_plain(found)
    changes = facts.pop("changes")
    emit(facts, as_json=False)
    if changes:
        emit(changes, as_json=False)
