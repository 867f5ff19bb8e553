"""The progress of a backfill, and whether one is wanted, read from the database alone.

Must not know how a backfill is done (:mod:`pipelines.runs.backfill`); loads no model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from pipelines.database.tables import items, runs
from pipelines.database.times import moment
from pipelines.home.workspace import Workspace
from pipelines.intake.ledger import Scope, count_outdated, outdated
from pipelines.registry.subjects import active_versions
from pipelines.registry.templates import subjects_without

BACKFILL = "backfill"
"""The kind of run of a backfill, and the lock that a running one holds."""
STATES = ("active", "pending")
"""Subjects that are matched now or may be soon."""
FIRST_PAUSE = timedelta(minutes=10)
"""From the start of a backfill that failed to the next one; doubled with every further failure."""
LEFTOVERS_PAUSE = timedelta(days=1)
"""Pause after which content that could not be fetched is tried again."""


@dataclass(frozen=True, slots=True)
class BackfillState:
    """Numbers of templates and items without vectors of the models in force. ``days``: when these items were
    received."""

    subjects_missing: int
    items_outdated: int
    days: tuple[str, ...] = ()

    @property
    def due(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.subjects_missing or self.items_outdated)


@dataclass(frozen=True, slots=True)
class BackfillProgress:
    """What is left, and the progress of the last backfill with the models in force; None where there was none.

    ``state``: ``none`` (nothing to do), ``due`` (not begun), ``running``, ``interrupted`` (begun, not ended, and no
    process runs it) or ``incomplete`` (ended; the rest could not be fetched). Times and rate are of the last turn.
    ``days_left``: days of receipt of the items that still have vectors of earlier models.
    """

    state: str
    subjects_missing: int
    items_outdated: int
    items_done: int
    items_per_second: float
    last_progress_at: datetime | None
    estimated_finish: datetime | None
    days_left: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class WantedBackfill:
    """Whether a backfill is wanted now. ``key`` names the attempt; None: none is wanted, for ``reason``. ``given_up``:
    none will be wanted again."""

    key: str | None
    reason: str
    given_up: bool = False


def read_backfill(connection: Connection, *, model_id: str) -> BackfillState:
    """Count what a backfill would do."""
    everything = Scope(None, None)
    left = count_outdated(connection, everything, model_id=model_id)
    query = sa.select(items.c.day).where(*everything.where(), outdated(model_id=model_id)).distinct()
    return BackfillState(
        subjects_missing=len(subjects_without(connection, model_id=model_id, states=STATES)),
        items_outdated=left,
        days=tuple(connection.execute(query.order_by(items.c.day)).scalars()) if left else (),
    )


def record_progress(workspace: Workspace, run_id: str, *, items: int) -> None:
    """Record with the run how many items it has done, and when; its final summary replaces this record."""
    facts = {"items": items, "at": workspace.now().isoformat()}
    with workspace.database.write() as tx:
        tx.execute(sa.update(runs).where(runs.c.run_id == run_id).values(summary=json.dumps(facts)))


def watch_backfill(connection: Connection, workspace: Workspace) -> BackfillProgress:
    """Read the progress of the backfill."""
    left = read_backfill(connection, model_id=workspace.model_id)
    last = next(iter(_runs(connection)), None)
    last = last if last and last.model_id == workspace.model_id else None
    running = workspace.database.is_held(BACKFILL)
    facts = _summary(last) if last else {}
    done = int(facts.get("items", 0))
    at = last.finished_at or _time(facts.get("at")) if last else None
    seconds = (at - last.started_at).total_seconds() if last and at else 0.0
    rate = done / seconds if seconds > 0 else 0.0
    moving = running and rate > 0 and left.items_outdated
    return BackfillProgress(
        state=_state(left, last, running=running),
        subjects_missing=left.subjects_missing,
        items_outdated=left.items_outdated,
        days_left=left.days,
        items_done=done,
        items_per_second=round(rate, 2),
        last_progress_at=at,
        estimated_finish=workspace.now() + timedelta(seconds=left.items_outdated / rate) if moving else None,
    )


def wanted_backfill(workspace: Workspace) -> WantedBackfill:
    """Whether a backfill should be started now, and under which name: ``<model id>:<attempt>``, never used before.

    A failed one is wanted again after a pause, ``sweep.max_backfill_attempts`` times for one change of pack; one that
    could not fetch everything, a day later.
    """
    model_id, now = workspace.model_id, workspace.now()
    with workspace.database.read() as connection:
        left = read_backfill(connection, model_id=model_id)
        anybody = active_versions(connection, now=moment(connection)) or workspace.config.sweep.allow_empty_registry
        known = _runs(connection)
    # An interrupted backfill may have embedded everything and compared it with nobody.
    if not left.due and not _is_unfinished(known[0] if known else None, model_id):
        return WantedBackfill(None, "everything has vectors of the models in force")
    if not anybody:
        return WantedBackfill(None, "the registry has no active subject to compare with")
    tried = list(takewhile(lambda run: run.model_id == model_id and not _is_complete(run), known))
    if len(tried) >= workspace.config.sweep.max_backfill_attempts:
        text = f"{len(tried)} backfills left {left.items_outdated} items and {left.subjects_missing} subjects behind"
        return WantedBackfill(None, text, given_up=True)
    if tried:
        last = tried[0]
        pause = FIRST_PAUSE * 2 ** (len(tried) - 1)
        again = last.finished_at + LEFTOVERS_PAUSE if last.finished_at else last.started_at + pause
        if last.started_at <= now < again:  # a start in the future was noted by a clock that was ahead
            return WantedBackfill(None, f"the last backfill is not repeated before {again:%Y-%m-%d %H:%M} UTC")
    attempt = 1 + sum(run.model_id == model_id for run in known)
    return WantedBackfill(f"{model_id}:{attempt}", f"{left.items_outdated} items, {left.subjects_missing} subjects")


def _runs(connection: Connection) -> list[Any]:
    """All backfills, the latest first."""
    query = sa.select(runs).where(runs.c.kind == BACKFILL).order_by(runs.c.started_at.desc(), runs.c.run_id)
    return list(connection.execute(query))


def _state(left: BackfillState, last: Any, *, running: bool) -> str:
    if running:
        return "running"
    if last and not last.finished_at:
        return "interrupted"
    if not left.due:
        return "none"
    return "due" if last is None or _is_complete(last) else "incomplete"


def _is_unfinished(run: Any, model_id: str) -> bool:
    return run is not None and run.model_id == model_id and run.finished_at is None


def _is_complete(run: Any) -> bool:
    """Whether a run ended with nothing left."""
    facts = _summary(run)
    return bool(run.finished_at) and not facts.get("items_outdated") and not facts.get("subjects_missing")


def _summary(run: Any) -> Mapping[str, Any]:
    facts = json.loads(run.summary or "{}")
    return facts if isinstance(facts, dict) else {}


def _time(text: object) -> datetime | None:
    return datetime.fromisoformat(text) if isinstance(text, str) else None
