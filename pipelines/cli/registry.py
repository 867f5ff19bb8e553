"""``likeness subject`` and ``likeness request``: who opted out, and who asks for removal."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import click

from pipelines.approval import approvals_needed, enrol_subject, in_words, names_of_candidate, preview_subject
from pipelines.cli.console import actor, command_options, emit, end_of, opened, parse_day, progress, say, to_plain
from pipelines.cli.private_text import text_option
from pipelines.cli.typed import Digest, where_again
from pipelines.database.times import moment
from pipelines.enrolment import Reference, read_references, resembling_subjects
from pipelines.environment import Environment
from pipelines.galleries import load_gallery
from pipelines.registry import (
    Identity,
    active_versions,
    erase,
    list_subjects,
    show_identity,
    withdraw,
)
from pipelines.request_limits import require_room
from pipelines.requests import accept_request, list_requests, open_request, preview_request, reject_request, seen_digest
from pipelines.workspace import Workspace

_FILE = click.Path(exists=True, dir_okay=False, readable=True, path_type=Path)


class ReferenceFiles(click.Command):
    """A command whose ``--reference`` takes every value up to the next option: ``--reference a.jpg b.jpg``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Repeat the option before each value, which is what click understands."""
        expanded: list[str] = []
        current: str | None = None
        for arg in args:
            name, equals, value = arg.partition("=")
            if arg.startswith("-"):
                current = name if name in ("--reference", "--alias", "--exclude") else None
                expanded += [name, value] if current and equals else [arg]
            elif current and expanded[-1] != current:
                expanded += [current, arg]
            else:
                expanded.append(arg)
        return super().parse_args(ctx, expanded)


def person_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add the options that say who a person is: ``name``, ``aliases``, ``exclusions`` and ``references``."""

    @text_option("--name", "name", required=True, help="The person's name; stored sealed, if at all.")
    @text_option("--alias", "aliases", many=True, help="Another name; may be repeated.")
    @text_option("--exclude", "exclusions", many=True, help="A phrase in which the name means something else.")
    @click.option(
        "--reference", "references", multiple=True, required=True, type=_FILE, help="Photographs, one clear face each."
    )
    @functools.wraps(function)
    def wrapped(**options: Any) -> None:
        function(**options)

    return wrapped


@click.group()
def subject() -> None:
    """The registry of people who opted out."""


@subject.command("add", cls=ReferenceFiles)
@person_options
@text_option("--consent", "consent", required=True, help="Reference of the consent record.")
@click.option("--expires", callback=parse_day, help="Last day of the consent [a year from now].")
@command_options
def add_subject(
    environment: Environment,
    as_json: bool,
    name: str,
    aliases: tuple[str, ...],
    exclusions: tuple[str, ...],
    references: tuple[Path, ...],
    consent: str,
    expires: date | None,
) -> None:
    """Add a person; from now on every new item is compared with them. Run `likeness rescan --pending` for the rest."""
    with opened(environment) as workspace:
        read = _read_references(workspace, references)
        resembling = _resembling(workspace, read)
        days = workspace.config.registry.consent_days
        with progress(as_json) as report:
            subject_id, template_ids, impact = enrol_subject(
                workspace,
                identity=Identity((name, *aliases), consent=consent, contact=None, exclusions=exclusions),
                references=read,
                expires_at=end_of(expires) if expires else workspace.now() + timedelta(days=days),
                actor=actor(),
                progress=report,
            )
    _warn(resembling)
    added = {"subject_id": subject_id, "reference_ids": template_ids, "resembles": resembling, "impact": impact}
    emit(added, as_json=as_json)


