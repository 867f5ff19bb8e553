"""``likeness request``: removal requests, their progress, and what is left to do."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime, time
from pathlib import Path
from typing import Any

import click

from pipelines.cases.approval import in_words
from pipelines.cases.request_limits import require_room
from pipelines.cases.requests import (
    Contact,
    RemovalRequest,
    accept_request,
    get_request,
    list_requests,
    open_request,
    preview_request,
    reject_request,
    reveal_contacts,
    seen_digest,
    standing_of,
)
from pipelines.cli.console import FIRST_DAY, LAST_DAY, actor, command_options, emit, opened, progress, say, to_plain
from pipelines.cli.persons import (
    ReferenceFiles,
    advice_facts,
    person_options,
    read_files,
    resemblances_in_registry,
    resembling_facts,
    warn_of,
)
from pipelines.cli.private_text import text_option
from pipelines.cli.typed import Digest, where_again
from pipelines.judging.request_progress import STATES
from pipelines.settings.environment import Environment

_REVEAL = "With contact and case reference. Each look is recorded."


def _moment(_context: click.Context, _parameter: click.Parameter, value: str | None) -> datetime | None:
    """Parse a date (its first moment in UTC) or a time (UTC without a zone), or raise a usage error."""
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise click.BadParameter("expected a date such as 2026-11-21, or a time such as 2026-11-21T14:30") from None
    try:
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        raise click.BadParameter(f"expected a date from {FIRST_DAY} to {LAST_DAY}") from None
    if not datetime.combine(FIRST_DAY, time(), UTC) <= moment <= datetime.combine(LAST_DAY, time(), UTC):
        raise click.BadParameter(f"expected a date from {FIRST_DAY} to {LAST_DAY}")
    return moment


@click.group()
def request() -> None:
    """Removal requests: 48 hours from the receipt to the last acknowledgement."""


@request.command("open", cls=ReferenceFiles)
@person_options
@text_option("--contact", "contact", required=True, help="Opaque reference of the contact, as a case number.")
@text_option("--consent", "consent", help="Reference of the consent record [the request itself].")
@text_option("--case-reference", "case_reference", help="Your own number or word for the case; stored sealed.")
@click.option(
    "--received", metavar="DATE", callback=_moment, help="When it reached you; its deadline counts from [now]."
)
@command_options
def open_command(
    environment: Environment,
    as_json: bool,
    name: str,
    aliases: tuple[str, ...],
    exclusions: tuple[str, ...],
    references: tuple[Path, ...],
    keep_all: bool,
    contact: str,
    consent: str | None,
    case_reference: str | None,
    received: datetime | None,
) -> None:
    """Open a removal request. Nothing is matched until it is accepted."""
    with opened(environment) as workspace:
        require_room(workspace, contact=contact)
        read = read_files(workspace, references, keep_all=keep_all)
        resembling = resemblances_in_registry(workspace, read.references)
        opened_request = open_request(
            workspace,
            names=(name, *aliases),
            exclusions=exclusions,
            references=read.references,
            contact=contact,
            consent=consent,
            case_reference=case_reference,
            received_at=received,
            actor=actor(),
        )
        advice = advice_facts(workspace, read)
    warn_of(resembling)
    emit(to_plain(opened_request) | resembling_facts(resembling) | advice, as_json=as_json)


@request.command("list")
@click.option("--state", type=click.Choice(STATES), help="Only requests that are it now.")
@click.option("--overdue", is_flag=True, help="Only unfinished ones whose deadline is over.")
@click.option("--reveal", is_flag=True, help=_REVEAL)
@command_options
def list_requests_command(
    environment: Environment, as_json: bool, state: str | None, overdue: bool, reveal: bool
) -> None:
    """List requests, the most urgent first: state, time left, and what is left to do."""
    with opened(environment) as workspace:
        now = workspace.now()
        with workspace.database.read() as connection:
            found = list_requests(connection, state=state)
        found = [one for one in found if one.is_overdue(now) or not overdue]
        contacts = reveal_contacts(workspace, [one.request_id for one in found], actor=actor()) if reveal else None
    if as_json:
        emit([_facts(one, now, contacts) for one in found], as_json=True)
    else:
        emit([_row(one, now, contacts) for one in found], as_json=False)


@request.command("show")
@click.argument("request_id", metavar="ID")
@click.option("--reveal", is_flag=True, help=_REVEAL)
@command_options
def show_command(environment: Environment, as_json: bool, request_id: str, reveal: bool) -> None:
    """Show one request: when what happened, the time left, and what is left to do."""
    with opened(environment) as workspace:
        with workspace.database.read() as connection:
            found = get_request(connection, request_id)
        contacts = reveal_contacts(workspace, [request_id], actor=actor()) if reveal else None
        now = workspace.now()
    emit(_facts(found, now, contacts), as_json=as_json)


@request.command("preview")
@click.argument("request_id", metavar="ID")
@command_options
def preview_request_command(environment: Environment, as_json: bool, request_id: str) -> None:
    """Say what of today's platform the person would hit, and how many people have to accept the request."""
    with opened(environment) as workspace, progress(as_json) as report:
        impact, approvals = preview_request(workspace, request_id, actor=actor(), progress=report)
    digest = seen_digest(request_id, impact)
    emit(to_plain(impact) | {"approvals": approvals, "digest": digest}, as_json=as_json)
    if approvals != "refused":
        where = where_again(click.get_current_context())
        say(f"to accept just that: likeness request accept {request_id} --expect {digest}{where}", err=True)


