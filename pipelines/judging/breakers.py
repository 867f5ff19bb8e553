"""Circuit breakers: more automatic messages than the policy allows are held for a second pair of eyes.

They protect creators from a poisoned registry entry and a platform from a broken model. A breaker that trips holds
every unsent message in its reach, earlier ones included, until a person releases them or withdraws the subject.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from pipelines.database.tables import items, outbox
from pipelines.home.workspace import Workspace
from pipelines.takedown.outbox import HELD, PENDING, WITHDRAWAL, WITHDRAWN


def trip(tx: Connection, workspace: Workspace, *, run_began: datetime) -> int:
    """Hold the messages beyond a limit, after messages were written in the same transaction; return how many."""
    limits = workspace.policy.settings.breakers
    since = workspace.now() - timedelta(hours=limits.hours)
    recent = sa.and_(
        outbox.c.action != WITHDRAWAL,
        outbox.c.decided_by == "automated",
        outbox.c.state != WITHDRAWN,
        outbox.c.created_at >= since,
    )
    in_run = sa.and_(recent, outbox.c.created_at >= run_began)
    held = 0
    for word, reach in (
        *_beyond(tx, "subject", outbox.c.subject_id, recent, limit=limits.subject),
        *_beyond(tx, "uploader", _uploader(), recent, limit=limits.uploader),
        *_beyond(tx, "run", None, in_run, limit=limits.run),
        *_beyond(tx, "day", None, recent, limit=limits.day),
    ):
        waiting = sa.and_(outbox.c.state == PENDING, outbox.c.attempts == 0, outbox.c.last_result.is_(None))
        values = {"state": HELD, "last_result": f"held:breaker_{word}"}
        held += tx.execute(sa.update(outbox).where(reach, waiting).values(**values)).rowcount
    return held


def _beyond(
    tx: Connection, word: str, who: sa.ColumnElement[str | None] | None, among: sa.ColumnElement[bool], *, limit: int
) -> Iterator[tuple[str, sa.ColumnElement[bool]]]:
    """Yield the reach of each breaker of one kind that has tripped: a word, and a condition on ``outbox``."""
    if limit == 0:
        return
    if who is None:
        if tx.execute(sa.select(sa.func.count()).select_from(outbox).where(among)).scalar_one() > limit:
            yield word, among
        return
    query = sa.select(who, sa.func.count()).where(among, who.is_not(None)).group_by(who)
    for value, _ in tx.execute(query.having(sa.func.count() > limit)).all():
        yield word, sa.and_(among, who == value)


def _uploader() -> sa.ColumnElement[str | None]:
    return sa.select(items.c.uploader).where(items.c.item_id == outbox.c.item_id).scalar_subquery()
