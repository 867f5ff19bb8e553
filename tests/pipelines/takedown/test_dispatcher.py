"""What becomes of a message after each kind of answer, and in which order messages leave."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest
import sqlalchemy as sa

from embeddings.errors import ConfigError, NotReadyError
from pipelines.database import Database
from pipelines.database.tables import outbox
from pipelines.takedown import leases
from pipelines.takedown.client import Delivery, Message, Outcome
from pipelines.takedown.outbox import withdraw
from tests.pipelines.takedown.delivering import (
    CONFIG,
    OK,
    Clock,
    ScriptedClient,
    dispatch_once,
    enqueue,
    only_row,
    rows,
    states,
)

FAILED = Delivery(Outcome.RETRY, "500")
CAPS = leases.caps_of(CONFIG)
GONE = Delivery(Outcome.GONE, "410")


@pytest.fixture
def longest_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "uniform", lambda low, high: high)


def test_an_acknowledged_takedown_is_done_and_never_sent_again(database: Database, clock: Clock) -> None:
    enqueue(database)
    client = ScriptedClient()
    assert dispatch_once(database, client, clock).sent == 1
    clock.advance(hours=200)
    assert dispatch_once(database, client, clock).sent == 0
    row = only_row(database)
    assert (row.state, row.attempts, row.last_result, row.lease_owner) == ("done", 1, "200", None)
    assert len(client.sent) == 1


@pytest.mark.usefixtures("longest_jitter")
def test_the_wait_doubles_up_to_the_cap_and_the_message_dies_after_75_hours(database: Database, clock: Clock) -> None:
    enqueue(database)
    start, waits = clock(), []
    client = ScriptedClient([FAILED])
    while only_row(database).state == "pending":
        clock.moment = only_row(database).next_attempt_at
        dispatch_once(database, client, clock)
        waits.append((only_row(database).next_attempt_at - clock()).total_seconds())
    assert waits[:4] == [5, 10, 20, 40]
    assert max(waits) <= CONFIG.backoff_cap_seconds
    assert clock() - start == timedelta(hours=75)  # the last attempt is made when the time is up, not before
    assert only_row(database).state == "dead"
    assert {(message.message_id, message.body) for message in client.sent} == {
        (client.sent[0].message_id, client.sent[0].body)
    }


def test_the_wait_is_jittered_over_its_whole_range(database: Database, clock: Clock) -> None:
    for number in range(40):
        enqueue(database, f"item-{number:02}")
    dispatch_once(database, ScriptedClient([FAILED]), clock, backoff_seconds=1000.0)
    waits = [(row.next_attempt_at - clock()).total_seconds() for row in rows(database)]
    assert all(0 <= wait <= 1000 for wait in waits)
    assert len(set(waits)) > 30


@pytest.mark.parametrize(("asked", "waited"), [(3600.0, 3600), (10.0**9, 36 * 3600)])
def test_the_service_can_ask_for_a_longer_wait_up_to_the_cap(
    database: Database, clock: Clock, asked: float, waited: int
) -> None:
    enqueue(database)
    dispatch_once(database, ScriptedClient([Delivery(Outcome.RETRY, "429", asked)]), clock)
    assert only_row(database).next_attempt_at - clock() == timedelta(seconds=waited)


def test_a_refused_message_is_retried_and_reported(database: Database, clock: Clock) -> None:
    enqueue(database)
    summary = dispatch_once(database, ScriptedClient([Delivery(Outcome.REJECTED, "422")]), clock)
    assert (summary.retried, summary.rejected, summary.pending) == (1, 1, 1)
    assert only_row(database).last_result == "422"


def test_a_gone_endpoint_stops_everything_until_its_address_changes(database: Database, clock: Clock) -> None:
    for number in range(3):
        enqueue(database, f"item-{number}")
    gone = ScriptedClient([GONE])
    summary = dispatch_once(database, gone, clock)
    assert (summary.endpoint_stopped, summary.pending, len(gone.sent)) == (True, 3, 1)
    clock.advance(hours=100)
    with pytest.raises(NotReadyError, match="410"):
        dispatch_once(database, gone, clock)
    assert len(gone.sent) == 1
    moved = ScriptedClient([FAILED], endpoint_id="endpoint-b")
    assert dispatch_once(database, moved, clock).retried == 3  # and nobody died for the time of the stop
    clock.advance(hours=1)
    assert dispatch_once(database, ScriptedClient(endpoint_id="endpoint-b"), clock).sent == 3


def test_a_gone_endpoint_can_be_resumed_by_hand(database: Database, clock: Clock) -> None:
    enqueue(database)
    dispatch_once(database, ScriptedClient([GONE]), clock)
    for found in (True, False):
        with database.write() as tx:
            assert leases.resume_endpoint(tx) is found
    assert dispatch_once(database, ScriptedClient(), clock).sent == 1


def test_the_most_urgent_message_goes_first_and_each_goes_once_whatever_the_page_size(
    database: Database, clock: Clock
) -> None:
    for number in range(7):
        enqueue(database, f"item-{number}", due_at=clock() + timedelta(hours=7 - number))
    client = ScriptedClient([FAILED])
    dispatch_once(database, client, clock, batch=2, backoff_seconds=1e-9)  # due again at once
    items = {row.message_id: row.item_id for row in rows(database)}
    assert [items[message.message_id] for message in client.sent] == [f"item-{number}" for number in range(6, -1, -1)]


def test_a_takedown_withdrawn_while_it_is_sent_is_acknowledged_first_and_withdrawn_after(
    database: Database, clock: Clock
) -> None:
    enqueue(database)

    def withdraw_once(message: Message) -> None:
        if len(client.sent) == 1:
            with database.write() as tx:
                counts = withdraw(tx, subject_id="subject-1", reason="consent_withdrawn", now=clock())
            assert (counts.unsent, counts.in_doubt, counts.delivered) == (0, 1, 0)
            # A second dispatcher, meanwhile, must not let the withdrawal overtake.
            assert dispatch_once(database, other, clock, owner="other").pending == 1

    client, other = ScriptedClient(while_sending=withdraw_once), ScriptedClient()
    summary = dispatch_once(database, client, clock)
    assert other.sent == []
    assert (summary.sent, summary.withdrawn, summary.overtaken) == (1, 1, 0)
    assert [message.key for message in client.sent] == [row.key for row in sorted(rows(database), key=by_action)]
    assert states(database) == [("takedown", "withdrawn"), ("withdrawal", "done")]


def test_a_takedown_withdrawn_while_it_fails_is_not_retried(database: Database, clock: Clock) -> None:
    enqueue(database)

    def withdraw_once(message: Message) -> None:
        with database.write() as tx:
            withdraw(tx, item_id="item-1", reason="cleared", now=clock())

    client = ScriptedClient([FAILED, OK], while_sending=withdraw_once)
    summary = dispatch_once(database, client, clock)
    assert (summary.overtaken, summary.withdrawn, summary.retried) == (1, 1, 0)
    assert states(database) == [("takedown", "withdrawn"), ("withdrawal", "done")]


def test_the_withdrawal_of_a_takedown_whose_sender_died_waits_for_the_lease(database: Database, clock: Clock) -> None:
    enqueue(database)
    with database.write() as tx:
        assert leases.claim(tx, only_row(database).message_id, owner="dead", lease_seconds=60, now=clock(), caps=CAPS)
        withdraw(tx, item_id="item-1", reason="cleared", now=clock())
    assert dispatch_once(database, ScriptedClient(), clock).withdrawn == 0
    clock.advance(seconds=60)
    assert dispatch_once(database, ScriptedClient(), clock).withdrawn == 1


def test_a_result_that_comes_after_the_lease_went_to_another_changes_nothing(database: Database, clock: Clock) -> None:
    enqueue(database)

    def let_another_finish(message: Message) -> None:
        clock.advance(seconds=CONFIG.lease_seconds)
        assert dispatch_once(database, ScriptedClient(), clock, owner="other").sent == 1

    late = ScriptedClient([FAILED], while_sending=let_another_finish)
    assert dispatch_once(database, late, clock).lost == 1
    assert only_row(database).state == "done"


def test_a_late_result_does_not_end_the_lease_of_whoever_sends_now(database: Database, clock: Clock) -> None:
    enqueue(database)

    def let_another_start(message: Message) -> None:
        clock.advance(seconds=CONFIG.lease_seconds)
        with database.write() as tx:
            assert leases.claim(tx, message.message_id, owner="other", lease_seconds=60, now=clock(), caps=CAPS)

    assert dispatch_once(database, ScriptedClient([FAILED], while_sending=let_another_start), clock).lost == 1
    assert only_row(database).state == "leased"
    assert only_row(database).lease_owner.startswith("other:")


def test_a_live_lease_is_respected_and_an_expired_one_taken_over(database: Database, clock: Clock) -> None:
    enqueue(database)
    with database.write() as tx:
        assert leases.claim(tx, only_row(database).message_id, owner="dead", lease_seconds=60, now=clock(), caps=CAPS)
        assert (
            leases.claim(tx, only_row(database).message_id, owner="me", lease_seconds=60, now=clock(), caps=CAPS)
            is None
        )
    clock.advance(seconds=59)
    assert dispatch_once(database, ScriptedClient(), clock).sent == 0
    clock.advance(seconds=1)
    assert dispatch_once(database, ScriptedClient(), clock).sent == 1


def test_no_transaction_is_open_while_a_message_is_on_its_way(database: Database, clock: Clock) -> None:
    enqueue(database)

    def write_meanwhile(message: Message) -> None:
        with database.write() as tx:
            tx.execute(sa.update(outbox).values(policy_version="changed"))

    assert dispatch_once(database, ScriptedClient(while_sending=write_meanwhile), clock).sent == 1


def test_a_lease_shorter_than_two_timeouts_is_refused(database: Database, clock: Clock) -> None:
    with pytest.raises(ConfigError, match="lease_seconds"):
        dispatch_once(database, ScriptedClient(), clock, lease_seconds=30.0)


def by_action(row: sa.Row[tuple[str, ...]]) -> str:
    return str(row.action)


def test_a_pass_ends_when_nothing_answers_so_that_the_urgent_come_first_again(database: Database, clock: Clock) -> None:
    for number in range(6):
        enqueue(database, f"item-{number}")
    silence = Delivery(Outcome.RETRY, "timeout")
    silent = ScriptedClient(answers=[silence, OK, silence])
    dispatch_once(database, silent, clock, max_unanswered=2)
    assert len(silent.sent) == 4  # an answer in between begins the count anew
    assert [row.state for row in rows(database)].count("done") == 1
    refusing = ScriptedClient(answers=[Delivery(Outcome.RETRY, "503")])
    assert dispatch_once(database, refusing, clock, max_unanswered=2).pending == 5
    assert len(refusing.sent) >= 2


def test_i12_a_wait_that_the_service_asks_for_ends_with_the_deadline(database: Database, clock: Clock) -> None:
    enqueue(database)
    clock.advance(hours=47)
    slow = ScriptedClient([Delivery(Outcome.RETRY, "503", 10.0**9)])
    dispatch_once(database, slow, clock)
    row = only_row(database)
    assert row.next_attempt_at == row.due_at
    clock.moment = row.due_at + timedelta(minutes=1)
    dispatch_once(database, slow, clock)
    assert only_row(database).next_attempt_at - clock() == timedelta(seconds=CONFIG.overdue_wait_seconds)


@pytest.mark.parametrize("ahead", [timedelta(days=3), timedelta(days=14 * 365)])
def test_i12_what_a_clock_that_was_ahead_has_stored_holds_up_no_message(
    database: Database, clock: Clock, ahead: timedelta
) -> None:
    for name in ("waiting", "leased"):
        enqueue(database, name)
    far = clock() + ahead
    with database.write() as tx:
        waiting = outbox.c.item_id == "waiting"
        tx.execute(sa.update(outbox).where(waiting).values(next_attempt_at=far, retrying_since=far, attempts=1))
        lease = {"state": "leased", "lease_owner": "gone", "leased_until": far, "attempts": 1}
        tx.execute(sa.update(outbox).where(~waiting).values(**lease))
    assert dispatch_once(database, ScriptedClient(), clock).sent == 2


def test_waits_and_leases_of_hosts_whose_clocks_are_seconds_ahead_are_respected(
    database: Database, clock: Clock
) -> None:
    for name in ("waiting", "leased"):
        enqueue(database, name)
    with database.write() as tx:
        waiting, ahead = outbox.c.item_id == "waiting", clock() + timedelta(seconds=30)
        wait = ahead + timedelta(seconds=CONFIG.backoff_cap_seconds)
        tx.execute(sa.update(outbox).where(waiting).values(next_attempt_at=wait))
        lease = {"state": "leased", "lease_owner": "other", "leased_until": ahead + timedelta(seconds=60)}
        tx.execute(sa.update(outbox).where(~waiting).values(**lease))
    assert dispatch_once(database, ScriptedClient(), clock).sent == 0


@pytest.mark.usefixtures("longest_jitter")
def test_i12_days_in_which_the_machine_was_off_give_no_message_up(database: Database, clock: Clock) -> None:
    enqueue(database)
    failing = ScriptedClient([FAILED])
    dispatch_once(database, failing, clock)
    clock.advance(days=20)
    assert dispatch_once(database, failing, clock).retried == 1
    assert only_row(database).state == "pending"
    while only_row(database).state == "pending":
        clock.moment = only_row(database).next_attempt_at
        dispatch_once(database, failing, clock)
    assert len(failing.sent) == CONFIG.give_up_attempts
