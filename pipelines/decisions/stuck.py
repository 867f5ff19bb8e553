"""Messages that a person has to see to, in groups that one act can settle, and the second person whom a release needs.

A message that a machine asked for was decided by nobody, so one person releases it. A message that follows from what
people decided is released by somebody else: whoever confirmed the evidence does not let the limit go as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from embeddings.errors import DeniedError
from pipelines.database.parts import parts
from pipelines.database.tables import decisions, hits, items, outbox, seeds
from pipelines.home.actors import are_two_people
from pipelines.takedown.outbox import DEAD, EFFECTS, HELD, held_by

_HUMAN: Final = "human"


@dataclass(frozen=True, slots=True)
class StuckGroup:
    """Messages of one person that wait for the same reason. ``held_by``: the breaker that holds them; ``answer``: the
    last result of dead ones. ``oldest_at``: when the first was written; ``due_at``: of the first to be due.
    """

    state: str
    held_by: str | None
    answer: str | None
    action: str
    subject_id: str
    messages: int
    oldest_at: datetime
    due_at: datetime


def stuck_groups(connection: Connection, state: str) -> list[StuckGroup]:
    """Return the messages that are held or dead, withdrawals included, in groups; the first to be due first."""
    same = (outbox.c.last_result, outbox.c.action, outbox.c.subject_id)
    query = (
        sa.select(
            outbox.c.state,
            *same,
            sa.func.count().label("messages"),
            sa.func.min(outbox.c.created_at).label("oldest_at"),
            sa.func.min(outbox.c.due_at).label("due_at"),
        )
        .where(outbox.c.state == state)
        .group_by(outbox.c.state, *same)
        .order_by(sa.text("due_at"), outbox.c.subject_id, outbox.c.action, outbox.c.last_result)
    )
    return [_group(row) for row in connection.execute(query)]


def _group(row: Row[Any]) -> StuckGroup:
    same = ("state", "action", "subject_id", "messages", "oldest_at", "due_at")
    answer = row.last_result if row.state == DEAD else None
    return StuckGroup(**{name: row._mapping[name] for name in same}, held_by=held_by(row), answer=answer)


def require_second_person(connection: Connection, rows: Sequence[Row[Any]], *, actor: str) -> None:
    """Raise :class:`DeniedError` unless ``actor`` is certainly not who decided what these rows of ``outbox`` follow
    from. An account of the pages and one of the machine may be one person."""
    human = [row.message_id for row in rows if row.decided_by == _HUMAN and row.state == HELD]
    if any(not are_two_people(one, actor) for one in deciders_of(connection, human)):
        raise DeniedError("you decided some of this, or it cannot be told whether you did: somebody else releases it")


def deciders_of(connection: Connection, message_ids: Sequence[str]) -> set[str]:
    """Return who confirmed, by decisions that stand, evidence behind these messages.

    That is evidence on the item, on what belongs to it, on the same content, and what copies were found by.
    """
    found: set[str] = set()
    stands = sa.and_(
        decisions.c.subject_id == outbox.c.subject_id,
        decisions.c.decision == "confirm",
        decisions.c.reversed_at.is_(None),
    )
    belongs = sa.select(items.c.item_id).where(items.c.parent_model == outbox.c.item_id)
    behind = (
        sa.select(seeds.c.decision_id)
        .join(hits, hits.c.seed_id == seeds.c.seed_id)
        .where(hits.c.item_id == outbox.c.item_id, hits.c.subject_id == outbox.c.subject_id)
    )
    about = sa.or_(
        decisions.c.item_id == outbox.c.item_id,
        decisions.c.content_key == outbox.c.content_key,
        decisions.c.item_id.in_(belongs.correlate(outbox)),
        decisions.c.decision_id.in_(behind.correlate(outbox)),
    )
    for some in parts(message_ids):
        query = sa.select(decisions.c.actor).select_from(outbox.join(decisions, sa.and_(stands, about))).distinct()
        found |= set(
            connection.execute(query.where(outbox.c.message_id.in_(some), outbox.c.action.in_(EFFECTS))).scalars()
        )
    return found
