"""What commands about people share: the options that say who somebody is, reading references, and asking back."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from embeddings.errors import EnrolmentError
from pipelines.cli.console import say, to_plain
from pipelines.cli.private_text import text_option

if TYPE_CHECKING:
    from pipelines.home.workspace import Workspace
    from pipelines.registry.references import ReadReferences, Reference

REFERENCE_FILE = click.Path(exists=True, dir_okay=False, readable=True, path_type=Path)
KEEP_ALL = "Enrol every reference, also one that looks like none of the others."
_SEVERAL = tuple(f"--{act}{what}" for act in ("", "add-", "remove-") for what in ("reference", "alias", "exclude"))
"""Options that take every value up to the next one."""


class ReferenceFiles(click.Command):
    """A command whose ``--reference`` takes every value up to the next option: ``--reference a.jpg b.jpg``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Repeat the option before each value, which is what click understands."""
        expanded: list[str] = []
        current: str | None = None
        for arg in args:
            name, equals, value = arg.partition("=")
            if arg.startswith("-"):
                current = name if name in _SEVERAL else None
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
        "--reference",
        "references",
        multiple=True,
        required=True,
        type=REFERENCE_FILE,
        help="Photographs, one clear face each.",
    )
    @click.option("--keep-all", is_flag=True, help=KEEP_ALL)
    @functools.wraps(function)
    def wrapped(**options: Any) -> None:
        function(**options)

    return wrapped


def read_files(workspace: Workspace, files: Sequence[Path], *, keep_all: bool = False) -> ReadReferences:
    """Read references from photographs, and say at once what is to be said of each.

    ``keep_all``: as in :func:`pipelines.registry.references.examine_references`. An error names
    the files at fault, for the person who typed them; it is never logged (I8).
    """
    from pipelines.registry.references import examine_references

    limit = workspace.limits.max_bytes + 1
    photographs = []
    for path in files:
        with path.open("rb") as file:
            photographs.append(file.read(limit))
    try:
        read = examine_references(
            photographs,
            workspace.models,
            limits=workspace.limits,
            decoder=workspace.decoder,
            config=workspace.config.registry,
            agreement=workspace.thresholds.review,
            keep_all=keep_all,
        )
    except EnrolmentError as error:
        which = "; ".join(f"reference {position} is {files[position - 1]}" for position in error.positions)
        detail = str(error).removeprefix(f"{error.reason}: ")
        raise EnrolmentError(error.reason, f"{detail} ({which})" if which else detail) from None
    _say_advice(read)
    return read


_REMARKS = {
    "small": "its face is smaller than what is compared: give a larger photograph if there is one",
    "blurred": "it is blurred, or was enlarged",
    "turned": "the face is turned away",
}


def _say_advice(read: ReadReferences) -> None:
    """Say what is wrong with references, by their position alone."""
    for one in read.advice:
        for remark in one.remarks:
            word, _, other = remark.partition(":")
            same = f"it is the same picture as reference {other}, or nearly, and adds nothing"
            say(f"reference {one.position}: {same if other else _REMARKS[word]}", err=True)
    for position in read.set_aside:
        say(
            f"reference {position} was set aside: it looks like none of the others, which agree with one another. It "
            "is not enrolled and not kept; if it shows the person all the same, say --keep-all",
            err=True,
        )


def advice_facts(workspace: Workspace, read: ReadReferences | None) -> dict[str, Any]:
    """Return the same for the output, and how many strangers of the background cohort the references would be taken
    for, which is said where it is any."""
    from pipelines.calibration.background import expected_false_hits

    if read is None:
        return {}
    vectors = [reference.vector for reference in read.references]
    expected = expected_false_hits(workspace, vectors, threshold=workspace.thresholds.review)
    if expected is not None and expected.taken:
        by = ", ".join(f"reference {at} {count}" for at, count in enumerate(expected.by_reference, start=1) if count)
        say(
            f"warning: {expected.taken} of {expected.strangers} strangers of the background cohort would be taken for "
            f"this person ({by}): a rate of {expected.rate:.2g}, at most {expected.rate_at_most:.2g}",
            err=True,
        )
    return {"expected_false_hits": to_plain(expected), "advice": to_plain(read.advice), "set_aside": read.set_aside}


def resemblances_in_registry(
    workspace: Workspace, references: Sequence[Reference], *, but_for: str | None = None
) -> dict[str, float]:
    """Return the best score of each registered subject, except ``but_for``, that looks like these references."""
    from pipelines.database.times import moment
    from pipelines.matching.galleries import load_gallery
    from pipelines.registry.references import resemblances
    from pipelines.registry.subjects import active_versions

    with workspace.database.read() as connection:
        active = active_versions(connection, now=moment(connection))
        gallery = load_gallery(workspace, connection, subject_ids=active)
    found = resemblances(references, gallery, threshold=workspace.thresholds.review)
    return {subject_id: score for subject_id, score in found.items() if subject_id in active and subject_id != but_for}


def warn_of(resembling: Mapping[str, float]) -> None:
    """Warn of people who look like the references."""
    if resembling:
        who = ", ".join(f"{subject_id} (score {score:.2f})" for subject_id, score in resembling.items())
        say(
            f"warning: a reference matches {who}: the same person registered twice, or two people who look alike?",
            err=True,
        )


def resembling_facts(resembling: Mapping[str, float]) -> dict[str, Any]:
    """Return the resembling ids, with the score of each, for the output."""
    scores = {subject_id: round(score, 4) for subject_id, score in resembling.items()}
    return {"resembles": tuple(resembling), "resemblance": scores}


def require_yes(yes: bool, *what_follows: str) -> None:
    """Say what cannot be undone and ask for a confirmation, unless ``yes`` gives it.

    Raises a usage error where nobody can be asked, because standard input is no terminal.
    """
    if yes:
        return
    say(*what_follows, err=True)
    if not sys.stdin.isatty():
        raise click.UsageError("nothing is done: this cannot be undone, and nobody can be asked here. Add --yes")
    click.confirm("Do it?", abort=True, err=True)
