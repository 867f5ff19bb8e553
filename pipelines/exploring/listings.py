"""What can be listed, by which fields, and in which order: hits, items, models, uploaders, decisions.

A :class:`Listing` declares its columns, filters and orders; :mod:`pipelines.exploring.paging` reads pages of it. Every
order is that of an index which ends in the row's key, so that a page begins where the last one ended and nothing is
sorted. A filter that is *narrow* has an index of its own. Everything else is weighed row by row along the order, and
how many rows of that one page goes through is bounded.

What says how strong a hit is, or what somebody decided of it, is *told*: whoever may still have to judge it does not
get these columns, nor filters and orders by them, since a list cut at a score shows the score.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final, Literal

import sqlalchemy as sa

from embeddings.errors import InputError
from pipelines.database.in_force import is_in_force
from pipelines.database.tables import decisions, hits, items, model_verdicts, subjects, verdicts
from pipelines.decisions.decide import REASONS
from pipelines.hits.counting import hits_in_force, is_rejected, said, verdict_of_hit
from pipelines.hits.listing import TIERS

Kind = Literal["text", "choice", "from", "to", "least", "most"]
Make = Callable[[Any], sa.ColumnElement[bool]]
MOST_TEXT: Final = 1000
"""Characters of a filter's value."""


@dataclass(frozen=True, slots=True)
class Field:
    """One column of a list. ``told``: it says how strong a hit is, or what somebody decided."""

    name: str
    label: str
    column: sa.ColumnElement[Any]
    told: bool = False


@dataclass(frozen=True, slots=True)
class ListFilter:
    """One way of narrowing a list. ``narrow``: an index leads to the rows; ``choices``: the words that it takes;
    ``column``: of which it is a range, by which an order may begin further on."""

    name: str
    label: str
    kind: Kind
    make: Make
    choices: tuple[str, ...] = ()
    narrow: bool = False
    told: bool = False
    column: sa.ColumnElement[Any] | None = None

    def read(self, text: str) -> Any:
        """Return the value of what was typed. Raises :class:`InputError` for what is none."""
        if len(text) > MOST_TEXT:
            raise InputError(f"{self.label}: at most {MOST_TEXT} characters")
        if self.kind == "choice" and text not in self.choices:
            raise InputError(f"{self.label} is one of {', '.join(self.choices)}")
        if self.kind in ("least", "most"):
            return _number(self.label, text)
        if self.kind in ("from", "to"):
            return _moment(self.label, text, end=self.kind == "to")
        return text


@dataclass(frozen=True, slots=True)
class Order:
    """One order of a list: by ``columns``, none of them null, the last ones the row's key."""

    name: str
    label: str
    columns: tuple[sa.ColumnElement[Any], ...]
    told: bool = False


@dataclass(frozen=True, slots=True)
class Listing:
    """One list. ``base``: selects its rows at a time, by the filters that were given; ``present``: which rows of the
    table have a place in the orders; ``group``: rows that agree in these columns are one; ``counts``: column of hits
    by which those in force are counted for each row of a page; ``all_told``: nothing of it is for who has to judge."""

    name: str
    label: str
    table: sa.FromClause
    base: Callable[[datetime, Mapping[str, Any]], sa.Select[Any]]
    fields: tuple[Field, ...]
    filters: tuple[ListFilter, ...]
    orders: tuple[Order, ...]
    present: sa.ColumnElement[bool] | None = None
    group: tuple[sa.ColumnElement[Any], ...] = ()
    counts: tuple[str, sa.ColumnElement[Any]] | None = None
    all_told: bool = False


def equal(
    column: sa.ColumnElement[Any], name: str, label: str, *, narrow: bool = False, told: bool = False
) -> ListFilter:
    """A filter by the very value of a column."""
    return ListFilter(name, label, "text", lambda value: column == value, narrow=narrow, told=told)


def chosen(
    column: sa.ColumnElement[Any], name: str, label: str, choices: tuple[str, ...], *, told: bool = False
) -> ListFilter:
    """A filter by one of a few words."""
    return ListFilter(name, label, "choice", lambda value: column == value, choices, told=told)


