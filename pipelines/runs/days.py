"""The state of days: complete, blocked by a check, or approved by a person although a check failed.

A check that stops a day is recorded with the night's run (``runs.summary``). Checks that may be approved
(:data:`pipelines.runs.day_checks.APPROVABLE`) are run again on the items whenever somebody looks, so that an approval
is about the present figures. An approval covers these figures and no worse ones: another check, more failing items or a
larger share stop the day again. A missed canary, unscanned items and an altered database cannot be approved.

An approval sends nothing: messages held for a day's hit rate stay held until each is released. So it takes one person,
whom the audit chain names with a sealed reason.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from embeddings.errors import ConfigError, InputError, StateError
from pipelines.database.tables import day_approvals, items
from pipelines.home import audit
from pipelines.home.clock import acts
from pipelines.home.workspace import Workspace, new_id
from pipelines.intake.ledger import Scope, source_id
from pipelines.registry.identities import require_short
from pipelines.runs.day_blocks import recorded_blocks, recorded_days
from pipelines.runs.day_checks import APPROVABLE, DayCheck, check_day
from pipelines.runs.sweep import configured_source, measure_coverage, read_watermark
from pipelines.text.shown import digest_of

STATES: Final = ("blocked", "approved", "open", "complete")
"""Of a day. ``open``: not completed, and nothing stops it."""


@dataclass(frozen=True, slots=True)
class Approval:
    """An approval of a day. ``checks``: the approved figures by check."""

    approval_id: str
    source_id: str
    day: str
    checks: Mapping[str, Mapping[str, int]]
    digest: str
    actor: str
    approved_at: datetime

    def covers(self, check: DayCheck) -> bool:
        """Whether this failure was approved and has not become worse since."""
        known = self.checks.get(check.name)
        if known is None or check.failing > known["failing"]:
            return False
        return check.failing * known["total"] <= known["failing"] * check.total


@dataclass(frozen=True, slots=True)
class Day:
    """One day of one source. ``unscanned``: pending items that were never scanned.

    ``failed``: checks that stop the day by its present items; ``recorded``: what stopped its last night, in words.
    """

    day: str
    source_id: str
    passed_by_watermark: bool
    items: int
    pending: int
    unscanned: int
    coverage: float
    failed: tuple[DayCheck, ...]
    recorded: Mapping[str, str]
    approval: Approval | None

    @property
    def uncovered(self) -> tuple[DayCheck, ...]:
        """The failed checks that no approval covers."""
        return tuple(check for check in self.failed if not (self.approval and self.approval.covers(check)))

    @property
    def unapprovable(self) -> dict[str, str]:
        """The checks that stopped the last night and cannot be approved, in words."""
        return {name: words for name, words in self.recorded.items() if name not in APPROVABLE}

    @property
    def blocked_by(self) -> dict[str, str]:
        """What stops the day, in words by check. Figures that change after the watermark has passed do not stop a day,
        unless its last night was stopped."""
        current = {check.name: check.description for check in self.uncovered}
        if self.passed_by_watermark:
            current = {name: words for name, words in current.items() if name in self.recorded}
        return {**self.unapprovable, **current}

    @property
    def state(self) -> str:
        """One of :data:`STATES`."""
        if self.blocked_by:
            return "blocked"
        if self.passed_by_watermark:
            return "complete"
        return "approved" if self.approval and self.failed else "open"

    @property
    def digest(self) -> str:
        """Digest of the figures that an approval would cover."""
        return approval_digest(self.source_id, self.day, self.failed)


@dataclass(frozen=True, slots=True)
class DayRow:
    """A day in a list. ``digest``: the ``expect`` of an approval."""

    day: str
    source_id: str
    state: str
    items: int
    pending: int
    coverage: float
    blocked_by: dict[str, str]
    figures: dict[str, dict[str, int]]
    approved_by: str | None
    approved_at: datetime | None
    digest: str


def approval_digest(source: str, day: str, failed: Iterable[DayCheck]) -> str:
    """Return the digest of what an approval would cover: the checks that stop the day, with their figures."""
    return digest_of([source, day, {check.name: check.figures for check in failed}])


def list_days(
    connection: Connection, workspace: Workspace, *, state: str | None = None, limit: int | None = None
) -> list[DayRow]:
    """List days with live items or a stopped night, the newest first. ``state``: only days in this state."""
    query = sa.select(items.c.day, items.c.source_id).where(items.c.live, *_of_source(workspace)).distinct()
    days = {(row.day, row.source_id) for row in connection.execute(query)}
    known = {day for day, _ in days}
    days |= {(day, _configured(workspace) or "") for day in recorded_days(connection) if day not in known}
    found: list[DayRow] = []
    for day, source in sorted(days, reverse=True):
        row = row_of(read_day(connection, workspace, date.fromisoformat(day), source=source))
        found += [row] if state in (None, row.state) else []
        if limit is not None and len(found) == limit:
            break
    return found


def row_of(day: Day) -> DayRow:
    """Convert a day for a list."""
    return DayRow(
        day=day.day,
        source_id=day.source_id,
        state=day.state,
        items=day.items,
        pending=day.pending,
        coverage=day.coverage,
        blocked_by=day.blocked_by,
        figures={check.name: check.figures for check in day.failed},
        approved_by=day.approval.actor if day.approval else None,
        approved_at=day.approval.approved_at if day.approval else None,
        digest=day.digest,
    )


def read_day(connection: Connection, workspace: Workspace, day: date, *, source: str | None = None) -> Day:
    """Read the present state of one day. ``source``: its id [the configured source, else the only one].

    Raises :class:`CorruptionError` for a manifest that was altered.
    """
    source = _source_of(connection, workspace, day) if source is None else source
    scope = Scope(source, day)
    checks = check_day(connection, workspace, scope)
    waiting = sa.select(items.c.shard_id.is_(None), sa.func.count()).where(items.c.status == "pending", *scope.where())
    pending = {
        bool(never): int(count) for never, count in connection.execute(waiting.group_by(items.c.shard_id.is_(None)))
    }
    watermark = read_watermark(connection)
    return Day(
        day=day.isoformat(),
        source_id=source,
        passed_by_watermark=watermark is not None and day < watermark,
        items=_count(connection, scope),
        pending=sum(pending.values()),
        unscanned=pending.get(True, 0),
        coverage=measure_coverage(connection, workspace, scope).fraction,
        failed=tuple(check for check in checks.values() if check.stops),
        recorded=recorded_blocks(connection, day),
        approval=standing_approval(connection, day, source),
    )


@acts
def approve_day(workspace: Workspace, day: date, *, reason: str, actor: str, expect: str | None = None) -> Approval:
    """Approve a blocked day with its present failed checks. ``reason`` is free text and is sealed.

    ``expect``: the digest that a list showed. Raises :class:`InputError` for a reason that is empty or too long, and
    :class:`StateError` where the day is not blocked, is blocked by a check that cannot be approved, has unscanned
    items, or differs from ``expect``.
    """
    reason = _require_reason(workspace, reason)
    with workspace.database.write() as tx:
        found = read_day(tx, workspace, day)
        _require_approvable(found, expect)
        _withdraw(tx, workspace, found, actor=actor)
        approval = Approval(
            approval_id=new_id("day"),
            source_id=found.source_id,
            day=found.day,
            checks={check.name: check.figures for check in found.failed},
            digest=found.digest,
            actor=actor,
            approved_at=workspace.now(),
        )
        values = {name: getattr(approval, name) for name in Approval.__dataclass_fields__}
        values["checks"] = json.dumps(approval.checks, sort_keys=True)
        sealed = workspace.sealer.seal_record({"reason": reason}, approval.approval_id)
        tx.execute(sa.insert(day_approvals).values(**values, sealed_reason=sealed))
        facts = {"approval_id": approval.approval_id, "day": found.day, "digest": found.digest}
        named = ",".join(approval.checks)
        audit.append(
            tx, workspace.sealer, actor=actor, action="day.approve", now=workspace.now(), checks=named, **facts
        )
    return approval


@acts
def undo_approval(workspace: Workspace, day: date, *, actor: str) -> Approval:
    """Withdraw the approval that stands for a day; returns it. The watermark, once past the day, stays where it is.

    Raises :class:`StateError` without one.
    """
    with workspace.database.write() as tx:
        found = read_day(tx, workspace, day)
        if found.approval is None:
            raise StateError("no approval stands for this day")
        _withdraw(tx, workspace, found, actor=actor)
    return found.approval


def open_reason(workspace: Workspace, day: date, *, actor: str) -> str:
    """Open the reason of a day's approval; the look leaves an audit row. Raises :class:`StateError` without one."""
    with workspace.database.write() as tx:
        approval = read_day(tx, workspace, day).approval
        if approval is None:
            raise StateError("no approval stands for this day")
        chosen = sa.select(day_approvals.c.sealed_reason).where(day_approvals.c.approval_id == approval.approval_id)
        sealed = tx.execute(chosen).scalar_one()
        facts = {"approval_id": approval.approval_id, "day": approval.day}
        audit.append(tx, workspace.sealer, actor=actor, action="day.reason", now=workspace.now(), **facts)
    return str(workspace.sealer.unseal_record(sealed, approval.approval_id)["reason"])


