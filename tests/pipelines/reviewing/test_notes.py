"""What colleagues write on a case: sealed, gone with the person and with the case; and passing a case on."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from embeddings.errors import InputError, StateError
from pipelines.accounts.accounts import add_account, disable_account, reset_account
from pipelines.cases.ending import erase
from pipelines.database.tables import audit as chain
from pipelines.database.tables import case_notes, kept_evidence
from pipelines.decisions.decide import REASONS, Answer, Word, decide, undo
from pipelines.hits.listing import list_hits
from pipelines.home import audit
from pipelines.home.workspace import Workspace
from pipelines.reviewing.answering import answer_case, foresee, take_back
from pipelines.reviewing.claims import claim_case, end_claim, open_claim
from pipelines.reviewing.next_case import claim_next
from pipelines.reviewing.notes import (
    MOST_NOTE,
    end_passing_of_decided,
    let_go_of_notes,
    notes_on,
    open_notes,
    passed_on,
)
from pipelines.reviewing.passing_on import assign, comment, escalate, hand_back
from pipelines.reviewing.queue import CaseKey, Queue, waiting_cases
from pipelines.reviewing.sheet import SheetQuery, decide_sheet, foresee_sheet, read_sheet
from pipelines.reviewing.shown import cases_shown
from pipelines.runs.sweep import sweep
from tests.fakes import person, picture
from tests.platform_actions import NAME, enrol, source_of, upload
from tests.searching import everything_under, in_clear

pytestmark = pytest.mark.any_database

ANN, BOB, LEA = "account:ann", "account:bob", "account:lea"
TEXT = "ask whether Ottilie Examplesdaughter agreed to this portrait"


@pytest.fixture
def waiting(workspace: Workspace, uploads: Path) -> Workspace:
    """Three cases of one person, and two reviewers with a lead."""
    enrol(workspace, person(1))
    for number in range(3):
        upload(uploads, f"{number}.png", picture(person(1), person(100 + number)), uploader=f"u-{number}")
    sweep(workspace, source_of(uploads), day=None)
    for name, role in (("ann", "reviewer"), ("bob", "reviewer"), ("lea", "lead"), ("vic", "viewer")):
        add_account(workspace, name, [role], actor="tester")
    return workspace


def keys(workspace: Workspace) -> list[CaseKey]:
    with workspace.database.read() as connection:
        return [case.key for case in waiting_cases(connection, workspace)]


def gets(workspace: Workspace, actor: str, *, lead: bool = False) -> CaseKey | None:
    """The case that somebody is given next; given back at once."""
    claim = claim_next(workspace, Queue(), actor=actor, lead=lead)
    if claim is None:
        return None
    with workspace.database.write() as tx:
        end_claim(tx, claim, now=workspace.now(), outcome="released")
    return claim.key


def test_a_case_that_was_escalated_is_for_leads_until_one_decides_it(waiting: Workspace) -> None:
    first, second, _ = keys(waiting)
    claim_case(waiting, first, actor=ANN)
    escalate(waiting, first, TEXT, actor=ANN)
    with waiting.database.read() as connection:
        assert open_claim(connection, first.case_id, now=waiting.now()) is None, "and it is off their desk"
    assert gets(waiting, ANN) == gets(waiting, BOB) == second
    for somebody in (ANN, BOB):
        with pytest.raises(StateError, match="passed on"):
            claim_case(waiting, first, actor=somebody)
    with pytest.raises(StateError, match="already"):
        escalate(waiting, first, TEXT, actor=BOB)
    assert gets(waiting, LEA, lead=True) == first
    claim_case(waiting, first, actor=LEA, lead=True)
    answer = Answer("reject", "other_person", LEA)
    answer_case(waiting, first.case_id, answer, expect=foresee(waiting, first, answer).digest)
    with waiting.database.read() as connection:
        (note,) = notes_on(connection, first.case_id)
    assert (note.ended_by, note.actor) == (LEA, ANN)


def test_who_asked_a_lead_does_not_get_it_as_a_lead(waiting: Workspace) -> None:
    first, *_ = keys(waiting)
    escalate(waiting, first, TEXT, actor=LEA)
    with pytest.raises(StateError, match="passed on"):
        claim_case(waiting, first, actor=LEA, lead=True)
    assert claim_case(waiting, first, actor="account:leo", lead=True).key == first


def test_who_was_given_a_case_and_asks_a_lead_has_it_no_more_unless_it_is_given_back_to_them(
    waiting: Workspace,
) -> None:
    first, second, _ = keys(waiting)
    assign(waiting, first, "bob", None, actor=LEA)
    claim_case(waiting, first, actor=BOB)
    escalate(waiting, first, TEXT, actor=BOB)
    assert (gets(waiting, BOB), gets(waiting, LEA, lead=True)) == (second, first)
    with pytest.raises(StateError, match="passed on"):
        claim_case(waiting, first, actor=BOB)
    assign(waiting, first, "bob", None, actor=LEA)
    assert gets(waiting, BOB) == first


def test_unsure_leads_leave_it_for_another_lead(waiting: Workspace) -> None:
    first, *_ = keys(waiting)
    escalate(waiting, first, TEXT, actor=ANN)
    claim_case(waiting, first, actor=LEA, lead=True)
    answer = Answer("unsure", "low_quality", LEA)
    answer_case(waiting, first.case_id, answer, expect=foresee(waiting, first, answer).digest)
    with pytest.raises(StateError, match="passed on"):
        claim_case(waiting, first, actor=BOB)
    assert claim_case(waiting, first, actor="account:leo", lead=True).key == first


def test_what_was_assigned_comes_first_to_that_person_and_to_nobody_else(waiting: Workspace) -> None:
    first, second, third = keys(waiting)
    assign(waiting, third, "bob", None, actor=LEA)
    assert (gets(waiting, BOB), gets(waiting, ANN), gets(waiting, LEA, lead=True)) == (third, first, first)
    with pytest.raises(StateError, match="passed on"):
        claim_case(waiting, third, actor=ANN)
    assign(waiting, third, "ann", None, actor=LEA)
    assert gets(waiting, ANN) == third, "and whom it was given to before has it no more"
    assert gets(waiting, BOB) == first
    hand_back(waiting, third, actor=LEA)
    assert gets(waiting, ANN) == first
    assert second in keys(waiting)
    with pytest.raises(StateError, match="not passed on"):
        hand_back(waiting, third, actor=LEA)


def answered(workspace: Workspace, key: CaseKey, word: Word, actor: str, *only: str, lead: bool = False) -> str:
    """Take a case and answer it, or what is marked of it; the batch."""
    claim_case(workspace, key, actor=actor, lead=lead)
    given = Answer(word, REASONS[word][0], actor)
    _, made = answer_case(
        workspace, key.case_id, given, expect=foresee(workspace, key, given, only=only).digest, only=only
    )
    return str(made.batch_id)


def whose(workspace: Workspace, key: CaseKey) -> str | None:
    """Whom a case is given to, or who asked a lead; None: it is everybody's."""
    with workspace.database.read() as connection:
        known = passed_on(connection, key=key).get(key)
    return None if known is None else known.assigned_to or known.escalated_by


