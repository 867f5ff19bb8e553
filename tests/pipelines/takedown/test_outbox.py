"""Writing, withdrawing, releasing and reviving messages."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.database import Database
from pipelines.takedown.client import Delivery, Outcome
from pipelines.takedown.outbox import (
    STATES,
    WithdrawCounts,
    counts_by_state,
    release_held,
    revive,
    takedown_key,
    withdraw,
    withdrawal_key,
)
from tests.pipelines.takedown.delivering import (
    REASONS,
    START,
    Clock,
    ScriptedClient,
    dispatch_once,
    enqueue,
    only_row,
    rows,
    states,
)

FAILED = Delivery(Outcome.RETRY, "503")
NAMES = ("action", "item_id", "content_key", "subject_id", "policy_version")
# Few characters, with those an encoding may trip over, so that different quintuples often join to the same string.
parts = st.tuples(*[st.text(alphabet=st.sampled_from("a0:,|\x00\ud83d\ude00😀"), max_size=4)] * 5)


@given(first=parts, second=parts)
def test_two_takedowns_have_the_same_key_exactly_when_all_five_values_are_equal(
    first: tuple[str, ...], second: tuple[str, ...]
) -> None:
    keys = [takedown_key(**dict(zip(NAMES, values, strict=True))) for values in (first, second)]
    assert (keys[0] == keys[1]) is (first == second)


@given(values=parts, moved=st.integers(0, 3))
def test_a_character_that_moves_to_the_next_value_changes_the_key(values: tuple[str, ...], moved: int) -> None:
    shifted = list(values)
    shifted[moved] += "a"
    other = list(values)
    other[moved + 1] = "a" + other[moved + 1]
    keys = [takedown_key(**dict(zip(NAMES, row, strict=True))) for row in (shifted, other)]
    assert (keys[0] == keys[1]) is (shifted == other)


def test_keys_stay_what_they_were_in_stored_databases() -> None:
    key = takedown_key(action="takedown", item_id="i", content_key="c", subject_id="s", policy_version="p")
    assert key == "f0e536175791393e532e6d68e2ca98d53c2c8c29f88fc1446602b656c3805a3e"
    assert withdrawal_key(key) == "0d8960b79d7495071b6006bf92e510b44c0a631890da9c2611df9276db71a07e"


def test_a_takedown_is_written_once_and_two_items_with_the_same_bytes_are_two(database: Database) -> None:
    assert [enqueue(database, item) for item in ("item-1", "item-1", "item-2")] == [True, False, True]
    assert enqueue(database, "item-1", reasons={"rule": "another"}) is False
    assert states(database) == [("takedown", "pending")] * 2


def test_the_body_is_thin_canonical_and_names_the_message(database: Database) -> None:
    enqueue(database, due_at=START + timedelta(hours=48))
    row = only_row(database)
    body = json.loads(row.body)
    assert row.body == json.dumps(body, sort_keys=True, separators=(",", ":"))
    assert body["type"] == "takedown.requested"
    assert body["data"] == {
        "message_id": row.message_id,
        "key": row.key,
        "action": "takedown",
        "item_id": "item-1",
        "content_sha256": "ab" * 32,
        "subject_id": "subject-1",
        "policy_version": "policy-1",
        "due_at": (START + timedelta(hours=48)).isoformat().replace("+00:00", "Z"),
        "reasons": REASONS,
        "withdraws": None,
    }


def test_times_without_a_zone_and_reasons_that_are_not_json_are_refused(database: Database) -> None:
    with pytest.raises(ValueError, match="zone"):
        enqueue(database, due_at=START.replace(tzinfo=None))
    with pytest.raises(ValueError, match="JSON"):
        enqueue(database, reasons={"score": float("nan")})
    with pytest.raises(ValueError, match="fixed"):
        enqueue(database, held="Somebody's Name")
    assert rows(database) == []


def test_a_held_takedown_waits_until_it_is_released(database: Database, clock: Clock) -> None:
    enqueue(database, held="breaker.subject")
    client = ScriptedClient()
    assert dispatch_once(database, client, clock).held == 1
    assert only_row(database).last_result == "held:breaker.subject"
    for released in (True, False):
        with database.write() as tx:
            assert release_held(tx, only_row(database).message_id) is released
    assert dispatch_once(database, client, clock).sent == 1


def test_withdrawing_what_was_never_sent_leaves_nothing_to_send(database: Database, clock: Clock) -> None:
    enqueue(database, "item-1")
    enqueue(database, "item-2", held="breaker.day")
    assert withdraw_all(database, clock) == WithdrawCounts(unsent=2, in_doubt=0, delivered=0)
    client = ScriptedClient()
    dispatch_once(database, client, clock)
    assert client.sent == []
    assert states(database) == [("takedown", "withdrawn")] * 2


def test_withdrawing_what_was_delivered_sends_one_event_however_often_it_is_asked(
    database: Database, clock: Clock
) -> None:
    enqueue(database)
    dispatch_once(database, ScriptedClient(), clock)
    original = only_row(database)
    clock.advance(seconds=1)
    assert withdraw_all(database, clock) == WithdrawCounts(unsent=0, in_doubt=0, delivered=1)
    assert withdraw_all(database, clock) == WithdrawCounts(unsent=0, in_doubt=0, delivered=0)
    event = rows(database)[1]
    assert (event.action, event.withdraws_key, event.key) == ("withdrawal", original.key, withdrawal_key(original.key))
    body = json.loads(event.body)
    assert body["type"] == "takedown.withdrawn"
    assert body["data"]["withdraws"] == {"key": original.key, "message_id": original.message_id}
    assert body["data"]["reasons"] == {"reason": "consent_withdrawn"}
    summary = dispatch_once(database, ScriptedClient(), clock)
    assert (summary.sent, summary.withdrawn) == (0, 1)
    assert states(database) == [("takedown", "done"), ("withdrawal", "done")]


@pytest.mark.parametrize("hours", [0, 80])
def test_withdrawing_what_may_have_arrived_sends_the_event_and_never_the_takedown_again(
    database: Database, clock: Clock, hours: int
) -> None:
    enqueue(database)
    dispatch_once(database, ScriptedClient([FAILED]), clock)
    clock.advance(hours=hours)
    dispatch_once(database, ScriptedClient([FAILED]), clock, give_up_attempts=2)
    assert only_row(database).state == ("dead" if hours else "pending")
    assert withdraw_all(database, clock) == WithdrawCounts(unsent=0, in_doubt=1, delivered=0)
    clock.advance(hours=1)
    summary = dispatch_once(database, ScriptedClient(), clock)
    assert (summary.sent, summary.withdrawn) == (0, 1)
    assert states(database) == [("takedown", "withdrawn"), ("withdrawal", "done")]


def test_withdrawing_touches_only_the_subject_and_item_that_were_named(database: Database, clock: Clock) -> None:
    for item in ("item-1", "item-2"):
        for subject in ("subject-1", "subject-2"):
            enqueue(database, item, subject_id=subject)
    with database.write() as tx:
        withdraw(tx, subject_id="subject-1", item_id="item-1", reason="cleared", now=clock())
        withdraw(tx, subject_id="subject-2", reason="cleared", now=clock())
    left = [(row.item_id, row.subject_id) for row in rows(database) if row.state == "pending"]
    assert left == [("item-2", "subject-1")]


def test_withdrawing_nothing_in_particular_is_refused(database: Database, clock: Clock) -> None:
    with database.write() as tx, pytest.raises(ValueError, match="subject_id or an item_id"):
        withdraw(tx, reason="consent_withdrawn", now=clock())


def test_a_withdrawn_takedown_is_not_written_again_by_a_later_judgement(database: Database, clock: Clock) -> None:
    enqueue(database)
    withdraw_all(database, clock)
    assert enqueue(database) is False
    assert only_row(database).state == "withdrawn"


def test_a_revived_dead_letter_gets_a_whole_new_schedule(database: Database, clock: Clock) -> None:
    enqueue(database)
    dispatch_once(database, ScriptedClient([FAILED]), clock)
    clock.advance(hours=76)
    assert dispatch_once(database, ScriptedClient([FAILED]), clock, give_up_attempts=2).dead == 1
    for revived in (True, False):
        with database.write() as tx:
            assert revive(tx, only_row(database).message_id) is revived
    assert dispatch_once(database, ScriptedClient([FAILED]), clock).retried == 1
    assert only_row(database).next_attempt_at <= clock() + timedelta(seconds=10)
    clock.advance(hours=1)
    assert dispatch_once(database, ScriptedClient(), clock).sent == 1


def test_every_state_is_counted_even_when_there_is_none(database: Database) -> None:
    enqueue(database)
    with database.read() as connection:
        assert counts_by_state(connection) == dict.fromkeys(STATES, 0) | {"pending": 1}


def withdraw_all(database: Database, clock: Clock) -> WithdrawCounts:
    with database.write() as tx:
        return withdraw(tx, subject_id="subject-1", reason="consent_withdrawn", now=clock())
