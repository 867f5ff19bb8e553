"""Leases: which dispatcher may send which message, and how the result is written back.

A lease is a token with an end, written before the first byte leaves and taken back with the result. A lease that ran
out may be claimed by another dispatcher; the token tells whose result still counts. Leases keep work from being done
twice; the key makes sure that an effect happens once (I5), so a dispatcher that wakes up late does no harm.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from embeddings.errors import NotReadyError
from pipelines.database import get_state, set_state
from pipelines.database.in_force import rests
from pipelines.database.tables import outbox, state
from pipelines.settings.config import TakedownConfig
from pipelines.takedown.client import Message
from pipelines.takedown.outbox import DEAD, DONE, EFFECTS, LEASED, PENDING, WITHDRAWN

_STOPPED: Final = "endpoint_stopped"


@dataclass(frozen=True, slots=True)
class Caps:
    """How far ahead of now a wait and a lease can end. A later end was written by a clock that was ahead (I12)."""

    wait: timedelta
    lease: timedelta


def caps_of(config: TakedownConfig) -> Caps:
    """Return the caps that follow from the settings."""
    skew = timedelta(seconds=config.skew_seconds)
    wait = timedelta(seconds=max(config.longest_wait_seconds, config.backoff_cap_seconds))
    return Caps(wait=wait + skew, lease=timedelta(seconds=config.lease_seconds) + skew)


Position = tuple[int, datetime, str]
"""Place of a message in the queue: by urgency, then deadline, then id."""


@dataclass(frozen=True, slots=True)
class LeasedMessage:
    """A message that this dispatcher may send until the lease runs out."""

    message: Message
    action: str
    token: str
    attempts: int
    retrying_since: datetime
    due_at: datetime


@dataclass(frozen=True, slots=True)
class Settlement:
    """The new state of a claimed message. ``next_attempt_at`` matters for ``pending`` only."""

    state: str
    result: str
    next_attempt_at: datetime | None = None


def due(connection: Connection, *, now: datetime, limit: int, after: Position | None, caps: Caps) -> list[Position]:
    """Up to ``limit`` messages that may be claimed at ``now``, the urgent first, from behind ``after`` on."""
    urgency = (-outbox.c.priority).label("urgency")
    place = (urgency, outbox.c.due_at, outbox.c.message_id)
    query = sa.select(*place).where(_claimable(now, caps)).order_by(*place).limit(limit)
    if after is not None:
        behind = [sa.literal(value, column.type) for value, column in zip(after, place, strict=True)]
        query = query.where(sa.tuple_(*place) > sa.tuple_(*behind))
    return [(row.urgency, row.due_at, row.message_id) for row in connection.execute(query)]


def claim(
    tx: Connection, message_id: str, *, owner: str, lease_seconds: float, now: datetime, caps: Caps
) -> LeasedMessage | None:
    """Lease the message and count the attempt; None when it can no longer be claimed."""
    token = f"{owner}:{secrets.token_hex(8)}"
    statement = (
        sa.update(outbox)
        .where(outbox.c.message_id == message_id, _claimable(now, caps))
        .values(
            state=LEASED,
            lease_owner=token,
            leased_until=now + timedelta(seconds=lease_seconds),
            attempts=outbox.c.attempts + 1,
            retrying_since=sa.func.coalesce(outbox.c.retrying_since, sa.literal(now, outbox.c.retrying_since.type)),
        )
        .returning(outbox)
    )
    row = tx.execute(statement).first()
    if row is None:
        return None
    message = Message(message_id=row.message_id, key=row.key, body=row.body)
    return LeasedMessage(message, row.action, token, row.attempts, row.retrying_since, row.due_at)


def settle(tx: Connection, claim: LeasedMessage, settlement: Settlement, *, now: datetime) -> str | None:
    """Give the lease back with the result; return the message's state, or None when the lease was lost.

    A message withdrawn while it was being sent stays ``withdrawn`` whatever the result was.
    """
    ours = sa.and_(outbox.c.message_id == claim.message.message_id, outbox.c.lease_owner == claim.token)
    given_back: dict[str, Any] = {"lease_owner": None, "leased_until": None, "last_result": settlement.result}
    moved = given_back | {
        "state": settlement.state,
        "finished_at": now if settlement.state in (DONE, DEAD) else None,
        "next_attempt_at": settlement.next_attempt_at or outbox.c.next_attempt_at,
    }
    if tx.execute(sa.update(outbox).where(ours, outbox.c.state == LEASED).values(**moved)).rowcount:
        return settlement.state
    withdrawn = sa.update(outbox).where(ours, outbox.c.state == WITHDRAWN).values(**given_back, finished_at=now)
    return WITHDRAWN if tx.execute(withdrawn).rowcount else None


def require_open(connection: Connection, endpoint_id: str) -> None:
    """Raise :class:`NotReadyError` when this endpoint answered 410 before."""
    if get_state(connection, _STOPPED) == endpoint_id:
        raise NotReadyError(
            "the takedown service answered 410 (gone), so nothing is sent to it any more: set LIKENESS_TAKEDOWN_URL to "
            "its new address, or resume the endpoint if that answer was a mistake"
        )


def is_stopped(connection: Connection) -> bool:
    """Whether an endpoint answered 410 and nobody has resumed it."""
    return get_state(connection, _STOPPED) is not None


def stop_endpoint(tx: Connection, endpoint_id: str) -> None:
    """Send nothing more to this endpoint. Waiting messages get a new schedule when sending resumes."""
    set_state(tx, _STOPPED, endpoint_id)
    tx.execute(sa.update(outbox).where(outbox.c.state == PENDING).values(retrying_since=None))


def resume_endpoint(tx: Connection) -> bool:
    """Forget that the endpoint answered 410. False when none did."""
    return tx.execute(sa.delete(state).where(state.c.name == _STOPPED)).rowcount == 1


def _claimable(now: datetime, caps: Caps) -> sa.ColumnElement[bool]:
    """Condition on ``outbox``: due, or its lease ran out. A withdrawal must wait until its takedown is not being sent;
    other messages rest while the consent of their subject is over."""
    next_attempt, lease = outbox.c.next_attempt_at, outbox.c.leased_until
    ready = sa.or_(
        sa.and_(outbox.c.state == PENDING, sa.or_(next_attempt <= now, next_attempt > now + caps.wait)),
        sa.and_(outbox.c.state == LEASED, sa.or_(lease <= now, lease > now + caps.lease)),
    )
    # The takedown of a withdrawal is done or withdrawn; only its last attempt may still be under way.
    original = outbox.alias("original")
    until = original.c.leased_until
    in_flight = sa.and_(original.c.lease_owner.is_not(None), until > now, until <= now + caps.lease)
    resting = sa.and_(outbox.c.action.in_(EFFECTS), rests(outbox, now))
    return sa.and_(ready, ~resting, ~sa.exists().where(original.c.key == outbox.c.withdraws_key, in_flight))
