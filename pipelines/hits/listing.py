"""Lists hits for analysts and scripts, each with everything that explains it (I10)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from functools import cache
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from embeddings.errors import InputError
from pipelines.database.tables import hits, items, second_opinions, verdicts
from pipelines.database.times import moment
from pipelines.hits.counting import FACES, POOLED, hits_in_force, outside, said, verdict_of_hit

TIERS = ("exact", "face", "pooled_face", "made_by", "header", "text")
"""Tiers of evidence, the weightiest first."""
MOST: Final = 2**31 - 1
_FACES_FROM: Final = 0.5
_STRENGTHS: Final = {
    ("exact", "strong"): 0.4,
    ("exact", "review"): 0.4,
    ("made_by", "review"): 0.3,
    ("header", "strong"): 0.3,
    ("header", "review"): 0.2,
    ("text", "strong"): 0.1,
    ("text", "review"): 0.0,
}
"""Least strength of a hit that is no face, by tier and band; at a score of 1 it is a tenth higher."""


@cache
def strength_of() -> sa.ColumnElement[float]:
    """Return a column of ``hits``: one scale for all tiers, 0 to 1, to order lists by. Scores themselves cannot be
    compared between tiers.

    A face, and likewise a pool of faces, has 0.5 at its threshold and 1 where it is the reference itself, in
    proportion. Below that stand copies of what was confirmed (0.4 to 0.5), what names a confirmed model (0.4), names in
    headers (0.3 to 0.4 where they are strong, 0.2 to 0.3 otherwise) and names in texts (0.1 to 0.2, 0 to 0.1). It
    orders, and decides nothing.
    """
    room = sa.func.coalesce(sa.func.nullif(1.0 - hits.c.threshold, 0.0), 1.0)
    place = (hits.c.score - hits.c.threshold) / room
    face = _FACES_FROM + _FACES_FROM * sa.case((place > 1.0, 1.0), (place < 0.0, 0.0), else_=place)
    score = sa.case((hits.c.score > 1.0, 1.0), (hits.c.score < 0.0, 0.0), else_=hits.c.score)
    others = [
        (sa.and_(hits.c.tier == tier, hits.c.band == band), least + 0.1 * score)
        for (tier, band), least in _STRENGTHS.items()
    ]
    return sa.case((hits.c.tier.in_(FACES), face), *others, else_=0.0)


@dataclass(frozen=True, slots=True)
class Hit:
    """One hit in force. ``verdict`` None: not judged.

    ``strength``: by :func:`strength_of`; ``decision``: the decision of people that stands, None: none. Only a
    face has a reference, frame, face number, detector score and ``face_box``: (x1, y1, x2, y2) in pixels of the upright
    image. ``place``: where a name stands or which fingerprint matched; ``match``: by which rule; ``seed_id``: the
    confirmed content that an exact hit matches. The term itself stays sealed. A pooled face stands for ``pictures`` of
    the model ``place``, all with the same ``pool``; ``alone_score`` is what this picture's own face scores.
    ``second_opinion``: what the second network that was asked last says of a face, ``agrees``, ``denies`` or
    ``none:<reason>``; None: none was asked.
    """

    hit_id: str
    item_id: str
    parent_model: str | None
    uploader: str | None
    subject_id: str
    tier: str
    band: str
    strength: float
    score: float
    threshold: float
    threshold_source: str
    calibration_id: str | None
    reference_id: str | None
    frame: int | None
    seconds: float | None
    face: int | None
    face_box: tuple[float, float, float, float] | None
    detector_score: float | None
    view: str | None
    place: str | None
    match: str | None
    seed_id: str | None
    pool: str | None
    pictures: int | None
    alone_score: float | None
    second_opinion: str | None
    second_score: float | None
    second_threshold: float | None
    second_network: str | None
    model_id: str
    policy_version: str
    verdict: str | None
    rule: str | None
    decision: str | None
    found_by: str
    found_at: datetime


def list_hits(
    connection: Connection,
    *,
    subject_id: str | None = None,
    item_id: str | None = None,
    parent_model: str | None = None,
    uploader: str | None = None,
    tier: str | None = None,
    band: str | None = None,
    day: date | None = None,
    verdict: str | None = None,
    rule: str | None = None,
    undecided: bool = False,
    limit: int | None = None,
    denied_last: bool = False,
) -> list[Hit]:
    """Hits in force (live item, active subject, lasting consent), faces first, the strongest first.

    Every filter is optional. ``day`` and ``uploader`` are the item's; ``undecided``: nobody has confirmed it, and it
    was not rejected either, or it would not be in force; ``limit``: at most so many; ``denied_last``: what a second
    network denies comes after everything else, as ``second_opinion.rank`` of the policy wants it.

    Raises :class:`InputError` for a filter that is empty, which would choose nothing or, read as absent, everything.
    """
    wanted: dict[sa.ColumnElement[Any], str | None] = {
        hits.c.subject_id: subject_id,
        hits.c.item_id: item_id,
        items.c.parent_model: parent_model,
        items.c.uploader: uploader,
        hits.c.tier: tier,
        hits.c.band: band,
        items.c.day: day.isoformat() if day is not None else None,
        verdicts.c.verdict: verdict,
        verdicts.c.rule: rule,
    }
    if "" in wanted.values():
        raise InputError("a filter is empty: leave it out, or say which")
    if limit is not None and not 1 <= limit <= MOST:
        raise InputError(f"a limit is a number from 1 to {MOST}")
    strength, found = strength_of().label("strength"), hits_in_force(moment(connection))
    of_item = (items.c.parent_model, items.c.uploader)
    denied = sa.case((second_opinions.c.opinion == "denies", 1), else_=0)
    columns = (*of_item, verdicts.c.verdict, verdicts.c.rule, strength, _decision(), *second_columns())
    query = (
        with_second_opinions(found.with_only_columns(hits, *columns).outerjoin(verdicts, verdict_of_hit()))
        .where(*(column == value for column, value in wanted.items() if value is not None))
        .order_by(*([denied] if denied_last else []), strength.desc(), hits.c.score.desc(), hits.c.hit_id)
        .limit(limit)
    )
    if undecided:
        query = query.where(~said("confirm"))
    return [_hit(row) for row in connection.execute(query).mappings()]


def with_second_opinions(chosen: sa.Select[Any]) -> sa.Select[Any]:
    """Join what is selected from ``hits`` with the opinions of a second network, if it was asked."""
    return chosen.outerjoin(second_opinions, second_opinions.c.hit_id == hits.c.hit_id)


def second_columns() -> list[sa.Label[Any]]:
    """Return the columns that show a second network's opinion: ``second_opinion``, its score, threshold and network."""
    given = second_opinions.c
    return [
        given.opinion.label("second_opinion"),
        given.score.label("second_score"),
        given.threshold.label("second_threshold"),
        given.network_id.label("second_network"),
    ]


@cache
def _decision() -> sa.Label[Any]:
    """Return the column with the decision that stands on a hit. A confirmed name counts for its own item alone."""
    words = ("confirm", "reject", "unsure")
    return sa.case(*((said(word), sa.literal(word)) for word in words), else_=None).label("decision")


def _hit(row: sa.RowMapping) -> Hit:
    told = outside(row)
    same = {name: told[name] for name in Hit.__dataclass_fields__ if name not in ("face_box", "reference_id", "pool")}
    pool = row["content_key"] if row["tier"] == POOLED else None
    box = None if row["x1"] is None else (row["x1"], row["y1"], row["x2"], row["y2"])
    return Hit(**same, reference_id=row["template_id"], face_box=box, pool=pool)
