"""Claims on cases: one at a time whoever comes when, on each kind of database."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from embeddings.errors import StateError
from pipelines.decisions.decide import REASONS, Answer, Word, decide, undo
from pipelines.decisions.log import list_decisions
from pipelines.hits.listing import list_hits
from pipelines.home.workspace import Workspace
from pipelines.reviewing.answering import answer_case, foresee, take_back
from pipelines.reviewing.claims import CaseClaim, claim_case, note_answer, open_claim, open_claims, release
from pipelines.reviewing.next_case import claim_next
from pipelines.reviewing.queue import Queue, waiting_cases
from pipelines.runs.sweep import sweep
from tests.conftest import Clock
from tests.fakes import person, picture
from tests.platform_actions import agree, ask_for_removal, enrol, source_of, upload

REJECT = Answer("reject", "other_person", "account:ann")


@pytest.fixture
def waiting(workspace: Workspace, uploads: Path) -> Workspace:
    """Eight cases of one person."""
    enrol(workspace, person(1))
    for number in range(8):
        upload(uploads, f"{number}.png", picture(person(1), person(100 + number)), uploader=f"u-{number}")
    sweep(workspace, source_of(uploads), day=None)
    return workspace


def test_many_at_once_never_get_one_case_twice(waiting: Workspace) -> None:
    queue, found = Queue(), list[CaseClaim | None]()

    def work(name: str) -> None:
        found.append(claim_next(waiting, queue, actor=name))

    threads = [threading.Thread(target=work, args=(f"account:r-{number}",)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    got = [claim.case_id for claim in found if claim is not None]
    assert len(got) == len(set(got)) == 8
    assert found.count(None) == 2, "and two find nothing"


def test_a_lease_ends_by_itself_and_not_before(waiting: Workspace, clock: Clock) -> None:
    queue = Queue()
    first = claim_next(waiting, queue, actor="account:ann")
    assert first is not None
    clock.forward(minutes=19, seconds=59)
    with pytest.raises(StateError, match="somebody else"):
        claim_case(waiting, first.key, actor="account:bob")
    clock.forward(seconds=1)
    assert claim_case(waiting, first.key, actor="account:bob").actor == "account:bob"
    with pytest.raises(StateError, match="not yours"):
        release(waiting, first.case_id, actor="account:ann", outcome="skipped")


def test_what_was_answered_elsewhere_is_not_offered(waiting: Workspace) -> None:
    queue = Queue()
    order = queue.cases(waiting)
    with waiting.database.read() as connection:
        hits = [hit.hit_id for hit in list_hits(connection, item_id=order[0].key.about)]
    decide(waiting, hits, decision="reject", reason="other_person", actor="by command")
    claim = claim_next(waiting, queue, actor="account:ann")
    assert claim is not None
    assert claim.key == order[1].key, "although the order was read before"


def test_an_answer_is_one_transaction_with_the_end_of_the_claim(waiting: Workspace, clock: Clock) -> None:
    queue, answer = Queue(), Answer("confirm", "same_person", "account:ann")
    claim = claim_next(waiting, queue, actor="account:ann")
    assert claim is not None
    foreseen = foresee(waiting, claim.key, answer)
    assert (foreseen.items, foreseen.takedowns) == (1, 1)
    with waiting.database.read() as connection:
        assert list_decisions(connection) == [], "foreseeing decides nothing"
    clock.forward(minutes=20)
    with pytest.raises(StateError, match="not yours"):
        answer_case(waiting, claim.case_id, answer, expect=foreseen.digest)
    claim_case(waiting, claim.key, actor="account:ann")
    ended, summary = answer_case(waiting, claim.case_id, answer, expect=foreseen.digest)
    assert ended.batch_id == summary.batch_id
    with waiting.database.read() as connection:
        assert open_claims(connection, now=waiting.now()) == []
    again = take_back(waiting, str(summary.batch_id), actor="account:ann", anybodys=False)
    assert again is not None
    assert again.key == claim.key


@pytest.mark.parametrize("how", ["skipped", "expired", "taken back"])
def test_the_first_answer_stays_the_first_however_the_claim_on_it_ends(
    waiting: Workspace, clock: Clock, how: str
) -> None:
    claim = claim_next(waiting, Queue(), actor="account:ann")
    assert claim is not None
    first = waiting.now()
    note_answer(waiting, claim, "unsure")
    clock.forward(minutes=1)
    if how == "skipped":
        release(waiting, claim.case_id, actor="account:ann", outcome="skipped")
    elif how == "expired":
        clock.forward(minutes=20)
    else:
        foreseen = foresee(waiting, claim.key, REJECT)
        _, summary = answer_case(waiting, claim.case_id, REJECT, expect=foreseen.digest)
        take_back(waiting, str(summary.batch_id), actor="account:ann", anybodys=False)
    again = claim_case(waiting, claim.key, actor="account:ann")
    assert again.claim_id != claim.claim_id
    note_answer(waiting, again, "reject")
    with waiting.database.read() as connection:
        kept = open_claim(connection, claim.case_id, now=waiting.now())
    assert kept is not None
    assert (kept.answered_at, kept.first_answer) == (first, "unsure")
    release(waiting, claim.case_id, actor="account:ann", outcome="released")
    assert claim_case(waiting, claim.key, actor="account:bob").first_answer is None


def test_what_was_found_since_somebody_answered_is_answered_without_scores(
    waiting: Workspace, uploads: Path, clock: Clock
) -> None:
    enrolled = claim_next(waiting, Queue(), actor="account:ann")
    assert enrolled is not None
    upload(uploads, "a.png", picture(person(1), person(140)), parent_model="m-1", uploader="u-1")
    sweep(waiting, source_of(uploads), day=None)
    key = enrolled.key._replace(about="m-1")
    claim = claim_case(waiting, key, actor="account:ann")
    note_answer(waiting, claim, "reject")
    answer_case(waiting, key.case_id, REJECT, expect=foresee(waiting, key, REJECT).digest)
    clock.forward(hours=1)
    upload(uploads, "b.png", picture(person(1), person(141)), parent_model="m-1", uploader="u-1")
    sweep(waiting, source_of(uploads), day=None)
    assert claim_case(waiting, key, actor="account:ann").first_answer is None


def test_who_was_unsure_of_a_case_does_not_get_it_by_its_address(waiting: Workspace) -> None:
    unsure = Answer("unsure", "low_quality", "account:ann")
    claim = claim_next(waiting, Queue(), actor="account:ann")
    assert claim is not None
    answer_case(waiting, claim.case_id, unsure, expect=foresee(waiting, claim.key, unsure).digest)
    with pytest.raises(StateError, match="you were unsure"):
        claim_case(waiting, claim.key, actor="account:ann")
    assert claim_case(waiting, claim.key, actor="account:bob").actor == "account:bob"


@pytest.mark.parametrize("word", ["reject", "unsure"])
def test_a_claim_that_stands_is_no_way_to_a_case_that_is_for_others_by_now(waiting: Workspace, word: Word) -> None:
    claim = claim_next(waiting, Queue(), actor="account:ann")
    assert claim is not None
    expect = foresee(waiting, claim.key, REJECT).digest
    with waiting.database.read() as connection:
        hits = [hit.hit_id for hit in list_hits(connection, item_id=claim.key.about)]
    made = decide(waiting, hits, decision=word, reason=REASONS[word][0], actor="account:ann")
    if word == "reject":
        undo(waiting, str(made.batch_id), actor="account:lea")
    with pytest.raises(StateError, match="somebody else looks at it now"):
        claim_case(waiting, claim.key, actor="account:ann")
    with pytest.raises(StateError, match="somebody else looks at it now"):
        answer_case(waiting, claim.case_id, REJECT, expect=expect)
    following = claim_next(waiting, Queue(), actor="account:ann")
    assert following is not None
    assert following.key != claim.key


def test_a_running_request_brings_its_persons_cases_forward(
    waiting: Workspace, uploads: Path, clock: Clock, open_again: Callable[[], Workspace]
) -> None:
    from pipelines.runs.rescan import rescan

    clock.forward(hours=60)
    upload(uploads, "later.png", picture(person(2), person(150)), uploader="u-9")
    upload(uploads, "last.png", picture(person(1), person(151)), uploader="u-9")
    sweep(waiting, source_of(uploads), day=None)
    asked = ask_for_removal(waiting, person(2), name="Nobody Inparticular")
    agree(waiting, asked.request_id, "tester")
    rescan(waiting)
    with waiting.database.read() as connection:
        order = [(case.key.about, case.due_at) for case in waiting_cases(connection, waiting)]
    due = dict(order)
    assert due["later.png"] == asked.due_at
    assert [about for about, _ in order][-1] in ("later.png", "last.png"), "older hits are due before both"