@pytest.mark.parametrize("how", ["sheet", "command"])
def test_what_was_given_to_one_person_is_nobodys_once_it_was_decided_in_another_way(
    waiting: Workspace, how: str
) -> None:
    first, second, _ = keys(waiting)
    for key in (first, second):
        assign(waiting, key, "bob", None, actor=LEA)
    given = Answer("reject", "other_person", BOB)
    if how == "sheet":
        query = SheetQuery(case=first)
        decide_sheet(waiting, query, given, expect=foresee_sheet(waiting, query, given).digest)
    else:
        with waiting.database.read() as connection:
            (hit,) = list_hits(connection, item_id=first.about)
        decide(waiting, [hit.hit_id], decision="reject", reason="other_person", actor="tester")
        assert end_passing_of_decided(waiting) == 1
        assert end_passing_of_decided(waiting) == 0
    assert (whose(waiting, first), whose(waiting, second)) == (None, BOB)


def test_what_ended_with_a_decision_stands_again_once_that_is_undone(waiting: Workspace) -> None:
    first, second, _ = keys(waiting)
    escalate(waiting, first, TEXT, actor=ANN)
    assign(waiting, second, "bob", None, actor=LEA)
    by_lead = answered(waiting, first, "reject", LEA, lead=True)
    query, given = SheetQuery(case=second), Answer("reject", "other_person", BOB)
    by_bob = decide_sheet(waiting, query, given, expect=foresee_sheet(waiting, query, given).digest).batch_id
    assert (whose(waiting, first), whose(waiting, second)) == (None, None)
    again = take_back(waiting, by_lead, actor=LEA, anybodys=True)
    assert again is not None
    assert again.key == first, "a lead has it again"
    take_back(waiting, str(by_bob), actor=BOB, anybodys=False)
    assert (whose(waiting, first), whose(waiting, second)) == (ANN, BOB)


