"""Ends of opt-outs: warnings ahead of each, and a stop where so many end at once that it can hardly be meant.

A person who is not asked for a renewal in time would drop out unnoticed, and a wrong clock would end everybody's
opt-out. So each end is warned of ``registry.warn_days`` ahead, once for each of these numbers, by an audit row and a
line in the log, and is shown in the status and the report. Where more than ``registry.max_ending_share`` of the
opt-outs have ended since the last run, or end within a day, every run stops (:class:`EndingError`) until they are
renewed, the clock is right, or somebody says that these ends are meant (:func:`accept_endings`).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from embeddings.errors import EndingError, StateError
from pipelines.database.in_force import ACTIVE, has_ended, is_in_force
from pipelines.database.parts import parts
from pipelines.database.tables import subjects
from pipelines.home import audit
from pipelines.home.actors import service
from pipelines.home.workspace import Workspace
from pipelines.text.shown import digest_of

_LOG = logging.getLogger(__name__)
SOON: Final = timedelta(days=1)
"""How far ahead an end counts among those at once."""


@dataclass(frozen=True, slots=True)
class Ending:
    """An opt-out that ends soon, or has ended. ``days_left``: begun days; 0 or less once it is over."""

    subject_id: str
    expires_at: datetime
    days_left: int


@dataclass(frozen=True, slots=True)
class Endings:
    """Opt-outs, of ``registered`` ones, that end at once and were not accepted. ``digest`` identifies this very set."""

    registered: int
    ending: tuple[Ending, ...]
    digest: str


def ending_within(connection: Connection, *, now: datetime, days: int) -> list[Ending]:
    """Return the opt-outs in force that end within ``days``, soonest first."""
    query = sa.select(subjects.c.subject_id, subjects.c.expires_at).where(
        is_in_force(now), subjects.c.expires_at <= now + timedelta(days=days)
    )
    rows = connection.execute(query.order_by(subjects.c.expires_at, subjects.c.subject_id))
    return [_ending(row.subject_id, row.expires_at, now) for row in rows]


def count_ended(connection: Connection, *, now: datetime) -> int:
    """Count the opt-outs that are over and could be renewed."""
    query = sa.select(sa.func.count()).select_from(subjects).where(has_ended(now))
    return int(connection.execute(query).scalar_one())


def read_endings(connection: Connection, *, now: datetime) -> Endings:
    """Return the opt-outs that have ended since the last run or end within :data:`SOON`, without accepted ones."""
    open_end = sa.or_(subjects.c.accepted_end.is_(None), subjects.c.accepted_end != subjects.c.expires_at)
    unnoticed = sa.and_(subjects.c.state == ACTIVE, subjects.c.lapsed_at.is_(None))
    query = sa.select(subjects.c.subject_id, subjects.c.expires_at).where(
        unnoticed, open_end, subjects.c.expires_at <= now + SOON
    )
    rows = connection.execute(query.order_by(subjects.c.expires_at, subjects.c.subject_id))
    ending = tuple(_ending(row.subject_id, row.expires_at, now) for row in rows)
    registered = connection.execute(sa.select(sa.func.count()).select_from(subjects).where(unnoticed)).scalar_one()
    about = [[one.subject_id, one.expires_at.isoformat()] for one in ending]
    return Endings(int(registered), ending, digest_of(about))


def require_few_endings(connection: Connection, workspace: Workspace) -> None:
    """Raise :class:`EndingError` where more of the registry ends at once than ``registry.max_ending_share``."""
    config = workspace.config.registry
    found = read_endings(connection, now=workspace.now())
    count = len(found.ending)
    if count >= config.min_ending and count > config.max_ending_share * found.registered:
        raise EndingError(
            f"{count} of {found.registered} opt-outs have ended since the last run or end within a day, more than "
            f"registry.max_ending_share ({config.max_ending_share:g}), so nothing is done. Set the clock right if it "
            "is wrong (`likeness clock show`), renew who goes on (`likeness subject renew`), and if the rest is meant "
            "to end, say so with `likeness subject endings`"
        )


def accept_endings(workspace: Workspace, *, expect: str, actor: str) -> Endings:
    """Accept all opt-outs that end at once as meant, with an audit row.

    ``expect``: the digest of :func:`read_endings` that was looked at. Raises :class:`StateError` if it has changed.
    """
    now = workspace.now()
    with workspace.database.write() as tx:
        found = read_endings(tx, now=now)
        if not found.ending:
            raise StateError("no opt-out ends within a day or has since the last run: there is nothing to accept")
        if found.digest != expect:
            raise StateError(f"{len(found.ending)} opt-outs end now, and not those that were shown: look again")
        for some in parts([one.subject_id for one in found.ending]):
            chosen = sa.update(subjects).where(subjects.c.subject_id.in_(some))
            tx.execute(chosen.values(accepted_end=subjects.c.expires_at))
        audit.append(
            tx,
            workspace.sealer,
            actor=actor,
            action="registry.endings",
            now=now,
            subjects=len(found.ending),
            registered=found.registered,
            digest=found.digest,
        )
    return found


def tell_endings(workspace: Workspace) -> list[Ending]:
    """Warn of each end that has come within a further one of ``registry.warn_days``: by an audit row and a log line.

    After a renewal, or after a clock was set back, the warnings begin anew.
    """
    now = workspace.now()
    told = _told(workspace)
    with workspace.database.read() as connection:
        near = ending_within(connection, now=now, days=max(workspace.config.registry.warn_days, default=0))
    within = {one.subject_id: _threshold(one, workspace.config.registry.warn_days) for one in near}
    changed = {key: within.get(key) for key in told.keys() | within.keys() if told.get(key) != within.get(key)}
    if not changed:
        return []
    new = [one for one in near if one.subject_id in changed and _is_nearer(within[one.subject_id], told, one)]
    with workspace.database.write() as tx:
        _enter_told(tx, changed)
        for one in new:
            audit.append(
                tx,
                workspace.sealer,
                actor=service("expiry"),
                action="subject.ending",
                now=now,
                subject_id=one.subject_id,
                days=within[one.subject_id],
                ends=one.expires_at.isoformat(),
            )
    for one in new:
        _LOG.warning("opt-out %s ends in %d days: `likeness subject renew`", one.subject_id, one.days_left)
    return new


def _told(workspace: Workspace) -> dict[str, int]:
    """Return, by subject in force, the number of days before the end at which the last warning was given."""
    query = sa.select(subjects.c.subject_id, subjects.c.told_days).where(
        subjects.c.told_days.is_not(None), is_in_force(workspace.now())
    )
    with workspace.database.read() as connection:
        return {str(row.subject_id): int(row.told_days) for row in connection.execute(query)}


def _threshold(one: Ending, warn_days: Sequence[int]) -> int:
    """Return the smallest number of ``warn_days`` that this end is within."""
    return min(days for days in warn_days if one.days_left <= days)


def _is_nearer(days: int, told: dict[str, int], one: Ending) -> bool:
    return one.subject_id not in told or days < told[one.subject_id]


def _enter_told(tx: Connection, changed: dict[str, int | None]) -> None:
    own = sa.update(subjects).where(subjects.c.subject_id == sa.bindparam("this_subject"))
    rows = [{"this_subject": subject_id, "this_number": days} for subject_id, days in changed.items()]
    tx.execute(own.values(told_days=sa.bindparam("this_number")), rows)


def _ending(subject_id: str, expires_at: datetime, now: datetime) -> Ending:
    return Ending(subject_id, expires_at, -((now - expires_at) // timedelta(days=1)))
