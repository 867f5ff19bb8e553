"""Withdrawing against sending, crashing, retrying and late answers, in every order hypothesis can think of."""

from __future__ import annotations

import tempfile
from pathlib import Path

import sqlalchemy as sa
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pipelines.database import Database, tables
from pipelines.database.tables import outbox
from pipelines.takedown import leases
from pipelines.takedown.leases import LeasedMessage, Settlement
from pipelines.takedown.outbox import DEAD, DONE, LEASED, PENDING, TAKEDOWN, WITHDRAWAL, revive, withdraw
from tests.examples import examples
from tests.pipelines.takedown.delivering import CONFIG, Clock, enqueue, rows

ITEMS = ("item-1", "item-2")
LEASE_SECONDS = 60
CAPS = leases.caps_of(CONFIG)


class Race(RuleBasedStateMachine):
    """Dispatchers are reduced to what they have in flight; the service to the keys it was sent, in their order."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.database = Database(f"sqlite:///{Path(self.folder.name) / 'race.db'}", busy_timeout_seconds=60)
        tables.metadata.create_all(self.database.engine)
        self.clock = Clock()
        self.flights: list[tuple[LeasedMessage, bool]] = []  # and whether the service has it already
        self.arrived: list[str] = []
        self.withdrawn: set[str] = set()
        self.sent_when_withdrawn: dict[str, int] = {}

    def teardown(self) -> None:
        self.finish_everything()
        self.database.close()
        self.folder.cleanup()

    @initialize()
    def two_takedowns(self) -> None:
        for item in ITEMS:
            enqueue(self.database, item)

    @rule(seconds=st.sampled_from([1, LEASE_SECONDS]))
    def time_passes(self, seconds: int) -> None:
        self.clock.advance(seconds=seconds)

    @rule(number=st.integers(0, 3))
    def claim(self, number: int) -> None:
        with self.database.write() as tx:
            due = {message_id for *_, message_id in leases.due(tx, now=self.clock(), limit=10, after=None, caps=CAPS)}
            # Ids are random, and with them the order of equal deadlines; hypothesis needs the same choice every time.
            chosen = outbox.c.message_id.in_(due)
            found = tx.scalars(sa.select(outbox.c.message_id).where(chosen).order_by(outbox.c.key)).all()
            if not found:
                return
            message_id = found[number % len(found)]
            claim = leases.claim(tx, message_id, owner="x", lease_seconds=LEASE_SECONDS, now=self.clock(), caps=CAPS)
        assert claim is not None
        assert not (claim.action == TAKEDOWN and claim.message.key in self.withdrawn), "sent anew after its withdrawal"
        self.flights.append((claim, False))

    @precondition(lambda self: self.flights)
    @rule(number=st.integers(0, 5))
    def the_service_gets_it(self, number: int) -> None:
        number %= len(self.flights)
        claim, _ = self.flights[number]
        self.flights[number] = (claim, True)
        self.arrived.append(claim.message.key)

    @precondition(lambda self: self.flights)
    @rule(number=st.integers(0, 5), fate=st.sampled_from(["answer", "answer", "retry", "give up", "crash"]))
    def the_flight_ends(self, number: int, fate: str) -> None:
        claim, arrived = self.flights.pop(number % len(self.flights))
        if fate == "crash":
            return
        if fate == "answer" and not arrived:
            self.arrived.append(claim.message.key)
        state = {"answer": DONE, "retry": PENDING, "give up": DEAD}[fate]
        with self.database.write() as tx:
            leases.settle(tx, claim, Settlement(state, "x", self.clock()), now=self.clock())

    @rule(item=st.sampled_from(ITEMS))
    def withdraw(self, item: str) -> None:
        with self.database.write() as tx:
            withdraw(tx, item_id=item, reason="cleared", now=self.clock())
        self.withdrawn |= {row.key for row in rows(self.database) if (row.action, row.item_id) == (TAKEDOWN, item)}

    @rule(number=st.integers(0, 5))
    def revive(self, number: int) -> None:
        dead = [row.message_id for row in rows(self.database) if row.state == DEAD]
        if dead:
            with self.database.write() as tx:
                assert revive(tx, dead[number % len(dead)])

    @invariant()
    def no_withdrawal_is_leased_while_its_takedown_is(self) -> None:
        live = [r for r in rows(self.database) if r.leased_until is not None and r.leased_until > self.clock()]
        keys = {row.key for row in live if row.action == TAKEDOWN}
        assert not [row for row in live if row.withdraws_key in keys]

    def finish_everything(self) -> None:
        """Every process died; what is dead is revived; then one dispatcher with a good line runs to the end."""
        self.flights.clear()
        self.clock.advance(hours=1)
        with self.database.write() as tx:
            for row in tx.execute(sa.select(outbox.c.message_id).where(outbox.c.state == DEAD)).all():
                revive(tx, row.message_id)
        while True:
            with self.database.write() as tx:
                found = leases.due(tx, now=self.clock(), limit=1, after=None, caps=CAPS)
                if not found:
                    break
                claim = leases.claim(
                    tx, found[0][-1], owner="x", lease_seconds=LEASE_SECONDS, now=self.clock(), caps=CAPS
                )
                assert claim is not None
                self.arrived.append(claim.message.key)
                assert leases.settle(tx, claim, Settlement(DONE, "200"), now=self.clock()) is not None
        self.check_the_end()

    def check_the_end(self) -> None:
        final = rows(self.database)
        assert not [row for row in final if row.state in (PENDING, LEASED, DEAD)]
        cancelled = {row.withdraws_key for row in final if row.action == WITHDRAWAL and row.key in self.arrived}
        opened = {row.key for row in final if row.action == TAKEDOWN and row.key in self.arrived} - cancelled
        assert opened == {row.key for row in final if row.action == TAKEDOWN} - self.withdrawn


TestRace = Race.TestCase
TestRace.settings = settings(max_examples=examples(60), stateful_step_count=25)
