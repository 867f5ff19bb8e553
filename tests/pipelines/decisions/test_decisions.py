"""Decisions: what a person says is carried out at once, remembered, replaced, taken back, and never half done."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from embeddings.errors import InputError, StateError
from pipelines.cases.ending import erase, withdraw
from pipelines.cases.requests import accept_request
from pipelines.database import tables
from pipelines.decisions.bulk import HitQuery, choose, decide_chosen, preview
from pipelines.decisions.decide import REASONS, Answer, DecisionSummary, decide, undo
from pipelines.decisions.log import list_decisions, open_note
from pipelines.hits.listing import list_hits
from pipelines.home.workspace import Workspace
from pipelines.judging import judge_pending
from pipelines.runs.backfill import backfill, backfill_templates
from pipelines.runs.rescan import rescan
from pipelines.runs.sweep import sweep
from pipelines.runs.verify import verify
from tests import fakes
from tests.conftest import KEY
from tests.examples import examples
from tests.fakes import WHITE, person, picture
from tests.pipelines.runs.durability_process import run_night
from tests.pipelines.takedown.delivering import ScriptedClient, dispatch_once
from tests.platform_actions import DAY, ask_for_removal, enrol, source_of, upload
from tests.platform_facts import failing, statuses

WINDOW = timedelta(minutes=10)
WHY = {decision: reasons[0] for decision, reasons in REASONS.items()}


def hit_ids(workspace: Workspace, *item_ids: str) -> list[str]:
    """The hits in force on these items, or on all."""
    with workspace.database.read() as connection:
        return [hit.hit_id for hit in list_hits(connection) if not item_ids or hit.item_id in item_ids]


def say(workspace: Workspace, decision: Any, *hits: str, actor: str = "ann", **more: Any) -> DecisionSummary:
    return decide(workspace, list(hits), decision=decision, reason=WHY[decision], actor=actor, **more)


def verdicts_of(workspace: Workspace) -> dict[str, tuple[str, str, str]]:
    with workspace.database.read() as connection:
        rows = connection.execute(sa.select(tables.verdicts))
        return {row.item_id: (row.verdict, row.rule, row.decided_by) for row in rows}


def messages(workspace: Workspace) -> list[tuple[str, str, str]]:
    """Action, item and state of every message about an item, in order of writing."""
    with workspace.database.read() as connection:
        query = sa.select(tables.outbox).where(tables.outbox.c.action != "generator.block")
        rows = connection.execute(query.order_by(tables.outbox.c.created_at, tables.outbox.c.action)).all()
        return [(row.action, row.item_id, row.state) for row in rows]


@pytest.fixture
def one(workspace: Workspace, uploads: Path) -> tuple[str, str]:
    """A picture of somebody registered, awaiting review: its hit and the subject."""
    subject = enrol(workspace, person(1))
    upload(uploads, "a.png", picture(person(1)), uploader="u-1")
    upload(uploads, "b.png", picture(person(2)))
    sweep(workspace, source_of(uploads), day=None)
    assert verdicts_of(workspace)["a.png"][0] == "review"
    (hit,) = hit_ids(workspace)
    return hit, subject


def test_a_confirmed_hit_is_taken_down_by_a_person(workspace: Workspace, one: tuple[str, str], clock) -> None:
    summary = say(workspace, "confirm", one[0])
    assert (summary.decisions, summary.items, summary.takedowns, summary.withdrawn) == (1, 1, 1, 0)
    assert summary.undo_until == clock() + WINDOW
    assert verdicts_of(workspace)["a.png"] == ("takedown", "confirmed_by_person", "human")
    assert messages(workspace) == [("takedown", "a.png", "pending")]
    assert failing(workspace) == set()


def test_a_rejected_hit_counts_no_more_and_the_item_is_clean_again(workspace: Workspace, one: tuple[str, str]) -> None:
    summary = say(workspace, "reject", one[0])
    assert (summary.decisions, summary.seeds, summary.takedowns) == (1, 0, 0)
    assert verdicts_of(workspace)["a.png"] == ("clear", "rejected_by_person", "human")
    assert (hit_ids(workspace), statuses(workspace)["a.png"], messages(workspace)) == ([], "clean", [])
    assert failing(workspace) == set()


def test_an_unsure_hit_stays_in_review(workspace: Workspace, one: tuple[str, str]) -> None:
    say(workspace, "unsure", one[0])
    assert verdicts_of(workspace)["a.png"][0] == "review"
    assert (hit_ids(workspace), messages(workspace)) == ([one[0]], [])


def test_rejecting_takes_an_automatic_takedown_back(workspace: Workspace, uploads: Path) -> None:
    enrol(workspace, person(1))
    for number, other in enumerate((50, 90)):
        upload(uploads, f"{number}.png", picture(person(1), person(other)), parent_model="m")
    sweep(workspace, source_of(uploads), day=None)
    assert {verdict for verdict, _, _ in verdicts_of(workspace).values()} == {"takedown"}
    summary = say(workspace, "reject", *hit_ids(workspace, "0.png"))
    assert summary.withdrawn >= 1
    assert ("takedown", "0.png", "withdrawn") in messages(workspace)
    assert failing(workspace) == set()


# --- What a decision speaks for ---


def test_a_decision_speaks_for_every_item_with_that_content(workspace: Workspace, uploads: Path) -> None:
    enrol(workspace, person(1))
    for name in ("a.png", "b.png"):
        upload(uploads, name, picture(person(1)))
    sweep(workspace, source_of(uploads), day=None)
    summary = say(workspace, "reject", *hit_ids(workspace, "a.png"))
    assert (summary.decisions, summary.items) == (1, 2)
    assert hit_ids(workspace) == []
    upload(uploads, "c.png", picture(person(1)), received=DAY + timedelta(hours=1))
    assert sweep(workspace, source_of(uploads), day=None).hit == 0
    assert failing(workspace) == set()


def test_hits_of_one_scope_make_one_decision(workspace: Workspace, uploads: Path) -> None:
    enrol(workspace, person(1))
    upload(uploads, "a.png", picture(person(1), person(1)))
    upload(uploads, "b.png", picture(person(1), person(1)))
    sweep(workspace, source_of(uploads), day=None)
    hits = hit_ids(workspace)
    summary = say(workspace, "confirm", *hits)
    assert (len(hits), summary.hits, summary.decisions, summary.takedowns) == (4, 4, 1, 2)


def test_a_decision_says_nothing_of_another_subject(workspace: Workspace, uploads: Path) -> None:
    first, second = enrol(workspace, person(1)), enrol(workspace, person(2))
    upload(uploads, "a.png", picture(person(1), person(2)))
    sweep(workspace, source_of(uploads), day=None)
    with workspace.database.read() as connection:
        (hit,) = list_hits(connection, subject_id=first)
    say(workspace, "reject", hit.hit_id)
    with workspace.database.read() as connection:
        assert {left.subject_id for left in list_hits(connection)} == {second}
    assert statuses(workspace)["a.png"] == "hit"


# --- A rejected hit does not come back ---


def list_again(workspace: Workspace, uploads: Path) -> None:
    upload(uploads, "a.png", picture(person(1)), uploader="u-1", title="another title")
    sweep(workspace, source_of(uploads), day=None)


def delete_and_list_again(workspace: Workspace, uploads: Path) -> None:
    upload(uploads, "a.png", picture(person(1)), deleted=True)
    sweep(workspace, source_of(uploads), day=None)
    list_again(workspace, uploads)


def scan_for_somebody_else(workspace: Workspace, uploads: Path) -> None:
    request = ask_for_removal(workspace, person(9))
    accept_request(workspace, request.request_id, actor="tester")
    rescan(workspace)


def give_it_another_model(workspace: Workspace, uploads: Path) -> None:
    upload(uploads, "a.png", picture(person(1)), parent_model="m")
    upload(uploads, "z.png", picture(person(1), person(7)), parent_model="m")
    sweep(workspace, source_of(uploads), day=None)


def judge_by_another_threshold(workspace: Workspace, uploads: Path) -> None:
    with workspace.database.write() as tx:
        tx.execute(sa.update(tables.hits).values(judged_at=None))
    judge_pending(workspace)


@pytest.mark.parametrize(
    "happening",
    [
        list_again,
        delete_and_list_again,
        scan_for_somebody_else,
        give_it_another_model,
        judge_by_another_threshold,
    ],
)
def test_a_rejected_hit_never_returns_while_item_and_models_are_the_same(
    workspace: Workspace, uploads: Path, one: tuple[str, str], happening: Callable[[Workspace, Path], None]
) -> None:
    say(workspace, "reject", one[0])
    for _ in range(2):
        happening(workspace, uploads)
        assert hit_ids(workspace, "a.png") == []
        assert statuses(workspace)["a.png"] == "clean"
        assert all(item != "a.png" for _, item, _ in messages(workspace))
    assert failing(workspace) == set()


def test_a_rejected_hit_returns_with_other_content(workspace: Workspace, uploads: Path, one: tuple[str, str]) -> None:
    say(workspace, "reject", one[0])
    upload(uploads, "a.png", picture(person(1), person(40)), received=DAY + timedelta(minutes=1))
    sweep(workspace, source_of(uploads), day=None)
    assert len(hit_ids(workspace, "a.png")) == 1
    assert verdicts_of(workspace)["a.png"][0] == "review"


def test_a_rejected_hit_returns_with_other_models(workspace: Workspace, uploads: Path, one: tuple[str, str]) -> None:
    say(workspace, "reject", one[0])
    workspace.models = fakes.fake_models("fake-2")  # type: ignore[misc]
    workspace.canary = fakes.fake_canary("fake-2")  # type: ignore[misc]
    backfill_templates(workspace, actor="tester")
    backfill(workspace, actor="tester")
    assert len(hit_ids(workspace, "a.png")) == 1
    assert statuses(workspace)["a.png"] == "hit"
    assert failing(workspace) == set()


def test_a_confirmation_outlives_other_models_by_what_it_seeded(workspace: Workspace, one: tuple[str, str]) -> None:
    say(workspace, "confirm", one[0])
    workspace.models = fakes.fake_models("fake-2")  # type: ignore[misc]
    workspace.canary = fakes.fake_canary("fake-2")  # type: ignore[misc]
    backfill_templates(workspace, actor="tester")
    backfill(workspace, actor="tester")
    assert ("takedown", "a.png", "pending") in messages(workspace)
    with workspace.database.read() as connection:
        revoked = sa.select(tables.seeds).where(tables.seeds.c.revoked_at.is_not(None))
        assert connection.execute(revoked).first() is None


# --- Another decision, and taking it back ---


@pytest.mark.parametrize(("first", "second"), [("confirm", "reject"), ("reject", "confirm"), ("unsure", "confirm")])
def test_a_second_decision_replaces_the_first(
    workspace: Workspace, one: tuple[str, str], first: str, second: str
) -> None:
    say(workspace, first, one[0])
    summary = say(workspace, second, one[0], actor="bob")
    assert (summary.decisions, summary.replaced) == (1, 1)
    with workspace.database.read() as connection:
        made = list_decisions(connection)
        (standing,) = list_decisions(connection, standing=True)
    assert (len(made), standing.decision, standing.actor) == (2, second, "bob")
    wanted = {"confirm": "takedown", "reject": "clear"}[second]
    assert verdicts_of(workspace)["a.png"][0] == wanted
    assert failing(workspace) == set()


def test_saying_the_same_twice_changes_nothing(workspace: Workspace, one: tuple[str, str]) -> None:
    say(workspace, "confirm", one[0])
    again = say(workspace, "confirm", one[0])
    assert (again.batch_id, again.decisions, again.unchanged, again.takedowns) == (None, 0, 1, 0)
    assert len(messages(workspace)) == 1


def test_undoing_puts_what_was_replaced_in_force_again(workspace: Workspace, one: tuple[str, str]) -> None:
    say(workspace, "reject", one[0])
    summary = say(workspace, "confirm", one[0], actor="bob")
    undone = undo(workspace, str(summary.batch_id), actor="bob")
    assert (undone.decisions, undone.restored, undone.withdrawn) == (1, 1, 1)
    assert (hit_ids(workspace), statuses(workspace)["a.png"]) == ([], "clean")
    with workspace.database.read() as connection:
        (standing,) = list_decisions(connection, standing=True)
    assert (standing.decision, standing.reversed_by) == ("reject", None)
    assert failing(workspace) == set()


def test_undoing_a_rejection_brings_the_hit_back_to_review(workspace: Workspace, one: tuple[str, str]) -> None:
    summary = say(workspace, "reject", one[0])
    undo(workspace, str(summary.batch_id), actor="ann")
    assert (hit_ids(workspace), statuses(workspace)["a.png"]) == ([one[0]], "hit")
    assert verdicts_of(workspace)["a.png"][:2] == ("review", "strong_face_uncorroborated")
    assert failing(workspace) == set()


def sent(workspace: Workspace, client: ScriptedClient) -> list[str]:
    """Send what is due; the types of all events that ever arrived."""
    dispatch_once(workspace.database, client, workspace.now)
    return [json.loads(message.body)["type"] for message in client.sent]


def test_inside_the_window_nothing_is_sent_and_undoing_sends_nothing(
    workspace: Workspace, one: tuple[str, str], clock
) -> None:
    client, summary = ScriptedClient(), say(workspace, "confirm", one[0])
    clock.forward(minutes=9)
    assert sent(workspace, client) == []
    undo(workspace, str(summary.batch_id), actor="ann")
    clock.forward(days=2)
    assert sent(workspace, client) == []
    assert messages(workspace) == [("takedown", "a.png", "withdrawn")]
    assert failing(workspace) == set()


def test_undoing_after_the_delivery_sends_a_withdrawal(workspace: Workspace, one: tuple[str, str], clock) -> None:
    client, summary = ScriptedClient(), say(workspace, "confirm", one[0])
    clock.forward(minutes=10)
    assert sent(workspace, client) == ["takedown.requested"]
    assert undo(workspace, str(summary.batch_id), actor="ann").withdrawn == 1
    assert sent(workspace, client) == ["takedown.requested", "takedown.withdrawn"]
    assert failing(workspace) == set()


def test_confirming_again_after_a_withdrawal_is_another_case(workspace: Workspace, one: tuple[str, str], clock) -> None:
    client = ScriptedClient()
    say(workspace, "confirm", one[0])
    clock.forward(minutes=10)
    sent(workspace, client)
    say(workspace, "reject", one[0])
    clock.forward(minutes=1)
    sent(workspace, client)
    assert say(workspace, "confirm", one[0]).takedowns == 1
    clock.forward(minutes=10)
    assert sent(workspace, client) == ["takedown.requested", "takedown.withdrawn", "takedown.requested"]
    assert len({message.key for message in client.sent}) == 3
    assert failing(workspace) == set()


def test_only_what_stands_can_be_undone(workspace: Workspace, one: tuple[str, str]) -> None:
    first = say(workspace, "confirm", one[0])
    say(workspace, "reject", one[0], actor="bob")
    with pytest.raises(StateError, match="undone or replaced"):
        undo(workspace, str(first.batch_id), actor="ann")
    with pytest.raises(StateError, match="no such batch"):
        undo(workspace, "batch_0", actor="ann")


# --- All or nothing ---


def test_one_hit_that_is_not_in_force_stops_the_whole_batch(
    workspace: Workspace, uploads: Path, one: tuple[str, str]
) -> None:
    upload(uploads, "c.png", picture(person(1), WHITE))
    sweep(workspace, source_of(uploads), day=None)
    (gone,) = hit_ids(workspace, "c.png")
    upload(uploads, "c.png", picture(person(1), WHITE), deleted=True)
    sweep(workspace, source_of(uploads), day=None)
    with pytest.raises(StateError, match=gone):
        say(workspace, "confirm", one[0], gone)
    with pytest.raises(StateError, match="there is no hit hit_0"):
        say(workspace, "confirm", one[0], "hit_0")
    with pytest.raises(StateError, match="with that id"):
        say(workspace, "confirm", "Jane Doe")
    with workspace.database.read() as connection:
        assert list_decisions(connection) == []
    assert messages(workspace) == []


def test_a_hit_of_a_subject_that_has_left_cannot_be_decided(workspace: Workspace, one: tuple[str, str]) -> None:
    withdraw(workspace, one[1], actor="tester")
    with pytest.raises(StateError, match=one[0]):
        say(workspace, "confirm", one[0])


@pytest.mark.parametrize(
    ("decision", "reason"), [("confirm", "other_person"), ("reject", ""), ("maybe", "same_person")]
)
def test_a_decision_needs_one_of_its_fixed_reasons(workspace: Workspace, decision: Any, reason: str) -> None:
    with pytest.raises(ValueError, match="fixed reasons"):
        decide(workspace, ["hit_0"], decision=decision, reason=reason, actor="ann")


def written(workspace: Workspace) -> dict[str, int]:
    """Rows of everything that a decision writes."""
    of = (tables.decisions, tables.seeds, tables.outbox, tables.audit)
    with workspace.database.read() as connection:
        return {
            table.name: connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one() for table in of
        }


@pytest.mark.parametrize(("point", "done"), [("before_decision_commit", False), ("after_decision_commit", True)])
def test_i6_a_process_killed_while_deciding_has_decided_all_or_nothing(
    workspace: Workspace, tmp_path: Path, database_url: str, one: tuple[str, str], point: str, done: bool
) -> None:
    before = written(workspace)
    variables = {"LIKENESS_KEY": KEY, "LIKENESS_DATABASE_URL": database_url, "LIKENESS_FAILPOINT": point}
    killed = run_night(workspace.home, tmp_path, variables, "--confirm", one[0])
    assert killed.returncode == -9, killed.stderr[-2000:]
    added = {name: count - before[name] for name, count in written(workspace).items()}
    assert (added["decisions"], added["outbox"] > 0, added["seeds"] > 0, added["audit"]) == (done, done, done, done)
    assert verdicts_of(workspace)["a.png"][0] == ("takedown" if done else "review")
    say(workspace, "confirm", one[0], actor="tester")
    assert [state for _, _, state in messages(workspace)] == ["pending"]
    assert failing(workspace) == set()


def test_two_analysts_at_once_leave_one_decision_and_one_takedown(
    workspace: Workspace, one: tuple[str, str], open_again: Callable[[], Workspace]
) -> None:
    analysts = [open_again() for _ in range(4)]
    words = ("confirm", "reject", "confirm", "unsure")

    def answer(number: int) -> DecisionSummary:
        return say(analysts[number], words[number], one[0], actor=f"analyst-{number}")

    with ThreadPoolExecutor(4) as pool:
        summaries = list(pool.map(answer, range(4)))
    assert sum(summary.decisions for summary in summaries) == 4
    assert sum(summary.replaced for summary in summaries) == 3
    with workspace.database.read() as connection:
        (standing,) = list_decisions(connection, standing=True)
    open_takedowns = [state for action, _, state in messages(workspace) if action == "takedown" and state == "pending"]
    assert len(open_takedowns) == (standing.decision == "confirm")
    assert failing(workspace) == set()


@given(said=st.lists(st.sampled_from(["confirm", "reject", "unsure", "undo"]), max_size=8))
@settings(max_examples=examples(15))
def test_whatever_is_said_and_undone_the_last_word_that_stands_decides(
    workspace: Workspace, one: tuple[str, str], said: list[str]
) -> None:
    words: list[str] = []
    for number, word in enumerate(said):
        if word != "undo":
            say(workspace, word, one[0], actor=f"analyst-{number}")
            words.append(word)
        elif words:
            with workspace.database.read() as connection:
                (standing,) = list_decisions(connection, standing=True)
            undo(workspace, standing.decision_id, actor="ann")
            words.pop()
    last = words[-1] if words else "unsure"
    assert verdicts_of(workspace)["a.png"][0] == {"confirm": "takedown", "reject": "clear", "unsure": "review"}[last]
    assert statuses(workspace)["a.png"] == ("clean" if last == "reject" else "hit")
    assert [state for _, _, state in messages(workspace)].count("pending") == (last == "confirm")
    with workspace.database.read() as connection:
        in_force = sa.select(tables.seeds).where(tables.seeds.c.revoked_at.is_(None))
        assert bool(connection.execute(in_force).all()) == (last == "confirm")
    assert failing(workspace) == set()
    while words:
        with workspace.database.read() as connection:
            (standing,) = list_decisions(connection, standing=True)
        undo(workspace, standing.decision_id, actor="ann")
        words.pop()


# --- Many at once ---


def crowd(workspace: Workspace, uploads: Path) -> str:
    subject = enrol(workspace, person(1))
    for number in range(6):
        extra = {"uploader": f"u-{number % 2}", "parent_model": f"m-{number}"}
        upload(uploads, f"{number}.png", picture(person(1), person(50 + number)), **extra)
    sweep(workspace, source_of(uploads), day=None)
    return subject


def test_a_preview_counts_what_the_act_then_does_and_changes_nothing(workspace: Workspace, uploads: Path) -> None:
    subject = crowd(workspace, uploads)
    query, answer = HitQuery(subject_id=subject, verdict="review"), Answer("confirm", "same_person", "ann")
    shown = preview(workspace, query, answer)
    assert (shown.hits, shown.items, shown.takedowns) == (6, 6, 6)
    assert (shown.by_tier, shown.by_uploader) == ({"face": 6}, {"u-0": 3, "u-1": 3})
    with workspace.database.read() as connection:
        assert list_decisions(connection) == []
    assert (messages(workspace), failing(workspace)) == ([], set())
    done = decide_chosen(workspace, query, answer, expect=shown.digest)
    assert (done.decisions, done.takedowns, done.seeds) == (6, shown.takedowns, shown.seeds)
    undo(workspace, str(done.batch_id), actor="ann")
    assert {state for _, _, state in messages(workspace)} == {"withdrawn"}
    assert failing(workspace) == set()


def swap_one(workspace: Workspace, uploads: Path) -> None:
    """One that was shown goes, another comes: their number stays the same."""
    upload(uploads, "5.png", b"", uploader="u-1", deleted=True)
    upload(uploads, "new.png", picture(person(1), person(80)), uploader="u-1")
    sweep(workspace, source_of(uploads), day=None)


def change_one(workspace: Workspace, uploads: Path) -> None:
    """One that was shown becomes another picture of the same person."""
    upload(uploads, "5.png", picture(person(1), person(81)), uploader="u-1", parent_model="m-5")
    sweep(workspace, source_of(uploads), day=None)


def copy_elsewhere(workspace: Workspace, uploads: Path) -> None:
    """What was shown is somebody else's too: deciding it would decide theirs."""
    upload(uploads, "copy.png", (uploads / "5.png").read_bytes(), uploader="another")
    sweep(workspace, source_of(uploads), day=None)


