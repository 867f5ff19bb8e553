"""The takedown messages: written with the decision that caused them, withdrawn, released and revived.

Pure functions on the caller's transaction; this module knows nothing of HTTP or of the loop that sends.

A message's key names its effect: action, item with its content, subject, policy version (I5). Two items with the same
bytes are two things to remove, so the item is part of it. A key is written once and its body never changes, so every
retry sends the same bytes.

Withdrawing races with sending. ``attempts`` is raised by the claim, in a transaction that commits before the first
byte leaves, so a row with no attempts has certainly not been sent and simply becomes ``withdrawn``. Any other row
(acknowledged, being sent now, answered with an error, cut off without an answer) may have arrived, so in the same
transaction it also gets a withdrawal event of its own. A row that is being sent keeps its lease when it becomes
``withdrawn``; :mod:`pipelines.takedown.leases` does not hand out the event until that lease has been answered or has
run out. So after :func:`withdraw` commits no takedown is sent anew, and no withdrawal overtakes its takedown.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from pipelines.database.in_force import rests
from pipelines.database.tables import items, outbox

PENDING: Final = "pending"
HELD: Final = "held"
LEASED: Final = "leased"
DONE: Final = "done"
DEAD: Final = "dead"
WITHDRAWN: Final = "withdrawn"
STATES: Final = (PENDING, HELD, LEASED, DONE, DEAD, WITHDRAWN)

TAKEDOWN: Final = "takedown"
BLOCK: Final = "generator.block"
WITHDRAWAL: Final = "withdrawal"
EFFECTS: Final = (TAKEDOWN, BLOCK)
"""Actions that open a case at the service, and that a withdrawal can close."""
FELL: Final = "fell"
"""The last result of a message that was withdrawn unsent because its cause was gone or another message took its place.
If it is called for again, it keeps its deadline."""
MOOT: Final = "moot"
"""The last result of a takedown that was withdrawn unsent because its item was gone when its turn came."""
DISCARDED: Final = "discarded"
"""The last result of a message that a person decided not to send: no machine asks for it again."""
RELEASED: Final = "released"
"""The last result of a message that somebody released: no circuit breaker holds it again."""
_EVENT_TYPES: Final = {TAKEDOWN: "takedown.requested", BLOCK: "generator.block", WITHDRAWAL: "takedown.withdrawn"}
_WORD: Final = re.compile(r"[a-z0-9_.:-]{1,64}")


@dataclass(frozen=True, slots=True)
class WithdrawCounts:
    """What one :func:`withdraw` did. Only the last two have a withdrawal event, sent by the next dispatch."""

    unsent: int
    """never sent: nothing more happens"""
    in_doubt: int
    """sent, or being sent, without an acknowledgement so far"""
    delivered: int
    """acknowledged by the service"""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A message that a verdict calls for. A block names a model only, so its ``content_key`` is empty.

    ``hours``: until it is due; ``priority``: higher is sent sooner; ``reasons``: JSON facts (rule, scores, thresholds,
    model ids), sent as they are; ``because_of``: the items that the evidence is in.
    """

    action: str
    item_id: str
    content_key: str
    subject_id: str
    hours: int
    priority: int
    decided_by: str
    reasons: Mapping[str, Any]
    because_of: tuple[str, ...]

    @property
    def key(self) -> dict[str, str]:
        """The columns that name what the message is about."""
        return {"item_id": self.item_id, "content_key": self.content_key, "subject_id": self.subject_id}


def takedown_key(
    *, action: str, item_id: str, content_key: str, subject_id: str, policy_version: str, occurrence: int = 0
) -> str:
    """SHA-256 (hex) of the values, each with its length before it, so that no two sets of values read the same.

    ``occurrence`` is 0, and more for an item that was taken down, deleted and uploaded again, which is another case.
    """
    again = (str(occurrence),) if occurrence else ()
    return _digest(action, item_id, content_key, subject_id, policy_version, *again)


def withdrawal_key(key: str) -> str:
    """Return the key of the event that withdraws ``key``: one takedown can be withdrawn once."""
    return _digest(WITHDRAWAL, key)


def enqueue(
    tx: Connection,
    wanted: Wanted,
    *,
    policy_version: str,
    due_at: datetime,
    now: datetime,
    not_before: datetime | None = None,
    held: str | None = None,
    occurrence: int = 0,
) -> bool:
    """Write one takedown or block, or return False when its key was ever written before (even if withdrawn since).

    ``held`` is the fixed word of the circuit breaker that wants a second pair of eyes: the row then waits for
    :func:`release_held`. ``not_before``: when the first attempt may be made. Raises ``ValueError`` for
    times without a zone, reasons that are not JSON, or a ``held`` that is not a fixed word.
    """
    ids = wanted.key | {"policy_version": policy_version}
    key = takedown_key(action=wanted.action, **ids, occurrence=occurrence)
    row = _row(wanted.action, key, ids, due_at=due_at, reasons=wanted.reasons, now=now)
    row |= {"next_attempt_at": not_before or now, "priority": wanted.priority, "decided_by": wanted.decided_by}
    if held is not None:
        row |= {"state": HELD, "last_result": f"held:{_fixed_word(held)}"}
    return _insert_once(tx, row)


