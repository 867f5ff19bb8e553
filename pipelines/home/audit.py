"""The chain of operator actions. Each row's MAC covers the row and the MAC before it (checked by ``likeness verify``).

A row says who did what to which opaque ids, never a name. The chain shows changes and gaps to whoever holds the key;
where it ends is kept in ``state`` under a MAC of its own, so that cutting rows off the end shows as well. Putting an
older end back together with its rows is noticed by the seal over all tables (:mod:`pipelines.home.state_seal`).
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from embeddings.errors import CorruptionError
from pipelines.database import get_state, set_state
from pipelines.database.tables import audit
from pipelines.home.actors import require_truthful
from pipelines.home.sealing import Sealer

START = "0" * 64
"""The first row's entry for the MAC of the row before it."""
_HEAD = "audit_head"
_LENGTH = sa.select(sa.func.max(audit.c.seq))


def append(
    tx: Connection, sealer: Sealer, *, actor: str, action: str, now: datetime, **facts: str | int | None
) -> None:
    """Add one row, in the caller's writing transaction. ``facts`` are opaque ids, counts and fixed words.

    Raises :class:`InputError` for an actor that cannot be (:mod:`pipelines.home.actors`).
    """
    require_truthful(actor)
    last = tx.execute(sa.select(audit.c.seq, audit.c.mac).order_by(audit.c.seq.desc()).limit(1)).first()
    seq, previous = (last.seq + 1, last.mac) if last else (1, START)
    row: dict[str, Any] = {
        "seq": seq,
        "at": now,
        "actor": actor,
        "action": action,
        "facts": json.dumps(facts, sort_keys=True),
        "previous": previous,
    }
    row["mac"] = mac_of(sealer, row)
    tx.execute(sa.insert(audit).values(**row))
    set_state(tx, _HEAD, f"{seq}:{sealer.audit_head_mac(seq, row['mac'])}")


def length(connection: Connection) -> int:
    """Return the number of the last row of the chain, 0 without any."""
    return connection.execute(_LENGTH).scalar() or 0


def was_written(connection: Connection, action: str) -> bool:
    """Whether the chain has a row of this action."""
    return connection.execute(sa.select(audit.c.seq).where(audit.c.action == action).limit(1)).first() is not None


def verify(connection: Connection, sealer: Sealer, *, plain_end: bool = False) -> int:
    """Return the number of rows of an unbroken chain. Raises :class:`CorruptionError` naming the first row that is
    wrong.

    ``plain_end``: also accept an end without a MAC of its own, as older versions recorded it.
    """
    seq, previous = 0, START
    for row in connection.execute(sa.select(audit).order_by(audit.c.seq)):
        expected = mac_of(sealer, _fields(row))
        if row.seq != seq + 1 or row.previous != previous or row.mac != expected:
            raise CorruptionError(f"the audit chain is broken at row {seq + 1}")
        seq, previous = row.seq, row.mac
    ends: set[str | None] = {f"{seq}:{sealer.audit_head_mac(seq, previous)}" if seq else None}
    if seq and plain_end:
        ends.add(f"{seq}:{previous}")
    if get_state(connection, _HEAD) not in ends:
        raise CorruptionError(f"the audit chain ends at row {seq}, but a later end is on record")
    return seq


def mac_of(sealer: Sealer, row: dict[str, Any]) -> str:
    """Return the MAC of a row that has every other field."""
    return sealer.audit_mac(_canonical(row))


def _fields(row: Row[Any]) -> dict[str, Any]:
    return {name: getattr(row, name) for name in ("seq", "at", "actor", "action", "facts", "previous")}


def _canonical(row: dict[str, Any]) -> str:
    at: datetime = row["at"]
    return json.dumps(
        [row["seq"], at.astimezone(UTC).isoformat(), row["actor"], row["action"], row["facts"], row["previous"]]
    )
