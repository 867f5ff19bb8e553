"""Which cases wait for a person, and in which order.

A *case* is everything undecided that links one subject with one model (or bounty), or with one item that belongs to
none: all tiers together, since one look answers them together. It waits while a verdict of ``review`` rests on any of
it. The order is by the hour of the deadline, then by harm (somebody who looks like a minor, mature content), then faces
before names, then the oldest first. It is the same for everybody, and says nothing of scores.

:class:`Queue` remembers the order for some seconds, and then reads anew what may have changed. Whether a case still
waits is asked again, of that case alone, when it is claimed.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Final, NamedTuple
from weakref import ref

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from pipelines.database.in_force import is_in_force
from pipelines.database.tables import decisions, hits, items, requests, subjects, verdicts
from pipelines.database.times import moment
from pipelines.decisions.decide import DecisionScope
from pipelines.hits.counting import FACES, FACES_FIRST, hits_in_force, said, verdict_of_hit
from pipelines.home.actors import identity_of
from pipelines.home.workspace import Workspace
from pipelines.judging.request_progress import is_running

MOST_READ_ANEW: Final = 100
"""People whose cases are read by themselves; of more, the whole order is."""
MATURE: Final = 2
MINOR: Final = 4
"""Verdicts' priorities from which content is mature, and somebody in it looks like a minor
(:func:`pipelines.policy.items.priority_of`)."""


class CaseKey(NamedTuple):
    """Whom a case is about, and which model, bounty or single item: ``about`` is its id."""

    subject_id: str
    about: str

    @property
    def case_id(self) -> str:
        """An opaque id for addresses, the same whenever the case comes back."""
        return _case_id(self)


_Which = CaseKey | list[str] | None


@lru_cache(maxsize=1 << 16)  # every page asks for those of all that waits
def _case_id(key: CaseKey) -> str:
    return f"case_{hashlib.sha256(json.dumps(key).encode()).hexdigest()[:20]}"


@dataclass(frozen=True, slots=True)
class PassedOn:
    """Whom a case was passed on to: to leads, by ``escalated_by``; to one person, ``assigned_to``. ``since``: the
    first of the two."""

    since: datetime
    escalated_by: str | None = None
    assigned_to: str | None = None

    def may_take(self, actor: str, *, lead: bool) -> bool:
        """Whether this person may get the case: whose it is, and leads, but for who asked leads to look, whoever they
        are."""
        own = self.assigned_to is not None and identity_of(self.assigned_to) == identity_of(actor)
        asked = self.escalated_by is not None and identity_of(self.escalated_by) == identity_of(actor)
        return not asked and (own or lead)


@dataclass(frozen=True, slots=True)
class WaitingCase:
    """A case that waits. ``hits`` and ``items``: that wait; ``tiers``: of these hits; ``harm``: 2 minor, 1 mature, 0.

    ``found_at``: of the oldest hit; ``due_at``: by the policy from then on, or by the person's running request if that
    is sooner. ``unsure``: identities of those who were unsure of every hit that waits, and ``barred``: of those whose
    decision on any of them somebody else ended: it is for others. ``passed_on``: read apart
    (:func:`pipelines.reviewing.notes.with_notes`), since it changes while the order stands.
    """

    key: CaseKey
    hits: int
    items: int
    tiers: tuple[str, ...]
    harm: int
    found_at: datetime
    due_at: datetime
    unsure: frozenset[str] = field(default=frozenset())
    barred: frozenset[str] = field(default=frozenset())
    passed_on: PassedOn | None = None

    @property
    def has_face(self) -> bool:
        """Whether a face is among the evidence."""
        return not set(FACES).isdisjoint(self.tiers)

    @property
    def is_anybodys(self) -> bool:
        """Whether it was given to no single person."""
        return self.passed_on is None or self.passed_on.assigned_to is None

    @property
    def is_nobodys(self) -> bool:
        """Whether it was given to one person who may not have it, so that they never get it."""
        to = None if self.passed_on is None else self.passed_on.assigned_to
        return to is not None and not self.is_for(to)

    def is_for(self, actor: str, *, lead: bool = False) -> bool:
        """Whether this person may get it: they are not who could not say, nor who decided it before, and it was not
        passed on to somebody else. ``lead``: whether they are one."""
        if (self.unsure or self.barred) and identity_of(actor) in self.unsure | self.barred:
            return False
        return self.passed_on is None or self.passed_on.may_take(actor, lead=lead)

    @property
    def place(self) -> tuple[datetime, int, bool, datetime, str]:
        """Sorts cases."""
        hour = self.due_at.replace(minute=0, second=0, microsecond=0)
        return hour, -self.harm, not self.has_face, self.found_at, self.key.case_id


def waiting_cases(connection: Connection, workspace: Workspace) -> list[WaitingCase]:
    """All cases that wait, in their order."""
    return _read(connection, workspace, None)


def cases_of_people(connection: Connection, workspace: Workspace, subject_ids: Collection[str]) -> list[WaitingCase]:
    """All cases of these people that wait, in their order."""
    return _read(connection, workspace, sorted(subject_ids))


def waiting_case(connection: Connection, workspace: Workspace, key: CaseKey) -> WaitingCase | None:
    """One case; None: nothing of it waits (any more)."""
    return next(iter(_read(connection, workspace, key)), None)


def hits_that_wait(connection: Connection, key: CaseKey | None) -> sa.Select[Any]:
    """Hits in force that nobody has confirmed and whose verdict is ``review``, joined with items and verdicts.

    ``key``: of one case; None: of all.
    """
    found = hits_in_force(moment(connection))
    query = found.join(verdicts, verdict_of_hit()).where(verdicts.c.verdict == "review", ~said("confirm"))
    return query if key is None else query.where(hits.c.subject_id == key.subject_id, belongs_to(key.about))


def belongs_to(about: str) -> sa.ColumnElement[bool]:
    """Condition on ``items``: the item is the model or bounty of this id or belongs to it, or it is the item itself."""
    return sa.or_(items.c.parent_model == about, items.c.item_id == about)


def about_of() -> sa.ColumnElement[str]:
    """Of ``items``: what an item's case is about."""
    return sa.func.coalesce(items.c.parent_model, items.c.item_id)


