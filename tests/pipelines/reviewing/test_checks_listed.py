"""Decided cases in the list of those that wait: who sees them there, who gets them, and when they leave it."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from embeddings.errors import StateError
from pipelines.accounts.accounts import add_account
from pipelines.database import tables
from pipelines.decisions.decide import undo
from pipelines.decisions.log import list_decisions
from pipelines.home.workspace import Workspace
from pipelines.reviewing.checks import given_and_open, let_go_of_checks
from pipelines.reviewing.claims import CaseClaim, claim_case, end_claim, insert_claim, release
from pipelines.reviewing.next_case import claim_next
from pipelines.reviewing.passing_on import assign, escalate
from pipelines.reviewing.queue import Queue, WaitingCase, waiting_cases
from pipelines.reviewing.shown import cases_shown, check_listed, claim_shown
from tests.conftest import Clock
from tests.pipelines.reviewing.test_checks import always, answer, decide_first, fill, settled

__all__ = ["settled"]


def shown_to(workspace: Workspace, actor: str) -> list[WaitingCase]:
    with workspace.database.read() as connection:
        return cases_shown(connection, waiting_cases(connection, workspace), actor=actor)


@pytest.mark.parametrize("how", ["skipped", "expired", "unsure", "escalated"])
def test_a_decided_case_stays_in_the_list_as_one_that_waits_does(
    settled: tuple[Workspace, CaseClaim], clock: Clock, how: str
) -> None:
    workspace, decided = settled
    always(workspace)
    waits = claim_next(workspace, Queue(), actor="account:cyd")
    assert waits is not None
    always(workspace, golden=1.0)
    again = claim_next(workspace, Queue(), actor="account:bob")
    assert again is not None
    assert again.key == decided.key
    always(workspace)  # from here on nothing else is drawn
    for claim in (again, waits):
        if how == "skipped":
            release(workspace, claim.case_id, actor=claim.actor, outcome="skipped")
        elif how == "unsure":
            answer(workspace, claim, "unsure")
        elif how == "escalated":
            escalate(workspace, claim.key, "look at this", actor=claim.actor)
    if how == "expired":
        clock.forward(minutes=21)
    for actor in ("account:bob", "account:cyd", "account:dan"):
        listed = {case.key: case for case in shown_to(workspace, actor)}
        assert {again.key, waits.key} <= listed.keys()
        told = [
            (case.hits, case.unsure == {claim.actor}, case.passed_on is not None)
            for claim, case in ((again, listed[again.key]), (waits, listed[waits.key]))
        ]
        assert told[0] == told[1], "nothing tells them apart"
    assert decided.key not in {case.key for case in shown_to(workspace, "account:ann")}, "who decided it"
    lead = how == "escalated"
    taken = claim_shown(workspace, again.key, actor="account:dan", lead=lead)
    answer(workspace, taken, "reject")
    assert again.key not in {case.key for case in shown_to(workspace, "account:bob")}
    with workspace.database.read() as connection:
        (decision,) = list_decisions(connection, standing=True, decision="reject")
    assert decision.actor == "account:ann", "and it changes nothing"


def test_a_skipped_case_comes_last_whether_it_was_decided_or_not(settled: tuple[Workspace, CaseClaim]) -> None:
    workspace, decided = settled
    again = claim_next(workspace, Queue(), actor="account:bob")
    assert again is not None
    assert again.key == decided.key
    release(workspace, again.case_id, actor="account:bob", outcome="skipped")
    always(workspace)
    order = []
    for _ in range(4):
        claim = claim_next(workspace, Queue(), actor="account:bob")
        assert claim is not None
        order.append(claim.key)
        answer(workspace, claim, "reject")
    assert order[-1] == decided.key
    assert claim_next(workspace, Queue(), actor="account:bob") is None


def test_a_decided_case_is_not_in_the_list_of_who_had_it_before(
    workspace: Workspace, uploads: Path, clock: Clock
) -> None:
    fill(workspace, uploads)
    always(workspace)
    skipped = claim_next(workspace, Queue(), actor="account:cyd")
    assert skipped is not None
    release(workspace, skipped.case_id, actor="account:cyd", outcome="skipped")
    decided = decide_first(workspace, "reject", "account:ann")
    assert decided.key == skipped.key
    again = given_again(workspace, clock)
    assert again.key == decided.key
    for actor, sees in (("account:ann", False), ("account:bob", True), ("account:cyd", False), ("account:dan", True)):
        assert (decided.key in {case.key for case in shown_to(workspace, actor)}) is sees, actor
    with pytest.raises(StateError, match="nothing of this case waits"):
        claim_shown(workspace, again.key, actor="account:cyd")
    claim_shown(workspace, again.key, actor="account:bob")


def given_again(workspace: Workspace, clock: Clock) -> CaseClaim:
    """Bob gets the case that was decided, and skips it; nothing else is drawn from here on."""
    clock.forward(days=8)
    always(workspace, golden=1.0)
    again = claim_next(workspace, Queue(), actor="account:bob")
    assert again is not None
    release(workspace, again.case_id, actor="account:bob", outcome="skipped")
    always(workspace)
    return again


def test_a_lead_gets_a_decided_case_that_was_given_to_who_decided_it(
    settled: tuple[Workspace, CaseClaim], clock: Clock
) -> None:
    workspace, decided = settled
    add_account(workspace, "ann", ["reviewer"], actor="tester")
    assert given_again(workspace, clock).key == decided.key
    assign(workspace, decided.key, "ann", None, actor="account:lea")
    for actor, lead, gets in (("account:dan", False, False), ("account:lea", True, True)):
        claim = claim_next(workspace, Queue(), actor=actor, lead=lead)
        assert claim is not None
        assert (claim.key == decided.key) is gets


def test_a_check_whose_decision_stands_no_more_ends_and_hides_no_later_one_of_its_case(
    settled: tuple[Workspace, CaseClaim], clock: Clock
) -> None:
    workspace, decided = settled
    given_again(workspace, clock)
    undo(workspace, str(decided.batch_id), actor="account:lea")
    with workspace.database.read() as connection:
        assert len(connection.execute(given_and_open()).all()) == 1
    assert let_go_of_checks(workspace) == 1
    assert let_go_of_checks(workspace) == 0
    with workspace.database.read() as connection:
        assert connection.execute(given_and_open()).all() == []


def test_a_case_is_looked_at_again_by_what_stands_of_it_whatever_was_given_before(
    settled: tuple[Workspace, CaseClaim], clock: Clock
) -> None:
    workspace, decided = settled
    first = given_again(workspace, clock)
    undo(workspace, str(decided.batch_id), actor="account:lea")
    later = claim_case(workspace, decided.key, actor="account:eve")
    later = answer(workspace, later, "reject")
    with workspace.database.write() as tx:  # as it was given before checks whose decision is gone were ended
        row = tx.execute(sa.select(tables.checks)).one()
        again = insert_claim(tx, workspace, decided.key, actor="account:dan", found_at=row.found_at)
        end_claim(tx, again, now=workspace.now(), outcome="skipped")
        fresh = {"claim_id": again.claim_id, "batch_id": later.batch_id, "decided_by": later.actor}
        tx.execute(sa.insert(tables.checks).values({**row._mapping, **fresh}))
    with workspace.database.read() as connection:
        listed = check_listed(connection, first.case_id)
    assert listed is not None
    assert listed.row.batch_id == later.batch_id
    assert let_go_of_checks(workspace) == 1, "of the first alone"
    with workspace.database.read() as connection:
        assert check_listed(connection, first.case_id) is not None