def say_something_else(workspace: Workspace, uploads: Path) -> None:
    """Nothing changes; it is the answer that will."""


@pytest.mark.parametrize("meanwhile", [swap_one, change_one, copy_elsewhere, say_something_else])
def test_i11_what_the_preview_did_not_show_is_not_decided(
    workspace: Workspace, uploads: Path, meanwhile: Callable[[Workspace, Path], None]
) -> None:
    crowd(workspace, uploads)
    query, answer = HitQuery(uploader="u-1"), Answer("reject", "other_person", "ann")
    shown = preview(workspace, query, answer)
    meanwhile(workspace, uploads)
    if meanwhile is say_something_else:
        answer = Answer("confirm", "same_person", "ann")
    assert preview(workspace, query, answer).hits == shown.hits == 3
    with pytest.raises(StateError, match="look at the preview again"):
        decide_chosen(workspace, query, answer, expect=shown.digest)
    with workspace.database.read() as connection:
        assert list_decisions(connection) == []
    assert decide_chosen(workspace, query, answer, expect=preview(workspace, query, answer).digest).hits == 3


def test_a_preview_of_nothing_cannot_be_acted_on(workspace: Workspace, uploads: Path) -> None:
    crowd(workspace, uploads)
    query, answer = HitQuery(uploader="nobody"), Answer("reject", "other_person", "ann")
    with pytest.raises(StateError, match="nothing to decide"):
        decide_chosen(workspace, query, answer, expect=preview(workspace, query, answer).digest)


