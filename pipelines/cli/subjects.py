"""``likeness subject``: who opted out, until when, and what ends or changes it."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from pipelines.cases.aliases import weigh_names
from pipelines.cases.approval import approvals_needed, enrol_subject, names_of_candidate, preview_subject
from pipelines.cases.ending import erase, withdraw
from pipelines.cases.leaving import foresee_end
from pipelines.cases.subject_update import Change, Updated, UpdatePreview, preview_update, update_subject
from pipelines.cli.console import actor, command_options, emit, end_of, opened, parse_day, progress, say, to_plain
from pipelines.cli.persons import (
    KEEP_ALL,
    REFERENCE_FILE,
    ReferenceFiles,
    advice_facts,
    person_options,
    read_files,
    require_yes,
    resemblances_in_registry,
    resembling_facts,
    warn_of,
)
from pipelines.cli.private_text import text_option
from pipelines.cli.typed import Digest, typed_again
from pipelines.database.times import moment
from pipelines.registry.endings import accept_endings, ending_within, read_endings
from pipelines.registry.finding import find_subjects, reveal_cases
from pipelines.registry.renewal import renew
from pipelines.registry.subjects import Identity, list_subjects, show_identity
from pipelines.registry.templates import list_references
from pipelines.settings.environment import Environment

DAYS = click.IntRange(1, 36_525)
STATES = ("pending", "active", "expired", "withdrawn", "erased", "rejected")


@click.group()
def subject() -> None:
    """The registry of people who opted out."""


@subject.command("add", cls=ReferenceFiles)
@person_options
@text_option("--consent", "consent", required=True, help="Reference of the consent record.")
@text_option("--case-reference", "case_reference", help="Your own number or word for the case; stored sealed.")
@click.option("--expires", callback=parse_day, help="Last day of the consent [a year from now].")
@command_options
def add_subject(
    environment: Environment,
    as_json: bool,
    name: str,
    aliases: tuple[str, ...],
    exclusions: tuple[str, ...],
    references: tuple[Path, ...],
    keep_all: bool,
    consent: str,
    case_reference: str | None,
    expires: date | None,
) -> None:
    """Add a person; from now on every new item is compared with them. Run `likeness rescan --pending` for the rest."""
    identity = Identity((name, *aliases), consent, None, exclusions=exclusions, case_reference=case_reference)
    with opened(environment) as workspace:
        read = read_files(workspace, references, keep_all=keep_all)
        resembling = resemblances_in_registry(workspace, read.references)
        days = workspace.config.registry.consent_days
        with progress(as_json) as report:
            subject_id, template_ids, impact = enrol_subject(
                workspace,
                identity=identity,
                references=read.references,
                expires_at=end_of(expires) if expires else workspace.now() + timedelta(days=days),
                actor=actor(),
                progress=report,
            )
        advice = advice_facts(workspace, read)
    warn_of(resembling)
    added = {"subject_id": subject_id, "reference_ids": template_ids, "impact": impact}
    emit(added | resembling_facts(resembling) | advice, as_json=as_json)


@subject.command("preview", cls=ReferenceFiles)
@person_options
@click.option("--latin", is_flag=True, help="Propose names of other scripts in Latin letters; none is used by itself.")
@command_options
def preview_command(
    environment: Environment,
    as_json: bool,
    name: str,
    aliases: tuple[str, ...],
    exclusions: tuple[str, ...],
    references: tuple[Path, ...],
    keep_all: bool,
    latin: bool,
) -> None:
    """Say what of today's platform a person would hit, and each name by itself. Stores nothing but the counts."""
    with opened(environment) as workspace, progress(as_json) as report:
        read = read_files(workspace, references, keep_all=keep_all)
        names = names_of_candidate((name, *aliases), exclusions)
        impact = preview_subject(workspace, read.references, names=names, actor=actor(), progress=report)
        weighed = weigh_names(workspace, names, actor=actor(), latin=latin, progress=report)
        approvals = approvals_needed(impact, workspace.policy.settings.enrolment)
        resembling = resemblances_in_registry(workspace, read.references)
        advice = advice_facts(workspace, read)
    warn_of(resembling)
    facts = to_plain(impact) | {"approvals": approvals} | resembling_facts(resembling) | advice
    facts |= {"names": to_plain(weighed)}
    emit(facts, as_json=as_json)


