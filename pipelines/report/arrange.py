"""Orders hits for the pages: people, then models, then items; what a person has to decide before what is decided.

Hits of one item and one person are decided together, so they are one row, faces first. People, the models of each and
the items of each model come in the order of what is most urgent of them. When the pages cannot hold all hits, the most
urgent ones of all people are kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from itertools import groupby

from pipelines.hits.counting import FACES, FACES_FIRST, MODELS
from pipelines.hits.verdicts import ModelVerdict
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
        """What it is called."""
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
class ReportCase:
    """What is decided together: the hits of one item and one person, faces first. ``left``: further hits of it that the
    page has no room for."""

    subject_id: str
    urgency: Urgency
    hits: tuple[ReportHit, ...]
    left: int = 0

    @property
    def first(self) -> ReportHit:
        """A hit of it: what is said of item, verdict and takedown is the same in all."""
        return self.hits[0]

    @property
    def faces(self) -> tuple[ReportHit, ...]:
        """Hits that are faces."""
        return tuple(hit for hit in self.hits if hit.tier in FACES)

    @property
    def others(self) -> tuple[ReportHit, ...]:
        """Hits that are copies or names."""
        return tuple(hit for hit in self.hits if hit.tier not in FACES)

    @property
    def place(self) -> tuple[Urgency, int, float, str, str]:
        """Sort key of cases: urgency, the policy's priority, the best score, then ids, so that the order does not
        depend on the database."""
        best = min(self.hits, key=_strength)
        return self.urgency, -(best.priority or 0), -best.score, best.item_id, self.subject_id


@dataclass(frozen=True, slots=True)
class ReportModel:
    """One person's items of one model or bounty. ``model`` None: items that belong to none; ``verdict``: on the model
    itself, if there is one."""

    model: str | None
    verdict: ModelVerdict | None
    cases: tuple[ReportCase, ...]


@dataclass(frozen=True, slots=True)
class ReportPerson:
    """One person's hits. ``items``: per urgency, over all hits; ``total``: all hits, shown or not; ``models``: with
    what there is room for."""

    subject_id: str
    items: Counter[Urgency]
    total: int
    models: tuple[ReportModel, ...]


@dataclass(frozen=True, slots=True)
class PersonPart:
    """What stands of a person on one page. ``index``: of the person in the report, from 1 on; ``continued``: some of it
    stands on the page before."""

    index: int
    person: ReportPerson
    models: tuple[ReportModel, ...]
    continued: bool


def arrange(
    hits: Iterable[ReportHit], verdicts: Sequence[ModelVerdict] = (), *, limit: int
) -> tuple[ReportPerson, ...]:
    """Group hits by person, model and item, and keep the ``limit`` most urgent hits.

    Every person with a hit is returned, even if only with counts.
    """
    cases = sorted(_cases(hits), key=lambda case: case.place)
    by_person: dict[str, list[ReportCase]] = {}
    room: dict[str, list[ReportCase]] = {}
    for case in cases:
        by_person.setdefault(case.subject_id, []).append(case)
        if limit > 0:
            kept = case.hits[:limit]
            limit -= len(kept)
            room.setdefault(case.subject_id, []).append(replace(case, hits=kept, left=len(case.hits) - len(kept)))
    known = {(verdict.subject_id, verdict.model): verdict for verdict in verdicts}
    persons = (_person(subject_id, own, room.get(subject_id, ()), known) for subject_id, own in by_person.items())
    return tuple(sorted(persons, key=_place_of))


def into_pages(persons: Sequence[ReportPerson], *, most: int) -> list[tuple[PersonPart, ...]]:
    """Cut what is shown into pages of at most ``most`` hits, between items: one with more has a page of its own, and
    its weakest hits are left out. At least one page is returned."""
    pages: list[list[tuple[int, str | None, ReportCase]]] = [[]]
    room = most
    for index, person in enumerate(persons, start=1):
        for model in person.models:
            for case in model.cases:
                kept = replace(case, hits=case.hits[:most], left=case.left + max(0, len(case.hits) - most))
                if len(kept.hits) > room and pages[-1]:
                    pages.append([])
                    room = most
                pages[-1].append((index, model.model, kept))
                room -= len(kept.hits)
    return [tuple(_parts(persons, page, pages[number - 1] if number else ())) for number, page in enumerate(pages)]


def _parts(
    persons: Sequence[ReportPerson],
    page: Sequence[tuple[int, str | None, ReportCase]],
    before: Sequence[tuple[int, str | None, ReportCase]],
) -> Iterator[PersonPart]:
    for index, of_person in groupby(page, key=lambda entry: entry[0]):
        person = persons[index - 1]
        verdicts = {model.model: model.verdict for model in person.models}
        models = tuple(
            ReportModel(model, verdicts[model], tuple(case for _, _, case in of_model))
            for model, of_model in groupby(of_person, key=lambda entry: entry[1])
        )
        yield PersonPart(index, person, models, continued=bool(before) and before[-1][0] == index)


def _place_of(person: ReportPerson) -> tuple[int, int, int, str]:
    urgent = min(person.items)
    return int(urgent), -person.items[urgent], -person.total, person.subject_id


def _cases(hits: Iterable[ReportHit]) -> Iterable[ReportCase]:
    together = sorted(hits, key=_case_key)
    for key, group in groupby(together, key=_case_key):
        own = tuple(sorted(group, key=_faces_first))
        yield ReportCase(subject_id=key[0], urgency=urgency_of(own), hits=own)


def _case_key(hit: ReportHit) -> tuple[str, str]:
    return hit.subject_id, hit.item_id


def _faces_first(hit: ReportHit) -> tuple[int, bool, float, int, int, str, str]:
    tier = FACES_FIRST.index(hit.tier) if hit.tier in FACES_FIRST else len(FACES_FIRST)
    return tier, hit.band != "strong", -hit.score, hit.frame or 0, hit.face or 0, hit.place or "", hit.hit_id


def _strength(hit: ReportHit) -> tuple[bool, tuple[int, bool, float, int, int, str, str]]:
    """Sort key of the hits of a case by what carries it: band before tier, since scores of two cannot be compared."""
    return hit.band != "strong", _faces_first(hit)


def urgency_of(hits: Sequence[ReportHit]) -> Urgency:
    """What is to be done about one item and one person, given all their hits (at least one)."""
    verdict = hits[0].verdict
    if verdict == "review":
        return Urgency.REVIEW_STRONG if any(hit.band == "strong" for hit in hits) else Urgency.REVIEW
    if verdict == "takedown":
        return Urgency.STUCK if hits[0].takedown_state in (HELD, DEAD) else Urgency.TAKEDOWN
    return Urgency.UNJUDGED if verdict is None else Urgency.CLEAR


def _person(
    subject_id: str,
    cases: Sequence[ReportCase],
    shown: Sequence[ReportCase],
    verdicts: Mapping[tuple[str, str], ModelVerdict],
) -> ReportPerson:
    by_model: dict[str | None, list[ReportCase]] = {}
    for case in shown:
        by_model.setdefault(_model_of(case.first), []).append(case)
    return ReportPerson(
        subject_id=subject_id,
        items=Counter(case.urgency for case in cases),
        total=sum(len(case.hits) for case in cases),
        models=tuple(
            ReportModel(model, verdicts.get((subject_id, model)) if model else None, tuple(own))
            for model, own in by_model.items()
        ),
    )


def _model_of(hit: ReportHit) -> str | None:
    """The model or bounty that an item belongs to, or is."""
    return hit.parent_model or (hit.item_id if hit.kind in MODELS else None)
