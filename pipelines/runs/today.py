"""What needs a person today: everything that waits, with how many, how old, and until when. For the first page.

Each list is what a command shows as well (``request list``, ``outbox list``, ``day list``, ``status``); nothing here
decides what counts. Opaque ids, counts and fixed words only (I8).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from pipelines.cases.requests import Standing, standing_of, unfinished_requests
from pipelines.database.tables import hits, items
from pipelines.database.times import moment
from pipelines.decisions.stuck import StuckGroup, stuck_groups
from pipelines.home.workspace import Workspace
from pipelines.registry.endings import Ending, count_ended, ending_within
from pipelines.reviewing.queue import CaseKey, WaitingCase
from pipelines.runs.alarms import Alarm, coverage_alarms
from pipelines.runs.days import DayRow, list_blocked
from pipelines.runs.nights import Night, list_nights
from pipelines.takedown.outbox import DEAD, HELD

NIGHTS: Final = 30
"""Shown at most."""


@dataclass(frozen=True, slots=True)
class PersonWaiting:
    """What waits for a decision about one person. ``first``: the case that comes first, of those that were passed on to
    nobody if there are any; ``harm``: of the worst."""

    subject_id: str
    cases: int
    hits: int
    harm: int
    oldest_at: datetime
    due_at: datetime
    first: CaseKey


@dataclass(frozen=True, slots=True)
class MissingCoverage:
    """Something that is not covered. ``since``: the oldest of it, None where that is not on record."""

    alarm: Alarm
    since: datetime | None


@dataclass(frozen=True, slots=True)
class Today:
    """Everything that waits, each list with the most pressing first. ``passed_on``: cases that wait for a lead or for
    one person; ``ended``: opt-outs that are over by their date;
    ``nights``: the newest, the oldest of them first."""

    people: tuple[PersonWaiting, ...]
    passed_on: tuple[WaitingCase, ...]
    requests: tuple[Standing, ...]
    held: tuple[StuckGroup, ...]
    dead: tuple[StuckGroup, ...]
    blocked: tuple[DayRow, ...]
    endings: tuple[Ending, ...]
    ended: int
    missing: tuple[MissingCoverage, ...]
    nights: tuple[Night, ...]


def read_today(
    workspace: Workspace, cases: Sequence[WaitingCase], *, missing: Sequence[MissingCoverage] | None = None
) -> Today:
    """Read what waits, in one transaction. ``cases``: as they are shown, in their order; ``missing``: what
    :func:`read_missing` said a moment ago, since measuring coverage takes long. Loads no model."""
    now, longest = workspace.now(), max(workspace.config.registry.warn_days, default=0)
    with workspace.database.read() as connection:
        at = moment(connection)
        return Today(
            people=tuple(people_waiting(cases)),
            passed_on=tuple(case for case in cases if case.passed_on is not None),
            requests=tuple(standing_of(request, now=now) for request in unfinished_requests(connection)),
            held=tuple(stuck_groups(connection, HELD)),
            dead=tuple(stuck_groups(connection, DEAD)),
            blocked=tuple(list_blocked(connection, workspace)),
            endings=tuple(ending_within(connection, now=at, days=longest)),
            ended=count_ended(connection, now=at),
            missing=tuple(read_missing(connection, workspace) if missing is None else missing),
            nights=tuple(list_nights(connection, limit=NIGHTS)),
        )


def people_waiting(cases: Iterable[WaitingCase]) -> list[PersonWaiting]:
    """Group waiting cases by person; who has the first case comes first."""
    grouped: dict[str, list[WaitingCase]] = {}
    for case in cases:
        grouped.setdefault(case.key.subject_id, []).append(case)
    return [_person(subject_id, own) for subject_id, own in grouped.items()]


def _person(subject_id: str, own: Sequence[WaitingCase]) -> PersonWaiting:
    return PersonWaiting(
        subject_id=subject_id,
        cases=len(own),
        hits=sum(case.hits for case in own),
        harm=max(case.harm for case in own),
        oldest_at=min(case.found_at for case in own),
        due_at=min(case.due_at for case in own),
        first=next((case for case in own if case.passed_on is None), own[0]).key,
    )


def read_missing(connection: Connection, workspace: Workspace) -> list[MissingCoverage]:
    """Measure the coverage that is missing."""
    since = {
        "item_pending": sa.select(sa.func.min(items.c.live_since)).where(items.c.live, items.c.status == "pending"),
        "not_judged": sa.select(sa.func.min(hits.c.found_at)).where(hits.c.judged_at.is_(None)),
    }
    found = [alarm for alarm in coverage_alarms(connection, workspace) if alarm.count]
    return [
        MissingCoverage(alarm, connection.execute(since[alarm.cause]).scalar() if alarm.cause in since else None)
        for alarm in found
    ]
