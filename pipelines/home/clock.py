"""Checks whether this machine's clock can be believed, before anything is done that cannot be undone.

A clock that jumps would end opt-outs, delete vectors, give up messages and move deadlines, all of it for good. So the
database keeps the latest time that a run has seen (``last_seen_time``, which only grows). A function that acts compares
the clock with it: further behind than ``clock.backward_minutes`` or further ahead than ``clock.forward_days``, nothing
is done (:class:`NotReadyError`) until the clock is right or somebody says that it is (:func:`accept`). Functions that
only read go on, and warn (:func:`doubt`). A home without a recorded time takes that of its latest run or audit row.

While a function acts, each reading of the clock is also compared with the one before (:class:`WatchedClock`), so that a
jump in the middle of a run ends the run at the next reading.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Concatenate, Final, ParamSpec, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from embeddings.errors import CorruptionError, NotReadyError
from pipelines.database import get_state, set_state
from pipelines.database.tables import audit as audit_rows
from pipelines.database.tables import runs
from pipelines.home import audit
from pipelines.settings.config_clock import ClockConfig

if TYPE_CHECKING:
    from pipelines.home.workspace import Workspace

_LAST_SEEN: Final = "last_seen_time"
ACCEPT_REASONS: Final = ("machine_was_off", "clock_was_wrong", "restored_backup")
"""Reasons for which a clock that differs may be accepted."""

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class ClockReading:
    """This machine's time, the latest that a run recorded, and what is wrong with the difference, if anything is."""

    now: datetime
    last_seen: datetime | None
    doubt: str | None


class WatchedClock:
    """Returns the present moment; in :func:`acting`, compares it with the moment that it returned before."""

    def __init__(self, now: Callable[[], datetime], *, config: ClockConfig) -> None:
        self.unwatched = now
        self._config = config
        self._lock = threading.Lock()
        self._acting = 0
        self._last: datetime | None = None

    def __call__(self) -> datetime:
        """Return the present moment. Raises :class:`NotReadyError` in :func:`acting` if the clock jumped since the
        last."""
        moment = self.unwatched()
        with self._lock:
            if self._acting and self._last is not None:
                if text := _difference(moment, self._last, self._config):
                    raise NotReadyError(text)
                self._last = max(self._last, moment)
        return moment

    @property
    def is_watched(self) -> bool:
        """Whether an :func:`acting` block is open."""
        return self._acting > 0

    @contextmanager
    def watched(self, moment: datetime) -> Iterator[None]:
        """Compare every reading with the one before it, ``moment`` being the first."""
        with self._lock:
            self._last = moment if self._last is None or not self._acting else self._last
            self._acting += 1
        try:
            yield
        finally:
            with self._lock:
                self._acting -= 1


def acts(function: Callable[Concatenate[Workspace, P], R]) -> Callable[Concatenate[Workspace, P], R]:
    """Wrap a function on a workspace in :func:`acting`, because a wrong clock would spoil what it does."""

    @functools.wraps(function)
    def guarded(workspace: Workspace, /, *args: P.args, **options: P.kwargs) -> R:
        with acting(workspace):
            return function(workspace, *args, **options)

    return guarded


@contextmanager
def acting(workspace: Workspace) -> Iterator[None]:
    """Require a believable clock, record its time, and watch it meanwhile. Not to be entered inside a transaction.

    Raises :class:`NotReadyError` at once where the clock cannot be believed.
    """
    clock = workspace.clock
    if not clock.is_watched:
        require_clock(workspace)
    with clock.watched(clock.unwatched()):
        yield


def require_clock(workspace: Workspace) -> None:
    """Raise :class:`NotReadyError` unless the clock agrees with the last recorded time, and record it."""
    with workspace.database.read() as connection:
        reading = read_clock(connection, workspace)
    if reading.doubt:
        raise NotReadyError(reading.doubt)
    moved = None if reading.last_seen is None else (reading.now - reading.last_seen).total_seconds()
    if moved is None or moved >= workspace.config.clock.record_seconds:
        with workspace.database.write() as tx:
            known = _recorded(tx)
            if known is None or known < reading.now:
                set_state(tx, _LAST_SEEN, reading.now.isoformat())


