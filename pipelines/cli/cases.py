"""``likeness cases``: what waits for a person, what colleagues wrote on it, and whom it is passed on to."""

from __future__ import annotations

from typing import Any

import click

from pipelines.cli.console import COUNT, actor, command_options, emit, opened, to_plain
from pipelines.cli.private_text import text_option
from pipelines.settings.environment import Environment


@click.group()
def cases() -> None:
    """What waits for a person, and what colleagues say of it."""


@cases.command("list")
@click.option("--passed-on", "only_passed_on", is_flag=True, help="Only what waits for a lead or for one person.")
@click.option("--limit", type=COUNT, help="At most so many.")
@command_options
def list_command(environment: Environment, as_json: bool, only_passed_on: bool, limit: int | None) -> None:
    """List cases that wait, the most pressing first: opaque ids, deadlines, and whom each was passed on to."""
    from pipelines.reviewing.queue import waiting_cases
    from pipelines.reviewing.shown import cases_shown

    with opened(environment) as workspace, workspace.database.read() as connection:
        found = cases_shown(connection, waiting_cases(connection, workspace), actor=actor())
    rows: list[dict[str, Any]] = []
    for case in found:
        passed = case.passed_on
        if passed is None and only_passed_on:
            continue
        facts = {name: getattr(case, name) for name in ("hits", "items", "tiers", "harm", "found_at", "due_at")}
        named = {"case_id": case.key.case_id, **case.key._asdict()}
        by, to = (passed.escalated_by, passed.assigned_to) if passed else (None, None)
        rows.append(to_plain(named | facts | {"escalated_by": by, "assigned_to": to}))
    emit(rows[:limit], as_json=as_json)


@cases.command("notes")
@click.argument("case_id", metavar="CASE")
@command_options
def notes_command(environment: Environment, as_json: bool, case_id: str) -> None:
    """Show what colleagues wrote on a case of the list. The look is recorded."""
    from pipelines.reviewing.notes import open_notes
    from pipelines.reviewing.shown import find_case

    with opened(environment) as workspace:
        found = open_notes(workspace, find_case(workspace, case_id, actor=actor()).case_id, actor=actor())
    emit([_shown(one) for one in found], as_json=as_json)


@cases.command("note")
@click.argument("case_id", metavar="CASE")
@text_option("--note", "note", required=True, help="What colleagues should know; sealed in storage.", lines=True)
@command_options
def note_command(environment: Environment, as_json: bool, case_id: str, note: str) -> None:
    """Write on a case for colleagues."""
    from pipelines.reviewing.passing_on import comment
    from pipelines.reviewing.shown import find_case

    with opened(environment) as workspace:
        written = comment(workspace, find_case(workspace, case_id, actor=actor()), note, actor=actor())
    emit(_shown(written), as_json=as_json)


@cases.command("escalate")
@click.argument("case_id", metavar="CASE")
@text_option("--note", "note", required=True, help="What the lead should look at; sealed in storage.", lines=True)
@command_options
def escalate_command(environment: Environment, as_json: bool, case_id: str, note: str) -> None:
    """Ask a lead to decide a case: no reviewer gets it until it is decided or handed back."""
    from pipelines.reviewing.passing_on import escalate
    from pipelines.reviewing.shown import find_case

    with opened(environment) as workspace:
        written = escalate(workspace, find_case(workspace, case_id, actor=actor()), note, actor=actor())
    emit(_shown(written), as_json=as_json)


@cases.command("assign")
@click.argument("case_id", metavar="CASE")
@click.option("--to", "account_name", required=True, metavar="NAME", help="Whose case it is: an account of the pages.")
@text_option("--note", "note", help="What they should know; sealed in storage.", lines=True)
@command_options
def assign_command(environment: Environment, as_json: bool, case_id: str, account_name: str, note: str | None) -> None:
    """Give a case to one person."""
    from pipelines.reviewing.passing_on import assign
    from pipelines.reviewing.shown import find_case

    with opened(environment) as workspace:
        key = find_case(workspace, case_id, actor=actor())
        written = assign(workspace, key, account_name, note, actor=actor())
    emit(_shown(written), as_json=as_json)


@cases.command("hand-back")
@click.argument("case_id", metavar="CASE")
@command_options
def hand_back_command(environment: Environment, as_json: bool, case_id: str) -> None:
    """Let everybody have a case again that was passed on."""
    from pipelines.reviewing.passing_on import hand_back
    from pipelines.reviewing.shown import find_case

    with opened(environment) as workspace:
        ended = hand_back(workspace, find_case(workspace, case_id, actor=actor()), actor=actor())
    emit({"case_id": case_id, "ended": ended}, as_json=as_json)


def _shown(note: Any) -> dict[str, Any]:
    """A note as it is printed, with the opaque id of its case."""
    facts: dict[str, Any] = to_plain(note)
    facts.pop("key")
    return {"case_id": note.key.case_id, **facts}