def between(column: sa.ColumnElement[Any], label: str, *, score: bool = False) -> tuple[ListFilter, ListFilter]:
    """Two filters, from and to, by time or, with ``score``, by a number."""
    kinds: tuple[Kind, Kind] = ("least", "most") if score else ("from", "to")
    names = ("score_from", "score_to") if score else ("since", "until")
    low = ListFilter(names[0], f"{label} from", kinds[0], lambda value: column >= value, told=score, column=column)
    high = ListFilter(names[1], f"{label} to", kinds[1], lambda value: column <= value, told=score, column=column)
    return low, high


def _number(label: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not -1e6 <= value <= 1e6:
        raise InputError(f"{label} is a number such as 0.42")
    return value


def _moment(label: str, text: str, *, end: bool) -> datetime:
    try:
        if len(text) == 10:
            day = datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC)
            return day + timedelta(days=1, microseconds=-1) if end else day
        moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise InputError(f"{label} is a day such as 2026-11-21, or a time such as 2026-11-21T14:30") from None
    try:
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except OverflowError:
        raise InputError(f"{label} is outside of the calendar") from None


def _hits(now: datetime, asked: Mapping[str, Any]) -> sa.Select[Any]:
    rejected = asked.get("decision") == "reject"
    found = hits_in_force(now, rejected_too=rejected)
    return found.outerjoin(verdicts, verdict_of_hit())


def _uploaders(now: datetime, asked: Mapping[str, Any]) -> sa.Select[Any]:
    del now, asked
    return sa.select(items.c.uploader).where(items.c.uploader.is_not(None))


def _items(now: datetime, asked: Mapping[str, Any]) -> sa.Select[Any]:
    del now, asked
    return sa.select(items)


def _models(now: datetime, asked: Mapping[str, Any]) -> sa.Select[Any]:
    del asked
    lasting = sa.select(subjects.c.subject_id).where(subjects.c.subject_id == model_verdicts.c.subject_id)
    active = lasting.where(is_in_force(now)).correlate(model_verdicts).exists()
    named = sa.or_(items.c.item_id == model_verdicts.c.model, items.c.parent_model == model_verdicts.c.model)
    present = sa.select(items.c.item_id).where(items.c.live, named).correlate(model_verdicts).exists()
    return sa.select(model_verdicts).where(active, present)


def _decisions(now: datetime, asked: Mapping[str, Any]) -> sa.Select[Any]:
    del now, asked
    joined = decisions.outerjoin(hits, hits.c.hit_id == decisions.c.hit_id)
    return sa.select(decisions).select_from(joined.outerjoin(items, items.c.item_id == decisions.c.item_id))


def _has_hit(value: str) -> sa.ColumnElement[bool]:
    query = sa.select(hits.c.hit_id).where(hits.c.item_id == items.c.item_id, hits.c.subject_id == value)
    return query.correlate(items).exists()


def _with_hits(value: str) -> sa.ColumnElement[bool]:
    found = sa.select(hits.c.hit_id).where(hits.c.item_id == items.c.item_id).correlate(items).exists()
    return found if value == "yes" else ~found


def _of_uploader(value: str) -> sa.ColumnElement[bool]:
    own = sa.select(items.c.item_id).where(items.c.item_id == model_verdicts.c.model, items.c.uploader == value)
    return own.correlate(model_verdicts).exists()


def _decision_is(value: str) -> sa.ColumnElement[bool]:
    if value == "none":
        return ~sa.or_(said("confirm"), said("unsure"))
    return is_rejected() if value == "reject" else said(value)


_DECISION: Final = sa.case(
    *((said(word), sa.literal(word)) for word in ("confirm", "reject", "unsure")), else_=sa.null()
).label("decision")
_BANDS: Final = ("strong", "review")
_VERDICTS: Final = ("takedown", "review", "clear")
_WORDS: Final = ("confirm", "reject", "unsure")
_YES: Final = ("yes", "no")

