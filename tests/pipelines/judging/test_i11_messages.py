"""One effect, one message; none for what is gone; and the deadline that it first had."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from pipelines.database.tables import items, outbox
from pipelines.decisions.decide import decide
from pipelines.decisions.messages import act_on
from pipelines.hits.listing import list_hits
from pipelines.home.workspace import Workspace
from pipelines.judging import judge_pending
from pipelines.runs.sweep import list_source, sweep
from pipelines.takedown.outbox import Wanted, enqueue
from tests.conftest import Clock
from tests.fakes import person, picture
from tests.pipelines.cases.requesting import FAULT, deliver, messages
from tests.platform_actions import enrol, source_of, upload

MODEL = b"PK\x03\x04 a pickled model"


def show(uploads: Path, number: int, model: str = "m", **sidecar: object) -> None:
    upload(uploads, f"{model}-{number}.png", picture(person(1), person(50 + number)), parent_model=model, **sidecar)


def blocks(workspace: Workspace, model: str = "m") -> list[str]:
    found = messages(workspace, outbox.c.action == "generator.block", outbox.c.item_id == model)
    return [row.state for row in found]


@pytest.mark.parametrize("sent", [False, True], ids=["waiting", "acknowledged"])
def test_i11_a_model_that_is_listed_after_its_pictures_is_blocked_once(
    workspace: Workspace, uploads: Path, clock: Clock, sent: bool
) -> None:
    enrol(workspace, person(1))
    for number in range(2):
        show(uploads, number)
    sweep(workspace, source_of(uploads), day=None)
    assert blocks(workspace) == ["pending"]
    if sent:
        deliver(workspace)
    clock.forward(hours=1)
    upload(uploads, "m", MODEL, kind="model")
    sweep(workspace, source_of(uploads), day=None)
    clock.forward(hours=1)
    show(uploads, 2)
    sweep(workspace, source_of(uploads), day=None)
    assert blocks(workspace) == ["done" if sent else "pending"]


def test_i11_no_order_of_listing_gives_a_model_a_second_block(
    workspace: Workspace, uploads: Path, clock: Clock
) -> None:
    """Seventeen models, each listed before, between or after its pictures, in one night or in several."""
    enrol(workspace, person(1))
    for night in range(4):
        for number in range(17):
            model = f"model-{number:02}"
            if number % 4 == night:
                upload(uploads, model, MODEL, kind="model")
            if night < 2 + number % 2:
                show(uploads, night + 4 * number, model)
        sweep(workspace, source_of(uploads), day=None)
        if night % 2:
            deliver(workspace)
        clock.forward(hours=20)
    found = messages(workspace, outbox.c.action == "generator.block")
    assert sorted(row.item_id for row in found) == [f"model-{number:02}" for number in range(17)]


def test_a_model_that_was_deleted_and_is_uploaded_again_is_blocked_again(
    workspace: Workspace, uploads: Path, clock: Clock
) -> None:
    enrol(workspace, person(1))
    for number in range(2):
        show(uploads, number)
    sweep(workspace, source_of(uploads), day=None)
    clock.forward(hours=1)
    upload(uploads, "m", MODEL, kind="model")
    sweep(workspace, source_of(uploads), day=None)
    deliver(workspace)
    clock.forward(hours=1)
    upload(uploads, "m", MODEL, kind="model", deleted=True)
    sweep(workspace, source_of(uploads), day=None)
    assert blocks(workspace) == ["done"]
    clock.forward(hours=1)
    upload(uploads, "m", MODEL, kind="model", deleted=False)
    sweep(workspace, source_of(uploads), day=None)
    assert blocks(workspace) == ["done", "pending"]


def test_a_picture_that_moves_to_another_model_blocks_that_one_and_the_first_one_no_more_than_once(
    workspace: Workspace, uploads: Path, clock: Clock
) -> None:
    enrol(workspace, person(1))
    for number in range(4):
        show(uploads, number)
    sweep(workspace, source_of(uploads), day=None)
    clock.forward(hours=1)
    for number in range(2):
        show(uploads, number, "m", title="moved")
        moved = picture(person(1), person(50 + number))
        upload(uploads, f"m-{number}.png", moved, parent_model="n")
    upload(uploads, "m", MODEL, kind="model")
    sweep(workspace, source_of(uploads), day=None)
    assert (blocks(workspace, "m"), blocks(workspace, "n")) == (["pending"], ["pending"])


def gone(workspace: Workspace, item_id: str) -> None:
    """As a listing enters a deletion, without what else a listing does."""
    with workspace.database.write() as tx:
        tx.execute(sa.update(items).where(items.c.item_id == item_id).values(live=False))


def test_i11_a_takedown_of_an_item_that_is_gone_is_not_sent(workspace: Workspace, uploads: Path) -> None:
    enrol(workspace, person(1))
    for number in range(2):
        show(uploads, number)
    sweep(workspace, source_of(uploads), day=None)
    gone(workspace, "m-0.png")
    summary = deliver(workspace)
    assert (summary.sent, summary.moot, summary.all_acknowledged) == (2, 1, True)
    found = {row.item_id: (row.state, row.last_result) for row in messages(workspace)}
    assert found == {"m": ("done", "200"), "m-0.png": ("withdrawn", "moot"), "m-1.png": ("done", "200")}


def test_a_takedown_that_may_have_arrived_is_sent_on_though_its_item_is_gone(
    workspace: Workspace, uploads: Path, clock: Clock
) -> None:
    """The item may be gone because of it, and a withdrawal could bring it back."""
    enrol(workspace, person(1))
    for number in range(2):
        show(uploads, number)
    sweep(workspace, source_of(uploads), day=None)
    deliver(workspace, FAULT)
    gone(workspace, "m-0.png")
    clock.forward(hours=2)
    assert (deliver(workspace).sent, {row.state for row in messages(workspace)}) == (3, {"done"})


def test_a_takedown_of_a_text_that_was_changed_since_is_not_sent(workspace: Workspace, uploads: Path) -> None:
    enrol(workspace, person(1))
    upload(uploads, "a.png", picture(person(9)), title="before")
    sweep(workspace, source_of(uploads), day=None)
    with workspace.database.read() as connection:
        digest = connection.execute(sa.select(items.c.text_digest)).scalar_one()
    with workspace.database.write() as tx:
        wanted = Wanted("takedown", "a.png", digest, "sub_x", 1, 0, "human", reasons={}, because_of=("a.png",))
        now = workspace.now()
        enqueue(tx, wanted, policy_version="p", due_at=now + timedelta(hours=1), now=now)
    upload(uploads, "a.png", picture(person(9)), title="after")
    list_source(workspace, source_of(uploads), day=None)
    assert deliver(workspace).sent == 0
    assert [(row.state, row.last_result) for row in messages(workspace)] == [("withdrawn", "fell")]


def test_i12_a_message_that_fell_with_its_evidence_and_comes_back_keeps_its_deadline(
    workspace: Workspace, uploads: Path, clock: Clock
) -> None:
    enrol(workspace, person(1))
    for number in range(2):
        show(uploads, number)
    sweep(workspace, source_of(uploads), day=None)
    first = {row.item_id: row.due_at for row in messages(workspace)}
    clock.forward(hours=10)
    other = picture(person(1), person(51))
    upload(uploads, "m-1.png", picture(person(7)), parent_model="m")  # what corroborated it is another picture now
    sweep(workspace, source_of(uploads), day=None)
    assert {row.state for row in messages(workspace)} == {"withdrawn"}
    clock.forward(hours=10)
    upload(uploads, "m-1.png", other, parent_model="m")
    sweep(workspace, source_of(uploads), day=None)
    again = {row.item_id: row.due_at for row in messages(workspace, outbox.c.state == "pending")}
    assert again == first


def test_an_item_that_was_deleted_and_uploaded_again_gets_a_new_deadline(
    workspace: Workspace, uploads: Path, clock: Clock
) -> None:
    enrol(workspace, person(1))
    for number in range(2):
        show(uploads, number)
    sweep(workspace, source_of(uploads), day=None)
    clock.forward(hours=10)
    show(uploads, 0, deleted=True)
    sweep(workspace, source_of(uploads), day=None)
    clock.forward(hours=10)
    show(uploads, 0, deleted=False)
    sweep(workspace, source_of(uploads), day=None)
    (row,) = messages(workspace, outbox.c.state == "pending", outbox.c.item_id == "m-0.png")
    assert row.due_at == clock() + timedelta(hours=workspace.policy.settings.takedown.hours)


def test_i12_no_later_judgement_asks_again_for_what_was_discarded_but_a_person_may(
    workspace: Workspace, uploads: Path, clock: Clock
) -> None:
    enrol(workspace, person(1))
    for number in range(2):
        show(uploads, number)
    sweep(workspace, source_of(uploads), day=None)
    with workspace.database.write() as tx:
        tx.execute(sa.update(outbox).values(state="held", last_result="held:hit_rate"))
    act_on(workspace, [row.message_id for row in messages(workspace)], "discard", actor="ann", reason="false_alarm")
    clock.forward(hours=1)
    show(uploads, 2)
    sweep(workspace, source_of(uploads), day=None)
    judge_pending(workspace)
    standing = messages(workspace, outbox.c.state != "withdrawn")
    assert [(row.action, row.item_id) for row in standing] == [("takedown", "m-2.png")]
    with workspace.database.read() as connection:
        (hit,) = list_hits(connection, item_id="m-0.png")
    assert (hit.verdict, hit.rule) == ("review", "message_discarded")
    decide(workspace, [hit.hit_id], decision="confirm", reason="same_person", actor="ann")
    standing = messages(workspace, outbox.c.state != "withdrawn")
    assert sorted(row.item_id for row in standing) == ["m-0.png", "m-2.png"]
