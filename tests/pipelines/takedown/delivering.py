"""What the delivery tests share: a clock that only moves when told, messages, one dispatch, and a client that obeys."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from unittest import mock

import sqlalchemy as sa
import standardwebhooks
from sqlalchemy.engine import Row

from pipelines.database import Database
from pipelines.database.tables import outbox
from pipelines.home.failpoints import Failpoints
from pipelines.settings.config import ExchangeConfig, TakedownConfig
from pipelines.takedown.client import Delivery, HttpTakedownClient, Message, Outcome, TakedownClient
from pipelines.takedown.dispatcher import DispatchSummary, dispatch
from pipelines.takedown.outbox import TAKEDOWN, Wanted
from pipelines.takedown.outbox import enqueue as enqueue_message
from tests.conftest import START as START

SECRET = "whsec_c29tZSBieXRlcyBmb3IgdGhlIHRlc3RzIG9ubHkh"
OTHER_SECRET = "whsec_b3RoZXIgYnl0ZXMgZm9yIHRoZSB0ZXN0cyBvbmx5"
CONFIG = replace(TakedownConfig(), timeout_seconds=20.0)
REASONS = {"rule": "strong_face", "score": 0.61, "threshold": 0.5}
WANTED = Wanted(TAKEDOWN, "item-1", "ab" * 32, "subject-1", 48, 0, "automated", REASONS, ("item-1",))
OK = Delivery(Outcome.SUCCESS, "200")


class Clock:
    """Stands still until advanced."""

    def __init__(self) -> None:
        self.moment = START

    def __call__(self) -> datetime:
        return self.moment

    def advance(self, **span: float) -> None:
        self.moment += timedelta(**span)


@dataclass
class ScriptedClient:
    """Answers from a list (the last answer repeats), remembers what it was given, and can act while it sends."""

    answers: Sequence[Delivery] = (OK,)
    endpoint_id: str = "endpoint-a"
    while_sending: Callable[[Message], None] | None = None
    sent: list[Message] = field(default_factory=list)

    def send(self, message: Message) -> Delivery:
        self.sent.append(message)
        if self.while_sending:
            self.while_sending(message)
        return self.answers[min(len(self.sent), len(self.answers)) - 1]


def enqueue(
    database: Database,
    item_id: str = "item-1",
    *,
    now: datetime = START,
    due_at: datetime | None = None,
    held: str | None = None,
    **changes: Any,
) -> bool:
    due_at = due_at or now + timedelta(hours=48)
    wanted = replace(WANTED, item_id=item_id, **changes)
    with database.write() as tx:
        return enqueue_message(tx, wanted, policy_version="policy-1", due_at=due_at, now=now, held=held)


def http_client(
    url: str,
    *,
    secrets: Sequence[str] = (SECRET,),
    timeout_seconds: float = 20.0,
    now: Callable[[], datetime] = lambda: START,
    clock: Callable[[], float] = time.monotonic,
) -> HttpTakedownClient:
    return HttpTakedownClient(
        url,
        secrets,
        timeout_seconds=timeout_seconds,
        max_answer_bytes=CONFIG.max_answer_bytes,
        head=ExchangeConfig(),
        now=now,
        clock=clock,
    )


def official_verify(secret: str, body: str, headers: dict[str, str], *, now: datetime = START) -> None:
    """Raise unless the official library takes the message at that time; by itself it looks at the real clock."""
    with mock.patch("standardwebhooks.webhooks.datetime", wraps=datetime) as clock:
        clock.now.return_value = now
        standardwebhooks.Webhook(secret).verify(body, headers)


def dispatch_once(
    database: Database, client: TakedownClient, now: Callable[[], datetime], *, owner: str = "test", **settings: Any
) -> DispatchSummary:
    failpoints = Failpoints(os.environ.get("LIKENESS_FAILPOINT"))
    config = replace(CONFIG, **settings)
    return dispatch(database, client, config=config, failpoints=failpoints, now=now, owner=owner, progress=None)


def rows(database: Database) -> list[Row[Any]]:
    with database.read() as connection:
        return list(connection.execute(sa.select(outbox).order_by(outbox.c.created_at, outbox.c.item_id)))


def only_row(database: Database) -> Row[Any]:
    (row,) = rows(database)
    return row


def states(database: Database) -> list[tuple[str, str]]:
    return sorted((row.action, row.state) for row in rows(database))
