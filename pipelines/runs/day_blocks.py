"""The checks that stopped the last night of a day, as recorded with the night's run (``runs.summary``).

Knows nothing of what may be approved (:mod:`pipelines.runs.days`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from pipelines.database.tables import runs
from pipelines.home.workspace import Workspace
from pipelines.runs.sweep import NIGHTLY

_BLOCKED: Final = "blocked_by"


def recorded_blocks(connection: Connection, day: date) -> dict[str, str]:
    """Return the checks that stopped the last night of a day, each with its words."""
    return {name: words for blocks in _recorded(connection, day).values() for name, words in blocks.items()}


def recorded_days(connection: Connection) -> set[str]:
    """Return the days whose last night was stopped."""
    stopped = (runs.c.kind == NIGHTLY, runs.c.day.is_not(None), runs.c.summary.contains(f'"{_BLOCKED}"'))
    found = connection.execute(sa.select(runs.c.day, runs.c.summary).where(*stopped))
    return {str(row.day) for row in found if _blocks(row.summary)}


def record_check(workspace: Workspace, day: date, name: str, *, run_id: str, words: str | None) -> None:
    """Record with a night's run that a check stops its day, in these ``words``; None: that it no longer does.

    Nothing is written for a run that is no night's, such as a check that somebody had evaluated alone.
    """
    forget_blocks(workspace, day, name)
    if words is not None:
        with workspace.database.write() as tx:
            facts = json.loads(tx.execute(sa.select(runs.c.summary).where(runs.c.run_id == run_id)).scalar() or "{}")
            _write_blocks(tx, run_id, {**facts.get(_BLOCKED, {}), name: words})


def forget_blocks(workspace: Workspace, day: date, name: str | None = None) -> None:
    """Delete the record of a check that passes now; without a ``name``, of all, because another night begins."""
    with workspace.database.read() as connection:
        if not any(name in blocks or name is None for blocks in _recorded(connection, day).values()):
            return
    with workspace.database.write() as tx:
        for run_id, blocks in _recorded(tx, day).items():
            left = {one: words for one, words in blocks.items() if name not in (one, None)}
            if left != blocks:
                _write_blocks(tx, run_id, left)


def _write_blocks(tx: Connection, run_id: str, blocks: Mapping[str, str]) -> None:
    facts = json.loads(tx.execute(sa.select(runs.c.summary).where(runs.c.run_id == run_id)).scalar() or "{}")
    facts.pop(_BLOCKED, None)
    summary = json.dumps({**facts, _BLOCKED: dict(blocks)} if blocks else facts)
    tx.execute(sa.update(runs).where(runs.c.run_id == run_id).values(summary=summary))


def _recorded(connection: Connection, day: date) -> dict[str, dict[str, str]]:
    """Return the recorded checks by run of the nights of a day; at most the last night has any."""
    query = sa.select(runs.c.run_id, runs.c.summary).where(runs.c.kind == NIGHTLY, runs.c.day == day.isoformat())
    found = {str(row.run_id): _blocks(row.summary) for row in connection.execute(query.order_by(runs.c.run_id))}
    return {run_id: blocks for run_id, blocks in found.items() if blocks}


def _blocks(summary: str | None) -> dict[str, str]:
    return dict(json.loads(summary or "{}").get(_BLOCKED, {}))
