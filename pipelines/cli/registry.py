"""``likeness subject``: who opted out; and what every command about a person takes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import click

from pipelines.approval import approvals_needed, enrol_subject, names_of_candidate, preview_subject
from pipelines.cli.console import actor, command_options, emit, end_of, opened, parse_day, progress, say, to_plain
from pipelines.cli.private_text import text_option
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
        read = read_reference_files(workspace, references)
        alike = resembling(workspace, read)
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
    warn_of_resemblance(alike)
    added = {"subject_id": subject_id, "reference_ids": template_ids, "resembles": alike, "impact": impact}
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
        read = read_reference_files(workspace, references)
        names = names_of_candidate((name, *aliases), exclusions)
        impact = preview_subject(workspace, read, names=names, actor=actor(), progress=report)
        approvals = approvals_needed(impact, workspace.policy.settings.enrolment)
        alike = resembling(workspace, read)
    warn_of_resemblance(alike)
    emit(to_plain(impact) | {"approvals": approvals, "resembles": alike}, as_json=as_json)


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


def read_reference_files(workspace: Workspace, files: Sequence[Path]) -> list[Reference]:
    """The references in these photographs."""
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


def resembling(workspace: Workspace, references: Sequence[Reference]) -> tuple[str, ...]:
    """The active subjects that these references match."""
    with workspace.database.read() as connection:
        active = active_versions(connection, now=workspace.now())
        gallery = load_gallery(workspace, connection, subject_ids=active)
    found = resembling_subjects(references, gallery, threshold=workspace.thresholds.review)
    return tuple(subject_id for subject_id in found if subject_id in active)


def warn_of_resemblance(alike: Sequence[str]) -> None:
    """Say that somebody is registered already, or looks like somebody who is."""
    if alike:
        say(
            f"warning: a reference matches {', '.join(alike)}: the same person registered twice, or two people "
            "who look alike?",
            err=True,
        )
