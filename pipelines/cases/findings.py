"""What was found and what became of it: of one person, one request, one uploader or one model.

Hits are those in force. What a message removed is gone from the platform and so is no hit any more; the messages say
what was asked for, and what the service acknowledged. Opaque ids, counts and fixed words only (I8), and no scores.
Who may have yet to judge gets these facts without verdicts and answers (``judged=False``).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from embeddings.errors import InputError
from pipelines.database.tables import decisions, hits, items, outbox, requests, verdicts
from pipelines.database.times import moment
from pipelines.hits.counting import FACES_FIRST, hits_in_force, said, verdict_of_hit
from pipelines.judging.request_progress import message_belongs
from pipelines.takedown.effects import EFFECT_WORDS, Effect, effect
from pipelines.takedown.outbox import DONE, EFFECTS


@dataclass(frozen=True, slots=True)
class About:
    """What facts are wanted of: one of a person, a request of that person, an uploader, a model (or bounty, or single
    item). ``listed_by``: items that were listed by then; set for a request, as its search ended.

    Raises :class:`InputError` unless it is one of these.
    """

    subject_id: str | None = None
    request_id: str | None = None
    uploader: str | None = None
    model: str | None = None
    listed_by: datetime | None = None

    def __post_init__(self) -> None:
        given = [name for name in (self.subject_id, self.uploader, self.model) if name]
        if len(given) != 1 or (self.request_id is not None and self.subject_id is None):
            raise InputError("facts are about one person, one uploader or one model")

    def of_items(self) -> list[sa.ColumnElement[bool]]:
        """Conditions on ``items``."""
        found: list[sa.ColumnElement[bool]] = []
        if self.uploader is not None:
            found.append(items.c.uploader == self.uploader)
        if self.model is not None:
            found.append(sa.or_(items.c.item_id == self.model, items.c.parent_model == self.model))
        if self.listed_by is not None:
            found.append(items.c.live_since <= self.listed_by)
        return found


@dataclass(frozen=True, slots=True)
class LinkedItem:
    """One item and one person that evidence links. ``hits``: of any tier, ``confirmed``: of these by people.

    ``verdict`` None: not judged yet, or not told; ``confirmed`` None: not told.
    """

    item_id: str
    kind: str
    parent_model: str | None
    uploader: str | None
    subject_id: str
    tiers: tuple[str, ...]
    hits: int
    confirmed: int | None
    verdict: str | None
    rule: str | None
    found_at: datetime


@dataclass(frozen=True, slots=True)
class FindingCounts:
    """In numbers. ``items``: with hits in force, ``people``: whom they link to, ``undecided``: hits whose verdict waits
    for a person; ``rejected``: hits that people rejected; None: not told. ``effects``: takedowns and blocks by what
    became of them.
    """

    items: int
    people: int
    hits: int
    confirmed: int | None
    undecided: int | None
    rejected: int | None
    effects: dict[Effect, int]


@dataclass(frozen=True, slots=True)
class ToldMessage:
    """One takedown or block, or the event that takes one back. ``acknowledged_at``: by the service, None so far;
    ``decided_by`` None: not told."""

    message_id: str
    action: str
    item_id: str
    subject_id: str
    effect: Effect
    decided_by: str | None
    created_at: datetime
    due_at: datetime
    acknowledged_at: datetime | None
    item_live: bool | None


def count_findings(connection: Connection, about: About) -> FindingCounts:
    """Count what was found, decided and sent."""
    undecided = sa.and_(verdicts.c.verdict == "review", ~said("confirm"))
    query = _hits(connection, about).outerjoin(verdicts, verdict_of_hit())
    row = connection.execute(
        query.with_only_columns(
            sa.func.count().label("hits"),
            sa.func.count(hits.c.item_id.distinct()).label("items"),
            sa.func.count(hits.c.subject_id.distinct()).label("people"),
            sa.func.sum(sa.case((said("confirm"), 1), else_=0)).label("confirmed"),
            sa.func.sum(sa.case((undecided, 1), else_=0)).label("undecided"),
        )
    ).one()
    word = effect().label("word")
    opening = (*_messages(about), outbox.c.action.in_(EFFECTS))
    by_effect = _joined(sa.select(word, sa.func.count().label("messages")), about).where(*opening)
    found = {row.word: row.messages for row in connection.execute(by_effect.group_by(sa.text("word")))}
    return FindingCounts(
        items=row.items,
        people=row.people,
        hits=row.hits,
        confirmed=int(row.confirmed or 0),
        undecided=int(row.undecided or 0),
        rejected=_count_rejected(connection, about),
        effects={word: found.get(word, 0) for word in EFFECT_WORDS},
    )


def list_findings(connection: Connection, about: About, *, limit: int, judged: bool = True) -> list[LinkedItem]:
    """List items with hits in force, what is undecided first, then the newest; at most ``limit``.

    ``judged`` False: without verdicts and answers, in the order of time alone, which tells neither.
    """
    flags = {tier: sa.func.max(sa.case((hits.c.tier == tier, 1), else_=0)).label(tier) for tier in FACES_FIRST}
    own = (hits.c.item_id, hits.c.subject_id, items.c.kind, items.c.parent_model, items.c.uploader)
    said_of = (verdicts.c.verdict, verdicts.c.rule) if judged else ()
    waits = sa.case((sa.func.coalesce(verdicts.c.verdict, "review") == "review", 0), else_=1)
    confirmed = sa.func.sum(sa.case((said("confirm"), 1), else_=0)).label("confirmed")
    found_at = sa.func.min(hits.c.found_at).label("found_at")
    facts = (*own, *said_of, found_at, sa.func.count().label("hits"), *flags.values())
    query = _hits(connection, about)
    query = query.outerjoin(verdicts, verdict_of_hit()) if judged else query
    query = query.with_only_columns(*facts, *((confirmed,) if judged else ())).group_by(*own, *said_of)
    order = (*((waits,) if judged else ()), found_at.desc(), hits.c.item_id, hits.c.subject_id)
    found = []
    for row in connection.execute(query.order_by(*order).limit(limit)).mappings():
        same: dict[str, Any] = {name: row.get(name) for name in LinkedItem.__dataclass_fields__ if name != "tiers"}
        found.append(LinkedItem(**same, tiers=tuple(tier for tier in FACES_FIRST if row[tier])))
    return found


def list_told(connection: Connection, about: About, *, limit: int) -> list[ToldMessage]:
    """List messages to the takedown service, withdrawals included, the newest first; at most ``limit``."""
    same = [
        outbox.c[name]
        for name in ("message_id", "action", "item_id", "subject_id", "decided_by", "created_at", "due_at")
    ]
    acknowledged = sa.case((outbox.c.state == DONE, outbox.c.finished_at), else_=None).label("acknowledged_at")
    live = sa.select(items.c.live).where(items.c.item_id == outbox.c.item_id).correlate(outbox).scalar_subquery()
    query = sa.select(*same, effect().label("effect"), acknowledged, live.label("item_live")).where(*_messages(about))
    ordered = _joined(query, about).order_by(outbox.c.created_at.desc(), outbox.c.message_id).limit(limit)
    return [ToldMessage(**row) for row in connection.execute(ordered).mappings()]


def item_counts(connection: Connection, about: About) -> dict[str, int]:
    """Count the items of an uploader or a model by status, without its reason; ``gone``: those that were deleted."""
    if about.subject_id is not None:
        raise InputError("items belong to an uploader or a model")
    family = sa.case((items.c.live, items.c.status), else_="gone").label("family")
    found = connection.execute(sa.select(family, sa.func.count()).where(*about.of_items()).group_by(sa.text("family")))
    counts: dict[str, int] = {}
    for status, count in found:
        word = str(status).partition(":")[0]
        counts[word] = counts.get(word, 0) + int(count)
    return counts


def is_known(connection: Connection, about: About) -> bool:
    """Whether the platform has, or had, anything of this uploader or model."""
    return connection.execute(sa.select(items.c.item_id).where(*about.of_items()).limit(1)).first() is not None


def _hits(connection: Connection, about: About) -> sa.Select[Any]:
    found = hits_in_force(moment(connection)).where(*about.of_items())
    return found if about.subject_id is None else found.where(hits.c.subject_id == about.subject_id)


def _count_rejected(connection: Connection, about: About) -> int:
    """Count hits with a rejection that stands, on items that are still what they were."""
    query = (
        sa.select(sa.func.count(decisions.c.hit_id.distinct()))
        .select_from(decisions.join(items, items.c.item_id == decisions.c.item_id))
        .where(decisions.c.decision == "reject", decisions.c.reversed_at.is_(None), *about.of_items())
    )
    if about.subject_id is not None:
        query = query.where(decisions.c.subject_id == about.subject_id)
    return int(connection.execute(query).scalar_one())


def _messages(about: About) -> list[sa.ColumnElement[bool]]:
    """Conditions on ``outbox``, joined as :func:`_joined` does."""
    if about.request_id is not None:
        return [requests.c.request_id == about.request_id, message_belongs()]
    if about.subject_id is not None:
        return [outbox.c.subject_id == about.subject_id]
    of_items = sa.select(items.c.item_id).where(*about.of_items())
    belongs = outbox.c.item_id.in_(of_items)
    # A block names a model that may have no item of its own.
    return [belongs if about.model is None else sa.or_(belongs, outbox.c.item_id == about.model)]


def _joined(query: sa.Select[*tuple[Any, ...]], about: About) -> sa.Select[*tuple[Any, ...]]:
    if about.request_id is None:
        return query.select_from(outbox)
    return query.select_from(outbox.join(requests, requests.c.subject_id == outbox.c.subject_id))
