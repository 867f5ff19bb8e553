"""Decided cases that come to somebody again: who gets them, that nothing shows it, and that nothing follows from it."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from embeddings.errors import DeniedError, StateError
from pipelines.database import tables
from pipelines.decisions.decide import REASONS, Answer, Word, decide
from pipelines.decisions.log import list_decisions, verify_decisions
from pipelines.home import audit
from pipelines.home.workspace import Workspace
from pipelines.reviewing.agreement import read_disagreements, read_figures
from pipelines.reviewing.answering import answer_case, foresee, take_back
from pipelines.reviewing.case import read_case
from pipelines.reviewing.checks import check_of
from pipelines.reviewing.claims import CaseClaim, claim_case, claims_of_batch, end_claim
from pipelines.reviewing.next_case import claim_next
from pipelines.reviewing.notes import insert_note
from pipelines.reviewing.queue import Queue, waiting_cases
from pipelines.reviewing.sheet import SheetQuery, decide_sheet, foresee_sheet
from pipelines.runs.sweep import sweep
from tests.conftest import Clock, fresh_workspace, use_fakes
from tests.examples import examples
from tests.fakes import person, picture
from tests.platform_actions import enrol, source_of, upload

EFFECTS = ("verdicts", "model_verdicts", "outbox", "seeds", "decisions", "hits", "items", "subjects", "requests")
"""Tables that an answer which changes nothing leaves alone."""


def always(workspace: Workspace, *, golden: float = 0.0, second_look: float = 0.0) -> None:
    """Every person's next case is one that was decided, where there is one."""
    shares = {"golden_share": golden, "second_look_share": second_look}
    workspace.config = replace(workspace.config, review=replace(workspace.config.review, **shares))


def fill(workspace: Workspace, uploads: Path, count: int = 4) -> None:
    enrol(workspace, person(1))
    for number in range(count):
        upload(uploads, f"{number}.png", picture(person(1), person(150 + number)), uploader=f"u-{number}")
    sweep(workspace, source_of(uploads), day=None)


def decide_first(workspace: Workspace, word: Word, actor: str) -> CaseClaim:
    """Decide the first case that waits for somebody, as the pages do."""
    claim = claim_next(workspace, Queue(), actor=actor)
    assert claim is not None
    return answer(workspace, claim, word)


def answer(workspace: Workspace, claim: CaseClaim, word: Word, *, reason: str | None = None) -> CaseClaim:
    given = Answer(word, reason or REASONS[word][0], claim.actor)
    with workspace.database.read() as connection:
        check = check_of(connection, claim)
    foreseen = foresee(workspace, claim.key, given, check=check)
    ended, _ = answer_case(workspace, claim.case_id, given, expect=foreseen.digest)
    return ended


def contents(workspace: Workspace) -> dict[str, list[Any]]:
    with workspace.database.read() as connection:
        return {
            name: sorted(map(repr, connection.execute(sa.select(tables.metadata.tables[name])))) for name in EFFECTS
        }


@pytest.fixture
def settled(workspace: Workspace, uploads: Path, clock: Clock) -> tuple[Workspace, CaseClaim]:
    """Ann has rejected one of four cases, long ago."""
    fill(workspace, uploads)
    always(workspace)
    claim = decide_first(workspace, "reject", "account:ann")
    clock.forward(days=8)
    always(workspace, golden=1.0)
    return workspace, claim


@pytest.mark.any_database
def test_a_settled_case_comes_to_somebody_else_as_it_was(settled: tuple[Workspace, CaseClaim]) -> None:
    workspace, decided = settled
    claim = claim_next(workspace, Queue(), actor="account:bob")
    assert claim is not None
    with workspace.database.read() as connection:
        check = check_of(connection, claim)
        (first, *_) = waiting_cases(connection, workspace)
        assert check is not None
        assert (claim.key, check.kind, check.decided) == (decided.key, "golden", "reject")
        assert check.case.due_at == first.due_at, "it comes in the place of another, and has its deadline"
        facts = read_case(connection, claim.key, check)
    assert len(facts.hits) == check.case.hits == 1


def test_it_never_comes_to_who_decided_it_nor_twice_to_anybody(settled: tuple[Workspace, CaseClaim]) -> None:
    workspace, decided = settled
    for _ in range(3):
        claim = claim_next(workspace, Queue(), actor="account:ann")
        assert claim is not None
        assert claim.key != decided.key
        answer(workspace, claim, "unsure")
    claim = claim_next(workspace, Queue(), actor="account:bob")
    assert claim is not None
    answer(workspace, claim, "reject")
    after = claim_next(workspace, Queue(), actor="account:bob")
    assert after is None or after.key != decided.key