def ended_by(ended: sa.FromClause) -> tuple[sa.FromClause, sa.Label[Any]]:
    """Of decisions that somebody ended: the decision that replaced one, to be joined by ``reversed_by``, and who ended
    it, which is its actor, or whoever undid it without another."""
    by = decisions.alias("by")
    return by, sa.func.coalesce(by.c.actor, ended.c.reversed_by).label("by_whom")


def _that_wait(connection: Connection, which: _Which) -> sa.Select[Any]:
    """Hits that wait: of a case, of some people, or all."""
    if isinstance(which, list):
        return hits_that_wait(connection, None).where(hits.c.subject_id.in_(which))
    return hits_that_wait(connection, which)


def _read(connection: Connection, workspace: Workspace, which: _Which) -> list[WaitingCase]:
    tiers = {tier: sa.func.max(sa.case((hits.c.tier == tier, 1), else_=0)) for tier in FACES_FIRST}
    about = about_of().label("about")
    query = _that_wait(connection, which).with_only_columns(
        hits.c.subject_id,
        about,
        sa.func.count().label("hits"),
        sa.func.count(hits.c.item_id.distinct()).label("items"),
        sa.func.min(hits.c.found_at).label("found_at"),
        sa.func.max(verdicts.c.priority).label("priority"),
        *(value.label(tier) for tier, value in tiers.items()),
    )
    rows = connection.execute(query.group_by(hits.c.subject_id, about_of())).all()
    requested, unsure = _requested(connection, which), _unsure(connection, which)
    barred = _barred(connection, which)
    found = []
    for row in rows:
        own = CaseKey(row.subject_id, row.about)
        harm = 2 if row.priority >= MINOR else 1 if row.priority >= MATURE else 0
        sure = frozenset(who for who, hits_of in unsure.get(own, {}).items() if hits_of >= row.hits)
        found.append(
            WaitingCase(
                key=own,
                hits=row.hits,
                items=row.items,
                tiers=tuple(tier for tier in tiers if getattr(row, tier)),
                harm=harm,
                found_at=row.found_at,
                due_at=_due_at(workspace, row.found_at, harm, requested.get(own.subject_id)),
                unsure=sure,
                barred=frozenset(barred.get(own, ())),
            )
        )
    return sorted(found, key=lambda case: case.place)


def _due_at(workspace: Workspace, found_at: datetime, harm: int, requested: datetime | None) -> datetime:
    settings = workspace.policy.settings
    due = found_at + timedelta(hours=settings.mature.hours if harm else settings.takedown.hours)
    return due if requested is None else min(due, requested)


def _requested(connection: Connection, which: _Which) -> dict[str, datetime]:
    """Subject -> the soonest deadline of a removal request that runs."""
    query = sa.select(requests.c.subject_id, sa.func.min(requests.c.due_at)).where(is_running())
    if which is not None:
        named = which if isinstance(which, list) else [which.subject_id]
        query = query.where(requests.c.subject_id.in_(named))
    return {row[0]: row[1] for row in connection.execute(query.group_by(requests.c.subject_id))}


def _unsure(connection: Connection, which: _Which) -> dict[CaseKey, dict[str, int]]:
    """Case -> who is unsure -> of how many hits that wait."""
    same = [decisions.c[name] == hits.c[name] for name in DecisionScope._fields]
    stands = sa.and_(*same, decisions.c.decision == "unsure", decisions.c.reversed_at.is_(None))
    waiting = _that_wait(connection, which)
    query = waiting.join(decisions, stands).with_only_columns(
        hits.c.subject_id, about_of().label("about"), decisions.c.actor
    )
    found: dict[CaseKey, dict[str, int]] = {}
    for row in connection.execute(query):
        counts = found.setdefault(CaseKey(row.subject_id, row.about), {})
        who = identity_of(row.actor)
        counts[who] = counts.get(who, 0) + 1
    return found