@subject.command("list")
@text_option("--name", "name", help="Only who has this name, found as texts are searched for it. Recorded.")
@text_option("--case-reference", "case_reference", help="Only the case of this reference. Recorded.")
@click.option("--state", type=click.Choice(STATES), help="Only those in this state; expired: the consent is over.")
@click.option("--ending", type=DAYS, metavar="DAYS", help="Only opt-outs in force that end within so many days.")
@click.option("--reveal", is_flag=True, help="Show case references. The look is recorded.")
@command_options
def list_command(
    environment: Environment,
    as_json: bool,
    name: str | None,
    case_reference: str | None,
    state: str | None,
    ending: int | None,
    reveal: bool,
) -> None:
    """List subjects with state, end and number of templates, without names."""
    with opened(environment) as workspace:
        found = None
        if name is not None or case_reference is not None:
            found = set(find_subjects(workspace, actor=actor(), name=name, case_reference=case_reference))
        with workspace.database.read() as connection:
            near = ending_within(connection, now=moment(connection), days=ending or 0)
            soon = {one.subject_id for one in near}
            rows = [
                to_plain(row)
                for row in list_subjects(connection)
                if (found is None or row.subject_id in found)
                and state in (None, row.state)
                and (ending is None or row.subject_id in soon)
            ]
        if reveal:
            cases = reveal_cases(workspace, [row["subject_id"] for row in rows], actor=actor())
            rows = [row | {"case_reference": cases.get(row["subject_id"])} for row in rows]
    emit(rows, as_json=as_json)


@subject.command("show")
@click.argument("subject_id", metavar="ID")
@command_options
def show_subject(environment: Environment, as_json: bool, subject_id: str) -> None:
    """Show one subject with names, consent, case and the ids of its references. The look is recorded."""
    with opened(environment) as workspace:
        identity = show_identity(workspace, subject_id, actor=actor())
        with workspace.database.read() as connection:
            row = next(row for row in list_subjects(connection) if row.subject_id == subject_id)
            references = list_references(connection, subject_id)
    emit(to_plain(row) | to_plain(identity) | {"references": to_plain(references)}, as_json=as_json)


@subject.command("renew")
@click.argument("subject_id", metavar="ID")
@click.option("--days", type=DAYS, help="How many days from now the consent lasts [registry.consent_days].")
@click.option("--until", callback=parse_day, help="Last day of the consent.")
@text_option("--consent", "consent", help="Reference of the new consent record.")
@command_options
def renew_subject(
    environment: Environment,
    as_json: bool,
    subject_id: str,
    days: int | None,
    until: date | None,
    consent: str | None,
) -> None:
    """Let an opt-out go on, also one that is over. Then run `likeness rescan --pending`, unless Dagster does."""
    if days is not None and until is not None:
        raise click.UsageError("give either --days or --until")
    with opened(environment) as workspace:
        expires_at = _until(until, workspace.now(), days or workspace.config.registry.consent_days)
        had_ended = renew(workspace, subject_id, expires_at=expires_at, actor=actor(), consent=consent)
    emit({"subject_id": subject_id, "expires_at": expires_at, "rescan": had_ended}, as_json=as_json)


def _until(day: date | None, now: datetime, days: int) -> datetime:
    return end_of(day) if day else now + timedelta(days=days)