@pytest.mark.parametrize("name", ["subject_id", "item_id", "parent_model", "uploader", "tier", "band", "verdict"])
def test_an_empty_filter_is_refused_and_never_chooses_everything(name: str) -> None:
    with pytest.raises(InputError, match=f"{name} is empty"):
        HitQuery(**{name: ""})


@pytest.mark.parametrize("reason", REASONS["confirm"])
def test_a_hit_is_confirmed_for_each_reason_there_is(workspace: Workspace, one: tuple[str, str], reason: str) -> None:
    assert decide(workspace, [one[0]], decision="confirm", reason=reason, actor="ann").decisions == 1
    assert failing(workspace) == set()


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ({"uploader": "u-1"}, 3),
        ({"parent_model": "m-3"}, 1),
        ({"item_id": "2.png"}, 1),
        ({"day": DAY.date()}, 6),
        ({"day": DAY.date() + timedelta(days=1)}, 0),
        ({"tier": "face", "band": "strong"}, 6),
        ({"tier": "text"}, 0),
        ({"verdict": "takedown"}, 0),
        ({"verdict": "review", "most": 2}, 2),
    ],
)
def test_each_filter_chooses_its_own(workspace: Workspace, uploads: Path, query: dict[str, Any], count: int) -> None:
    crowd(workspace, uploads)
    with workspace.database.read() as connection:
        assert len(choose(connection, HitQuery(**query))) == count


