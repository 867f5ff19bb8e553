"""The order of waiting cases, read anew of few people at a time, is the one that reading everything gives."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embeddings.errors import InputError, StateError
from pipelines.cases.ending import withdraw
from pipelines.database.journal import MOST_KEPT, Journal
from pipelines.decisions.decide import REASONS, Answer, Word, undo
from pipelines.decisions.log import list_decisions
from pipelines.home.workspace import Workspace, open_workspace
from pipelines.registry.renewal import renew
from pipelines.reviewing import queue as module
from pipelines.reviewing.answering import answer_case, foresee
from pipelines.reviewing.claims import claim_case
from pipelines.reviewing.next_case import claim_next
from pipelines.reviewing.queue import Queue, WaitingCase, waiting_cases
from pipelines.runs.sweep import sweep
from tests.conftest import Clock, environment_for, fresh_workspace, use_fakes
from tests.examples import examples
from tests.fakes import person, picture
from tests.platform_actions import agree, ask_for_removal, enrol, source_of, upload

PEOPLE = (1, 2, 7)


def fill(workspace: Workspace, uploads: Path) -> list[str]:
    """Three people, each in two pictures of a model of their own and in a single one."""
    subjects = [enrol(workspace, person(number), days=20 + number) for number in PEOPLE]
    for number in PEOPLE:
        for version in range(3):
            model = f"m-{number}" if version else None
            shown = picture(person(number), person(100 + 10 * number + version))
            upload(uploads, f"{number}-{version}.png", shown, parent_model=model, uploader="u")
    sweep(workspace, source_of(uploads), day=None)
    return subjects


def slow(workspace: Workspace) -> list[WaitingCase]:
    """The definition."""
    with workspace.database.read() as connection:
        return waiting_cases(connection, workspace)


class Acts:
    """What may happen between two looks at the queue."""

    def __init__(self, workspace: Workspace, uploads: Path, clock: Clock) -> None:
        self.workspace, self.uploads, self.clock = workspace, uploads, clock
        self.queue = Queue()
        self.subjects = fill(workspace, uploads)

    def answer(self, number: int) -> None:
        claim = claim_next(self.workspace, self.queue, actor=f"account:r-{number % 2}")
        if claim is not None:
            word: Word = ("confirm", "reject", "unsure")[number % 3]  # type: ignore[assignment]
            given = Answer(word, REASONS[word][0], claim.actor)
            expect = foresee(self.workspace, claim.key, given).digest
            answer_case(self.workspace, claim.case_id, given, expect=expect)

    def undo(self, number: int) -> None:
        with self.workspace.database.read() as connection:
            batches = list(dict.fromkeys(one.batch_id for one in list_decisions(connection, standing=True)))
        if batches:
            undo(self.workspace, batches[number % len(batches)], actor="account:lea")

    def delete(self, number: int) -> None:
        name = f"{PEOPLE[number % 3]}-{number % 3}.png"
        deleted = number % 2 == 0
        upload(self.uploads, name, (self.uploads / name).read_bytes(), deleted=deleted, uploader="u")
        sweep(self.workspace, source_of(self.uploads), day=None)

    def end(self, number: int) -> None:
        with contextlib.suppress(StateError):  # it ended before
            withdraw(self.workspace, self.subjects[number % 3], actor="tester")

    def renew(self, number: int) -> None:
        ends = self.workspace.now() + timedelta(days=90 + number)
        with contextlib.suppress(StateError, InputError):  # it ended before, or lasts as long already
            renew(self.workspace, self.subjects[number % 3], expires_at=ends, actor="tester")

    def wait(self, number: int) -> None:
        self.clock.forward(days=number)

    def ask(self, number: int) -> None:
        asked = ask_for_removal(self.workspace, person(number % 3 + 1))
        agree(self.workspace, asked.request_id, "tester")


NAMES = ("answer", "undo", "delete", "end", "renew", "wait", "ask")


@settings(max_examples=examples(8))
@given(steps=st.lists(st.tuples(st.sampled_from(NAMES), st.integers(0, 11)), max_size=6))
def test_whatever_happens_the_order_is_the_one_that_reading_everything_gives(steps: Sequence[tuple[str, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        uploads, clock = Path(folder) / "uploads", Clock()
        uploads.mkdir()
        with fresh_workspace(Path(folder) / "home", now=clock) as opened:
            workspace = use_fakes(opened)
            acts, queue = Acts(workspace, uploads, clock), Queue()
            acts.queue = queue
            assert list(queue.cases(workspace)) == slow(workspace) != []
            for name, number in steps:
                getattr(acts, name)(number)
                assert list(queue.cases(workspace, fresh=True)) == slow(workspace), name


@pytest.fixture
def whole_reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one whenever the whole order is read."""
    found: list[int] = []

    def counted(connection, workspace):  # type: ignore[no-untyped-def]
        found.append(1)
        return waiting_cases(connection, workspace)

    monkeypatch.setattr(module, "waiting_cases", counted)
    return found


