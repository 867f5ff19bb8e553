"""The transparency summary: counts and durations between two days, without ids or anything personal.

Counts are of events in the period, whatever happened later. Durations are those of removals that the takedown service
acknowledged in the period.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from statistics import median
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from embeddings.errors import StateError
from pipelines.database.tables import decisions, hits, items, outbox, requests
from pipelines.takedown.effects import EFFECT_WORDS, effect
from pipelines.takedown.outbox import BLOCK, DONE, EFFECTS, TAKEDOWN, WITHDRAWAL, WITHDRAWN

_LAST_DAY: Final = date.max - timedelta(days=1)
"""The last day that has a next day in the calendar."""


@dataclass(frozen=True, slots=True)
class Durations:
    """How long something took. ``p95``: 95 of 100 took no longer (nearest rank)."""

    removals: int
    median_hours: float
    p95_hours: float


@dataclass(frozen=True, slots=True)
class Transparency:
    """Figures of a period of UTC days, both ends included.

    ``requests``: opened, accepted, searched for, completed (and of these ``completed_late``), rejected and withdrawn.
    ``hits``: found, by tier. ``decisions``: by answer, and ``reversed``. ``takedowns`` and ``generator_blocks``:
    decided on, sent or not, by person or machine. ``acknowledged``: messages acknowledged in the period, by action.
    ``delivery``: messages decided on in the period, by action and present effect (:mod:`pipelines.takedown.effects`);
    only ``acknowledged`` ones restrict anything. ``removals``: acknowledged takedowns. ``withdrawals``: ``events``
    written for messages that may have been delivered, how many were ``acknowledged``, and ``unsent``: withdrawals of
    messages that never left. ``from_request`` (items older than the request) and ``from_upload``: durations up to the
    acknowledged removal, by tier and over ``all``.
    """

    first_day: date
    last_day: date
    requests: dict[str, int]
    hits: dict[str, int]
    decisions: dict[str, int]
    takedowns: dict[str, int]
    generator_blocks: dict[str, int]
    acknowledged: dict[str, int]
    delivery: dict[str, dict[str, int]]
    removals: int
    withdrawals: dict[str, int]
    from_request: dict[str, Durations]
    from_upload: dict[str, Durations]


def summarise_period(connection: Connection, *, first_day: date, last_day: date) -> Transparency:
    """Return the figures of these days. Raises :class:`StateError` for a period that ends before it begins."""
    if last_day < first_day:
        raise StateError("the period ends before it begins")
    period = _Period(
        datetime.combine(first_day, time(), UTC),
        datetime.combine(min(last_day, _LAST_DAY) + timedelta(days=1), time(), UTC),
    )
    removals = _removals(connection, period)
    before = [(tier, done - opened) for tier, done, received, opened in removals if opened and received <= opened]
    return Transparency(
        first_day=first_day,
        last_day=last_day,
        requests=_requests(connection, period),
        hits=_grouped(connection, hits.c.tier, period.holds(hits.c.found_at)),
        decisions=_decisions(connection, period),
        takedowns=_by_decider(connection, TAKEDOWN, period),
        generator_blocks=_by_decider(connection, BLOCK, period),
        acknowledged=_acknowledged(connection, period),
        delivery=_delivery(connection, period),
        removals=len(removals),
        withdrawals=_withdrawals(connection, period),
        from_request=_durations(before),
        from_upload=_durations([(tier, done - received) for tier, done, received, _ in removals]),
    )


@dataclass(frozen=True, slots=True)
class _Period:
    """A half-open span of time: the end is not included."""

    since: datetime
    until: datetime

    def holds(self, moment: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
        return sa.and_(moment >= self.since, moment < self.until)


def _requests(connection: Connection, period: _Period) -> dict[str, int]:
    moments = {
        "opened": requests.c.opened_at,
        "accepted": requests.c.accepted_at,
        "searched": requests.c.searched_at,
    }
    late = sa.and_(requests.c.state == "completed", requests.c.completed_at > requests.c.due_at)
    ended = _grouped(connection, requests.c.state, period.holds(requests.c.completed_at))
    counts = {name: _count(connection, requests, period.holds(moment)) for name, moment in moments.items()}
    counts["completed"] = ended.get("completed", 0)
    counts["completed_late"] = _count(connection, requests, sa.and_(late, period.holds(requests.c.completed_at)))
    return counts | {name: ended.get(name, 0) for name in ("rejected", "withdrawn")}


def _decisions(connection: Connection, period: _Period) -> dict[str, int]:
    said = _grouped(connection, decisions.c.decision, period.holds(decisions.c.decided_at))
    names = {"confirmed": "confirm", "rejected": "reject", "unsure": "unsure"}
    counts = {name: said.get(word, 0) for name, word in names.items()}
    return counts | {"reversed": _count(connection, decisions, period.holds(decisions.c.reversed_at))}


def _by_decider(connection: Connection, action: str, period: _Period) -> dict[str, int]:
    asked = sa.and_(outbox.c.action == action, period.holds(outbox.c.created_at))
    return dict.fromkeys(("automated", "human"), 0) | _grouped(connection, outbox.c.decided_by, asked)


def _withdrawals(connection: Connection, period: _Period) -> dict[str, int]:
    is_event = outbox.c.action == WITHDRAWAL
    done = sa.and_(is_event, outbox.c.state == DONE, period.holds(outbox.c.finished_at))
    unsent = sa.and_(outbox.c.state == WITHDRAWN, outbox.c.attempts == 0, period.holds(outbox.c.finished_at))
    return {
        "events": _count(connection, outbox, sa.and_(is_event, period.holds(outbox.c.created_at))),
        "acknowledged": _count(connection, outbox, done),
        "unsent": _count(connection, outbox, unsent),
    }


def _acknowledged(connection: Connection, period: _Period) -> dict[str, int]:
    done = sa.and_(outbox.c.action.in_(EFFECTS), outbox.c.state == DONE, period.holds(outbox.c.finished_at))
    return dict.fromkeys(EFFECTS, 0) | _grouped(connection, outbox.c.action, done)


def _delivery(connection: Connection, period: _Period) -> dict[str, dict[str, int]]:
    """Count the messages decided on in the period by action and effect; every effect word is present."""
    found = sa.select(outbox.c.action, effect().label("effect")).where(
        outbox.c.action.in_(EFFECTS), period.holds(outbox.c.created_at)
    )
    some = found.subquery()
    counts = {action: dict.fromkeys(map(str, EFFECT_WORDS), 0) for action in EFFECTS}
    query = sa.select(some.c.action, some.c.effect, sa.func.count()).group_by(some.c.action, some.c.effect)
    for action, word, count in connection.execute(query):
        counts[action][word] = int(count)
    return counts


def _removals(connection: Connection, period: _Period) -> list[tuple[str, datetime, datetime, datetime | None]]:
    """Return each acknowledged takedown: tier of its leading evidence, and times of removal, upload and request."""
    asked = (
        sa.select(sa.func.max(sa.func.coalesce(requests.c.received_at, requests.c.opened_at)))
        .where(
            requests.c.subject_id == outbox.c.subject_id,
            requests.c.accepted_at.is_not(None),
            requests.c.opened_at <= outbox.c.created_at,
        )
        .correlate(outbox)
        .scalar_subquery()
    )
    query = (
        sa.select(outbox.c.body, outbox.c.finished_at, items.c.received_at, asked.label("opened_at"))
        .join(items, items.c.item_id == outbox.c.item_id)
        .where(outbox.c.action == TAKEDOWN, outbox.c.state == DONE, period.holds(outbox.c.finished_at))
    )
    return [
        (_tier(row.body), row.finished_at, row.received_at, row.opened_at) for row in connection.execute(query).all()
    ]


def _tier(body: str) -> str:
    reasons = json.loads(body)["data"]["reasons"]
    return str(reasons.get("tier", "unknown"))


def _durations(took: Sequence[tuple[str, timedelta]]) -> dict[str, Durations]:
    """Summarise durations by tier and over ``all``; empty without any."""
    hours: defaultdict[str, list[float]] = defaultdict(list)
    for tier, span in took:
        for name in ("all", tier):
            hours[name].append(span.total_seconds() / 3600)
    return {name: Durations(len(some), median(some), _p95(some)) for name, some in sorted(hours.items())}


def _p95(values: Sequence[float]) -> float:
    return sorted(values)[math.ceil(0.95 * len(values)) - 1]


def _count(connection: Connection, table: sa.Table, condition: sa.ColumnElement[bool]) -> int:
    return int(connection.execute(sa.select(sa.func.count()).select_from(table).where(condition)).scalar_one())


def _grouped(
    connection: Connection, column: sa.ColumnElement[Any], condition: sa.ColumnElement[bool]
) -> dict[str, int]:
    query = sa.select(column, sa.func.count()).where(condition).group_by(column).order_by(column)
    return {str(value): int(count) for value, count in connection.execute(query)}