def test_what_was_confirmed_or_rejected_is_not_chosen_again(workspace: Workspace, uploads: Path) -> None:
    subject = crowd(workspace, uploads)
    say(workspace, "confirm", *hit_ids(workspace, "0.png"))
    say(workspace, "reject", *hit_ids(workspace, "1.png"))
    say(workspace, "unsure", *hit_ids(workspace, "2.png"))
    with workspace.database.read() as connection:
        chosen = {row.item_id for row in choose(connection, HitQuery(subject_id=subject))}
    assert chosen == {"2.png", "3.png", "4.png", "5.png"}


# --- The record ---


def test_a_note_is_sealed_and_each_look_at_it_recorded(workspace: Workspace, one: tuple[str, str]) -> None:
    say(workspace, "confirm", one[0], note="the scar above the eye")
    with workspace.database.read() as connection:
        (decision,) = list_decisions(connection)
        facts = " ".join(connection.execute(sa.select(tables.audit.c.facts)).scalars())
    assert "scar" not in facts
    assert open_note(workspace, decision.decision_id, actor="bob") == "the scar above the eye"
    with workspace.database.read() as connection:
        looks = connection.execute(sa.select(tables.audit).where(tables.audit.c.action == "note.view")).all()
    assert [look.actor for look in looks] == ["bob"]
    assert "scar" not in repr(Answer("confirm", "same_person", "ann", "the scar"))


