"""Alarms for ``likeness status --check``, cron and monitors: each has one cause that a person has to remove.

Counts and fixed words only (I8). An alarm goes away when its cause is removed, not when it is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from pipelines.cases.requests import unfinished_requests
from pipelines.database.tables import outbox
from pipelines.home.clock import doubt
from pipelines.home.workspace import Workspace
from pipelines.intake.ledger import Scope, count_statuses
from pipelines.judging import unjudged_count
from pipelines.matching.coverage import unexamined_count
from pipelines.registry.endings import count_ended
from pipelines.runs.sweep import count_unpooled, measure_coverage
from pipelines.takedown.leases import is_stopped
from pipelines.takedown.outbox import DEAD, EFFECTS, HELD, LEASED, PENDING, WITHDRAWAL


@dataclass(frozen=True, slots=True)
class Alarm:
    """One alarm. ``cause``: a fixed word; ``detail``: what is wrong and what to do, in a sentence."""

    cause: str
    count: int
    detail: str


def read_alarms(workspace: Workspace) -> list[Alarm]:
    """Return an alarm for everything that is overdue, stuck or not covered. Loads no model."""
    uncertain = doubt(workspace)
    with workspace.database.read() as connection:
        found = [
            *_deadlines(connection, now=workspace.now()),
            *_messages(connection, workspace),
            *coverage_alarms(connection, workspace),
            *_opt_outs(connection, now=workspace.now()),
        ]
    if uncertain:
        found.append(Alarm("clock_in_doubt", 1, uncertain))
    return [alarm for alarm in found if alarm.count]


def _deadlines(connection: Connection, *, now: datetime) -> Iterator[Alarm]:
    late = sum(request.is_overdue(now) for request in unfinished_requests(connection))
    yield Alarm(
        "request_overdue", late, f"{late} removal requests past their deadline: `likeness request list --overdue`"
    )
    unfinished = outbox.c.state.in_((PENDING, HELD, LEASED, DEAD))
    messages = _count(connection, outbox.c.action.in_(EFFECTS), unfinished, outbox.c.due_at < now)
    yield Alarm(
        "message_overdue", messages, f"{messages} messages past their deadline: `likeness outbox list --overdue`"
    )


def _messages(connection: Connection, workspace: Workspace) -> Iterator[Alarm]:
    dead = _count(connection, outbox.c.state == DEAD)
    yield Alarm("message_dead", dead, f"{dead} messages could not be delivered: `likeness outbox list --state dead`")
    hours = workspace.config.takedown.held_hours
    since = workspace.now() - timedelta(hours=hours)
    held = _count(connection, outbox.c.state == HELD, outbox.c.created_at < since)
    yield Alarm(
        "message_held", held, f"{held} messages held for more than {hours} hours: `likeness outbox list --state held`"
    )
    waiting = outbox.c.state.in_((PENDING, HELD, LEASED))
    lifted = _count(connection, outbox.c.action == WITHDRAWAL, waiting, outbox.c.created_at < since)
    yield Alarm(
        "withdrawal_unacknowledged",
        lifted,
        f"{lifted} withdrawals not acknowledged for {hours} hours: `likeness outbox list --action withdrawal`",
    )
    stopped = is_stopped(connection)
    yield Alarm(
        "endpoint_stopped",
        int(stopped),
        "the takedown service answered 410, so nothing is sent: `likeness dispatch --resume` once that is settled",
    )


def coverage_alarms(connection: Connection, workspace: Workspace) -> Iterator[Alarm]:
    """Yield the alarms of what is not scanned, compared, examined or judged, also those with a count of 0."""
    everything = Scope(None, None)
    coverage = measure_coverage(connection, workspace, everything)
    missing = coverage.pairs - coverage.settled
    yield Alarm("not_covered", missing, f"{missing} pairs of an item and a person are not compared: `likeness status`")
    pending = count_statuses(connection, everything).get("pending", 0)
    yield Alarm("item_pending", pending, f"{pending} items wait to be scanned: `likeness sweep`")
    unexamined = unexamined_count(connection, workspace)
    yield Alarm("not_examined", unexamined, f"{unexamined} items have texts or content not searched for everybody")
    unpooled = count_unpooled(connection, workspace, everything)
    yield Alarm("not_pooled", unpooled, f"{unpooled} models whose pictures are not compared together with everybody")
    unjudged = unjudged_count(connection)
    yield Alarm("not_judged", unjudged, f"{unjudged} hits have no verdict: `likeness sweep` or `likeness rescan`")


def _opt_outs(connection: Connection, *, now: datetime) -> Iterator[Alarm]:
    ended = count_ended(connection, now=now)
    yield Alarm("opt_out_ended", ended, f"{ended} opt-outs have ended by their date: `likeness subject list`")


def _count(connection: Connection, *conditions: sa.ColumnElement[bool]) -> int:
    query = sa.select(sa.func.count()).select_from(outbox).where(*conditions)
    return int(connection.execute(query).scalar_one())