@request.command("accept")
@click.argument("request_id", metavar="ID")
@click.option("--expect", type=Digest(), help="The digest of the preview; needed where two people have to accept.")
@command_options
def accept_command(environment: Environment, as_json: bool, request_id: str, expect: str | None) -> None:
    """Accept a request. The sensor starts its rescan; without Dagster run `likeness rescan --pending`.

    One that would hit much of the platform, or cannot be previewed, stays open until the people of two accounts
    have each accepted, with --expect, what a preview showed them.
    """
    with opened(environment) as workspace, progress(as_json) as report:
        accepted = accept_request(workspace, request_id, actor=actor(), seen=expect, progress=report)
    if accepted.awaits_decision and accepted.impact:
        say(f"not in force yet: {in_words(accepted.impact)}; another person has to accept it too", err=True)
    emit(accepted, as_json=as_json)


@request.command("reject")
@click.argument("request_id", metavar="ID")
@text_option("--reason", "reason", required=True, help="Why; sealed in storage.")
@command_options
def reject_command(environment: Environment, as_json: bool, request_id: str, reason: str) -> None:
    """Reject a request and destroy what came with it."""
    with opened(environment) as workspace:
        emit(reject_request(workspace, request_id, reason=reason, actor=actor()), as_json=as_json)


def _facts(one: RemovalRequest, now: datetime, contacts: dict[str, Contact] | None) -> dict[str, Any]:
    """Return all fields of a request, for ``show`` and for scripts."""
    standing = standing_of(one, now=now)
    facts: dict[str, Any] = to_plain(one)
    facts |= {"overdue": standing.overdue, "late": standing.late, "hours_left": standing.hours_left}
    return facts | _revealed(one, contacts)


def _row(one: RemovalRequest, now: datetime, contacts: dict[str, Contact] | None) -> dict[str, Any]:
    """Return a request as a row of the list."""
    standing = standing_of(one, now=now)
    left = {name: count for name, count in asdict(one.open).items() if count} if one.open else {}
    late = "overdue" if standing.overdue else "late" if standing.late else ""
    return {
        "request_id": one.request_id,
        "subject_id": one.subject_id,
        "state": f"{one.state}, {late}" if late else one.state,
        "hours_left": standing.hours_left,
        "due_at": one.due_at.isoformat(timespec="minutes"),
        "received_at": one.received_at.isoformat(timespec="minutes"),
        "open": left,
    } | _revealed(one, contacts)


def _revealed(one: RemovalRequest, contacts: dict[str, Contact] | None) -> dict[str, str | None]:
    if contacts is None:
        return {}
    known = contacts.get(one.request_id)
    return {
        "contact": known.contact if known else None,
        "case_reference": known.case_reference if known else None,
    }
