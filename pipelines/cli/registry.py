"""``likeness request``: who asks for removal."""

from __future__ import annotations

from pathlib import Path

import click

from pipelines.approval import in_words
from pipelines.cli.console import actor, command_options, emit, opened, progress, say, to_plain
from pipelines.cli.persons import (
    ReferenceFiles,
    person_options,
    read_files,
    resemblances_in_registry,
    resembling_facts,
    warn_of,
)
from pipelines.cli.private_text import text_option
from pipelines.cli.typed import Digest, where_again
from pipelines.environment import Environment
from pipelines.request_limits import require_room
from pipelines.requests import accept_request, list_requests, open_request, preview_request, reject_request, seen_digest


@click.group()
def request() -> None:
    """Removal requests: 48 hours from the opening."""


@request.command("open", cls=ReferenceFiles)
@person_options
@text_option("--contact", "contact", required=True, help="Opaque reference of the contact, as a case number.")
@text_option("--consent", "consent", help="Reference of the consent record [the request itself].")
@text_option("--case-reference", "case_reference", help="Your own number or word for the case; stored sealed.")
@command_options
def open_command(
    environment: Environment,
    as_json: bool,
    name: str,
    aliases: tuple[str, ...],
    exclusions: tuple[str, ...],
    references: tuple[Path, ...],
    contact: str,
    consent: str | None,
    case_reference: str | None,
) -> None:
    """Open a removal request. Nothing is matched until it is accepted."""
    with opened(environment) as workspace:
        require_room(workspace, contact=contact)
        read = read_files(workspace, references)
        resembling = resemblances_in_registry(workspace, read)
        opened_request = open_request(
            workspace,
            names=(name, *aliases),
            exclusions=exclusions,
            references=read,
            contact=contact,
            consent=consent,
            case_reference=case_reference,
            actor=actor(),
        )
    warn_of(resembling)
    emit(to_plain(opened_request) | resembling_facts(resembling), as_json=as_json)


@request.command("list")
@command_options
def list_requests_command(environment: Environment, as_json: bool) -> None:
    """List requests, the most urgent first."""
    with opened(environment) as workspace, workspace.database.read() as connection:
        rows = to_plain(list_requests(connection))
    shown = [{name: value for name, value in row.items() if name != "impact"} for row in rows]
    emit(rows if as_json else shown, as_json=as_json)


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
    if accepted.state == "open" and accepted.impact:
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