HITS: Final = Listing(
    "hits",
    "Hits",
    hits,
    _hits,
    (
        Field("found_at", "Found", hits.c.found_at),
        Field("hit_id", "Hit", hits.c.hit_id),
        Field("subject_id", "Person", hits.c.subject_id),
        Field("item_id", "Item", hits.c.item_id),
        Field("parent_model", "Model", items.c.parent_model),
        Field("uploader", "Uploader", items.c.uploader),
        Field("kind", "Kind", items.c.kind),
        Field("tier", "Evidence", hits.c.tier),
        Field("place", "Place", hits.c.place),
        Field("found_by", "Found by", hits.c.found_by),
        Field("score", "Score", hits.c.score, told=True),
        Field("threshold", "Threshold", hits.c.threshold, told=True),
        Field("band", "Band", hits.c.band, told=True),
        Field("verdict", "Verdict", verdicts.c.verdict, told=True),
        Field("rule", "Rule", verdicts.c.rule, told=True),
        Field("decision", "Decision", _DECISION, told=True),
    ),
    (
        equal(hits.c.subject_id, "subject", "Person", narrow=True),
        equal(hits.c.item_id, "item", "Item", narrow=True),
        equal(items.c.parent_model, "model", "Model", narrow=True),
        equal(items.c.uploader, "uploader", "Uploader", narrow=True),
        equal(hits.c.hit_id, "hit", "Hit", narrow=True),
        chosen(hits.c.tier, "tier", "Evidence", TIERS),
        chosen(items.c.kind, "kind", "Kind", ("image", "model", "bounty", "bounty_entry")),
        chosen(hits.c.found_by, "found_by", "Found by", ("sweep", "rescan")),
        *between(hits.c.found_at, "Found"),
        *between(hits.c.score, "Score", score=True),
        chosen(hits.c.band, "band", "Band", _BANDS, told=True),
        chosen(verdicts.c.verdict, "verdict", "Verdict", _VERDICTS, told=True),
        equal(verdicts.c.rule, "rule", "Rule", told=True),
        ListFilter("decision", "Decision", "choice", _decision_is, ("none", *_WORDS), told=True),
    ),
    (
        Order("found", "when found", (hits.c.found_at, hits.c.hit_id)),
        Order("score", "score", (hits.c.score, hits.c.hit_id), told=True),
    ),
)
"""Hits in force; where rejected ones are asked for, those that would be if nobody had rejected them."""

ITEMS: Final = Listing(
    "items",
    "Items",
    items,
    _items,
    (
        *(
            Field(name, label, items.c[name])
            for name, label in (
                *(("received_at", "Received"), ("item_id", "Item"), ("kind", "Kind"), ("parent_model", "Model")),
                *(("uploader", "Uploader"), ("status", "Stored status"), ("live", "Live"), ("faces", "Faces")),
                *(("width", "Width"), ("height", "Height"), ("platform_level", "Platform's level")),
            )
        ),
        Field("hits", "Hits in force", sa.cast(sa.null(), sa.Integer)),
    ),
    (
        equal(items.c.item_id, "item", "Item", narrow=True),
        equal(items.c.parent_model, "model", "Model", narrow=True),
        equal(items.c.uploader, "uploader", "Uploader", narrow=True),
        equal(items.c.content_sha256, "content", "SHA-256", narrow=True),
        ListFilter("subject", "Has a hit of person", "text", _has_hit),
        chosen(items.c.kind, "kind", "Kind", ("image", "model", "bounty", "bounty_entry")),
        equal(items.c.status, "status", "Stored status"),
        ListFilter("live", "Live", "choice", lambda value: items.c.live == (value == "yes"), _YES),
        *between(items.c.received_at, "Received"),
    ),
    (
        Order("received", "when received", (items.c.received_at, items.c.item_id)),
        Order("item", "item", (items.c.item_id,)),
    ),
    counts=("item_id", hits.c.item_id),
)
"""The ledger, deleted items too. The status is the stored one."""

MODELS: Final = Listing(
    "models",
    "Models",
    model_verdicts,
    _models,
    (
        Field("judged_at", "Judged", model_verdicts.c.judged_at),
        Field("model", "Model", model_verdicts.c.model),
        Field("subject_id", "Person", model_verdicts.c.subject_id),
        Field("images", "Images", model_verdicts.c.images),
        Field("images_with_face", "With the face", model_verdicts.c.images_with_face),
        Field("tiers", "Evidence", model_verdicts.c.tiers),
        Field("rating", "Rating", model_verdicts.c.rating),
        Field("best_score", "Best score", model_verdicts.c.best_score, told=True),
        Field("verdict", "Verdict", model_verdicts.c.verdict, told=True),
        Field("rule", "Rule", model_verdicts.c.rule, told=True),
        Field("generator_block", "Blocked", model_verdicts.c.generator_block, told=True),
    ),
    (
        equal(model_verdicts.c.model, "model", "Model", narrow=True),
        equal(model_verdicts.c.subject_id, "subject", "Person", narrow=True),
        ListFilter("uploader", "Uploader", "text", _of_uploader),
        equal(model_verdicts.c.rating, "rating", "Rating"),
        *between(model_verdicts.c.judged_at, "Judged"),
        *between(model_verdicts.c.best_score, "Best score", score=True),
        chosen(model_verdicts.c.verdict, "verdict", "Verdict", ("likeness_model", "suspected", "clear"), told=True),
        equal(model_verdicts.c.rule, "rule", "Rule", told=True),
    ),
    (
        Order(
            "judged",
            "when judged",
            (model_verdicts.c.judged_at, model_verdicts.c.model, model_verdicts.c.subject_id),
        ),
        Order("model", "model", (model_verdicts.c.model, model_verdicts.c.subject_id)),
    ),
)
"""Verdicts on models and bounties, of people whose opt-out is in force."""