def standing_approval(connection: Connection, day: date, source: str) -> Approval | None:
    """Return the approval that stands for a day of a source."""
    query = sa.select(day_approvals).where(*_standing(day.isoformat(), source))
    row = connection.execute(query.order_by(day_approvals.c.approved_at.desc(), day_approvals.c.approval_id)).first()
    if row is None:
        return None
    values = {name: getattr(row, name) for name in Approval.__dataclass_fields__}
    return Approval(**{**values, "checks": json.loads(row.checks)})


def why_stopped(connection: Connection, workspace: Workspace, scope: Scope) -> tuple[dict[str, str], Approval | None]:
    """Return, for the report of a day, what stops it and was not approved, in words, and the approval that stands.

    Both are empty for a scope without a day.
    """
    if scope.day is None:
        return {}, None
    source = scope.source_id or _configured(workspace) or ""
    recorded = recorded_blocks(connection, scope.day)
    approval = standing_approval(connection, scope.day, source)
    if approval is None:
        return recorded, None
    failed = [check for check in check_day(connection, workspace, scope).values() if check.stops]
    covered = {check.name for check in failed if approval.covers(check)}
    return {name: words for name, words in recorded.items() if name not in covered}, approval if covered else None


def blocked_days(connection: Connection, workspace: Workspace) -> tuple[str, ...]:
    """Return the days whose last night was stopped and not approved since, the oldest first."""
    return tuple(row.day for row in list_blocked(connection, workspace))


