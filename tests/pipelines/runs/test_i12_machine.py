"""Lists old and new, deletions, changes, a clock that jumps, ends and renewals, approvals, calibrations and their stop,
files that are rotated away, in every order that Hypothesis finds. Compared with a plain model of what the newest
listing says, what people decided, and what the takedown service acknowledged (I11, I12)."""

from __future__ import annotations

import json
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import sqlalchemy as sa
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from pipelines.calibration.measure import stop_using
from pipelines.cases.requests import RemovalRequest
from pipelines.database.tables import items, outbox
from pipelines.decisions.decide import Word, decide
from pipelines.decisions.looks import look_at
from pipelines.hits.listing import Hit, list_hits
from pipelines.registry.renewal import renew
from pipelines.runs.rescan import rescan
from pipelines.runs.sweep import sweep
from pipelines.runs.verify import verify
from pipelines.takedown.client import Delivery
from tests.conftest import START, Clock, believe_the_clock, fresh_workspace, use_fakes
from tests.examples import examples
from tests.fakes import WHITE, person, picture, vectors_of_colours
from tests.pipelines.calibration.stored import in_force
from tests.pipelines.cases.requesting import FAULT, REASONS, REFUSED, now_is
from tests.pipelines.cases.test_i11_request_machine import Service
from tests.pipelines.takedown.delivering import OK, dispatch_once
from tests.platform_actions import DAY, agree, ask_for_removal, enrol

NAMES = ("a", "b", "c")
PEOPLE = (1, 2, 3, 5)
"""The first is registered for 30 days, the second for long, the third asks later. The last resembles the first, and
only a lax calibration takes the one for the other."""
PUBLISHED, LAX = 0.363, 0.29
LONG = 5000


class State(NamedTuple):
    """What the platform says of an item since ``version``: whom its picture shows, or that it was deleted."""

    version: int
    shown: tuple[int, ...]
    deleted: bool


Pair = tuple[str, int, int]
"""An item, the version of its picture, and a person."""


@dataclass(frozen=True)
class Truth:
    """What the platform has listed and what people have said; nothing of how it is stored."""

    listed: dict[str, State]
    ends: dict[int, datetime]
    said: dict[Pair, Word]
    review: float

    def hits(self, now: datetime) -> set[tuple[str, int]]:
        """Item and person, of every hit that is in force."""
        found = set[tuple[str, int]]()
        for name, state in self.listed.items():
            for who, end in self.ends.items():
                word = self.said.get((name, state.version, who))
                alike = any(score(who, shown) >= self.review for shown in state.shown)
                if not state.deleted and end > now and word != "reject" and (alike or word == "confirm"):
                    found.add((name, who))
        return found


def score(one: int, other: int) -> float:
    vectors = vectors_of_colours([person(one), person(other)])
    return float(vectors[0] @ vectors[1])