def withdraw(
    tx: Connection,
    *,
    subject_id: str | None = None,
    item_id: str | None = None,
    action: str | None = None,
    reason: str,
    now: datetime,
) -> WithdrawCounts:
    """Withdraw every takedown and block (or those of one ``action``) of a subject, of an item, or of their pair.

    Repeating it changes nothing. ``reason`` is a fixed word (``consent_withdrawn``) and travels in the event. Raises
    ``ValueError`` when neither subject nor item is given, so that a missing id never withdraws everything.
    """
    if subject_id is None and item_id is None:
        raise ValueError("withdraw needs a subject_id or an item_id")
    facts = {"reason": _fixed_word(reason)}
    chosen = sa.and_(outbox.c.action.in_([action] if action else EFFECTS), outbox.c.state != WITHDRAWN)
    if subject_id is not None:
        chosen &= outbox.c.subject_id == subject_id
    if item_id is not None:
        chosen &= outbox.c.item_id == item_id
    rows = tx.execute(sa.select(outbox).where(chosen).order_by(outbox.c.created_at, outbox.c.message_id)).all()
    # The lease columns stay: a dispatcher that is sending the row now still settles it.
    tx.execute(sa.update(outbox).where(chosen, outbox.c.state != DONE).values(state=WITHDRAWN, finished_at=now))
    unsent = in_doubt = delivered = 0
    for row in rows:
        if row.attempts == 0:
            unsent += 1
        elif _insert_once(tx, _withdrawal_row(row, facts, now)):
            in_doubt += row.state != DONE
            delivered += row.state == DONE
    return WithdrawCounts(unsent=unsent, in_doubt=in_doubt, delivered=delivered)


def cancel_unsent(tx: Connection, *, item_id: str, now: datetime) -> int:
    """Withdraw an item's takedowns that were certainly never sent; return how many.

    Sent ones stand. A block is about a model's name, not about its file's content, so no change of an item cancels it.
    """
    chosen = sa.and_(
        outbox.c.item_id == item_id,
        outbox.c.action == TAKEDOWN,
        outbox.c.state.in_((PENDING, HELD)),
        outbox.c.attempts == 0,
    )
    fallen = {"state": WITHDRAWN, "finished_at": now, "last_result": FELL}
    return tx.execute(sa.update(outbox).where(chosen).values(**fallen)).rowcount


def retire_moot(tx: Connection, message_id: str, *, now: datetime) -> bool:
    """Withdraw a takedown that was certainly never sent if its item is gone, or has other content and text by now.

    Listing a deletion or a change cancels waiting messages (:func:`cancel_unsent`); this catches those written or
    released since. A takedown that may have arrived is sent on: the service must know of it, and a withdrawal could
    bring back what it has removed.
    """
    row = tx.execute(
        sa.select(items.c.live, items.c.content_sha256, items.c.text_digest, outbox.c.content_key.label("about"))
        .join(items, items.c.item_id == outbox.c.item_id)
        .where(
            outbox.c.message_id == message_id,
            outbox.c.action == TAKEDOWN,
            outbox.c.state == PENDING,
            outbox.c.attempts == 0,
        )
    ).first()
    if row is None or (row.live and row.about in (row.content_sha256, row.text_digest)):
        return False
    values = {"state": WITHDRAWN, "finished_at": now, "last_result": FELL if row.live else MOOT}
    return _move(tx, message_id, PENDING, values)


@cache
def not_taken_back() -> sa.ColumnElement[bool]:
    """Condition on ``outbox``: a message that opens a case and was not withdrawn.

    A delivered message stays ``done`` when it is withdrawn; its withdrawal is an event of its own.
    """
    event = outbox.alias("event")
    taken_back = sa.select(event.c.key).where(
        event.c.item_id == outbox.c.item_id, event.c.withdraws_key == outbox.c.key
    )
    return sa.and_(outbox.c.action.in_(EFFECTS), outbox.c.state != WITHDRAWN, ~taken_back.correlate(outbox).exists())


def counts_by_state(connection: Connection) -> dict[str, int]:
    """Number of messages in each state; every state is present."""
    found = connection.execute(sa.select(outbox.c.state, sa.func.count().label("messages")).group_by(outbox.c.state))
    return dict.fromkeys(STATES, 0) | {row.state: row.messages for row in found}