def test_a_decision_has_its_own_person_read_anew_and_nobody_else(
    workspace: Workspace, uploads: Path, clock: Clock, whole_reads: list[int]
) -> None:
    acts, queue = Acts(workspace, uploads, clock), Queue()
    acts.queue = queue
    queue.cases(workspace)
    for number in (0, 1, 2):
        acts.answer(number)
        assert list(queue.cases(workspace, fresh=True)) == slow(workspace)
    acts.undo(0)
    clock.forward(days=22)  # by now one opt-out is over, and nobody has written anything
    assert list(queue.cases(workspace, fresh=True)) == slow(workspace)
    assert len(whole_reads) == 1


def test_a_case_that_is_left_out_comes_back_if_it_waits_though_it_was_read_between_the_answer_and_that(
    workspace: Workspace, uploads: Path
) -> None:
    fill(workspace, uploads)
    queue = Queue()
    claim = claim_next(workspace, queue, actor="account:ann")
    assert claim is not None
    unsure = Answer("unsure", "low_quality", claim.actor)
    expect = foresee(workspace, claim.key, unsure).digest
    answer_case(workspace, claim.case_id, unsure, expect=expect)
    assert list(queue.cases(workspace, fresh=True)) == slow(workspace)
    queue.forget(claim.key)
    assert claim.key not in {case.key for case in queue.cases(workspace)}
    assert list(queue.cases(workspace, fresh=True)) == slow(workspace)
    assert claim.key in {case.key for case in slow(workspace)}


def test_another_home_is_read_whole_although_it_lies_where_one_lay_that_is_gone(
    tmp_path: Path, uploads: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "id", lambda _: 1, raising=False)  # the copy has the other one's place in memory
    with fresh_workspace(tmp_path / "one", now=clock) as opened:
        fill(use_fakes(opened), uploads)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    queue, counters = Queue(), []
    for name, number in (("one", 0), ("two", 3)):
        with open_workspace(environment_for(tmp_path / name), now=clock) as opened:
            workspace = use_fakes(opened)
            key = slow(workspace)[number].key
            claim = claim_case(workspace, key, actor="account:ann")
            given = Answer("reject", "other_person", claim.actor)
            answer_case(workspace, claim.case_id, given, expect=foresee(workspace, key, given).digest)
            assert list(queue.cases(workspace, fresh=True)) == slow(workspace)
            with workspace.database.read() as connection:
                head = workspace.seal.read(connection)
            counters.append(head.counter if head else None)
    assert counters[0] == counters[1], "both were written to as often"


def test_what_another_process_wrote_is_read_anew(
    workspace: Workspace, uploads: Path, open_again: Callable[[], Workspace], whole_reads: list[int]
) -> None:
    fill(workspace, uploads)
    queue = Queue()
    queue.cases(workspace)
    other = Acts.__new__(Acts)
    other.workspace, other.queue = open_again(), Queue()
    other.answer(1)
    whole_reads.clear()
    assert list(queue.cases(workspace, fresh=True)) == slow(workspace)
    assert len(whole_reads) == 1


def test_a_preview_that_was_rolled_back_is_about_nobody(workspace: Workspace, uploads: Path, clock: Clock) -> None:
    Acts(workspace, uploads, clock)
    claim = claim_next(workspace, Queue(), actor="account:ann")
    assert claim is not None
    with workspace.database.read() as connection:
        before = workspace.seal.read(connection)
    foresee(workspace, claim.key, Answer("confirm", "same_person", "account:ann"))
    with workspace.database.read() as connection:
        after = workspace.seal.read(connection)
    assert before is not None
    assert after is not None
    assert workspace.database.journal.since(before.counter, after.counter) == frozenset()


def test_the_journal_knows_what_it_was_told_and_says_where_it_does_not_know() -> None:
    journal = Journal()
    for counter, about in ((5, {"a"}), (6, set()), (7, {"b"})):
        journal.note(counter, frozenset(about))
    assert journal.since(4, 7) == {"a", "b"}
    assert journal.since(7, 7) == frozenset()
    assert journal.since(3, 7) is None, "another process wrote"
    assert journal.since(7, 6) is None, "an older copy"
    journal.note(8, None)
    assert journal.since(7, 8) is None, "it may be anybody"
    for counter in range(9, 9 + MOST_KEPT):
        journal.note(counter, frozenset())
    assert journal.since(5, 9) is None, "it was too long ago"