@settings(max_examples=examples(6))
@given(
    steps=st.lists(
        st.tuples(st.sampled_from([(word, reason) for word in REASONS for reason in REASONS[word]]), st.booleans()),
        min_size=1,
        max_size=3,
    ),
    first=st.sampled_from(["confirm", "reject"]),
    days=st.sampled_from([1, 8]),
)
def test_whatever_is_said_again_and_taken_back_changes_no_verdict_message_or_seed(
    steps: Sequence[tuple[tuple[Word, str], bool]], first: Word, days: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        uploads, clock = Path(folder) / "uploads", Clock()
        uploads.mkdir()
        with fresh_workspace(Path(folder) / "home", now=clock) as opened:
            workspace = use_fakes(opened)
            fill(workspace, uploads, 2)
            always(workspace)
            decide_first(workspace, first, "account:ann")
            clock.forward(days=days)
            always(workspace, **({"golden": 1.0} if days > 7 else {"second_look": 1.0}))
            before = contents(workspace)
            answered = 0
            for number, ((word, reason), undone) in enumerate(steps):
                claim = claim_next(workspace, Queue(), actor=f"account:r-{number}")
                assert claim is not None
                with workspace.database.read() as connection:
                    if check_of(connection, claim) is None:
                        continue  # a second look is given once, and a golden case is none once somebody disagreed
                ended = answer(workspace, claim, word, reason=reason)
                answered += 1
                if undone and ended.batch_id is not None:
                    take_back(workspace, ended.batch_id, actor=ended.actor, anybodys=False)
            assert answered
            assert contents(workspace) == before
            with workspace.database.read() as connection:
                audit.verify(connection, workspace.sealer)
                verify_decisions(connection)


def test_what_is_said_again_counts_for_both_and_a_disagreement_waits_for_a_lead(
    settled: tuple[Workspace, CaseClaim],
) -> None:
    workspace, decided = settled
    claim = claim_next(workspace, Queue(), actor="account:bob")
    assert claim is not None
    answer(workspace, claim, "confirm")
    since = workspace.now().replace(year=2000)
    with workspace.database.read() as connection:
        (open_one,) = read_disagreements(connection)
        figures = {one.actor: one for one in read_figures(connection, since=since, until=workspace.now())}
    assert (open_one.decided_by, open_one.answered_by) == ("account:ann", "account:bob")
    assert (figures["account:bob"].golden.cases, figures["account:bob"].golden.agreed) == (1, 0)
    assert (figures["account:ann"].decided, figures["account:ann"].overturned) == (1, 0)
    assert decided.batch_id is not None
    take_back(workspace, decided.batch_id, actor="account:lea", anybodys=True)
    with workspace.database.read() as connection:
        assert read_disagreements(connection) == []
        figures = {one.actor: one for one in read_figures(connection, since=since, until=workspace.now())}
    assert figures["account:ann"].overturned == 1


def test_a_case_whose_decision_somebody_ended_never_returns_to_who_decided_it(
    settled: tuple[Workspace, CaseClaim],
) -> None:
    workspace, decided = settled
    always(workspace)
    assert decided.batch_id is not None
    again = take_back(workspace, decided.batch_id, actor="account:lea", anybodys=True)
    assert again is not None
    with workspace.database.write() as tx:
        tx.execute(sa.update(tables.claims).values(ended_at=workspace.now(), outcome="released"))
    with pytest.raises(StateError, match="you decided this case before"):
        claim_case(workspace, decided.key, actor="account:ann")
    got = set()
    for _ in range(3):
        claim = claim_next(workspace, Queue(), actor="account:ann")
        assert claim is not None
        got.add(claim.key)
        answer(workspace, claim, "unsure")
    assert decided.key not in got
    assert claim_next(workspace, Queue(), actor="account:ann") is None
    assert claim_case(workspace, decided.key, actor="account:bob").actor == "account:bob"


def test_who_undid_their_own_decision_gets_the_case_again(settled: tuple[Workspace, CaseClaim]) -> None:
    workspace, decided = settled
    always(workspace)
    assert decided.batch_id is not None
    take_back(workspace, decided.batch_id, actor="account:ann", anybodys=True)
    assert claim_case(workspace, decided.key, actor="account:ann").key == decided.key


def test_an_answer_to_a_decided_case_is_undone_like_any_other(settled: tuple[Workspace, CaseClaim]) -> None:
    workspace, decided = settled
    claim = claim_next(workspace, Queue(), actor="account:bob")
    assert claim is not None
    ended = answer(workspace, claim, "confirm")
    assert ended.batch_id is not None
    with pytest.raises(DeniedError):
        take_back(workspace, ended.batch_id, actor="account:eve", anybodys=False)
    again = take_back(workspace, ended.batch_id, actor="account:bob", anybodys=False)
    assert again is not None
    assert again.key == decided.key
    with pytest.raises(StateError, match="undone or replaced already"):
        take_back(workspace, ended.batch_id, actor="account:bob", anybodys=False)
    with workspace.database.read() as connection:
        assert read_disagreements(connection) == [], "what was taken back was never said"


def test_a_sheet_with_what_came_meanwhile_is_decided_and_undone_though_the_case_was_looked_at_again(
    settled: tuple[Workspace, CaseClaim], uploads: Path
) -> None:
    workspace, decided = settled
    claim = claim_next(workspace, Queue(), actor="account:bob")
    assert claim is not None
    assert claim.key == decided.key
    upload(uploads, "new.png", picture(person(1), person(190)), parent_model=decided.key.about, uploader="u-9")
    sweep(workspace, source_of(uploads), day=None)
    given, query = Answer("reject", "other_person", "account:bob"), SheetQuery(case=decided.key)
    foreseen = foresee_sheet(workspace, query, given)
    summary = decide_sheet(workspace, query, given, expect=foreseen.digest)
    assert (summary.hits, summary.decisions) == (1, 1)
    with workspace.database.read() as connection:
        outcomes = dict(connection.execute(sa.select(tables.claims.c.claim_id, tables.claims.c.outcome)).all())
        (ended,) = claims_of_batch(connection, str(summary.batch_id))
        assert check_of(connection, ended) is None
    assert outcomes[claim.claim_id] == "gone"
    take_back(workspace, str(summary.batch_id), actor="account:bob", anybodys=False)
    with workspace.database.read() as connection:
        assert [one.item_id for one in list_decisions(connection, standing=True)] == [decided.key.about]


def test_decisions_are_undone_although_a_claim_on_a_decided_case_ended_with_them(
    settled: tuple[Workspace, CaseClaim],
) -> None:
    workspace, decided = settled
    claim = claim_next(workspace, Queue(), actor="account:bob")
    assert claim is not None
    with workspace.database.read() as connection:
        (other, *_) = (case.key for case in waiting_cases(connection, workspace) if case.key != decided.key)
        (hit,) = (hit.hit_id for hit in read_case(connection, other, None).hits)
    made = decide(workspace, [hit], decision="reject", reason="other_person", actor="account:bob")
    with workspace.database.write() as tx:
        end_claim(tx, claim, now=workspace.now(), outcome="decided", batch_id=made.batch_id)
    take_back(workspace, str(made.batch_id), actor="account:bob", anybodys=False)
    with workspace.database.read() as connection:
        assert [one.item_id for one in list_decisions(connection, standing=True)] == [decided.key.about]


def test_a_recent_decision_is_looked_at_by_one_other_person(workspace: Workspace, uploads: Path, clock: Clock) -> None:
    fill(workspace, uploads, 8)
    always(workspace)
    decided = {decide_first(workspace, "reject", "account:ann").key for _ in range(6)}
    clock.forward(hours=1)
    always(workspace, second_look=1.0)
    seen = [drawn_for_or_none(workspace, f"account:r-{number}") for number in range(12)]
    looked_at = [claim.key for claim in seen if claim is not None]
    assert looked_at
    assert set(looked_at) <= decided
    assert len(looked_at) == len(set(looked_at)), "each by one"


def drawn_for_or_none(workspace: Workspace, actor: str) -> CaseClaim | None:
    claim = claim_next(workspace, Queue(), actor=actor)
    assert claim is not None
    with workspace.database.read() as connection:
        check = check_of(connection, claim)
    if check is None:
        with workspace.database.write() as tx:
            own = sa.update(tables.claims).where(tables.claims.c.claim_id == claim.claim_id)
            tx.execute(own.values(ended_at=workspace.now(), outcome="released"))
        return None
    return answer(workspace, claim, "reject")


def test_with_shares_of_nothing_nothing_decided_comes_again(settled: tuple[Workspace, CaseClaim]) -> None:
    workspace, decided = settled
    always(workspace)
    for name in ("bob", "cyd", "dan"):
        claim = claim_next(workspace, Queue(), actor=f"account:{name}")
        assert claim is not None
        assert claim.key != decided.key


def test_the_same_lot_falls_whenever_it_is_drawn(workspace: Workspace, clock: Clock) -> None:
    lots = [workspace.sealer.lot("turn", "account:ann", number) for number in range(2000)]
    clock.forward(days=3)
    assert lots == [workspace.sealer.lot("turn", "account:ann", number) for number in range(2000)]
    assert all(0 <= lot < 1 for lot in lots)
    assert 0.4 < sum(lot < 0.5 for lot in lots) / len(lots) < 0.6


def test_a_case_that_somebody_wrote_on_is_never_one_that_comes_again(settled: tuple[Workspace, CaseClaim]) -> None:
    workspace, decided = settled
    with workspace.database.write() as tx:
        insert_note(tx, workspace, decided.key, "comment", "it is her brother", actor="account:ann")
    claim = claim_next(workspace, Queue(), actor="account:bob")
    assert claim is not None
    assert claim.key != decided.key