@subject.command("preview", cls=ReferenceFiles)
@person_options
@command_options
def preview_command(
    environment: Environment,
    as_json: bool,
    name: str,
    aliases: tuple[str, ...],
    exclusions: tuple[str, ...],
    references: tuple[Path, ...],
) -> None:
    """Say what of today's platform a person would hit. Stores nothing but an audit row of the counts."""
    with opened(environment) as workspace, progress(as_json) as report:
        read = _read_references(workspace, references)
        names = names_of_candidate((name, *aliases), exclusions)
        impact = preview_subject(workspace, read, names=names, actor=actor(), progress=report)
        approvals = approvals_needed(impact, workspace.policy.settings.enrolment)
        resembling = _resembling(workspace, read)
    _warn(resembling)
    emit(to_plain(impact) | {"approvals": approvals, "resembles": resembling}, as_json=as_json)


@subject.command("list")
@command_options
def list_command(environment: Environment, as_json: bool) -> None:
    """List subjects, without names."""
    with opened(environment) as workspace, workspace.database.read() as connection:
        emit(list_subjects(connection), as_json=as_json)


@subject.command("show")
@click.argument("subject_id", metavar="ID")
@command_options
def show_subject(environment: Environment, as_json: bool, subject_id: str) -> None:
    """Show one subject with names and consent. The look is recorded."""
    with opened(environment) as workspace:
        identity = show_identity(workspace, subject_id, actor=actor())
        with workspace.database.read() as connection:
            row = next(row for row in list_subjects(connection) if row.subject_id == subject_id)
    emit(to_plain(row) | to_plain(identity), as_json=as_json)


@subject.command("withdraw")
@click.argument("subject_id", metavar="ID")
@command_options
def withdraw_subject(environment: Environment, as_json: bool, subject_id: str) -> None:
    """End an opt-out: matching stops and takedowns are taken back."""
    with opened(environment) as workspace:
        withdraw(workspace, subject_id, actor=actor())
    emit({"subject_id": subject_id, "state": "withdrawn"}, as_json=as_json)


@subject.command("erase")
@click.argument("subject_id", metavar="ID")
@command_options
def erase_subject(environment: Environment, as_json: bool, subject_id: str) -> None:
    """Withdraw a subject and destroy key, templates, names and consent record for good."""
    with opened(environment) as workspace:
        erase(workspace, subject_id, actor=actor())
    emit({"subject_id": subject_id, "state": "erased"}, as_json=as_json)


@click.group()
def request() -> None:
    """Removal requests: 48 hours from the opening."""


@request.command("open", cls=ReferenceFiles)
@person_options
@text_option("--contact", "contact", required=True, help="Opaque reference of the contact, as a case number.")
@text_option("--consent", "consent", help="Reference of the consent record [the request itself].")
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
) -> None:
    """Open a removal request. Nothing is matched until it is accepted."""
    with opened(environment) as workspace:
        require_room(workspace, contact=contact)
        read = _read_references(workspace, references)
        resembling = _resembling(workspace, read)
        opened_request = open_request(
            workspace,
            names=(name, *aliases),
            exclusions=exclusions,
            references=read,
            contact=contact,
            consent=consent,
            actor=actor(),
        )
    _warn(resembling)
    emit(to_plain(opened_request) | {"resembles": resembling}, as_json=as_json)


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


def _read_references(workspace: Workspace, files: Sequence[Path]) -> list[Reference]:
    limit = workspace.limits.max_bytes + 1
    photographs = []
    for path in files:
        with path.open("rb") as file:
            photographs.append(file.read(limit))
    return read_references(
        photographs,
        workspace.models,
        limits=workspace.limits,
        config=workspace.config.registry,
        agreement=workspace.thresholds.review,
    )


def _resembling(workspace: Workspace, references: Sequence[Reference]) -> tuple[str, ...]:
    with workspace.database.read() as connection:
        active = active_versions(connection, now=moment(connection))
        gallery = load_gallery(workspace, connection, subject_ids=active)
    found = resembling_subjects(references, gallery, threshold=workspace.thresholds.review)
    return tuple(subject_id for subject_id in found if subject_id in active)


def _warn(resembling: Sequence[str]) -> None:
    if resembling:
        say(
            f"warning: a reference matches {', '.join(resembling)}: the same person registered twice, or two people "
            "who look alike?",
            err=True,
        )
