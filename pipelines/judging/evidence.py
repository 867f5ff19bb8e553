"""Groups of hits that are judged together, and their evidence in the form that the policy takes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from embeddings.images.pdq import pdq_score
from indexes.thresholds import Bands
from pipelines.database.in_force import is_in_force
from pipelines.database.tables import hits, items, second_opinions
from pipelines.database.times import moment
from pipelines.hits.counting import (
    FACES,
    POOLED,
    hits_in_force,
    is_rejected,
    live_hits,
    model_of_item,
    owner_of_item,
    said,
)
from pipelines.home.workspace import Workspace
from pipelines.intake.ledger import Scope
from pipelines.policy import Band, Context, Evidence, Policy, SecondOpinion, band_of, may_act
from pipelines.policy.levels import LEVELS, UNKNOWN
from pipelines.registry.seeds import is_firm, largest_share
from pipelines.scan.rating import Rating, ratings_of
from pipelines.takedown.outbox import BLOCK


def earlier_hits_count(connection: Connection, *, model_id: str, scope: Scope | None = None) -> int:
    """Count face hits that count and were made by other models than ``model_id``, in all or in a scope."""
    found = hits_in_force(moment(connection))
    query = found.where(hits.c.tier == "face", hits.c.found_by_id != model_id, *(scope.where() if scope else ()))
    return int(connection.execute(sa.select(sa.func.count()).select_from(query.subquery())).scalar_one())


def unjudged_count(connection: Connection, scope: Scope | None = None) -> int:
    """Count hits in force that await a verdict, in all or in a scope."""
    found = hits_in_force(moment(connection))
    query = found.where(hits.c.judged_at.is_(None), *(scope.where() if scope else ())).subquery()
    return int(connection.execute(sa.select(sa.func.count()).select_from(query)).scalar_one())


@dataclass(frozen=True, slots=True)
class Group:
    """What is judged together: one subject, and a model with its pictures or one item without a model."""

    subject_id: str
    model: str | None
    item_id: str | None

    @property
    def order(self) -> tuple[str, str, str]:
        """Sort key."""
        return self.subject_id, self.model or "", self.item_id or ""


def group_of(row: Any) -> Group:
    """Return the group of a row of :func:`live_hits`."""
    return Group(row.subject_id, row.model, None if row.model else row.item_id)


def group_of_message(row: Any) -> Group:
    """Return the group of a message joined with the ``model`` of its item; a block's is its model, listed or not."""
    model = row.item_id if row.action == BLOCK else row.model
    return Group(row.subject_id, model, None if model else row.item_id)


def groups_with(connection: Connection, *conditions: sa.ColumnElement[bool]) -> list[Group]:
    """Return, in order, the groups with a hit that meets the conditions and is in force or has lapsed."""
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
    """A policy, the thresholds that it puts in force for the present models, and the id of the configured second
    network, None without one."""

    policy: Policy
    bands: Bands
    model_id: str
    second_network_id: str | None = None


def weighing(workspace: Workspace, connection: Connection, policy: Policy | None = None) -> Weighing:
    """Return the weighing by the policy in force, or by ``policy``."""
    policy = policy or workspace.policy
    bands = workspace.bands_at(connection, policy=policy)
    return Weighing(policy, bands, workspace.model_id, workspace.second_network_id)


def evidence_of(
    tx: Connection,
    groups: Sequence[Group],
    by: Weighing,
    *,
    but_for: Collection[tuple[str, str]] = (),
    removed_too: bool = False,
) -> dict[Group, list[Evidence]]:
    """Return the hits of each group that count, ordered by item and hit; an empty list for a group without any.

    Hits below the thresholds are included, without a band. ``but_for``: (item, subject) pairs whose rejections are
    ignored. ``removed_too``: include hits in items that our own messages removed.
    """
    found: dict[Group, list[Evidence]] = {group: [] for group in groups}
    confirmed, rejected = said("confirm").label("confirmed"), is_rejected().label("rejected")
    of_seed = (is_firm().label("seed_firm"), largest_share().label("seed_share"))
    more = (items.c.uploader, owner_of_item().label("owner"), confirmed, rejected, *of_seed)
    live = live_hits(rejected_too=bool(but_for), lapsed_too=True, removed_too=removed_too)
    same = sa.and_(second_opinions.c.hit_id == hits.c.hit_id, second_opinions.c.network_id == by.second_network_id)
    query = live.outerjoin(second_opinions, same).add_columns(*more, *_SECOND)
    query = query.where(items_of(groups))
    for row in tx.execute(query.order_by(hits.c.item_id, hits.c.hit_id)):
        counts = not row.rejected or (row.item_id, row.subject_id) in but_for
        if counts and (group := group_of(row)) in found:
            found[group].append(_evidence(row, _band(row, by), by.policy))
    return found


