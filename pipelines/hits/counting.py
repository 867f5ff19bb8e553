"""Which hits count: the one place that joins hits with their items, people, decisions and messages."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import cache, lru_cache
from typing import Any, Final

import sqlalchemy as sa

from pipelines.database.in_force import ACTIVE, is_in_force
from pipelines.database.tables import (
    decisions,
    hits,
    items,
    outbox,
    pool_faces,
    pools,
    seeds,
    subjects,
    verdicts,
)
from pipelines.intake.texts import INFOTEXT
from pipelines.policy import BOUNTIES
from pipelines.takedown.outbox import not_taken_back

KEY = ("item_id", "content_key", "subject_id")
"""Columns that name what a verdict or a takedown is about."""
MODELS = ("model", *BOUNTIES)
"""Kinds of items that pictures may belong to."""
POOLED: Final = "pooled_face"
"""The tier of what faces of several pictures show together."""
FACES: Final = ("face", POOLED)
"""Tiers whose scores are similarities of faces."""
FACES_FIRST: Final = (*FACES, "exact", "made_by", "header", "text")
"""Every tier, in the order in which people look at evidence."""
_OUTSIDE: Final = {"content_key": "content_sha256", "found_by_id": "model_id"}
SAME_FINGERPRINT: Final = ("subject_id", "kind", "digest", "model_id")
"""Columns in which seeds of one fingerprint agree, whichever confirmation left them."""


def outside(row: Mapping[str, Any] | sa.RowMapping) -> dict[str, Any]:
    """Name the columns of a hit or a decision as files, JSON output and the audit chain have named them from the first.

    ``content_sha256`` and ``model_id`` there are ``content_key`` and ``found_by_id`` here.
    """
    return {_OUTSIDE.get(str(name), str(name)): value for name, value in row.items()}


def hits_in_force(now: datetime, *, rejected_too: bool = False, lapsed_too: bool = False) -> sa.Select[Any]:
    """Select the hits that are shown and acted on at ``now``: :func:`live_hits` of subjects whose consent lasts.

    ``rejected_too`` and ``lapsed_too``: as there, for lists of what was decided and for weighing thresholds.
    """
    return live_hits(rejected_too=rejected_too, lapsed_too=lapsed_too).where(is_in_force(now))


@cache  # building it takes milliseconds, and every judgement asks for it several times
def live_hits(*, rejected_too: bool = False, lapsed_too: bool = False, removed_too: bool = False) -> sa.Select[Any]:
    """Select the hits that count whatever the time, joined with item and subject: the item is live with the same
    content, and the subject is active.

    Judging and storing use this selection, because the end of a consent must undo neither. Code that shows hits or acts
    on them uses :func:`hits_in_force`.

    A hit in a listed text counts while the item has the text, a pooled face while each picture of its pool is
    unchanged, every other hit while the item has the content. These do not count: rejected hits; hits on a revoked
    seed; hits by a reference or name that the subject has lost (``dropped_at``); faces that score below the thresholds
    in force, unless a person confirmed them; and a face hit of earlier models, once the models of the item's present
    vectors have found the same person in the same content no less strongly (:mod:`pipelines.runs.backfill`), likewise
    for pools.
    ``item_key`` is what a verdict names: the content, or the text of an item without content; ``model`` is what the
    item belongs to.

    ``rejected_too``: also hits that would count if nobody had rejected them. ``lapsed_too``: also faces below the
    thresholds. ``removed_too``: also hits in items that are gone because of a message that was sent.
    """
    digest = sa.case((is_listed_text(), items.c.text_digest), else_=items.c.content_sha256)
    same_content = sa.and_(hits.c.tier != POOLED, digest == hits.c.content_key)
    present = sa.and_(items.c.live, sa.or_(same_content, sa.and_(hits.c.tier == POOLED, _is_in_whole_pool())))
    key = key_of_item()
    if removed_too:
        present, key = sa.or_(present, _is_removed_by_us()), sa.func.coalesce(key, hits.c.content_key)
    same = sa.and_(items.c.item_id == hits.c.item_id, present)
    active = sa.and_(subjects.c.subject_id == _subject_of(hits), subjects.c.state == ACTIVE)
    of_item = (items.c.pdq, items.c.parent_model, items.c.kind)
    counted = sa.select(hits, *of_item, key.label("item_key"), model_of_item().label("model"))
    only = [] if rejected_too else [~is_rejected()]
    only += [] if lapsed_too else [sa.or_(hits.c.lapsed_at.is_(None), said("confirm"))]
    return counted.select_from(hits.join(items, same).join(subjects, active)).where(
        hits.c.dropped_at.is_(None), ~_taken_over(), *only
    )


def is_carried_by(pool: sa.FromClause, of: sa.FromClause = hits) -> sa.ColumnElement[bool]:
    """Condition that joins pooled hits with the pools that they are of: the same faces, by the same models."""
    return sa.and_(pool.c.digest == of.c.content_key, pool.c.model_id == of.c.found_by_id)


def _is_in_whole_pool() -> sa.ColumnElement[bool]:
    """Condition on ``hits``: the pool that it is of is stored, its item is in it, and all of its pictures are there."""
    own, any_of = pool_faces.alias("own_face"), pool_faces.alias("any_face")
    broken = sa.select(any_of.c.number).where(any_of.c.number == pools.c.number, is_gone_from_pool(any_of, pools))
    return (
        sa.select(pools.c.number)
        .select_from(pools.join(own, own.c.number == pools.c.number))
        .where(own.c.item_id == hits.c.item_id, is_carried_by(pools))
        .where(~broken.correlate(pools).exists())
        .correlate(hits)
        .exists()
    )


def is_gone_from_pool(of: sa.FromClause, pool: sa.FromClause) -> sa.ColumnElement[bool]:
    """Condition on faces of pools: the item is gone, has other content, or belongs to another model or uploader."""
    there = items.alias("pooled_item")
    same = sa.and_(
        there.c.item_id == of.c.item_id,
        there.c.live,
        there.c.content_sha256 == of.c.content_sha256,
        model_of_item(there) == pool.c.model,
        there.c.uploader.is_not_distinct_from(pool.c.uploader),
    )
    return sa.and_(of.c.number == pool.c.number, ~sa.select(there.c.item_id).where(same).correlate(of, pool).exists())


def _is_removed_by_us() -> sa.ColumnElement[bool]:
    """Condition on ``hits`` and ``items``: the item is gone, and a message about it and the subject was sent and not
    taken back."""
    sent = sa.select(outbox.c.key).where(
        outbox.c.item_id == hits.c.item_id,
        outbox.c.subject_id == hits.c.subject_id,
        outbox.c.attempts > 0,
        not_taken_back(),
    )
    return sa.and_(~items.c.live, sent.correlate(hits, items).exists())


def is_listed_text() -> sa.ColumnElement[bool]:
    """Condition on ``hits``: the name stands in what the platform lists of the item, and not in its content."""
    elsewhere = sa.or_(hits.c.place.is_(None), hits.c.place.not_like(f"{INFOTEXT}%"))
    return sa.and_(hits.c.tier == "text", elsewhere)


@cache
def key_of_item() -> sa.ColumnElement[str]:
    """Return the column that a verdict or takedown of an item names: its content, or its text without any content."""
    return sa.func.coalesce(items.c.content_sha256, items.c.text_digest)


@cache
def verdict_of_hit() -> sa.ColumnElement[bool]:
    """Condition that joins ``hits`` and their items with ``verdicts``: on the item as it is now, and the subject."""
    same = (verdicts.c[name] == hits.c[name] for name in ("item_id", "subject_id"))
    return sa.and_(*same, verdicts.c.content_key == key_of_item())


@lru_cache(maxsize=16)  # of `items` nearly always
def model_of_item(of: sa.FromClause = items) -> sa.ColumnElement[str | None]:
    """Return the column with the model or bounty that an item belongs to or is; null for a picture by itself.

    ``of``: the table of items, or an alias of it.
    """
    return sa.func.coalesce(of.c.parent_model, sa.case((of.c.kind.in_(MODELS), of.c.item_id)))


@lru_cache(maxsize=16)  # of `items` nearly always
def owner_of_item(of: sa.FromClause = items) -> sa.ColumnElement[str | None]:
    """Return a column of ``items``: who uploaded the model or bounty that an item belongs to or is; null: unknown.

    The uploader of a deleted model counts too: its pictures do not become a stranger's by the deletion.
    """
    owner = items.alias("owner")
    query = sa.select(owner.c.uploader).where(owner.c.item_id == model_of_item(of))
    return query.correlate(of).scalar_subquery()


@cache
def said(decision: str) -> sa.ColumnElement[bool]:
    """Condition on ``hits``: a person made this ``decision`` on the same subject, content and finder, and it stands.

    A confirmed text hit confirms its own item alone, not other items with the same words.
    """
    same = [decisions.c[name] == hits.c[name] for name in ("subject_id", "content_key", "found_by_id")]
    if decision == "confirm":
        same.append(sa.or_(hits.c.tier != "text", decisions.c.item_id == hits.c.item_id))
    query = sa.select(decisions.c.decision_id).where(
        *same, decisions.c.decision == decision, decisions.c.reversed_at.is_(None)
    )
    return query.correlate(hits).exists()


def _subject_of(some: sa.FromClause) -> sa.ColumnElement[str]:
    """Return the column ``subject_id`` with its index disabled: without ANALYZE, SQLite prefers that index although one
    subject may have 100,000 hits, and would go through all of them again and again."""
    subject: sa.ColumnElement[str] = some.c.subject_id.concat("")
    return subject


@cache
def is_rejected() -> sa.ColumnElement[bool]:
    """Condition on ``hits``: a person rejected the hit, or the confirmation behind the seed that it matches."""
    return sa.or_(said("reject"), is_revoked())


def _taken_over() -> sa.ColumnElement[bool]:
    """Condition on ``hits`` joined with ``items``: the item's present models made an equal hit that is no weaker."""
    newer = hits.alias("newer")
    by_face = sa.and_(newer.c.tier == "face", newer.c.content_key == items.c.content_sha256)
    stored = sa.select(pools.c.number).where(is_carried_by(pools, newer)).correlate(newer).exists()
    found = sa.select(newer.c.hit_id).where(
        newer.c.item_id == hits.c.item_id,
        sa.or_(by_face, sa.and_(hits.c.tier == POOLED, newer.c.tier == POOLED, stored)),
        _subject_of(newer) == hits.c.subject_id,
        newer.c.dropped_at.is_(None),
        newer.c.found_by_id == items.c.model_id,
        sa.or_(newer.c.band == "strong", hits.c.band == "review"),
    )
    return sa.and_(
        hits.c.tier.in_(FACES), hits.c.found_by_id != items.c.model_id, found.correlate(hits, items).exists()
    )


@cache
def is_revoked() -> sa.ColumnElement[bool]:
    """Condition on ``hits``: the hit matches only seeds that are not in force."""
    own, other = seeds.alias("own_seed"), seeds.alias("other_seed")
    standing = (
        sa.select(own.c.seed_id)
        .join(
            other, sa.and_(*(own.c[name] == other.c[name] for name in SAME_FINGERPRINT), other.c.revoked_at.is_(None))
        )
        .where(own.c.seed_id == hits.c.seed_id)
    )
    return sa.and_(hits.c.seed_id.is_not(None), ~standing.correlate(hits).exists())
