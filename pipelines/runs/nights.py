"""The nights as they went: what each covered, how long it took, and how it ended. For charts and for who is on call."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from pipelines.database.tables import runs
from pipelines.runs.sweep import NIGHTLY

NightState = Literal["done", "blocked", "unfinished"]
_KINDS: Final = (NIGHTLY, "sweep")


@dataclass(frozen=True, slots=True)
class Night:
    """One night, or one sweep that somebody began. ``state``: ``blocked`` where a check stopped it, ``unfinished``
    while it runs or if it was cut off. ``items`` and ``hits``: of the day at its end; ``seconds``: that it
    took; all three are None until there is an end. ``in_dagster``: whether Dagster ran it, under this very id.
    """

    run_id: str
    day: str | None
    started_at: datetime
    state: NightState
    items: int | None
    hits: int | None
    seconds: float | None
    in_dagster: bool

    @property
    def shown_day(self) -> str:
        """The day that the night is about, or the one on which a sweep of all days began."""
        return self.day or f"{self.started_at:%Y-%m-%d}"


def list_nights(connection: Connection, *, limit: int) -> list[Night]:
    """Return the newest nights, at most ``limit``, the oldest first. Of a day run again, the last run."""
    query = sa.select(runs).where(runs.c.kind.in_(_KINDS)).order_by(runs.c.started_at.desc(), runs.c.run_id)
    found: dict[str, Night] = {}
    for row in connection.execute(query.limit(10 * limit)):
        night = _night(row)
        found.setdefault(night.shown_day, night)
    newest = sorted(found.values(), key=lambda night: (night.shown_day, night.started_at))
    return newest[-limit:]


def _night(row: Row[Any]) -> Night:
    facts: Mapping[str, Any] = json.loads(row.summary or "{}")
    state: NightState = "blocked" if facts.get("blocked_by") else "done" if row.finished_at else "unfinished"
    took = (row.finished_at - row.started_at).total_seconds() if row.finished_at else None
    return Night(
        run_id=row.run_id,
        day=row.day,
        started_at=row.started_at,
        state=state,
        items=facts.get("items"),
        hits=facts.get("hits"),
        seconds=took,
        in_dagster=row.kind == NIGHTLY,
    )