class Deeds(RuleBasedStateMachine):
    """``snapshots``: what the platform's export said after each change; ``newest``: of those that were listed."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        self.clock = Clock()
        self.workspace = use_fakes(self.stack.enter_context(fresh_workspace(self.folder / "home", now=self.clock)))
        self.service = Service()
        self.snapshots: list[dict[str, State]] = [{}]
        self.newest = self.current = 0
        self.truth = Truth({}, {}, {}, PUBLISHED)
        self.ids: dict[int, str] = {}
        self.away = 0
        self.request: RemovalRequest | None = None

    @initialize()
    def two_people_are_registered(self) -> None:
        for who, days in ((1, 30), (2, LONG)):
            self.ids[who] = enrol(self.workspace, person(who), name=f"Nobody Number{who}", days=days)
        self.truth = replace(self.truth, ends={1: START + timedelta(days=30), 2: START + timedelta(days=LONG)})

    def teardown(self) -> None:
        try:
            if self.ids:
                self.everything_is_seen_to()
        finally:
            self.stack.close()

    # What the platform says

    @rule(name=st.sampled_from(NAMES), shown=st.sets(st.sampled_from(PEOPLE), max_size=2), deleted=st.booleans())
    def something_is_uploaded_or_changed_or_deleted(self, name: str, shown: set[int], deleted: bool) -> None:
        before = self.snapshots[-1].get(name)
        version = len(self.snapshots)
        if before is not None and deleted:
            state = before._replace(deleted=True) if not before.deleted else None
        else:
            state = State(version, tuple(sorted(shown)), False)
        if state is not None:
            self.snapshots.append({**self.snapshots[-1], name: state})
            self._list(version)

    @rule(back=st.integers(1, 4))
    def an_older_manifest_is_listed_again(self, back: int) -> None:
        self._list(max(0, self.newest - back))

    def _list(self, number: int) -> None:
        self.newest, self.current = max(self.newest, number), number
        self.truth = replace(self.truth, listed=self.snapshots[self.newest])
        self._sweep()

    def _sweep(self) -> None:
        rows = []
        for name, state in self.snapshots[self.current].items():
            changed = next(k for k, one in enumerate(self.snapshots) if one.get(name) == state)
            path = f"{name}-{state.version}.png"
            whites = (WHITE,) * (state.version + 1)  # so that no two pictures are the same
            (self.folder / path).write_bytes(picture(*(person(who) for who in state.shown), *whites))
            at = (DAY + timedelta(minutes=changed)).isoformat()
            row = {"id": name, "kind": "image", "path": path, "received_at": DAY.isoformat(), "updated_at": at}
            rows.append(row | ({"deleted": True} if state.deleted else {}) | {"uploader": f"u-{name}"})
        manifest = self.folder / "day.jsonl"
        manifest.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        sweep(self.workspace, f"manifest:{manifest}", day=None)

    # What people and clocks do

    @rule(name=st.sampled_from(NAMES), word=st.sampled_from(["confirm", "reject", "unsure"]))
    def somebody_decides(self, name: str, word: Word) -> None:
        hits = [hit for hit in self._hits() if hit.item_id == name]
        if hits:
            decide(self.workspace, [hit.hit_id for hit in hits], decision=word, reason=REASONS[word], actor="ann")
            version = self.truth.listed[name].version
            pairs = {(name, version, self._who(hit)): word for hit in hits if hit.tier == "face"}
            self.truth = replace(self.truth, said={**self.truth.said, **pairs})

    @rule()
    def the_clock_jumps_ahead(self) -> None:
        self._jump(45)

    @rule()
    def the_clock_is_right_again(self) -> None:
        self._jump(-self.away)

    def _jump(self, days: int) -> None:
        self.away += days
        self.clock.forward(days=days)
        believe_the_clock(self.workspace)

    @rule(days=st.integers(100, 900))
    def the_first_consent_is_renewed(self, days: int) -> None:
        end = self.clock() + timedelta(days=days)
        if end > self.truth.ends[1]:
            renew(self.workspace, self.ids[1], expires_at=end, actor="ann")
            self.truth = replace(self.truth, ends={**self.truth.ends, 1: end})

    @rule()
    def a_third_person_asks_and_is_agreed_with(self) -> None:
        if self.request is None:
            asked = ask_for_removal(self.workspace, person(3), name="Nobody Number3")
            self.request = agree(self.workspace, asked.request_id, "ann")
            if self.request.state == "previewed":  # it hits so much of the platform that two people have to agree
                self.request = agree(self.workspace, asked.request_id, "bob")
            self.ids[3] = asked.subject_id
            end = self.clock() + timedelta(days=self.workspace.config.registry.consent_days)
            self.truth = replace(self.truth, ends={**self.truth.ends, 3: end})

    @rule(lax=st.booleans())
    def a_calibration_is_put_in_force_or_stopped(self, lax: bool) -> None:
        if lax:
            in_force(self.workspace, review=LAX, strong=0.6)
        elif self.truth.review != PUBLISHED:
            stop_using(self.workspace, actor="ann")
        self.truth = replace(self.truth, review=LAX if lax else PUBLISHED)

    @rule(answer=st.sampled_from([OK, OK, REFUSED, FAULT]))
    def messages_are_sent(self, answer: Delivery) -> None:
        self.clock.forward(hours=1)
        self.service.answer = answer
        dispatch_once(self.workspace.database, self.service, self.clock)

    # What has to be so

    @rule()
    def what_is_in_force_is_what_the_newest_listing_and_people_say(self) -> None:
        self._settle()
        now = self.clock()
        with self.workspace.database.read() as connection:
            rows = connection.execute(sa.select(items.c.item_id, items.c.live, items.c.status)).all()
            done = connection.execute(sa.select(outbox.c.key).where(outbox.c.state == "done")).scalars().all()
        assert {row.item_id for row in rows if row.live} == {
            name for name, state in self.truth.listed.items() if not state.deleted
        }
        found = {(hit.item_id, self._who(hit)) for hit in self._hits() if hit.tier == "face"}
        assert found == self.truth.hits(now)
        assert {row.item_id for row in rows if row.live and row.status == "hit"} >= {name for name, _ in found}
        assert set(done) <= set(self.service.cases), "nothing is called done that was not acknowledged"

    @rule()
    def evidence_outlives_its_files(self) -> None:
        self._settle()
        kept = {file: file.read_bytes() for file in self.folder.glob("*.png")}
        manifest = self.folder / "day.jsonl"
        for file in (*kept, *([manifest] if manifest.exists() else [])):
            file.unlink()
        for hit in self._hits():
            assert look_at(self.workspace, hit.hit_id, actor="ann").kept_at is not None
        for file, data in kept.items():
            file.write_bytes(data)

    def _settle(self) -> None:
        if self.current or self.newest:
            self._sweep()
        rescan(self.workspace)

    def _hits(self) -> list[Hit]:
        with self.workspace.database.read() as connection:
            return list_hits(connection)

    def _who(self, hit: Hit) -> int:
        return next(who for who, subject_id in self.ids.items() if subject_id == hit.subject_id)

    def everything_is_seen_to(self) -> None:
        """Whatever happened: once the service obeys, it has acknowledged what people confirmed, and has nothing open
        that they rejected; and a request is completed when all of it is decided."""
        self._jump(-self.away)
        self.what_is_in_force_is_what_the_newest_listing_and_people_say()
        if self.request is not None:
            for name in {hit.item_id for hit in self._hits() if self._who(hit) == 3}:
                self.somebody_decides(name, "confirm")  # type: ignore[arg-type]
        self.service.answer = OK
        for _ in range(3):
            self.clock.forward(hours=49)
            with self.workspace.database.write() as tx:
                again = sa.update(outbox).where(outbox.c.state == "dead")
                tx.execute(again.values(state="pending", attempts=1, retrying_since=None, finished_at=None))
            dispatch_once(self.workspace.database, self.service, self.clock)
            self._settle()
        self.what_is_in_force_is_what_the_newest_listing_and_people_say()
        standing = {(hit.item_id, self._who(hit)) for hit in self._hits()}
        for (name, version, who), word in self.truth.said.items():
            state = self.truth.listed[name]
            if state.version != version or state.deleted:
                continue
            is_open = any(
                self.service.cases[key]["subject_id"] == self.ids[who] for key in self.service.open_about(name)
            )
            if word == "confirm" and (name, who) in standing:
                assert is_open, (name, who)
            if word == "reject" and (name, who) not in standing and self.truth.ends[who] > self.clock():
                assert not is_open, (name, who)
        if self.request is not None:
            request = now_is(self.workspace, self.request)
            assert request.state == "completed", request.open
        assert [one for one in verify(self.workspace) if not one.ok and one.check != "model files"] == []


TestDeeds = Deeds.TestCase
TestDeeds.settings = settings(max_examples=examples(12), stateful_step_count=14)
