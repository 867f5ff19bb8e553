"""``likeness day``: how each day stands, and letting a blocked one go on."""

from __future__ import annotations

from datetime import date

import click

from pipelines.cli.console import COUNT, actor, command_options, emit, opened, parse_day, say, to_plain
from pipelines.cli.private_text import text_option
from pipelines.cli.typed import Digest
from pipelines.settings.environment import Environment


@click.group()
def day() -> None:
    """The days as the nights left them: complete, blocked by a check, or approved all the same."""


@day.command("list")
@click.option(
    "--state", type=click.Choice(["blocked", "approved", "open", "complete"]), help="Only days in this state."
)
@click.option("--limit", type=COUNT, default=60, show_default=True, help="At most so many, the newest first.")
@command_options
def list_command(environment: Environment, as_json: bool, state: str | None, limit: int) -> None:
    """List days, the newest first: state, coverage, what blocks them, who approved. --json has words and figures."""
    from pipelines.runs.days import list_days

    with opened(environment) as workspace, workspace.database.read() as connection:
        found = list_days(connection, workspace, state=state, limit=limit)
    if as_json:
        emit(found, as_json=True)
        return
    shown = ("day", "state", "items", "pending", "coverage", "blocked_by", "approved_by", "digest")
    rows = [{name: row[name] for name in shown} | {"blocked_by": list(row["blocked_by"])} for row in to_plain(found)]
    emit([row if row["state"] == "blocked" else row | {"digest": None} for row in rows], as_json=False)


@day.command()
@click.argument("chosen", metavar="DAY", callback=parse_day)
@text_option("--reason", "reason", help="Why it may go on; it is sealed.")
@click.option("--expect", type=Digest(), help="The digest that `day list` showed: approve nothing but that.")
@click.option("--undo", is_flag=True, help="Withdraw the approval that stands.")
@command_options
def approve(
    environment: Environment, as_json: bool, chosen: date, reason: str | None, expect: str | None, undo: bool
) -> None:
    """Let DAY go on although its figures blocked it, as they are now and no worse. It sends nothing by itself."""
    from pipelines.runs.days import approve_day, undo_approval

    if undo and (reason is not None or expect is not None):
        raise click.UsageError("--undo goes alone")
    if not undo and reason is None:
        raise click.UsageError("Missing option '--reason' or '--reason-file'.")
    with opened(environment) as workspace:
        if undo:
            found = undo_approval(workspace, chosen, actor=actor())
        else:
            found = approve_day(workspace, chosen, reason=reason or "", actor=actor(), expect=expect)
    emit(found, as_json=as_json)
    said = "the approval is withdrawn" if undo else "approved: the next night completes it; what is held stays held"
    say(said, err=True)


@day.command("reason")
@click.argument("chosen", metavar="DAY", callback=parse_day)
@command_options
def reason_command(environment: Environment, as_json: bool, chosen: date) -> None:
    """Show the reason of the approval that stands for DAY. The look is recorded."""
    from pipelines.runs.days import open_reason

    with opened(environment) as workspace:
        found = open_reason(workspace, chosen, actor=actor())
    emit({"day": chosen, "reason": found}, as_json=as_json)
