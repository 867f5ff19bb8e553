"""Which hits count: the one place that joins hits with their items, people, decisions and messages."""

from __future__ import annotations

from datetime import datetime
from functools import cache
from typing import Any, Final

import sqlalchemy as sa

from pipelines.database.evidence import decisions, seeds
from pipelines.database.in_force import ACTIVE, is_in_force
from pipelines.database.pooling import pool_faces, pools
from pipelines.database.tables import hits, items, outbox, subjects, verdicts
from pipelines.policy import BOUNTIES
from pipelines.takedown.outbox import not_taken_back

KEY = ("item_id", "content_sha256", "subject_id")
"""What a verdict and a takedown are about."""
MODELS = ("model", *BOUNTIES)
"""Kinds of items that pictures may belong to."""
POOLED: Final = "pooled_face"
"""The tier of what faces of several pictures show together."""
FACES: Final = ("face", POOLED)
"""Tiers whose scores are similarities of faces."""
SAME_FINGERPRINT: Final = ("subject_id", "kind", "digest", "model_id")
"""Columns in which seeds of one fingerprint agree, whichever confirmation left them."""


def hits_in_force(now: datetime) -> sa.Select[Any]:
    """Hits that count and are shown and acted on now: those of :func:`live_hits` of subjects whose consent lasts."""
    return live_hits().where(is_in_force(now))


@cache  # building it takes milliseconds, and every judgement asks for it several times
def live_hits(*, rejected_too: bool = False, lapsed_too: bool = False, removed_too: bool = False) -> sa.Select[Any]:
    """Hits that count, whatever the time: the item is live with that very content, and the subject is active. Joined
    with the item and the subject.

    For what is judged and stored, which no end of a consent may undo. Whoever shows hits or acts on them asks for
    :func:`hits_in_force`.

    A text counts while the item has it, a pooled face while every picture of its pool is what it was, everything else
    while the item has that content. Nothing that somebody rejected
    counts, nor what matches a seed that was revoked, nor what a reference or name made that is not the subject's any
    more (``dropped_at``). ``content_key`` is what a verdict names: the content, or the text of an item without any;
    ``model`` is what the item belongs to.

    A face hit of earlier models no longer counts once the models of the item's present vectors have found the same
    person in the same content, no less strongly, and so with pools. See :mod:`pipelines.runs.backfill`.

    Nor does a face that scores below the thresholds in force, unless a person confirmed it.

    ``rejected_too``: also what would count if nobody had rejected it. ``lapsed_too``: also what is below thresholds.
    ``removed_too``: also what was in items that are gone because of a message that was sent.
    """
    digest = sa.case((hits.c.tier == "text", items.c.text_digest), else_=items.c.content_sha256)
    same_content = sa.and_(hits.c.tier != POOLED, digest == hits.c.content_sha256)
    present = sa.and_(items.c.live, sa.or_(same_content, sa.and_(hits.c.tier == POOLED, _is_in_whole_pool())))
    key = content_key()
    if removed_too:
        present, key = sa.or_(present, _is_removed_by_us()), sa.func.coalesce(key, hits.c.content_sha256)
    same = sa.and_(items.c.item_id == hits.c.item_id, present)
    active = sa.and_(subjects.c.subject_id == _subject_of(hits), subjects.c.state == ACTIVE)
    of_item = (items.c.pdq, items.c.parent_model, items.c.kind)
    counted = sa.select(hits, *of_item, key.label("content_key"), model_of_item().label("model"))
    only = [] if rejected_too else [~is_rejected()]
    only += [] if lapsed_too else [sa.or_(hits.c.lapsed_at.is_(None), said("confirm"))]
    return counted.select_from(hits.join(items, same).join(subjects, active)).where(
        hits.c.dropped_at.is_(None), ~_taken_over(), *only
    )


