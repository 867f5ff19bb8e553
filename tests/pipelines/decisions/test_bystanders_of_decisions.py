"""A decision changes what it speaks for: what it says nothing of, and what is over already, stays as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sqlalchemy as sa

from pipelines.database.tables import outbox
from pipelines.decisions.decide import REASONS, decide, undo
from pipelines.hits.listing import list_hits
from pipelines.home.workspace import Workspace
from pipelines.registry.subjects import expire_subjects
from pipelines.runs.sweep import sweep
from tests.fakes import person, picture
from tests.platform_actions import enrol, show, source_of, upload
from tests.platform_facts import verdict_of


def say(workspace: Workspace, decision: Any, *pairs: tuple[str, str]) -> str:
    """Decide the hits of these (item, subject) pairs; returns the batch."""
    with workspace.database.read() as connection:
        found = [hit.hit_id for hit in list_hits(connection) if (hit.item_id, hit.subject_id) in pairs]
    batch_id = decide(workspace, found, decision=decision, reason=REASONS[decision][0], actor="ann").batch_id
    assert batch_id is not None
    return batch_id


def deliver_all(workspace: Workspace) -> None:
    with workspace.database.write() as tx:
        tx.execute(sa.update(outbox).values(state="done", attempts=1))


def takedowns(workspace: Workspace) -> dict[tuple[str, str], str]:
    """(item, subject) -> state of the takedown, ``taken back`` where a withdrawal says so."""
    with workspace.database.read() as connection:
        rows = connection.execute(sa.select(outbox).where(outbox.c.action != "generator.block")).all()
    over = {row.withdraws_key for row in rows}
    return {
        (row.item_id, row.subject_id): "taken back" if row.key in over else row.state
        for row in rows
        if row.action == "takedown"
    }


def test_deciding_about_two_people_says_nothing_of_either_in_the_others_model(
    workspace: Workspace, uploads: Path
) -> None:
    first, second = enrol(workspace, person(1)), enrol(workspace, person(2))
    for name in "abc":
        show(uploads, name, 1, 2, model="m")
    for name in "xyz":
        show(uploads, name, 1, 2, model="n")
    sweep(workspace, source_of(uploads), day=None)
    deliver_all(workspace)
    say(workspace, "reject", ("a.png", first), ("x.png", second))
    over = {key for key, state in takedowns(workspace).items() if state == "taken back"}
    assert over == {("a.png", first), ("x.png", second)}
    assert verdict_of(workspace, "b.png", second)[0] == "takedown"


def test_a_rejection_takes_nothing_back_from_pictures_that_were_removed(workspace: Workspace, uploads: Path) -> None:
    subject = enrol(workspace, person(1))
    for name in "abcd":
        show(uploads, name, 1)
    sweep(workspace, source_of(uploads), day=None)
    deliver_all(workspace)
    show(uploads, "a", 1, deleted=True)
    sweep(workspace, source_of(uploads), day=None)
    say(workspace, "reject", ("b.png", subject))
    states = takedowns(workspace)
    assert states["b.png", subject] == "taken back"
    assert states["a.png", subject] == "done"
    assert verdict_of(workspace, "a.png", subject)[0] == "takedown"


def test_confirming_a_picture_that_came_back_leaves_the_takedown_of_the_first(
    workspace: Workspace, uploads: Path
) -> None:
    subject = enrol(workspace, person(1))
    upload(uploads, "a.png", picture(person(1)))
    sweep(workspace, source_of(uploads), day=None)
    say(workspace, "confirm", ("a.png", subject))
    deliver_all(workspace)
    upload(uploads, "a.png", picture(person(1)), deleted=True)
    upload(uploads, "b.png", picture(person(1)))
    sweep(workspace, source_of(uploads), day=None)
    with workspace.database.read() as connection:
        face = next(hit.hit_id for hit in list_hits(connection) if (hit.item_id, hit.tier) == ("b.png", "face"))
    decide(workspace, [face], decision="confirm", reason="same_person", actor="ben")
    assert takedowns(workspace)["a.png", subject] == "done"


def test_undoing_a_confirmation_takes_back_what_it_removed(workspace: Workspace, uploads: Path) -> None:
    subject = enrol(workspace, person(1))
    upload(uploads, "a.png", picture(person(1)))
    sweep(workspace, source_of(uploads), day=None)
    batch_id = say(workspace, "confirm", ("a.png", subject))
    deliver_all(workspace)
    upload(uploads, "a.png", picture(person(1)), deleted=True)
    sweep(workspace, source_of(uploads), day=None)
    undo(workspace, batch_id, actor="ann")
    assert takedowns(workspace)["a.png", subject] == "taken back"


def test_confirming_one_picture_takes_nothing_back_from_another(workspace: Workspace, uploads: Path) -> None:
    subject = enrol(workspace, person(1))
    show(uploads, "a", 1)
    show(uploads, "b", 1)
    sweep(workspace, source_of(uploads), day=None)
    deliver_all(workspace)
    show(uploads, "a", 1, deleted=True)
    sweep(workspace, source_of(uploads), day=None)
    assert takedowns(workspace)["b.png", subject] == "done"
    say(workspace, "unsure", ("b.png", subject))
    assert takedowns(workspace)["b.png", subject] == "done"


def test_what_a_person_says_after_a_consent_ran_out_takes_nothing_delivered_back(
    workspace: Workspace, uploads: Path, clock: Any
) -> None:
    subject = enrol(workspace, person(1), days=5)
    for name in "abc":
        show(uploads, name, 1)
    sweep(workspace, source_of(uploads), day=None)
    batch_id = say(workspace, "unsure", ("a.png", subject))
    deliver_all(workspace)
    clock.forward(days=6)
    assert expire_subjects(workspace) == 1
    undo(workspace, batch_id, actor="ann")
    assert set(takedowns(workspace).values()) == {"done"}
