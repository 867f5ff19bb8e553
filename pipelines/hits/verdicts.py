"""Reading verdicts in force: on items, and on models as a whole, the most pressing first.

A verdict is in force while some hit behind it is: the item is live with the same content, the subject is active with a
lasting consent, and nobody rejected the evidence. Opaque ids, numbers and fixed words only (I8).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from pipelines.database.in_force import is_in_force
from pipelines.database.tables import hits, items, model_verdicts, subjects, verdicts
from pipelines.database.times import moment
from pipelines.hits.counting import hits_in_force, key_of_item
from pipelines.intake.ledger import Scope

EVERYTHING = Scope(None, None)


@dataclass(frozen=True, slots=True)
class ItemVerdict:
    """What the policy makes of one item and one subject. ``best_score``: of its faces, None without any; ``tiers``:
    of the evidence behind it; ``decided_by``: automated or human; ``priority``: higher is sooner."""

    item_id: str
    kind: str
    parent_model: str | None
    subject_id: str
    verdict: str
    rule: str
    tiers: str
    best_score: float | None
    distinct_images: int
    decided_by: str
    priority: int
    policy_version: str
    judged_at: datetime


@dataclass(frozen=True, slots=True)
class ModelVerdict:
    """What all evidence of a model (or bounty) and its images says of a subject. The fields, in this order, are the
    exported columns. ``images``: live ones; the scores are of faces, None without any."""

    model: str
    subject_id: str
    verdict: str
    rule: str
    generator_block: bool
    priority: int
    rating: str
    tiers: str
    images: int
    images_with_face: int
    distinct_images: int
    best_score: float | None
    median_score: float | None
    policy_version: str
    judged_at: datetime


def verdicts_in_force(*columns: sa.ColumnElement[Any], now: datetime, scope: Scope = EVERYTHING) -> sa.Select[Any]:
    """Select ``columns`` of verdicts, joined with their items, that are in force for the live items in scope."""
    standing = (
        hits_in_force(now)
        .where(*scope.where())
        .with_only_columns(hits.c.item_id, key_of_item().label("content_key"), hits.c.subject_id)
        .distinct()
        .subquery()
    )
    same = sa.and_(
        verdicts.c.item_id == standing.c.item_id,
        verdicts.c.content_key == standing.c.content_key,
        verdicts.c.subject_id == standing.c.subject_id,
    )
    joined = verdicts.join(standing, same).join(items, items.c.item_id == verdicts.c.item_id)
    return sa.select(*columns).select_from(joined)


def list_verdicts(
    connection: Connection, *, subject_id: str | None = None, verdict: str | None = None
) -> list[ItemVerdict]:
    """Verdicts on items in force, the most pressing first."""
    of_item = ("kind", "parent_model")
    names = ItemVerdict.__dataclass_fields__
    columns = (items.c[name] if name in of_item else verdicts.c[name] for name in names)
    query = verdicts_in_force(*columns, now=moment(connection)).order_by(
        verdicts.c.priority.desc(),
        sa.case((verdicts.c.best_score.is_(None), -1.0), else_=verdicts.c.best_score).desc(),
        verdicts.c.item_id,
        verdicts.c.subject_id,
    )
    if subject_id is not None:
        query = query.where(verdicts.c.subject_id == subject_id)
    if verdict is not None:
        query = query.where(verdicts.c.verdict == verdict)
    return [ItemVerdict(**row) for row in connection.execute(query).mappings()]


def list_model_verdicts(
    connection: Connection,
    *,
    subject_id: str | None = None,
    model: str | None = None,
    verdict: str | None = None,
    scope: Scope = EVERYTHING,
) -> list[ModelVerdict]:
    """Verdicts on models of active subjects, the most pressing first.

    A model is in scope while it, or an item that names it as its parent, is live and in scope.
    """
    named = sa.or_(items.c.item_id == model_verdicts.c.model, items.c.parent_model == model_verdicts.c.model)
    present = sa.select(items.c.item_id).where(*scope.where(), named).correlate(model_verdicts).exists()
    active = sa.and_(subjects.c.subject_id == model_verdicts.c.subject_id, is_in_force(moment(connection)))
    query = (
        sa.select(*(model_verdicts.c[name] for name in ModelVerdict.__dataclass_fields__))
        .select_from(model_verdicts.join(subjects, active))
        .where(present)
        .order_by(model_verdicts.c.priority.desc(), model_verdicts.c.model, model_verdicts.c.subject_id)
    )
    if subject_id is not None:
        query = query.where(model_verdicts.c.subject_id == subject_id)
    if model is not None:
        query = query.where(model_verdicts.c.model == model)
    if verdict is not None:
        query = query.where(model_verdicts.c.verdict == verdict)
    return [ModelVerdict(**row) for row in connection.execute(query).mappings()]