def _is_in_whole_pool() -> sa.ColumnElement[bool]:
    """Condition on ``hits``: the pool that it is of is stored, its item is in it, and all of its pictures are there."""
    own, any_of = pool_faces.alias("own_face"), pool_faces.alias("any_face")
    broken = sa.select(any_of.c.number).where(any_of.c.number == pools.c.number, is_gone_from_pool(any_of, pools))
    return (
        sa.select(pools.c.number)
        .select_from(pools.join(own, own.c.number == pools.c.number))
        .where(
            own.c.item_id == hits.c.item_id,
            pools.c.digest == hits.c.content_sha256,
            pools.c.model_id == hits.c.model_id,
        )
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


def content_key() -> sa.ColumnElement[str]:
    """What a verdict or a takedown of an item is about: its content, or its text where no content could be read."""
    return sa.func.coalesce(items.c.content_sha256, items.c.text_digest)


def verdict_of_hit() -> sa.ColumnElement[bool]:
    """Condition on ``hits`` with their items and ``verdicts``: the verdict on the item as it is, and the subject."""
    same = (verdicts.c[name] == hits.c[name] for name in ("item_id", "subject_id"))
    return sa.and_(*same, verdicts.c.content_sha256 == content_key())


def model_of_item(of: sa.FromClause = items) -> sa.ColumnElement[str | None]:
    """What an item is judged with: the model or bounty it belongs to, or that it is; null for a picture by itself.

    ``of``: the table of items, or an alias of it.
    """
    return sa.func.coalesce(of.c.parent_model, sa.case((of.c.kind.in_(MODELS), of.c.item_id)))


def owner_of_item(of: sa.FromClause = items) -> sa.ColumnElement[str | None]:
    """Of ``items``: who uploaded the model or bounty that an item belongs to or is; null: unknown, or not listed.

    Also of one that was deleted: its pictures are not somebody else's for that.
    """
    owner = items.alias("owner")
    query = sa.select(owner.c.uploader).where(owner.c.item_id == model_of_item(of))
    return query.correlate(of).scalar_subquery()


def said(decision: str) -> sa.ColumnElement[bool]:
    """Condition on ``hits``: somebody decided so on this subject, content and model, and nobody reversed it.

    That one item is rightly said to name somebody says nothing of others with the same words.
    """
    same = [decisions.c[name] == hits.c[name] for name in ("subject_id", "content_sha256", "model_id")]
    if decision == "confirm":
        same.append(sa.or_(hits.c.tier != "text", decisions.c.item_id == hits.c.item_id))
    query = sa.select(decisions.c.decision_id).where(
        *same, decisions.c.decision == decision, decisions.c.reversed_at.is_(None)
    )
    return query.correlate(hits).exists()


def _subject_of(some: sa.FromClause) -> sa.ColumnElement[str]:
    """The subject of hits, not by its index: without statistics SQLite takes a subject's for a few rows, and would go
    through all hits of one who has a hundred thousand, again and again."""
    subject: sa.ColumnElement[str] = some.c.subject_id.concat("")
    return subject


def is_rejected() -> sa.ColumnElement[bool]:
    """Condition on ``hits``: a person said that it is not so, or no more that what it matches is."""
    return sa.or_(said("reject"), is_revoked())


def _taken_over() -> sa.ColumnElement[bool]:
    """Condition on ``hits`` joined with ``items``: a hit of the item's present models, no weaker, says the same."""
    newer = hits.alias("newer")
    by_face = sa.and_(newer.c.tier == "face", newer.c.content_sha256 == items.c.content_sha256)
    of_newer = (pools.c.digest == newer.c.content_sha256, pools.c.model_id == newer.c.model_id)
    stored = sa.select(pools.c.number).where(*of_newer).correlate(newer).exists()
    found = sa.select(newer.c.hit_id).where(
        newer.c.item_id == hits.c.item_id,
        sa.or_(by_face, sa.and_(hits.c.tier == POOLED, newer.c.tier == POOLED, stored)),
        _subject_of(newer) == hits.c.subject_id,
        newer.c.dropped_at.is_(None),
        newer.c.model_id == items.c.model_id,
        sa.or_(newer.c.band == "strong", hits.c.band == "review"),
    )
    return sa.and_(hits.c.tier.in_(FACES), hits.c.model_id != items.c.model_id, found.correlate(hits, items).exists())


def is_revoked() -> sa.ColumnElement[bool]:
    """Condition on ``hits``: it matches a seed that is not in force, and no other confirmation stands for the same."""
    own, other = seeds.alias("own_seed"), seeds.alias("other_seed")
    standing = (
        sa.select(own.c.seed_id)
        .join(
            other, sa.and_(*(own.c[name] == other.c[name] for name in SAME_FINGERPRINT), other.c.revoked_at.is_(None))
        )
        .where(own.c.seed_id == hits.c.seed_id)
    )
    return sa.and_(hits.c.seed_id.is_not(None), ~standing.correlate(hits).exists())