def test_erasing_the_subject_makes_its_notes_unreadable(workspace: Workspace, one: tuple[str, str]) -> None:
    say(workspace, "confirm", one[0], note="the scar above the eye")
    with workspace.database.read() as connection:
        (decision,) = list_decisions(connection)
    erase(workspace, one[1], actor="tester")
    with pytest.raises(StateError, match="nothing personal is kept"):
        open_note(workspace, decision.decision_id, actor="bob")


TAMPERED: dict[str, Callable[[sa.Connection], object]] = {
    "another word": lambda tx: tx.execute(sa.update(tables.decisions).values(decision="confirm")),
    "another actor": lambda tx: tx.execute(sa.update(tables.decisions).values(actor="mallory")),
    "another content": lambda tx: tx.execute(sa.update(tables.decisions).values(content_key="0" * 64)),
    "a reversal that nobody made": lambda tx: tx.execute(
        sa.update(tables.decisions).values(reversed_at=sa.func.now(), reversed_by="x")
    ),
    "deleted": lambda tx: tx.execute(sa.delete(tables.decisions)),
}


@pytest.mark.parametrize("how", TAMPERED)
def test_verify_sees_a_decision_that_was_tampered_with(workspace: Workspace, one: tuple[str, str], how: str) -> None:
    say(workspace, "reject", one[0])
    with workspace.database.write() as tx:
        TAMPERED[how](tx)
    (finding,) = [finding for finding in verify(workspace) if finding.check == "decisions"]
    assert not finding.ok
    assert "audit chain" in finding.detail