def test_what_was_answered_in_part_stays_with_whom_it_was_passed_on_to(waiting: Workspace, uploads: Path) -> None:
    for number in (4, 5):
        named = f"{NAME} at {number} o'clock"
        upload(uploads, f"m-{number}.png", picture(person(50 + number)), parent_model="m-1", prompt=named)
    sweep(waiting, source_of(uploads), day=None)
    (model,) = (key for key in keys(waiting) if key.about == "m-1")
    escalate(waiting, model, TEXT, actor=ANN)
    with waiting.database.read() as connection:
        (hit,) = list_hits(connection, item_id="m-4.png")
    answered(waiting, model, "reject", LEA, hit.hit_id, lead=True)
    assert whose(waiting, model) == ANN
    answered(waiting, model, "reject", LEA, lead=True)
    assert whose(waiting, model) is None


def test_whoever_is_unsure_of_what_was_given_to_them_has_it_no_more(waiting: Workspace) -> None:
    first, second, _ = keys(waiting)
    assign(waiting, first, "bob", None, actor=LEA)
    batch = answered(waiting, first, "unsure", BOB)
    assert (gets(waiting, ANN), gets(waiting, BOB)) == (first, second)
    with pytest.raises(InputError, match="unsure of this case"):
        assign(waiting, first, "bob", None, actor=LEA)
    take_back(waiting, batch, actor=BOB, anybodys=False)
    assert whose(waiting, first) == BOB


def test_an_account_that_is_disabled_keeps_no_case_from_others(waiting: Workspace) -> None:
    first, *_ = keys(waiting)
    assign(waiting, first, "bob", None, actor=LEA)
    assert gets(waiting, ANN) != first
    disable_account(waiting, "bob", actor="tester")
    assert gets(waiting, ANN) == first


def test_an_account_that_judges_no_more_keeps_no_case_from_others(waiting: Workspace) -> None:
    first, *_ = keys(waiting)
    assign(waiting, first, "bob", None, actor=LEA)
    reset_account(waiting, "bob", roles=["viewer"], actor="tester")
    assert gets(waiting, ANN) == first


def test_a_lead_gets_what_was_given_to_somebody_who_decided_it_before(waiting: Workspace) -> None:
    first, second, _ = keys(waiting)
    undo(waiting, answered(waiting, first, "reject", BOB), actor=LEA)
    assign(waiting, first, "bob", None, actor=LEA)
    assert (gets(waiting, ANN), gets(waiting, BOB), gets(waiting, LEA, lead=True)) == (second, second, first)


@pytest.mark.parametrize("account", ["vic", "nobody", ""])
def test_a_case_is_given_to_accounts_that_judge_and_to_no_others(waiting: Workspace, account: str) -> None:
    with pytest.raises(InputError, match="no account"):
        assign(waiting, keys(waiting)[0], account, None, actor=LEA)


def test_nobody_passes_on_what_somebody_else_works_on(waiting: Workspace) -> None:
    first, *_ = keys(waiting)
    claim_case(waiting, first, actor=ANN)
    with pytest.raises(StateError, match="somebody else works"):
        escalate(waiting, first, TEXT, actor=BOB)
    with pytest.raises(StateError, match="somebody else works"):
        assign(waiting, first, "bob", None, actor=LEA)
    comment(waiting, first, TEXT, actor=BOB)


def test_what_was_passed_on_is_on_no_sheet_of_others(waiting: Workspace) -> None:
    first, *_ = keys(waiting)
    query = SheetQuery(subject_id=first.subject_id)
    assign(waiting, first, "bob", None, actor=LEA)
    with waiting.database.read() as connection:
        shown = {who: len(read_sheet(connection, waiting, query, actor=who).tiles) for who in (ANN, BOB, LEA)}
    assert shown == {ANN: 2, BOB: 3, LEA: 2}


