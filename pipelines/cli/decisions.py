"""``likeness decide``, ``decisions``, ``look`` and ``hits show``: what people say about hits, and what they look at."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, get_args

import click

from pipelines.cli.console import COUNT, actor, command_options, emit, opened, parse_day, say, to_plain
from pipelines.cli.private_text import text_option
from pipelines.cli.typed import Digest, typed_again
from pipelines.decisions.bulk import HitQuery
from pipelines.decisions.decide import REASONS, Answer, Word
from pipelines.hits.listing import TIERS
from pipelines.home.private_files import publish, require_writable
from pipelines.home.workspace import Workspace
from pipelines.policy import RULES
from pipelines.settings.environment import Environment

_WORDS = get_args(Word)
_LISTED = (
    *("decision_id", "batch_id", "decision", "reason", "hit_id", "item_id", "subject_id"),
    *("actor", "decided_at", "reversed_at", "reversed_by"),
)


@click.command()
@click.argument("hit_ids", nargs=-1, metavar="[HIT]...")
@click.argument("decision", type=click.Choice(_WORDS), required=False, metavar="confirm|reject|unsure")
@click.option(
    "--reason", help="Why, in one of the fixed words: " + ", ".join(w for r in REASONS.values() for w in r) + "."
)
@text_option("--note", "note", help="Free text for colleagues; sealed in storage.", lines=True)
@click.option("--subject", "subject_id", help="Instead of naming hits, choose those of this subject.")
@click.option("--item", "item_id", help="... of this item.")
@click.option("--parent-model", help="... of this model's pictures.")
@click.option("--uploader", help="... of this uploader's items.")
@click.option("--day", callback=parse_day, help="... of items received on this UTC day.")
@click.option("--tier", type=click.Choice(TIERS), help="... of this tier.")
@click.option("--band", type=click.Choice(["strong", "review"]), help="... in this band.")
@click.option("--verdict", type=click.Choice(["takedown", "review", "clear"]), help="... with this verdict.")
@click.option("--rule", type=click.Choice(RULES), help="... whose verdict is by this rule.")
@click.option(
    "--max",
    "most",
    type=COUNT,
    default=1000,
    show_default=True,
    help="At most so many, the strongest first.",
)
@click.option("--yes", is_flag=True, help="Decide what is chosen; without it, only show what that would do.")
@click.option("--expect", type=Digest(), help="With --yes: the digest that the preview printed.")
@click.option("--undo", "undone", metavar="BATCH|DECISION", help="Take a decision or a whole batch back.")
@command_options
def decide(
    environment: Environment,
    as_json: bool,
    hit_ids: tuple[str, ...],
    decision: Word | None,
    reason: str | None,
    note: str | None,
    yes: bool,
    expect: str | None,
    undone: str | None,
    **chosen: Any,
) -> None:
    """Say of hits that they are right (confirm), wrong (reject) or unclear (unsure), and let the verdicts follow.

    HIT confirm --reason same_person decides that hit. With --subject, --tier and the like in place of hits it shows
    what deciding all of them would do; --yes --expect DIGEST then does just that, or nothing if anything of it has
    changed. A takedown that follows is not sent before the policy's `decisions.undo_minutes` are over, and --undo takes
    everything back.
    """
    from pipelines.decisions.bulk import decide_chosen
    from pipelines.decisions.bulk import preview as preview_chosen
    from pipelines.decisions.decide import decide_as, undo

    query = HitQuery(**chosen)
    _require_one_way(hit_ids, decision, query, undone, yes=yes, expect=expect)
    with opened(environment) as workspace:
        if undone is not None:
            emit(undo(workspace, undone, actor=actor()), as_json=as_json)
            return
        answer = _answer(decision, reason, note)
        if hit_ids:
            emit(decide_as(workspace, hit_ids, answer), as_json=as_json)
        elif yes and expect is not None:
            emit(decide_chosen(workspace, query, answer, expect=expect), as_json=as_json)
        else:
            shown = preview_chosen(workspace, query, answer)
            emit(shown, as_json=as_json)
            command = typed_again(click.get_current_context(), yes=True, expect=shown.digest)
            say(f"nothing is decided yet: {command}" if shown.hits else "no hit is chosen", err=True)


def _require_one_way(
    hit_ids: tuple[str, ...],
    decision: str | None,
    query: HitQuery,
    undone: str | None,
    *,
    yes: bool,
    expect: str | None,
) -> None:
    """Raise a usage error unless hits are chosen by id or by query, or a decision is to be undone."""
    if undone is not None:
        if hit_ids or decision or not query.is_open():
            raise click.UsageError("--undo goes alone")
        return
    if decision is None:
        raise click.UsageError("say confirm, reject or unsure, after the hits or the options that choose them")
    if hit_ids and not query.is_open():
        raise click.UsageError("name hits, or choose them by options: not both")
    if not hit_ids and query.is_open():
        raise click.UsageError("name hits, or choose them with --subject, --item, --tier and the like")
    if not hit_ids and yes and expect is None:
        raise click.UsageError("--yes needs --expect with the digest of a preview: run it without --yes first")


def _answer(decision: Word | None, reason: str | None, note: str | None) -> Answer:
    known = REASONS[decision] if decision else ()
    if decision is None or reason not in known:
        raise click.UsageError(f"--reason must be one of {', '.join(known)}")
    return Answer(decision, reason, actor(), note)


@click.group()
def decisions() -> None:
    """What people said about hits."""


@decisions.command("list")
@click.option("--subject", "subject_id", help="Only about this subject.")
@click.option("--item", "item_id", help="Only made on this item.")
@click.option("--standing", is_flag=True, help="Only those that stand.")
@click.option("--second-opinion", is_flag=True, help="Only those that ask for one: unsure, standing, the hit in force.")
@click.option("--decision", type=click.Choice(_WORDS), help="Only those that say this.")
@click.option("--limit", type=COUNT, help="At most so many.")
@command_options
def list_command(environment: Environment, as_json: bool, **chosen: Any) -> None:
    """List decisions, the newest first: who said what of which hit, and what was undone. --json gives every field."""
    from pipelines.decisions.log import list_decisions

    with opened(environment) as workspace, workspace.database.read() as connection:
        found = list_decisions(connection, **chosen)
    shown = [{name: row[name] for name in _LISTED} for row in to_plain(found)]
    emit(found if as_json else shown, as_json=as_json)


@decisions.command("note")
@click.argument("decision_id", metavar="DECISION")
@command_options
def note_command(environment: Environment, as_json: bool, decision_id: str) -> None:
    """Show the note of a decision. The look is recorded."""
    from pipelines.decisions.log import open_note

    with opened(environment) as workspace:
        note = open_note(workspace, decision_id, actor=actor())
    emit({"decision_id": decision_id, "note": note}, as_json=as_json)


@click.command()
@click.argument("hit_id", metavar="HIT")
@click.option(
    "--to", "target", required=True, type=click.Path(path_type=Path, dir_okay=False), help="New PNG to write."
)
@click.option("--overwrite", is_flag=True, help="Replace the file if there is one.")
@click.option("--reference", is_flag=True, help="With the reference that matched on its right.")
@click.option("--pool", is_flag=True, help="Each picture that a pooled face is of: NAME-1.png, NAME-2.png and so on.")
@command_options
def look(
    environment: Environment,
    as_json: bool,
    hit_id: str,
    target: Path,
    overwrite: bool,
    reference: bool,
    pool: bool,
) -> None:
    """Write the face of a hit, or the whole picture, to a PNG that only its owner can read. The look is recorded.

    Where the source cannot give it any more, it is what was kept when the hit was found, and the command says so. With
    --pool the pictures that weigh most come first, each with what it scores by itself.
    """
    from pipelines.decisions.looks import look_at

    if pool:
        with opened(environment) as workspace:
            rows = _look_at_pool(workspace, hit_id, target, overwrite=overwrite, reference=reference)
        emit(rows, as_json=as_json)
        return
    require_writable(target, overwrite=overwrite)
    with opened(environment) as workspace:
        shown = look_at(workspace, hit_id, actor=actor(), reference=reference)
    publish(target, lambda file: file.write(shown.png), overwrite=overwrite)
    facts = {"hit_id": hit_id, "file": target, "bytes": len(shown.png)}
    if shown.kept_at is not None:
        facts |= {"kept_at": shown.kept_at, "source": shown.problem}
        say(f"this is what was kept when the hit was found; the source does not give it: {shown.problem}", err=True)
    if shown.second_opinion is not None:
        facts |= {"second_opinion": to_plain(shown.second_opinion)}
    emit(facts, as_json=as_json)


def _look_at_pool(
    workspace: Workspace, hit_id: str, target: Path, *, overwrite: bool, reference: bool
) -> list[dict[str, Any]]:
    """Write the pictures of a pool beside ``target``, and return what is said of each."""
    from pipelines.decisions.looks import look_at_pool

    require_writable(_numbered(target, 1), overwrite=overwrite)
    rows = []
    looked = look_at_pool(workspace, hit_id, actor=actor(), reference=reference)
    for number, one in enumerate(looked, start=1):
        file = None if one.look is None else _numbered(target, number)
        if file is not None and one.look is not None:
            publish(file, partial(_write, one.look.png), overwrite=overwrite)
        kept_at = one.look.kept_at if one.look else None
        problem = one.look.problem if one.look else one.problem
        rows.append(to_plain(one.picture) | {"file": file, "kept_at": kept_at, "problem": problem})
    return rows


def _write(data: bytes, file: BinaryIO) -> int:
    return file.write(data)


def _numbered(target: Path, number: int) -> Path:
    return target.with_name(f"{target.stem}-{number}{target.suffix}")


@click.command("show")
@click.argument("hit_id", metavar="HIT")
@click.option(
    "--reveal", "revealing", is_flag=True, help="With the sentence in which a name stands. The look is recorded."
)
@command_options
def show_hit(environment: Environment, as_json: bool, hit_id: str, revealing: bool) -> None:
    """Show everything that explains one hit, in force or not.

    `margin`: of a face what its score would be without the reference that carried it, and who of the registry comes
    second, by the references in force now.
    """
    from pipelines.decisions.looks import explain_hit, reveal
    from pipelines.matching.margins import measure_margin

    with opened(environment) as workspace:
        with workspace.database.read() as connection:
            explained = explain_hit(connection, hit_id)
        margin = measure_margin(workspace, hit_id)
        revealed = reveal(workspace, hit_id, actor=actor()) if revealing else None
    facts = to_plain(explained) | {"margin": to_plain(margin)}
    if revealed is not None:
        sentence = revealed.passage.marked if revealed.passage else None
        facts |= {"term": revealed.term, "sentence": sentence, "prompts_differ": revealed.prompts_differ}
        if sentence is None:
            say("the text has changed since, and the sentence was not kept", err=True)
    if not as_json:
        facts = facts.pop("facts") | facts
    emit(facts, as_json=as_json)