def _band(row: Any, by: Weighing) -> Band | None:
    """Return the band of a hit by today's thresholds; its row keeps the band in force when it was found.

    A hit of earlier models keeps that band, because today's thresholds do not apply to it (I4).
    """
    if row.tier in ("header", "text"):
        return by.policy.text_band(row.place, row.match)
    if row.tier in FACES and row.found_by_id == by.model_id:
        thresholds = by.bands.pooled if row.tier == POOLED else by.bands.single
        return band_of(row.score, thresholds) if row.score >= thresholds.review else None
    nearest = pdq_score(by.policy.settings.takedown.duplicate_distance)
    if row.tier == "exact" and row.place == "pdq" and row.score < nearest:
        return None
    band: Band = row.band
    return band


_SECOND: Final = [
    second_opinions.c[name].label(f"second_{name}") for name in ("network_id", "opinion", "score", "threshold")
]


def _second_of(row: Any, policy: Policy) -> SecondOpinion | None:
    """Return the opinion of the second network in force on a row, by the policy's threshold; None if it was not
    asked."""
    if row.second_network_id is None or row.second_score is None:
        asked = row.second_network_id is not None
        return SecondOpinion(row.second_network_id, row.second_opinion, None, row.second_threshold) if asked else None
    threshold, _ = policy.agreement(row.second_network_id.rpartition("-")[0])
    opinion = "agrees" if row.second_score >= threshold else "denies"
    return SecondOpinion(row.second_network_id, opinion, row.second_score, threshold)


def _evidence(row: Any, band: Band | None, policy: Policy) -> Evidence:
    same = ("hit_id", "item_id", "kind", "tier", "score", "threshold", "threshold_source", "found_by_id", "pdq")
    more = ("template_id", "place", "match", "seed_id", "seed_share", "uploader")
    values = {name: row._mapping[name] for name in (*same, *more)}
    values |= {"confirmed": bool(row.confirmed), "by_owner": is_by_owner(row), "seed_firm": bool(row.seed_firm)}
    values |= {"pool": row.content_key if row.tier == POOLED else None, "pictures": row.pictures}
    second = _second_of(row, policy)
    acts = row.tier != "face" or may_act(second, policy.settings)
    return Evidence(**values, content_key=row.item_key, band=band, second=second, acts=acts)


def is_by_owner(row: Any) -> bool:
    """Whether the uploader of a row's item is the owner of its model (``model``, ``uploader``, ``owner``).

    Two unknown uploaders are taken for one (:mod:`pipelines.policy.evidence`).
    """
    return row.model is None or row.uploader == row.owner


@dataclass(frozen=True, slots=True)
class Member:
    """A live item of a group: whether it has a readable picture, whether the model's own uploader posted it, and how
    mature it is."""

    item_id: str
    kind: str
    picture: bool
    by_owner: bool
    context: Context


def members_of(
    tx: Connection, groups: Collection[Group], workspace: Workspace, policy: Policy
) -> dict[str, list[Member]]:
    """Return the live items of groups by model; an item without a model is under its own id."""
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
        # Model files without a thumbnail and bounties that are text alone have no picture.
        picture = bool(row.readable) and (row.kind == "image" or bool(row.pdq or row.faces))
        context = context_of(ratings.get(row.item_id), policy)
        member = Member(row.item_id, row.kind, picture, is_by_owner(row), context)
        members.setdefault(row.model or row.item_id, []).append(member)
    return members


def context_of(rating: Rating | None, policy: Policy) -> Context:
    """Convert a rating to the context that the policy takes."""
    if rating is None or rating.level == UNKNOWN:
        return Context()
    mature = LEVELS.index(rating.level) >= LEVELS.index(policy.settings.mature.level)
    return Context(rating.level, mature=mature, minor_looking=bool(rating.minor_looking))


def most_mature(contexts: Sequence[Context]) -> Context:
    """Return the context of a whole model: the highest rating of any of its items."""
    known = [context for context in contexts if context.level != UNKNOWN]
    if not known:
        return Context()
    level = max((context.level for context in known), key=LEVELS.index)
    minor = any(context.mature and context.minor_looking for context in known)
    return Context(level, mature=any(context.mature for context in known), minor_looking=minor)
