"""The progress of a removal request, computed whenever it is read from its record, hits, verdicts and messages.

A request is about the items that were on the platform when its search was finished: every hit on such an item belongs
to it, whenever it is found (a copy of content confirmed later as well), and so does every message that follows. Later
uploads belong to the nightly sweep, because the person stays in the registry.

Four moments are stored, because they cannot be computed: received, previewed, searched, and the first moment at which
nothing was left to do (:func:`settle_requests`). From then on a request stays ``completed``. docs/requests.md tells it
at length.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from pipelines.database.in_force import is_in_force
from pipelines.database.parts import parts
from pipelines.database.tables import hits, items, outbox, requests, subjects, verdicts
from pipelines.hits.counting import live_hits, verdict_of_hit
from pipelines.takedown.outbox import DEAD, HELD, LEASED, PENDING

RequestState = Literal[
    "received", "previewed", "accepted", "searched", "under_review", "acting", "completed", "rejected", "withdrawn"
]
UNFINISHED: Final[tuple[RequestState, ...]] = (
    *("received", "previewed", "accepted"),
    *("searched", "under_review", "acting"),
)
"""States in which the deadline runs."""
STATES: Final[tuple[RequestState, ...]] = (*UNFINISHED, "completed", "rejected", "withdrawn")


@dataclass(frozen=True, slots=True)
class OpenWork:
    """What keeps a searched request from being completed.

    ``unscanned``: items listed when the search ended that still wait for a scan. Of hits: ``unjudged`` have no verdict
    yet, ``undecided`` wait for a person. Of messages, withdrawals included: ``held`` by a limit, ``unsent``,
    ``unacknowledged`` (sent without a 2xx so far), ``dead`` (given up).
    """

    unscanned: int = 0
    unjudged: int = 0
    undecided: int = 0
    held: int = 0
    unsent: int = 0
    unacknowledged: int = 0
    dead: int = 0

    @property
    def state(self) -> RequestState:
        """The state of a searched request with this left to do."""
        if self.unscanned or self.unjudged:
            return "searched"
        if self.undecided:
            return "under_review"
        return "acting" if self.held or self.unsent or self.unacknowledged or self.dead else "completed"


def is_running() -> sa.ColumnElement[bool]:
    """Condition on ``requests``: accepted, and neither completed nor ended."""
    return requests.c.state == "accepted"


def state_of(row: Any, work: OpenWork | None) -> RequestState:
    """Return the state of a row of ``requests``; ``work``: what is left to do, once its search is finished."""
    if row.state in ("completed", "rejected", "withdrawn"):
        ended: RequestState = row.state
        return ended
    if row.state == "open":
        return "received" if row.previewed_at is None else "previewed"
    return "accepted" if row.searched_at is None or work is None else work.state


def open_work(connection: Connection, rows: Sequence[Any]) -> dict[str, OpenWork]:
    """Return, by request id, what is left to do for those rows of ``requests`` that are running and searched."""
    wanted = [row.request_id for row in rows if row.state == "accepted" and row.searched_at is not None]
    left: dict[str, dict[str, int]] = {request_id: {} for request_id in wanted}
    for part in parts(wanted):
        for query in (_open_items(part), _open_hits(part), _open_messages(part)):
            for row in connection.execute(query):
                counts = {name: int(value or 0) for name, value in row._mapping.items() if name != "request_id"}
                left[row.request_id] |= counts
    return {request_id: OpenWork(**counts) for request_id, counts in left.items()}


def settle_requests(tx: Connection, *, now: datetime) -> int:
    """Record requests without anything left to do as completed; return how many.

    Requests of people whose opt-out is over are left out: their hits do not count, but nothing was done about them.
    """
    counted = sa.select(subjects.c.subject_id).where(is_in_force(now))
    running = sa.select(requests).where(
        is_running(), requests.c.searched_at.is_not(None), requests.c.subject_id.in_(counted)
    )
    work = open_work(tx, tx.execute(running).all())
    done = [request_id for request_id, left in work.items() if left.state == "completed"]
    for part in parts(done):
        chosen = sa.update(requests).where(requests.c.request_id.in_(part), is_running())
        tx.execute(chosen.values(state="completed", completed_at=now))
    return len(done)


def _open_items(request_ids: Collection[str]) -> sa.Select[Any]:
    waiting = sa.and_(items.c.live, items.c.status == "pending", items.c.live_since <= requests.c.searched_at)
    return (
        sa.select(requests.c.request_id, sa.func.count().label("unscanned"))
        .select_from(requests.join(items, waiting))
        .where(requests.c.request_id.in_(request_ids))
        .group_by(requests.c.request_id)
    )


def _open_hits(request_ids: Collection[str]) -> sa.Select[Any]:
    unjudged = sa.or_(hits.c.judged_at.is_(None), verdicts.c.rule.is_(None))
    undecided = sa.and_(~unjudged, verdicts.c.verdict == "review")
    return (
        live_hits()
        .with_only_columns(
            requests.c.request_id,
            sa.func.sum(sa.case((unjudged, 1), else_=0)).label("unjudged"),
            sa.func.sum(sa.case((undecided, 1), else_=0)).label("undecided"),
        )
        .outerjoin(verdicts, verdict_of_hit())
        .join(requests, requests.c.subject_id == hits.c.subject_id)
        .where(requests.c.request_id.in_(request_ids), items.c.live_since <= requests.c.searched_at)
        .group_by(requests.c.request_id)
    )


def _open_messages(request_ids: Collection[str]) -> sa.Select[Any]:
    kinds = {
        "held": outbox.c.state == HELD,
        "unsent": sa.and_(outbox.c.state == PENDING, outbox.c.attempts == 0),
        "unacknowledged": sa.or_(outbox.c.state == LEASED, sa.and_(outbox.c.state == PENDING, outbox.c.attempts > 0)),
        "dead": outbox.c.state == DEAD,
    }
    counts = (sa.func.sum(sa.case((so, 1), else_=0)).label(name) for name, so in kinds.items())
    return (
        sa.select(requests.c.request_id, *counts)
        .select_from(outbox.join(requests, requests.c.subject_id == outbox.c.subject_id))
        .where(
            requests.c.request_id.in_(request_ids),
            outbox.c.state.in_((PENDING, HELD, LEASED, DEAD)),
            message_belongs(),
        )
        .group_by(requests.c.request_id)
    )


def message_belongs() -> sa.ColumnElement[bool]:
    """Condition on ``outbox`` joined with ``requests`` of the same person: the message is part of the request."""
    return sa.or_(outbox.c.created_at <= requests.c.searched_at, _about_what_was_there())


def _about_what_was_there() -> sa.ColumnElement[bool]:
    """Condition on ``outbox`` and ``requests``: the message is about an item listed before the search ended, or its
    model."""
    named = sa.or_(items.c.item_id == outbox.c.item_id, items.c.parent_model == outbox.c.item_id)
    there = sa.select(items.c.item_id).where(named, items.c.live_since <= requests.c.searched_at)
    return there.correlate(outbox, requests).exists()