DECISIONS: Final = Listing(
    "decisions",
    "Decisions",
    decisions,
    _decisions,
    (
        Field("decided_at", "Decided", decisions.c.decided_at),
        Field("decision", "Decision", decisions.c.decision),
        Field("reason", "Reason", decisions.c.reason),
        Field("actor", "Who", decisions.c.actor),
        Field("subject_id", "Person", decisions.c.subject_id),
        Field("item_id", "Item", decisions.c.item_id),
        Field("hit_id", "Hit", decisions.c.hit_id),
        Field("tier", "Evidence", hits.c.tier),
        Field("score", "Score", hits.c.score),
        Field("batch_id", "Batch", decisions.c.batch_id),
        Field("reversed_at", "Reversed", decisions.c.reversed_at),
        Field("reversed_by", "Reversed by", decisions.c.reversed_by),
    ),
    (
        equal(decisions.c.item_id, "item", "Item", narrow=True),
        equal(decisions.c.subject_id, "subject", "Person", narrow=True),
        equal(decisions.c.hit_id, "hit", "Hit", narrow=True),
        equal(decisions.c.actor, "actor", "Who", narrow=True),
        equal(items.c.uploader, "uploader", "Uploader", narrow=True),
        equal(decisions.c.batch_id, "batch", "Batch", narrow=True),
        chosen(decisions.c.decision, "decision", "Decision", _WORDS),
        chosen(decisions.c.reason, "reason", "Reason", tuple(dict.fromkeys(sum(map(tuple, REASONS.values()), ())))),
        ListFilter(
            "stands",
            "Stands",
            "choice",
            lambda value: decisions.c.reversed_at.is_(None) if value == "yes" else decisions.c.reversed_at.is_not(None),
            _YES,
        ),
        *between(decisions.c.decided_at, "Decided"),
        *between(hits.c.score, "Score", score=True),
    ),
    (Order("decided", "when decided", (decisions.c.decided_at, decisions.c.decision_id)),),
    all_told=True,
)
"""Decisions of people, those that were reversed too."""

UPLOADERS: Final = Listing(
    "uploaders",
    "Uploaders",
    items,
    _uploaders,
    (
        Field("uploader", "Uploader", items.c.uploader),
        Field("items", "Items listed", sa.func.count()),
        Field("live", "Live", sa.func.sum(sa.case((items.c.live, 1), else_=0))),
        Field("first", "First received", sa.func.min(items.c.received_at, type_=items.c.received_at.type)),
        Field("last", "Last received", sa.func.max(items.c.received_at, type_=items.c.received_at.type)),
        Field("hits", "Hits in force", sa.cast(sa.null(), sa.Integer)),
    ),
    (
        equal(items.c.uploader, "uploader", "Uploader", narrow=True),
        ListFilter("hits", "Items that ever had a hit", "choice", _with_hits, _YES),
        chosen(items.c.kind, "kind", "Kind", ("image", "model", "bounty", "bounty_entry")),
        *between(items.c.received_at, "Received"),
    ),
    (Order("uploader", "uploader", (items.c.uploader,)),),
    present=items.c.uploader.is_not(None),
    group=(items.c.uploader,),
    counts=("uploader", items.c.uploader),
)
"""Whose items are listed, with what the filters leave of them."""

LISTINGS: Final[Mapping[str, Listing]] = {one.name: one for one in (HITS, ITEMS, MODELS, UPLOADERS, DECISIONS)}