def list_blocked(connection: Connection, workspace: Workspace) -> list[DayRow]:
    """List the days whose last night was stopped and not approved since, with what stops them, the oldest first.

    A day whose items came from several sources, of which none is configured, has no figures and an empty digest: it
    cannot be approved before one is.
    """
    found = []
    for day in sorted(recorded_days(connection)):
        try:
            row = row_of(read_day(connection, workspace, date.fromisoformat(day)))
        except ConfigError:  # several sources and none configured: the night's record stands
            words = recorded_blocks(connection, date.fromisoformat(day))
            row = DayRow(day, "", "blocked", 0, 0, 0.0, words, {}, None, None, "")
        found += [row] if row.state == "blocked" else []
    return found


def _require_reason(workspace: Workspace, reason: str) -> str:
    reason = reason.strip()
    if not reason:
        raise InputError("a reason is needed: say why the day may go on")
    require_short(reason, "the reason", most=workspace.config.registry.max_text)
    return reason


def _require_approvable(day: Day, expect: str | None) -> None:
    if day.unapprovable:
        words = "; ".join(f"{name}: {text}" for name, text in day.unapprovable.items())
        raise StateError(f"this cannot be approved: {words}; remove the cause, and have the day run again")
    if day.unscanned:
        raise StateError(f"{day.unscanned} items of the day are pending, and nobody has looked at them: run it first")
    if not day.failed:
        raise StateError("no check that may be approved stops this day")
    if expect is not None and expect != day.digest:
        raise StateError("the day's figures are not those that were shown: look at `likeness day list` again")
    if not day.uncovered:
        raise StateError("the day is approved already, with these figures or worse ones")


def _withdraw(tx: Connection, workspace: Workspace, day: Day, *, actor: str) -> None:
    if day.approval is None:
        return
    now = workspace.now()
    chosen = sa.update(day_approvals).where(*_standing(day.day, day.source_id))
    tx.execute(chosen.values(withdrawn_at=now, withdrawn_by=actor))
    facts = {"approval_id": day.approval.approval_id, "day": day.day}
    audit.append(tx, workspace.sealer, actor=actor, action="day.unapprove", now=now, **facts)


def _standing(day: str, source: str) -> tuple[sa.ColumnElement[bool], ...]:
    own = (day_approvals.c.day == day, day_approvals.c.source_id == source)
    return (*own, day_approvals.c.withdrawn_at.is_(None))


def _count(connection: Connection, scope: Scope) -> int:
    query = sa.select(sa.func.count()).select_from(items).where(*scope.where())
    return int(connection.execute(query).scalar_one())


def _of_source(workspace: Workspace) -> list[Any]:
    configured = _configured(workspace)
    return [items.c.source_id == configured] if configured else []


def _configured(workspace: Workspace) -> str | None:
    return source_id(configured_source(workspace)) if workspace.config.source else None


def _source_of(connection: Connection, workspace: Workspace, day: date) -> str:
    """The configured source; without one, the source of all items of the day."""
    if configured := _configured(workspace):
        return configured
    query = sa.select(items.c.source_id).where(items.c.live, items.c.day == day.isoformat()).distinct().limit(2)
    found = list(connection.execute(query).scalars())
    if len(found) > 1:
        raise ConfigError("items of this day came from several sources: say which, by `source` or LIKENESS_SOURCE")
    return str(found[0]) if found else ""
