"""``likeness statement`` and ``transparency``: what uploaders and the public are told."""

from __future__ import annotations

from datetime import date

import click

from pipelines.cli.console import command_options, emit, opened, parse_day, say
from pipelines.report.statements import as_text, statements_of
from pipelines.report.transparency import summarise_period
from pipelines.settings.environment import Environment


@click.command()
@click.argument("about", metavar="MESSAGE|ITEM")
@command_options
def statement(environment: Environment, as_json: bool, about: str) -> None:
    """Print the statement of reasons of a takedown, or those on an item, after Article 17 of the DSA."""
    with opened(environment) as workspace, workspace.database.read() as connection:
        found = statements_of(connection, workspace, about)
    if as_json:
        emit(found, as_json=True)
    else:
        say(*"\n\n".join(as_text(one) for one in found).split("\n"))


@click.command()
@click.option("--from", "first_day", required=True, callback=parse_day, help="First UTC day.")
@click.option("--to", "last_day", required=True, callback=parse_day, help="Last UTC day; it counts too.")
@command_options
def transparency(environment: Environment, as_json: bool, first_day: date, last_day: date) -> None:
    """Count requests, hits, decisions, removals and reversals of a period, with the time that removals took."""
    if last_day < first_day:
        raise click.UsageError("the period ends before it begins")
    with opened(environment) as workspace, workspace.database.read() as connection:
        emit(summarise_period(connection, first_day=first_day, last_day=last_day), as_json=as_json)
