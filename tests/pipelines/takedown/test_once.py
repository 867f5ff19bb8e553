"""One case per key, whatever dies and however many dispatch at once (I5, I6)."""

from __future__ import annotations

import signal
import threading

import pytest

from pipelines.database import Database
from pipelines.takedown.outbox import withdraw
from pipelines.takedown.receiver import Receiver
from tests.pipelines.takedown import dispatch_process
from tests.pipelines.takedown.delivering import START, Clock, dispatch_once, enqueue, http_client, rows, states

MESSAGES = 12


def enqueue_all(database: Database) -> None:
    for number in range(MESSAGES):
        enqueue(database, f"item-{number:02}")


def assert_one_case_per_key(database: Database, receiver: Receiver) -> None:
    keys = [row.key for row in rows(database)]
    assert sorted(case["key"] for case in receiver.cases()) == sorted(keys)
    assert {row.state for row in rows(database)} == {"done"}


def test_two_dispatching_threads_deliver_each_key_once(database: Database, receiver: Receiver, clock: Clock) -> None:
    enqueue_all(database)
    together = threading.Barrier(2)

    def run(owner: str) -> None:
        url = database.url.render_as_string(hide_password=False)
        own = Database(url, busy_timeout_seconds=60)
        with http_client(receiver.url, now=clock) as client:
            together.wait()
            dispatch_once(own, client, clock, owner=owner)
        own.close()

    threads = [threading.Thread(target=run, args=(owner,)) for owner in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert_one_case_per_key(database, receiver)
    assert receiver.answer()["counts"]["repeats"] == 0


def test_two_dispatching_processes_deliver_each_key_once(database: Database, receiver: Receiver) -> None:
    enqueue_all(database)
    processes = [dispatch_process.start(database, receiver.url) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    assert_one_case_per_key(database, receiver)
    assert receiver.answer()["counts"]["repeats"] == 0


FAILPOINTS = ("before_http_send", "after_http_send", "before_acknowledgement", "after_acknowledgement")


@pytest.mark.parametrize("failpoint", FAILPOINTS)
def test_a_dispatcher_killed_anywhere_is_resumed_without_loss_or_repetition(
    database: Database, receiver: Receiver, clock: Clock, failpoint: str
) -> None:
    enqueue_all(database)
    killed = dispatch_process.start(database, receiver.url, failpoint=f"{failpoint}:3")
    assert killed.wait() == -signal.SIGKILL
    clock.advance(hours=1)  # beyond the dead process's lease
    with http_client(receiver.url, now=clock) as client:
        dispatch_once(database, client, clock)
    assert_one_case_per_key(database, receiver)
    repeats = {"after_http_send": 1, "before_acknowledgement": 1}
    assert receiver.answer()["counts"]["repeats"] == repeats.get(failpoint, 0)


@pytest.mark.parametrize("failpoint", FAILPOINTS)
def test_what_a_killed_dispatcher_may_have_delivered_ends_withdrawn_at_the_service(
    database: Database, receiver: Receiver, clock: Clock, failpoint: str
) -> None:
    enqueue_all(database)
    killed = dispatch_process.start(database, receiver.url, failpoint=f"{failpoint}:3")
    assert killed.wait() == -signal.SIGKILL
    with database.write() as tx:
        withdraw(tx, subject_id="subject-1", reason="consent_withdrawn", now=START)
    clock.advance(hours=1)
    with http_client(receiver.url, now=clock) as client:
        dispatch_once(database, client, clock)
    counts = receiver.answer()["counts"]
    assert counts["open"] == 0
    assert counts["takedowns"] == (2 if failpoint == "before_http_send" else 3)
    assert counts["withdrawals"] == 3
    assert {state for action, state in states(database) if action == "withdrawal"} == {"done"}
