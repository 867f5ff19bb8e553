"""Orders hits for the page: those that a person has to decide before those that are decided.

Hits of one item and one person are decided together, so they stay together. Persons come in the order of their most
urgent item. When the page cannot hold all hits, the most urgent ones of all persons are kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import groupby

from pipelines.hits.listing import TIERS
from pipelines.report.facts import ReportHit
from pipelines.takedown.outbox import DEAD, HELD


class Urgency(IntEnum):
    """What is to be done about an item and a person, the most pressing first."""

    REVIEW_STRONG = 0
    REVIEW = 1
    UNJUDGED = 2
    STUCK = 3
    TAKEDOWN = 4
    CLEAR = 5

    @property
    def words(self) -> str:
        """The heading of a section."""
        return _WORDS[self]


_WORDS = {
    Urgency.REVIEW_STRONG: "For review, strong",
    Urgency.REVIEW: "For review",
    Urgency.UNJUDGED: "Not judged yet",
    Urgency.STUCK: "Takedown, stuck",
    Urgency.TAKEDOWN: "Takedown",
    Urgency.CLEAR: "Clear",
}


@dataclass(frozen=True, slots=True)
class Section:
    """One person's hits of one urgency: those shown, and how many items there are in all."""

    urgency: Urgency
    items: int
    hits: tuple[ReportHit, ...]


@dataclass(frozen=True, slots=True)
class ReportPerson:
    """One person's hits. ``items``: per urgency, over all hits; ``total``: all hits, shown or not."""

    subject_id: str
    items: Counter[Urgency]
    total: int
    sections: tuple[Section, ...]

    @property
    def shown(self) -> int:
        """Number of hits on the page."""
        return sum(len(section.hits) for section in self.sections)


@dataclass(frozen=True, slots=True)
class ReportCase:
    """What is decided together: the hits of one item and one person, the strongest evidence first."""

    subject_id: str
    urgency: Urgency
    hits: tuple[ReportHit, ...]

    @property
    def place(self) -> tuple[Urgency, int, float, str, str]:
        """Sort key of cases: urgency, the policy's priority, the best score, then ids, so that the order does not
        depend on the database."""
        best = self.hits[0]
        return self.urgency, -(best.priority or 0), -best.score, best.item_id, self.subject_id


def arrange(hits: Iterable[ReportHit], *, limit: int) -> tuple[ReportPerson, ...]:
    """Group hits by person and urgency, and keep the ``limit`` most urgent hits on the page.

    Every person with a hit is returned, even if only with counts.
    """
    cases = sorted(_cases(hits), key=lambda case: case.place)
    by_person: dict[str, list[ReportCase]] = {}
    for case in cases:
        by_person.setdefault(case.subject_id, []).append(case)
    ordered = [hit.hit_id for case in cases for hit in case.hits]
    shown = frozenset(ordered[:limit])
    persons = (_person(subject_id, own, shown) for subject_id, own in by_person.items())
    return tuple(sorted(persons, key=_place_of))


def _place_of(person: ReportPerson) -> tuple[int, int, int, str]:
    urgent = min(person.items)
    return int(urgent), -person.items[urgent], -person.total, person.subject_id


def _cases(hits: Iterable[ReportHit]) -> Iterable[ReportCase]:
    together = sorted(hits, key=_case_key)
    for key, group in groupby(together, key=_case_key):
        own = tuple(sorted(group, key=_strength))
        yield ReportCase(subject_id=key[0], urgency=urgency_of(own), hits=own)


def _case_key(hit: ReportHit) -> tuple[str, str]:
    return hit.subject_id, hit.item_id


def _strength(hit: ReportHit) -> tuple[bool, int, float, int, int, str, str]:
    """Sort key of the hits of a case: band and tier first, because scores of two tiers cannot be compared."""
    tier = TIERS.index(hit.tier) if hit.tier in TIERS else len(TIERS)
    return hit.band != "strong", tier, -hit.score, hit.frame or 0, hit.face or 0, hit.place or "", hit.hit_id


def urgency_of(hits: Sequence[ReportHit]) -> Urgency:
    """What is to be done about one item and one person, given all their hits (at least one)."""
    verdict = hits[0].verdict
    if verdict == "review":
        return Urgency.REVIEW_STRONG if any(hit.band == "strong" for hit in hits) else Urgency.REVIEW
    if verdict == "takedown":
        return Urgency.STUCK if hits[0].takedown_state in (HELD, DEAD) else Urgency.TAKEDOWN
    return Urgency.UNJUDGED if verdict is None else Urgency.CLEAR


def _person(subject_id: str, cases: Sequence[ReportCase], shown: frozenset[str]) -> ReportPerson:
    sections = []
    for urgency, group in groupby(cases, key=lambda case: case.urgency):
        own = list(group)
        hits = tuple(hit for case in own for hit in case.hits if hit.hit_id in shown)
        if hits:
            sections.append(Section(urgency=urgency, items=len(own), hits=hits))
    return ReportPerson(
        subject_id=subject_id,
        items=Counter(case.urgency for case in cases),
        total=sum(len(case.hits) for case in cases),
        sections=tuple(sections),
    )