def _barred(connection: Connection, which: _Which) -> dict[CaseKey, set[str]]:
    """Case -> who decided on hits of it that wait again, because somebody else undid or replaced that."""
    ended = decisions.alias("ended")
    by, by_whom = ended_by(ended)
    same = [ended.c[name] == hits.c[name] for name in DecisionScope._fields]
    decided = sa.and_(*same, ended.c.decision.in_(("confirm", "reject")), ended.c.reversed_at.is_not(None))
    query = (
        _that_wait(connection, which)
        .join(ended, decided)
        .outerjoin(by, by.c.decision_id == ended.c.reversed_by)
        .with_only_columns(hits.c.subject_id, about_of().label("about"), ended.c.actor, by_whom)
        .distinct()
    )
    found: dict[CaseKey, set[str]] = {}
    for row in connection.execute(query):
        if identity_of(row.actor) != identity_of(row.by_whom):
            found.setdefault(CaseKey(row.subject_id, row.about), set()).add(identity_of(row.actor))
    return found


class Queue:
    """The order of waiting cases as it was some seconds ago. Safe to share between threads.

    Reading it goes through every hit that waits. So it is read whole once, and from then on only of the people whom
    transactions since were about (:mod:`pipelines.database.journal`), or whose opt-out began or ended by the clock; and
    whole again where another process wrote or the policy is another one. Either gives what :func:`waiting_cases` gives.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._order: list[tuple[Any, WaitingCase]] = []
        self._cases: Sequence[WaitingCase] = ()
        self._read: _Read | None = None
        self._forgotten: set[str] = set()

    def cases(self, workspace: Workspace, *, fresh: bool = False) -> Sequence[WaitingCase]:
        """The cases in their order, brought up to date where that is ``review.queue_seconds`` ago, or ``fresh``."""
        now = workspace.now()
        with self._lock:
            age = None if self._read is None else abs(now - self._read.at)
            if fresh or age is None or age >= timedelta(seconds=workspace.config.review.queue_seconds):
                with workspace.database.read() as connection:
                    self._bring_up_to_date(connection, workspace, now)
            return self._cases

    def forget(self, key: CaseKey) -> None:
        """Leave out a case that was answered, until its person is read again: the next time, whatever was written.

        Somebody may have read them already since the answer, with what is left of the case.
        """
        with self._lock:
            self._forgotten.add(key.subject_id)
            self._order = [(place, case) for place, case in self._order if case.key != key]
            self._cases = [case for _, case in self._order]

    def case(self, workspace: Workspace, case_id: str) -> WaitingCase | None:
        """The case of this id, if it waits."""
        chosen: Callable[[WaitingCase], bool] = lambda case: case.key.case_id == case_id  # noqa: E731
        for fresh in (False, True):
            if found := next(filter(chosen, self.cases(workspace, fresh=fresh)), None):
                return found
        return None

    def _bring_up_to_date(self, connection: Connection, workspace: Workspace, now: datetime) -> None:
        head = workspace.seal.read(connection)
        in_force = frozenset(connection.execute(_in_force(connection)).scalars())
        counter = head.counter if head else -1
        read = _Read(now, counter, workspace.policy.version, ref(workspace), in_force)
        anew = _to_read(workspace, self._read, read, self._forgotten)
        if anew is None:
            self._order = [(case.place, case) for case in waiting_cases(connection, workspace)]
        elif anew:
            kept = [entry for entry in self._order if entry[1].key.subject_id not in anew]
            own = cases_of_people(connection, workspace, anew)
            self._order = sorted([*kept, *((case.place, case) for case in own)], key=lambda entry: entry[0])
        if anew is None or anew:
            self._cases = [case for _, case in self._order]
        self._read = read
        self._forgotten = set()


@dataclass(frozen=True, slots=True)
class _Read:
    """When an order was read, at which counter of the seal, by which policy, of which workspace, and who was in force.

    ``workspace``: a weak reference, since the address of one that is gone may be another's.
    """

    at: datetime
    counter: int
    policy_version: str
    workspace: ref[Workspace]
    in_force: frozenset[str]


def _to_read(
    workspace: Workspace, before: _Read | None, now: _Read, forgotten: Collection[str]
) -> frozenset[str] | None:
    """People whose cases may be others than before. None: everybody's. ``forgotten``: of whom one was left out."""
    if before is None or before.policy_version != now.policy_version or before.workspace() is not workspace:
        return None
    about = workspace.database.journal.since(before.counter, now.counter)
    if about is None:
        return None
    found = about.union(before.in_force ^ now.in_force, forgotten)
    return found if len(found) <= MOST_READ_ANEW else None


def _in_force(connection: Connection) -> sa.Select[Any]:
    return sa.select(subjects.c.subject_id).where(is_in_force(moment(connection)))