def read_clock(connection: Connection, workspace: Workspace) -> ClockReading:
    """Compare the clock with the last recorded time."""
    now, last = workspace.clock.unwatched(), last_seen(connection)
    text = None if last is None else _difference(now, last, workspace.config.clock)
    return ClockReading(now=now, last_seen=last, doubt=text)


def believed(connection: Connection, workspace: Workspace) -> datetime:
    """Return the present moment for code that only reads: the latest recorded time while the clock is too far from it.

    So a clock that jumped shows nobody's opt-out as over. In :func:`acting`, the clock itself.
    """
    now = workspace.now()
    if workspace.clock.is_watched:
        return now
    try:
        reading = read_clock(connection, workspace)
    except CorruptionError:
        return now
    return reading.last_seen if reading.doubt and reading.last_seen else now


def doubt(workspace: Workspace) -> str | None:
    """Return what is wrong with the clock, for a warning, or None; an unreadable recorded time is also a fault."""
    try:
        with workspace.database.read() as connection:
            return read_clock(connection, workspace).doubt
    except CorruptionError as error:
        return str(error)


def accept(workspace: Workspace, *, reason: str, actor: str) -> ClockReading:
    """Record this machine's time as right, whatever was recorded; return the reading before. Adds an audit row.

    ``reason``: one of :data:`ACCEPT_REASONS`.
    """
    if reason not in ACCEPT_REASONS:
        raise ValueError(f"a reason is one of {', '.join(ACCEPT_REASONS)}")
    with workspace.database.write() as tx:
        before = read_clock(tx, workspace)
        set_state(tx, _LAST_SEEN, before.now.isoformat())
        facts = {"reason": reason, "recorded": before.last_seen.isoformat() if before.last_seen else None}
        audit.append(tx, workspace.sealer, actor=actor, action="clock.accept", now=before.now, **facts)
    return before


def last_seen(connection: Connection) -> datetime | None:
    """Return the latest time that a run recorded; else of the latest run or audit row; None in a new home.

    Audit rows of sealing or restoring the state do not count: nobody compared the clock that gave their time.
    """
    known = _recorded(connection)
    if known is not None:
        return known
    acted = audit_rows.c.action.not_like("state.%")
    latest = (sa.select(sa.func.max(runs.c.started_at)), sa.select(sa.func.max(audit_rows.c.at)).where(acted))
    return max((moment for query in latest if (moment := connection.execute(query).scalar()) is not None), default=None)


def _recorded(connection: Connection) -> datetime | None:
    text = get_state(connection, _LAST_SEEN)
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise CorruptionError("the recorded time is not one: the database was altered; see `likeness verify`")
    return moment


def _difference(now: datetime, last: datetime, config: ClockConfig) -> str | None:
    if now < last - config.tolerance:
        how = f"behind, which is more than clock.backward_minutes ({config.backward_minutes:g})"
    elif now > last + config.ahead:
        how = f"ahead, which is more than clock.forward_days ({config.forward_days:g})"
    else:
        return None
    return (
        f"this machine's clock says {now:%Y-%m-%d %H:%M} UTC and the last recorded time is {last:%Y-%m-%d %H:%M} UTC: "
        f"it is {_span(abs((now - last).total_seconds()))} {how}. Deadlines, ages and expiry follow the clock, so "
        "nothing is done: set the clock right, or say that it is right with `likeness clock accept --reason ...`"
    )


def _span(seconds: float) -> str:
    days, hours = seconds / 86400, seconds / 3600
    return f"{days:.0f} days" if days >= 2 else f"{hours:.1f} hours" if hours >= 2 else f"{seconds / 60:.0f} minutes"
