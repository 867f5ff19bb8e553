"""What each reference and each name of a person brings: hits in force, and how many people confirmed or rejected.

It shows which photograph or alias makes work and finds nothing. References are counted without a look at anything.
Names are opened, which is a look at the person: its audit row is committed first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from indexes.name_rules import NameSettings, SubjectNames
from indexes.names import NameMatcher
from pipelines.database.tables import decisions, hits, items
from pipelines.database.times import moment
from pipelines.evidence.terms import open_term
from pipelines.hits.counting import hits_in_force, said
from pipelines.home.workspace import Workspace
from pipelines.registry.subjects import Identity, show_identity
from pipelines.registry.templates import list_references

MOST_TERMS: Final = 5000
"""Of hits by a name, the newest, whose words are compared with the names."""


@dataclass(frozen=True, slots=True)
class Brought:
    """Hits in force and those among them that people confirmed; ``rejected``: hits that people rejected; None: not
    told."""

    hits: int = 0
    confirmed: int | None = 0
    rejected: int | None = 0

    @property
    def without_answers(self) -> Brought:
        """The same for whoever may have yet to judge."""
        return Brought(self.hits, None, None)


@dataclass(frozen=True, slots=True)
class ReferenceBrings:
    """One reference photograph. ``in_force``: its template is of the models in force."""

    reference_id: str
    created_at: datetime
    in_force: bool
    brought: Brought


@dataclass(frozen=True, slots=True)
class NameBrings:
    """One name, the full one first. A hit counts for the name that explains most of its words."""

    name: str = field(repr=False)
    brought: Brought


@dataclass(frozen=True, slots=True)
class NamesOpened:
    """Who somebody is, and what each of their names brings. ``unexplained``: hits whose words no name explains by
    itself; ``left``: hits by a name that are older than those counted."""

    identity: Identity = field(repr=False)
    names: tuple[NameBrings, ...] = field(repr=False)
    unexplained: Brought
    left: int


def references_bring(connection: Connection, workspace: Workspace, subject_id: str) -> list[ReferenceBrings]:
    """Count what each reference of a person brings; the oldest first."""
    own = hits_in_force(moment(connection)).where(hits.c.subject_id == subject_id, hits.c.template_id.is_not(None))
    confirmed = sa.func.sum(sa.case((said("confirm"), 1), else_=0))
    counted = own.with_only_columns(hits.c.template_id, sa.func.count(), confirmed).group_by(hits.c.template_id)
    found = {str(row[0]): (int(row[1]), int(row[2])) for row in connection.execute(counted)}
    refused = _rejected(subject_id).with_only_columns(hits.c.template_id, sa.func.count(hits.c.hit_id.distinct()))
    rejected = {str(row[0]): int(row[1]) for row in connection.execute(refused.group_by(hits.c.template_id))}
    return [
        ReferenceBrings(
            reference_id=one.reference_id,
            created_at=one.created_at,
            in_force=one.model_id == workspace.model_id,
            brought=Brought(*found.get(one.reference_id, (0, 0)), rejected.get(one.reference_id, 0)),
        )
        for one in list_references(connection, subject_id)
    ]


def names_bring(workspace: Workspace, subject_id: str, *, actor: str) -> NamesOpened:
    """Open a person's names and count what each brings. The look leaves an audit row (``subject.view``).

    Raises :class:`StateError` for an unknown subject, or one of whom nothing personal is kept.
    """
    identity = show_identity(workspace, subject_id, actor=actor)
    of_names = (hits.c.subject_id == subject_id, hits.c.tier.in_(("text", "header")), hits.c.sealed_term.is_not(None))
    with workspace.database.read() as connection:
        standing = hits_in_force(moment(connection)).where(*of_names)
        columns = (hits.c.hit_id, hits.c.subject_id, hits.c.sealed_term)
        shown = standing.with_only_columns(*columns, said("confirm").label("confirmed"), sa.false().label("rejected"))
        refused = (
            _rejected(subject_id)
            .where(*of_names)
            .with_only_columns(*columns, sa.false().label("confirmed"), sa.true().label("rejected"))
        )
        rows = [
            row
            for query in (shown, refused.distinct())
            for row in connection.execute(query.order_by(hits.c.hit_id.desc()).limit(MOST_TERMS))
        ]
        count = standing.with_only_columns(sa.func.count())
        left = int(connection.execute(count).scalar_one()) - sum(not row.rejected for row in rows)
        terms = [_term(connection, workspace, row) for row in rows]
    which = explained_by(identity, terms, settings=workspace.config.names)
    tally: dict[int | None, Counter[str]] = {}
    for row, place in zip(rows, which, strict=True):
        own = tally.setdefault(place, Counter())
        own.update(hits=not row.rejected, confirmed=bool(row.confirmed), rejected=bool(row.rejected))
    brought = {place: Brought(own["hits"], own["confirmed"], own["rejected"]) for place, own in tally.items()}
    names = tuple(NameBrings(name, brought.get(place, Brought())) for place, name in enumerate(identity.names))
    return NamesOpened(identity, names, brought.get(None, Brought()), left)


def explained_by(identity: Identity, terms: Sequence[str], *, settings: NameSettings) -> list[int | None]:
    """Return, for each text of words that were taken for a name, the position of the name that explains most of it."""
    matchers = [NameMatcher([SubjectNames("one", (name,))], settings=settings) for name in identity.names]
    known: dict[str, int | None] = {}
    for term in dict.fromkeys(terms):
        found = {place: matcher.find(term) for place, matcher in enumerate(matchers)}
        lengths = {place: one[0].end - one[0].start for place, one in found.items() if one}
        known[term] = max(lengths, key=lambda place: (lengths[place], -place), default=None)
    return [known[term] for term in terms]


def _term(connection: Connection, workspace: Workspace, row: Any) -> str:
    named = {"hit_id": row.hit_id, "subject_id": row.subject_id, "sealed_term": row.sealed_term}
    return open_term(connection, workspace.sealer, **named)


def _rejected(subject_id: str) -> sa.Select[Any]:
    """Hits with a rejection that stands, while the item is there."""
    stands = sa.and_(
        decisions.c.hit_id == hits.c.hit_id, decisions.c.decision == "reject", decisions.c.reversed_at.is_(None)
    )
    joined = hits.join(decisions, stands).join(items, sa.and_(items.c.item_id == hits.c.item_id, items.c.live))
    return sa.select(hits.c.hit_id).select_from(joined).where(hits.c.subject_id == subject_id)
