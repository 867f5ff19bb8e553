"""Which hits count, what is judged together, and the evidence of it as the policy sees it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from embeddings.fingerprints import pdq_score
from indexes.calibration import Thresholds
from pipelines.database.evidence import decisions
from pipelines.database.tables import hits, items, outbox, subjects, verdicts
from pipelines.database.times import moment
from pipelines.in_force import ACTIVE, is_in_force
from pipelines.ledger import Scope
from pipelines.levels import LEVELS, UNKNOWN
from pipelines.policy import BOUNTIES, Band, Context, Evidence, Policy, band_of
from pipelines.rating import Rating, ratings_of
from pipelines.seeds import is_firm, is_revoked, largest_share
from pipelines.takedown.outbox import not_taken_back
from pipelines.workspace import Workspace

KEY = ("item_id", "content_sha256", "subject_id")
"""What a verdict and a takedown are about."""

MODELS = ("model", *BOUNTIES)
"""Kinds of items that pictures may belong to."""


def hits_in_force(now: datetime) -> sa.Select[Any]:
    """Hits that count and are shown and acted on now: those of :func:`live_hits` of subjects whose consent lasts."""
    return live_hits().where(is_in_force(now))


@cache  # building it takes milliseconds, and every judgement asks for it several times
def live_hits(*, rejected_too: bool = False, lapsed_too: bool = False, removed_too: bool = False) -> sa.Select[Any]:
    """Hits that count, whatever the time: the item is live with that very content, and the subject is active. Joined
    with the item and the subject.

    For what is judged and stored, which no end of a consent may undo. Whoever shows hits or acts on them asks for
    :func:`hits_in_force`.

    A text counts while the item has it, everything else while the item has that content. Nothing that somebody rejected
    counts, nor what matches a seed that was revoked, nor what a reference or name made that is not the subject's any
    more (``dropped_at``). ``content_key`` is what a verdict names: the content, or the text of an item without any;
    ``model`` is what the item belongs to.

    A face hit of earlier models no longer counts once the models of the item's present vectors have found the same
    person in the same content, no less strongly. See :mod:`pipelines.backfill`.

    Nor does a face that scores below the thresholds in force, unless a person confirmed it.

    ``rejected_too``: also what would count if nobody had rejected it. ``lapsed_too``: also what is below thresholds.
    ``removed_too``: also what was in items that are gone because of a message that was sent.
    """
    digest = sa.case((hits.c.tier == "text", items.c.text_digest), else_=items.c.content_sha256)
    present = sa.and_(digest == hits.c.content_sha256, items.c.live)
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
    found = sa.select(newer.c.hit_id).where(
        newer.c.item_id == hits.c.item_id,
        newer.c.content_sha256 == hits.c.content_sha256,
        _subject_of(newer) == hits.c.subject_id,
        newer.c.tier == "face",
        newer.c.dropped_at.is_(None),
        newer.c.model_id == items.c.model_id,
        sa.or_(newer.c.band == "strong", hits.c.band == "review"),
    )
    return sa.and_(hits.c.tier == "face", hits.c.model_id != items.c.model_id, found.correlate(hits, items).exists())


def earlier_hits_count(connection: Connection, *, model_id: str, scope: Scope | None = None) -> int:
    """Face hits that count and were made by other models than ``model_id``, of everything or of a scope."""
    found = hits_in_force(moment(connection))
    query = found.where(hits.c.tier == "face", hits.c.model_id != model_id, *(scope.where() if scope else ()))
    return int(connection.execute(sa.select(sa.func.count()).select_from(query.subquery())).scalar_one())


def unjudged_count(connection: Connection, scope: Scope | None = None) -> int:
    """Hits in force that await a verdict, of everything or of a scope."""
    found = hits_in_force(moment(connection))
    query = found.where(hits.c.judged_at.is_(None), *(scope.where() if scope else ())).subquery()
    return int(connection.execute(sa.select(sa.func.count()).select_from(query)).scalar_one())


@dataclass(frozen=True, slots=True)
class Group:
    """What is judged together: one subject in a model and its pictures, or in one item that belongs to none."""

    subject_id: str
    model: str | None
    item_id: str | None

    @property
    def order(self) -> tuple[str, str, str]:
        """Sorts groups."""
        return self.subject_id, self.model or "", self.item_id or ""


def group_of(row: Any) -> Group:
    """The group of a row of :func:`live_hits`."""
    return Group(row.subject_id, row.model, None if row.model else row.item_id)


def groups_with(connection: Connection, *conditions: sa.ColumnElement[bool]) -> list[Group]:
    """The groups with a hit in force, or that would be by lower thresholds, and meets these conditions, in order."""
    live = live_hits(lapsed_too=True).where(is_in_force(moment(connection)), *conditions)
    named = live.with_only_columns(hits.c.subject_id, hits.c.item_id, model_of_item().label("model")).distinct()
    return sorted({group_of(row) for row in connection.execute(named)}, key=lambda group: group.order)


def items_of(groups: Collection[Group]) -> sa.ColumnElement[bool]:
    """Condition on ``items``: belongs to one of the groups, whoever the subject is."""
    models = {group.model for group in groups if group.model}
    single = {group.item_id for group in groups if group.item_id}
    return sa.or_(items.c.parent_model.in_(models), items.c.item_id.in_(models | single))


@dataclass(frozen=True, slots=True)
class Weighing:
    """What evidence is weighed by: a policy, and the thresholds it puts in force for the present models."""

    policy: Policy
    thresholds: Thresholds
    model_id: str


def weighing(workspace: Workspace, connection: Connection, policy: Policy | None = None) -> Weighing:
    """By the policy in force, or by another one."""
    policy = policy or workspace.policy
    return Weighing(policy, workspace.thresholds_at(connection, policy=policy), workspace.model_id)


def evidence_of(
    tx: Connection,
    groups: Sequence[Group],
    by: Weighing,
    *,
    but_for: Collection[tuple[str, str]] = (),
    removed_too: bool = False,
) -> dict[Group, list[Evidence]]:
    """All hits that count, of each group, by item and hit; an empty list where there is nothing (any more).

    Those below the thresholds are among them, without a band. ``but_for``: as if nobody had rejected anything of these
    (item, subject) pairs. ``removed_too``: as if what our own messages removed were still there.
    """
    found: dict[Group, list[Evidence]] = {group: [] for group in groups}
    confirmed, rejected = said("confirm").label("confirmed"), is_rejected().label("rejected")
    of_seed = (is_firm().label("seed_firm"), largest_share().label("seed_share"))
    more = (items.c.uploader, owner_of_item().label("owner"), confirmed, rejected, *of_seed)
    live = live_hits(rejected_too=bool(but_for), lapsed_too=True, removed_too=removed_too)
    query = live.add_columns(*more).where(items_of(groups))
    for row in tx.execute(query.order_by(hits.c.item_id, hits.c.hit_id)):
        counts = not row.rejected or (row.item_id, row.subject_id) in but_for
        if counts and (group := group_of(row)) in found:
            found[group].append(_evidence(row, _band(row, by)))
    return found


def _band(row: Any, by: Weighing) -> Band | None:
    """The band as the policy sees it; the hit's own row keeps what was in force when it was found.

    Of a hit of earlier models today's thresholds say nothing, so its band stays (I4).
    """
    if row.tier in ("header", "text"):
        return by.policy.text_band(row.place, row.match)
    if row.tier == "face" and row.model_id == by.model_id:
        return band_of(row.score, by.thresholds) if row.score >= by.thresholds.review else None
    if row.place == "pdq" and row.score < pdq_score(by.policy.settings.takedown.duplicate_distance):
        return None
    band: Band = row.band
    return band


def _evidence(row: Any, band: Band | None) -> Evidence:
    same = ("hit_id", "item_id", "kind", "tier", "score", "threshold", "threshold_source", "model_id", "pdq")
    more = ("template_id", "place", "match", "seed_id", "seed_share", "uploader")
    values = {name: row._mapping[name] for name in (*same, *more)}
    values |= {"confirmed": bool(row.confirmed), "by_owner": is_by_owner(row), "seed_firm": bool(row.seed_firm)}
    return Evidence(**values, content_sha256=row.content_key, band=band)


def is_by_owner(row: Any) -> bool:
    """Whether a row with ``model``, ``uploader`` and ``owner`` is of an item by the uploader of the model it is of.

    Two unknown uploaders are taken for one (:mod:`pipelines.policy.evidence`).
    """
    return row.model is None or row.uploader == row.owner


@dataclass(frozen=True, slots=True)
class Member:
    """A live item of a group: whether it has a picture that could be looked at, whether the model's own uploader posted
    it, and how mature it is."""

    item_id: str
    kind: str
    picture: bool
    by_owner: bool
    context: Context


def members_of(
    tx: Connection, groups: Collection[Group], workspace: Workspace, policy: Policy
) -> dict[str, list[Member]]:
    """The live items of groups, by model; those that belong to none under their own id."""
    query = sa.select(
        items.c.item_id,
        items.c.kind,
        items.c.status.in_(("clean", "hit", "no_face", "pending")).label("readable"),
        items.c.pdq,
        items.c.faces,
        items.c.uploader,
        model_of_item().label("model"),
        owner_of_item().label("owner"),
    )
    rows = tx.execute(query.where(items.c.live, items_of(groups)).order_by(items.c.item_id)).all()
    ratings = ratings_of(tx, workspace, [row.item_id for row in rows])
    members: dict[str, list[Member]] = {}
    for row in rows:
        # A model file without a thumbnail is no picture; nor is a bounty that is text alone.
        picture = bool(row.readable) and (row.kind == "image" or bool(row.pdq or row.faces))
        context = context_of(ratings.get(row.item_id), policy)
        member = Member(row.item_id, row.kind, picture, is_by_owner(row), context)
        members.setdefault(row.model or row.item_id, []).append(member)
    return members


def context_of(rating: Rating | None, policy: Policy) -> Context:
    """A rating as the policy weighs it."""
    if rating is None or rating.level == UNKNOWN:
        return Context()
    mature = LEVELS.index(rating.level) >= LEVELS.index(policy.settings.mature.level)
    return Context(rating.level, mature=mature, minor_looking=bool(rating.minor_looking))


def most_mature(contexts: Sequence[Context]) -> Context:
    """The context of a whole model: the highest rating of any of its items."""
    known = [context for context in contexts if context.level != UNKNOWN]
    if not known:
        return Context()
    level = max((context.level for context in known), key=LEVELS.index)
    minor = any(context.mature and context.minor_looking for context in known)
    return Context(level, mature=any(context.mature for context in known), minor_looking=minor)