def count_resting(connection: Connection, *, now: datetime) -> int:
    """Count messages that rest because the consent of their subject is over, until it is renewed."""
    waiting = sa.and_(outbox.c.action.in_(EFFECTS), outbox.c.state.in_((PENDING, HELD, LEASED)))
    query = sa.select(sa.func.count()).select_from(outbox).where(waiting, rests(outbox, now))
    return int(connection.execute(query).scalar_one())


def release_held(tx: Connection, message_id: str) -> bool:
    """Let a held message be sent. False when it is not held (any more)."""
    return _move(tx, message_id, HELD, {"state": PENDING, "last_result": RELEASED})


def discard(tx: Connection, row: Row[Any], *, now: datetime) -> bool:
    """Never send a held or dead message (again); return whether it may have arrived and so got a withdrawal."""
    values = {"state": WITHDRAWN, "finished_at": now, "last_result": DISCARDED}
    if not _move(tx, row.message_id, row.state, values) or row.attempts == 0:
        return False
    return _insert_once(tx, _withdrawal_row(row, {"reason": DISCARDED}, now))


def held_by(row: Any) -> str | None:
    """Return the fixed word of the breaker that holds a row of ``outbox``, or None."""
    word: str = row.last_result or "held:unknown"
    return word.removeprefix("held:") if row.state == HELD else None


def revive(tx: Connection, message_id: str) -> bool:
    """Give a dead letter a new schedule, starting at once. False when it is not dead (any more)."""
    # One attempt, not none, because the message may have arrived (the module docstring, on withdrawing).
    return _move(tx, message_id, DEAD, {"state": PENDING, "attempts": 1, "retrying_since": None, "finished_at": None})


def _move(tx: Connection, message_id: str, state: str, values: dict[str, Any]) -> bool:
    chosen = sa.and_(outbox.c.message_id == message_id, outbox.c.state == state)
    return tx.execute(sa.update(outbox).where(chosen).values(**values)).rowcount == 1


def _withdrawal_row(row: Row[Any], facts: dict[str, str], now: datetime) -> dict[str, Any]:
    ids = {name: getattr(row, name) for name in ("item_id", "content_key", "subject_id", "policy_version")}
    return _row(WITHDRAWAL, withdrawal_key(row.key), ids, due_at=now, reasons=facts, now=now, withdraws=row)


def _row(
    action: str,
    key: str,
    ids: dict[str, str],
    *,
    due_at: datetime,
    reasons: Mapping[str, Any],
    now: datetime,
    withdraws: Row[Any] | None = None,
) -> dict[str, Any]:
    message_id = f"msg_{secrets.token_hex(16)}"
    # Receivers know the key of the content by its first name.
    named = {"content_sha256" if name == "content_key" else name: value for name, value in ids.items()}
    data: dict[str, Any] = {**named, "message_id": message_id, "key": key, "action": action, "due_at": _iso(due_at)}
    data["reasons"] = reasons
    data["withdraws"] = withdraws and {"key": withdraws.key, "message_id": withdraws.message_id}
    # A withdrawal gets the priority of its takedown, so that whoever was wronged waits no longer.
    return ids | {
        "message_id": message_id,
        "key": key,
        "action": action,
        "withdraws_key": withdraws and withdraws.key,
        "due_at": due_at,
        "body": _canonical({"type": _EVENT_TYPES[action], "timestamp": _iso(now), "data": data}),
        "state": PENDING,
        "attempts": 0,
        "created_at": now,
        "next_attempt_at": now,
        "priority": withdraws.priority if withdraws else 0,
        "decided_by": withdraws.decided_by if withdraws else "automated",
    }


def _insert_once(tx: Connection, row: dict[str, Any]) -> bool:
    # Imported here, because PostgreSQL's dialect loads its drivers' adapters, which would slow every command down.
    statement: sa.Executable
    if tx.dialect.name == "postgresql":
        from sqlalchemy.dialects import postgresql

        added = postgresql.insert(outbox).values(**row).on_conflict_do_nothing(index_elements=[outbox.c.key])
        statement = added.returning(outbox.c.message_id)
    else:
        from sqlalchemy.dialects import sqlite

        once = sqlite.insert(outbox).values(**row).on_conflict_do_nothing(index_elements=[outbox.c.key])
        statement = once.returning(outbox.c.message_id)
    return tx.execute(statement).first() is not None


def _fixed_word(text: str) -> str:
    if not _WORD.fullmatch(text):
        raise ValueError("a reason must be one fixed lower-case word: it is stored, sent and shown")
    return text


def _iso(moment: datetime) -> str:
    if moment.tzinfo is None:
        raise ValueError("a message's times must carry their time zone")
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _digest(*parts: str) -> str:
    encoded = [part.encode("utf-8", "surrogatepass") for part in parts]
    return hashlib.sha256(b"".join(b"%d:%b" % (len(part), part) for part in encoded)).hexdigest()


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