@subject.command("update", cls=ReferenceFiles)
@click.argument("subject_id", metavar="ID")
@click.option("--add-reference", "added", multiple=True, type=REFERENCE_FILE, help="Photographs, one clear face each.")
@click.option("--keep-all", is_flag=True, help=KEEP_ALL)
@click.option("--remove-reference", "removed", multiple=True, metavar="REFERENCE", help="Id of a reference; see show.")
@text_option("--add-alias", "add_aliases", many=True, help="Another name; may be repeated.")
@text_option("--remove-alias", "remove_aliases", many=True, help="A name that is looked for no more.")
@text_option("--add-exclude", "add_exclusions", many=True, help="A phrase in which the name means something else.")
@text_option("--remove-exclude", "remove_exclusions", many=True, help="A phrase that is an exclusion no more.")
@text_option("--case-reference", "case_reference", help="Your own number or word for the case.")
@text_option("--contact", "contact", help="Opaque reference of the contact.")
@text_option("--consent", "consent", help="Reference of the consent record.")
@click.option("--preview", is_flag=True, help="Only say what the person would hit after it, and what would go.")
@click.option("--expect", type=Digest(), help="The digest of the preview; needed where two people have to agree.")
@command_options
def update_command(
    environment: Environment,
    as_json: bool,
    subject_id: str,
    added: tuple[Path, ...],
    keep_all: bool,
    removed: tuple[str, ...],
    preview: bool,
    expect: str | None,
    **texts: Any,
) -> None:
    """Change references, aliases, exclusions or the case of an opt-out, within the limits of an enrolment.

    What finds more is previewed first and may need two people, each giving the same change with --expect. What finds
    less has its evidence dropped at once. A rescan is due after either, which Dagster starts.
    """
    with opened(environment) as workspace, progress(as_json) as report:
        read = read_files(workspace, added, keep_all=keep_all) if added else None
        new = read.references if read else ()
        resembling = resemblances_in_registry(workspace, new, but_for=subject_id) if new else {}
        change = Change(add_references=new, remove_references=removed, keep_all=keep_all, **texts)
        done: Updated | UpdatePreview
        if preview:
            done = preview_update(workspace, subject_id, change, actor=actor(), progress=report)
        else:
            done = update_subject(workspace, subject_id, change, actor=actor(), seen=expect, progress=report)
        advice = advice_facts(workspace, read)
    warn_of(resembling)
    emit(to_plain(done) | resembling_facts(resembling) | advice, as_json=as_json)
    if isinstance(done, Updated) and not done.in_force:
        say("not in force yet: another person has to give the same change too", err=True)


@subject.command("endings")
@click.option("--yes", is_flag=True, help="Say that these ends are meant, so that runs go on.")
@click.option("--expect", type=Digest(), help="With --yes: the digest of what was shown.")
@command_options
def endings_command(environment: Environment, as_json: bool, yes: bool, expect: str | None) -> None:
    """Show who has ended since the last run or ends within a day; with --yes --expect say that it is meant."""
    if yes and not expect:
        raise click.UsageError("--yes needs --expect: run it without, which prints the whole command")
    with opened(environment) as workspace:
        if yes and expect:
            found = accept_endings(workspace, expect=expect, actor=actor())
        else:
            with workspace.database.read() as connection:
                found = read_endings(connection, now=workspace.now())
    if as_json or not found.ending:
        emit(to_plain(found) | {"accepted": yes}, as_json=as_json)
    else:
        emit([to_plain(one) for one in found.ending], as_json=False)
    if found.ending and not yes:
        again = typed_again(click.get_current_context(), yes=True, expect=found.digest)
        say(f"{len(found.ending)} of {found.registered} opt-outs. To say that all of this is meant: {again}", err=True)


@subject.command("withdraw")
@click.argument("subject_id", metavar="ID")
@click.option("--yes", is_flag=True, help="Do not ask.")
@command_options
def withdraw_subject(environment: Environment, as_json: bool, subject_id: str, yes: bool) -> None:
    """End an opt-out: matching stops and takedowns are taken back. Says what that means and asks."""
    _end(environment, as_json, subject_id, yes=yes, erasing=False)


@subject.command("erase")
@click.argument("subject_id", metavar="ID")
@click.option("--yes", is_flag=True, help="Do not ask.")
@command_options
def erase_subject(environment: Environment, as_json: bool, subject_id: str, yes: bool) -> None:
    """Withdraw a subject and destroy key, templates, names and consent record for good. Says what and asks."""
    _end(environment, as_json, subject_id, yes=yes, erasing=True)


def _end(environment: Environment, as_json: bool, subject_id: str, *, yes: bool, erasing: bool) -> None:
    with opened(environment) as workspace:
        with workspace.database.read() as connection:
            leaving = foresee_end(connection, subject_id)
        require_yes(yes, leaving.in_words(erasing=erasing))
        (erase if erasing else withdraw)(workspace, subject_id, actor=actor())
    done: dict[str, Any] = {"subject_id": subject_id, "state": "erased" if erasing else "withdrawn"}
    names = ("hits", "messages_unsent", "messages_sent", "requests", *(("templates", "seeds") if erasing else ()))
    emit(done | {name: getattr(leaving, name) for name in names}, as_json=as_json)