def test_a_text_is_opened_on_record_and_is_nowhere_else(waiting: Workspace) -> None:
    first, *_ = keys(waiting)
    comment(waiting, first, TEXT, actor=ANN)
    with waiting.database.read() as connection:
        (shown,) = notes_on(connection, first.case_id)
        assert shown.text is None
        assert TEXT not in repr(connection.execute(sa.select(case_notes)).all())
    (opened,) = open_notes(waiting, first.case_id, actor=BOB)
    assert opened.text == TEXT
    assert TEXT not in repr(opened)
    with waiting.database.read() as connection:
        audit.verify(connection, waiting.sealer)
        (looked,) = connection.execute(sa.select(chain.c.actor).where(chain.c.action == "case.notes")).scalars()
    assert looked == BOB


@pytest.mark.parametrize("text", ["", "x" * (MOST_NOTE + 1)])
def test_an_empty_text_and_one_that_is_too_long_are_refused(waiting: Workspace, text: str) -> None:
    with pytest.raises(InputError):
        comment(waiting, keys(waiting)[0], text, actor=ANN)


def test_a_comment_needs_a_case_that_waits(waiting: Workspace) -> None:
    with pytest.raises(StateError, match="nothing of this case"):
        comment(waiting, CaseKey(keys(waiting)[0].subject_id, "none.png"), TEXT, actor=ANN)


def test_i8_no_byte_of_a_note_is_in_clear_and_none_is_left_of_whoever_is_erased(waiting: Workspace) -> None:
    first, *_ = keys(waiting)
    comment(waiting, first, TEXT, actor=ANN)
    escalate(waiting, first, TEXT, actor=ANN)
    with waiting.database.read() as connection:
        sealed = list(connection.execute(sa.select(case_notes.c.sealed_text)).scalars())

    def everything() -> bytes:
        return everything_under(waiting.home)

    pieces = [one[:24] for one in sealed]
    assert not in_clear(TEXT.encode(), everything())
    if waiting.database.is_sqlite:
        assert all(in_clear(one, everything()) for one in pieces)
    erase(waiting, first.subject_id, actor="tester")
    with waiting.database.read() as connection:
        assert connection.execute(sa.select(case_notes)).all() == []
    assert not any(in_clear(one, everything()) for one in (TEXT.encode(), *pieces))


def test_notes_go_with_the_last_that_is_kept_of_their_case(waiting: Workspace, uploads: Path) -> None:
    gone, stays, _ = keys(waiting)
    for key in (gone, stays):
        comment(waiting, key, TEXT, actor=ANN)
    assert let_go_of_notes(waiting) == 0
    upload(uploads, gone.about, (uploads / gone.about).read_bytes(), deleted=True)
    sweep(waiting, source_of(uploads), day=None)
    assert let_go_of_notes(waiting) == 0, "while what was found is kept, so is what was said of it"
    with waiting.database.write() as tx:
        tx.execute(sa.delete(kept_evidence))
    assert let_go_of_notes(waiting) == 1
    with waiting.database.read() as connection:
        assert list(connection.execute(sa.select(case_notes.c.about)).scalars()) == [stays.about]


def test_notes_on_a_rejected_case_stay(waiting: Workspace) -> None:
    first, *_ = keys(waiting)
    comment(waiting, first, TEXT, actor=ANN)
    claim_case(waiting, first, actor=ANN)
    answer = Answer("reject", "other_person", ANN)
    answer_case(waiting, first.case_id, answer, expect=foresee(waiting, first, answer).digest)
    assert let_go_of_notes(waiting) == 0


def test_the_list_says_whose_each_is(waiting: Workspace) -> None:
    first, second, third = keys(waiting)
    escalate(waiting, second, TEXT, actor=ANN)
    assign(waiting, third, "bob", None, actor=LEA)
    with waiting.database.read() as connection:
        shown = cases_shown(connection, waiting_cases(connection, waiting), actor=BOB)
    passed = {case.key: case.passed_on for case in shown}
    assert passed[first] is None
    assert (passed[second].escalated_by, passed[third].assigned_to) == (ANN, BOB)  # type: ignore[union-attr]
