"""People deciding, holding, releasing, deleting, and a service that obeys or refuses, in every order hypothesis finds.

Compared with a plain model: what people said of each picture, and which cases the service has acknowledged.
"""

from __future__ import annotations

import json
import tempfile
from contextlib import ExitStack, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from embeddings.errors import StateError
from pipelines.cases.requests import RemovalRequest
from pipelines.database.tables import outbox
from pipelines.decisions.decide import Word, decide, undo
from pipelines.decisions.messages import act_on
from pipelines.hits.listing import list_hits
from pipelines.runs.rescan import rescan
from pipelines.runs.sweep import sweep
from pipelines.runs.verify import verify
from pipelines.takedown.client import Delivery, Message, Outcome
from tests.conftest import Clock, fresh_workspace, use_fakes
from tests.examples import examples
from tests.fakes import person, picture
from tests.pipelines.cases.requesting import FAULT, REASONS, REFUSED, WHO, fill, hold, messages, now_is, search_for
from tests.pipelines.takedown.delivering import OK, dispatch_once
from tests.platform_actions import source_of, upload

TAKEN_DOWN = ("model-0.png", "model-1.png")
FOR_REVIEW = ("alone-0.png", "alone-1.png")
PICTURES = (*TAKEN_DOWN, *FOR_REVIEW)


class Service:
    """Keeps what it acknowledged, and nothing else of what it was sent."""

    endpoint_id = "service"

    def __init__(self) -> None:
        self.answer = OK
        self.cases: dict[str, dict[str, Any]] = {}

    def send(self, message: Message) -> Delivery:
        if self.answer.outcome is Outcome.SUCCESS:
            self.cases[message.key] = json.loads(message.body)["data"]
        return self.answer

    def open_about(self, item_id: str) -> list[str]:
        """Cases about an item that were acknowledged and not taken back."""
        over = {case["withdraws"]["key"] for case in self.cases.values() if case["withdraws"]}
        return [
            key
            for key, case in self.cases.items()
            if case["item_id"] == item_id and not case["withdraws"] and key not in over
        ]


class Requests(RuleBasedStateMachine):
    """One request on a small platform. ``said``: of each picture, the words that stand or were replaced, with their
    batches; ``live``: pictures that were there when the search ended and still are."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        self.uploads = folder / "uploads"
        self.uploads.mkdir()
        self.clock = Clock()
        self.workspace = use_fakes(self.stack.enter_context(fresh_workspace(folder / "home", now=self.clock)))
        self.service = Service()
        self.said: dict[str, list[tuple[str, str]]] = {name: [] for name in PICTURES}
        self.live = set(PICTURES)
        self.later = 0
        self.completed_at: datetime | None = None
        self.request: RemovalRequest

    @initialize()
    def a_request_is_searched_for(self) -> None:
        fill(self.workspace, self.uploads, taken_down=len(TAKEN_DOWN), for_review=len(FOR_REVIEW))
        self.request = search_for(self.workspace)

    def teardown(self) -> None:
        try:
            if hasattr(self, "request"):
                self.everything_is_seen_to()
        finally:
            self.stack.close()

    @rule(name=st.sampled_from(PICTURES), word=st.sampled_from(["confirm", "reject", "unsure"]))
    def decide(self, name: str, word: Word) -> None:
        with self.workspace.database.read() as connection:
            found = list_hits(connection, subject_id=self.request.subject_id, item_id=name)
        if found and name in self.live:
            ids = [hit.hit_id for hit in found]
            done = decide(self.workspace, ids, decision=word, reason=REASONS[word], actor="ann")
            if done.batch_id is not None:
                self.said[name].append((word, done.batch_id))

    @rule(name=st.sampled_from(PICTURES))
    def take_the_last_word_back(self, name: str) -> None:
        if self.said[name] and name in self.live:
            _, batch = self.said[name].pop()
            undo(self.workspace, batch, actor="ann")

    @rule()
    def a_breaker_trips(self) -> None:
        hold(self.workspace, "breaker_subject", outbox.c.attempts == 0, outbox.c.action != "withdrawal")

    @rule(act=st.sampled_from(["release", "discard"]))
    def what_is_held_is_seen_to(self, act: Any) -> None:
        for row in messages(self.workspace, outbox.c.state == "held"):
            with suppress(StateError):  # what a person decided is not discarded
                act_on(self.workspace, [row.message_id], act, actor="bob", reason="false_alarm")

    @rule(answer=st.sampled_from([OK, OK, REFUSED, FAULT]))
    def dispatch(self, answer: Delivery) -> None:
        self.service.answer = answer
        due = len(self.service.cases)
        summary = dispatch_once(self.workspace.database, self.service, self.clock)
        assert summary.all_acknowledged == (not summary.unacknowledged)
        if answer is not OK:
            assert (summary.sent, summary.withdrawn, len(self.service.cases)) == (0, 0, due)

    @rule(hours=st.sampled_from([0.2, 3.0, 60.0]))
    def time_passes(self, hours: float) -> None:
        self.clock.forward(hours=hours)

    @rule(name=st.sampled_from(PICTURES))
    def delete(self, name: str) -> None:
        data = (self.uploads / name).read_bytes()
        model = {"parent_model": "m"} if name in TAKEN_DOWN else {"uploader": "v"}
        upload(self.uploads, name, data, deleted=True, **model)
        self.live.discard(name)
        self.sweep()

    @rule()
    def somebody_uploads_more_of_the_person(self) -> None:
        self.later += 1
        upload(self.uploads, f"later-{self.later}.png", picture(person(WHO), person(100 + self.later)), uploader="w")
        self.clock.forward(minutes=1)
        self.sweep()

    @rule()
    def sweep(self) -> None:
        sweep(self.workspace, source_of(self.uploads), day=None)

    @invariant()
    def what_it_says_is_so(self) -> None:
        if not hasattr(self, "request"):
            return
        found = now_is(self.workspace, self.request)
        if self.completed_at is not None:
            assert (found.state, found.completed_at) == ("completed", self.completed_at)
            return
        if found.state == "completed":
            for name in sorted(self.live):
                word = self.said[name][-1][0] if self.said[name] else None
                open_cases = self.service.open_about(name)
                assert open_cases if word != "reject" else not open_cases, (name, word)
            self.completed_at = found.completed_at
        else:
            assert found.state in ("under_review", "acting")
            assert found.is_overdue(self.clock()) == (found.due_at < self.clock())

    def everything_is_seen_to(self) -> None:
        """Whatever happened: once all is decided and the service obeys, the request is completed."""
        for name in sorted(self.live):
            if not self.said[name] or self.said[name][-1][0] == "unsure":
                self.decide(name, "confirm")  # type: ignore[arg-type]
        for row in messages(self.workspace, outbox.c.state == "held"):
            act_on(self.workspace, [row.message_id], "release", actor="bob")
        self.service.answer = OK
        for _ in range(3):
            self.clock.forward(hours=49)
            with self.workspace.database.write() as tx:
                again = sa.update(outbox).where(outbox.c.state == "dead")
                tx.execute(again.values(state="pending", attempts=1, retrying_since=None, finished_at=None))
            dispatch_once(self.workspace.database, self.service, self.clock)
            rescan(self.workspace)
            self.what_it_says_is_so()
        assert now_is(self.workspace, self.request).state == "completed", now_is(self.workspace, self.request).open
        assert [one for one in verify(self.workspace) if not one.ok and one.check != "model files"] == []


TestRequests = Requests.TestCase
TestRequests.settings = settings(max_examples=examples(8), stateful_step_count=14)
