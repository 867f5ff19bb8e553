"""``likeness clock``: this machine's time beside the last recorded one, and saying that it is right."""

from __future__ import annotations

import sys

import click

from pipelines.cli.console import actor, command_options, emit, opened
from pipelines.home.clock import ACCEPT_REASONS, accept, read_clock
from pipelines.settings.environment import Environment


@click.group()
def clock() -> None:
    """Compare the clock with the last recorded time; one that jumped stops whatever acts."""


@clock.command("show")
@command_options
def show_clock(environment: Environment, as_json: bool) -> None:
    """Show this machine's time and the last recorded one; 1 if they are too far from each other."""
    with opened(environment) as workspace, workspace.database.read() as connection:
        reading = read_clock(connection, workspace)
    emit(reading, as_json=as_json)
    if reading.doubt:
        sys.exit(1)


@clock.command("accept")
@click.option("--reason", type=click.Choice(ACCEPT_REASONS), required=True, help="Why the times differ.")
@command_options
def accept_clock(environment: Environment, as_json: bool, reason: str) -> None:
    """Say that this machine's time is right, after a long pause or a wrong clock; the audit chain keeps it."""
    with opened(environment) as workspace:
        before = accept(workspace, reason=reason, actor=actor())
    emit({"accepted": before.now, "recorded_before": before.last_seen}, as_json=as_json)
