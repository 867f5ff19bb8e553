"""How far people agree when they judge the same case without knowing of each other, and whose decisions others ended.

Agreement is Cohen's kappa (Educational and Psychological Measurement 20, 1960) over confirmations and rejections: how
much more often two agree than their own habits would make them. *Unsure* is counted apart, because it is no mistake.
Nobody is ranked: the figures are of one person, for them and for who leads.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from pipelines.database.tables import checks, claims, decisions
from pipelines.home.actors import identity_of
from pipelines.reviewing.queue import CaseKey, ended_by

_Z: Final = 1.959963984540054
"""Of an interval that holds in 95 of 100 cases."""
_WORDS: Final = ("confirm", "reject")


@dataclass(frozen=True, slots=True)
class Agreement:
    """Answers of two to the same cases. ``table``: [own answer][the other's], confirm before reject; ``unsure``: cases
    of which one could not say."""

    table: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0))
    unsure: int = 0

    @property
    def cases(self) -> int:
        """Both said something of."""
        return sum(map(sum, self.table))

    @property
    def agreed(self) -> int:
        """Both said the same of."""
        return self.table[0][0] + self.table[1][1]

    @property
    def by_chance(self) -> float:
        """The share of cases in which their habits alone would make them agree; 0 without cases."""
        (a, b), (c, d) = self.table
        return ((a + b) * (a + c) + (c + d) * (b + d)) / self.cases**2 if self.cases else 0.0

    @property
    def kappa(self) -> float | None:
        """Cohen's kappa, at most 1; None where it has no meaning: without cases, or if all answers are one word."""
        return self._kappa(self.agreed / self.cases) if self.cases else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Where kappa lies in 95 of 100 cases: Wilson's interval of the agreement, with the habits as they are."""
        if self.kappa is None:
            return None
        low, high = wilson(self.agreed, self.cases)
        return self._kappa(low) or 0.0, self._kappa(high) or 0.0

    def _kappa(self, agreement: float) -> float | None:
        chance = self.by_chance
        return None if chance >= 1 else (agreement - chance) / (1 - chance)


@dataclass(frozen=True, slots=True)
class Figures:
    """One person's. ``golden``: with what was settled; ``second_looks``: with others, whoever came first.

    ``decided``: their decisions, each of one act; ``overturned``: of these, ended by somebody who said otherwise.
    """

    actor: str
    decided: int = 0
    overturned: int = 0
    golden: Agreement = field(default_factory=Agreement)
    second_looks: Agreement = field(default_factory=Agreement)

    @property
    def overturn_interval(self) -> tuple[float, float] | None:
        """Where the share of overturned decisions lies in 95 of 100 cases; None without any."""
        return wilson(self.overturned, self.decided) if self.decided else None


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A decision that stands, and somebody who saw the case again without knowing it and said otherwise."""

    key: CaseKey
    kind: str
    batch_id: str
    decided_by: str
    decided: str
    answered_by: str
    answer: str
    answered_at: datetime


def read_figures(
    connection: Connection,
    *,
    since: datetime,
    until: datetime,
    actor: str | None = None,
    earlier: Mapping[str, datetime] | None = None,
) -> list[Figures]:
    """The figures of everybody who decided or was asked again since then, by name; ``actor``: of this person alone.

    ``until``: when what they were asked again was answered, at the latest; ``earlier``: other moments for some people.
    Who sees their own figures change at once learns which case was one of these.
    """
    decided, overturned = _decided(connection, since, actor), _overturned(connection, since, actor)
    pairs: dict[str, dict[str, list[tuple[str, str]]]] = {}

    def note(who: str, row: Row[Any], own: str, other: str) -> None:
        answers = pairs.setdefault(who, {"golden": [], "second_look": []})
        if row.answered_at <= (earlier or {}).get(who, until):
            answers[row.kind].append((own, other))

    for row in connection.execute(_answered(since, until, actor)):
        note(row.answered_by, row, row.answer, row.decided)
        if row.kind == "second_look":
            note(row.decided_by, row, row.decided, row.answer)
    people = sorted(decided.keys() | pairs.keys() if actor is None else {actor})
    return [
        Figures(
            actor=one,
            decided=decided.get(one, 0),
            overturned=overturned.get(one, 0),
            golden=agreement_of(pairs.get(one, {}).get("golden", ())),
            second_looks=agreement_of(pairs.get(one, {}).get("second_look", ())),
        )
        for one in people
    ]


def read_disagreements(connection: Connection) -> list[Disagreement]:
    """Those that are not settled yet, the oldest first: the decision still stands. Of all people: see
    :func:`read_figures` for what somebody is shown of their own answers."""
    stands = sa.select(decisions.c.decision_id).where(
        decisions.c.batch_id == checks.c.batch_id,
        decisions.c.subject_id == claims.c.subject_id,
        decisions.c.reversed_at.is_(None),
    )
    query = (
        sa.select(checks, claims.c.subject_id, claims.c.about)
        .join(claims, claims.c.claim_id == checks.c.claim_id)
        .where(
            checks.c.undone_at.is_(None),
            checks.c.answer.in_(_WORDS),
            checks.c.answer != checks.c.decided,
            stands.correlate(checks, claims).exists(),
        )
        .order_by(checks.c.answered_at, checks.c.claim_id)
    )
    same = ("kind", "batch_id", "decided_by", "decided", "answered_by", "answer", "answered_at")
    return [
        Disagreement(key=CaseKey(row.subject_id, row.about), **{name: getattr(row, name) for name in same})
        for row in connection.execute(query)
    ]


def agreement_of(answers: Iterable[tuple[str, str]]) -> Agreement:
    """Count pairs of (own answer, the other's)."""
    counts = {(own, other): 0 for own in _WORDS for other in _WORDS}
    unsure = 0
    for pair in answers:
        if pair in counts:
            counts[pair] += 1
        else:
            unsure += 1
    yes, no = _WORDS
    table = (counts[yes, yes], counts[yes, no]), (counts[no, yes], counts[no, no])
    return Agreement(table, unsure)


def wilson(count: int, of: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson, JASA 22, 1927), which neither end of the scale makes a point."""
    share, z = count / of, _Z**2 / of
    middle = share + z / 2
    reach = _Z * math.sqrt(share * (1 - share) / of + z / (4 * of))
    return max(0.0, (middle - reach) / (1 + z)), min(1.0, (middle + reach) / (1 + z))


def _answered(since: datetime, until: datetime, actor: str | None) -> sa.Select[Any]:
    asked = (
        checks.c.answered_at >= since,
        checks.c.answered_at <= until,
        checks.c.undone_at.is_(None),
        checks.c.answer.is_not(None),
    )
    query = sa.select(checks).where(*asked)
    return query if actor is None else query.where(sa.or_(checks.c.answered_by == actor, checks.c.decided_by == actor))


def _decided(connection: Connection, since: datetime, actor: str | None) -> dict[str, int]:
    """Actor -> their acts of deciding; ``actor``: of this person alone."""
    count = sa.func.count(decisions.c.batch_id.distinct())
    query = sa.select(decisions.c.actor, count).where(decisions.c.decided_at >= since, *_is_of(actor))
    query = query.group_by(decisions.c.actor)
    return {row[0]: row[1] for row in connection.execute(query)}


def _is_of(actor: str | None) -> tuple[sa.ColumnElement[bool], ...]:
    return () if actor is None else (decisions.c.actor == actor,)


def _overturned(connection: Connection, since: datetime, actor: str | None) -> dict[str, int]:
    """Actor -> acts of deciding that somebody else undid, or replaced by another word; ``actor``: of this person
    alone."""
    by, by_whom = ended_by(decisions)
    query = (
        sa.select(decisions.c.actor, decisions.c.batch_id, by_whom)
        .outerjoin(by, by.c.decision_id == decisions.c.reversed_by)
        .where(
            decisions.c.decided_at >= since,
            *_is_of(actor),
            decisions.c.reversed_at.is_not(None),
            sa.or_(by.c.decision.is_(None), by.c.decision != decisions.c.decision),
        )
    )
    found: dict[str, set[str]] = {}
    for row in connection.execute(query):
        if identity_of(row.actor) != identity_of(row.by_whom):
            found.setdefault(row.actor, set()).add(row.batch_id)
    return {actor: len(batches) for actor, batches in found.items()}