def test_verify_sees_a_decision_that_nobody_made(workspace: Workspace, one: tuple[str, str]) -> None:
    say(workspace, "reject", one[0])
    with workspace.database.write() as tx:
        row = tx.execute(sa.select(tables.decisions)).mappings().one()
        tx.execute(sa.insert(tables.decisions).values(**{**row, "decision_id": "dec_forged"}))
    (finding,) = [finding for finding in verify(workspace) if finding.check == "decisions"]
    assert (finding.ok, "dec_forged" in finding.detail) == (False, True)


def test_verify_sees_a_seed_that_no_confirmation_carries(workspace: Workspace, one: tuple[str, str]) -> None:
    say(workspace, "reject", one[0])
    with workspace.database.write() as tx:
        decision_id = tx.execute(sa.select(tables.decisions.c.decision_id)).scalar_one()
        tx.execute(
            sa.insert(tables.seeds).values(
                seed_id="seed_1",
                version=1,
                subject_id=one[1],
                kind="sha256",
                digest="0" * 64,
                model_id="sha256-1",
                decision_id=decision_id,
                created_at=workspace.now(),
            )
        )
    (finding,) = [finding for finding in verify(workspace) if finding.check == "decisions"]
    assert (finding.ok, "1 seeds" in finding.detail) == (False, True)
