"""Which items are called ``hit``: those that could be scanned and have evidence that is in force.

The ledger stores the status as it was when hits, decisions or subjects last changed. Runs begin by updating it for
subjects whose consent has ended or been renewed since. Until then pages and commands compute statuses by the clock
(:func:`statuses_now`), so that they agree with the list of hits.
"""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from pipelines.database.in_force import ACTIVE, is_in_force
from pipelines.database.parts import parts
from pipelines.database.tables import hits, items, shards, subjects
from pipelines.database.times import moment
from pipelines.hits.counting import hits_in_force
from pipelines.intake.ledger import Scope, count_statuses
from pipelines.policy import BOUNTIES


def settle_statuses(tx: Connection, item_ids: Collection[str]) -> None:
    """Update the status of these items after hits, decisions or subjects changed.

    An item without a hit becomes ``clean`` or ``no_face``, as it was scanned (``clean`` if it is text alone); or
    ``pending``, where a rescan found the hit in a shard that no sweep has compared with everybody yet.
    """
    in_force = hits_in_force(moment(tx))
    wanted = sorted(item_ids)
    for part in parts(wanted):
        some = sa.update(items).where(items.c.item_id.in_(part))
        counted = in_force.where(hits.c.item_id.in_(part)).with_only_columns(hits.c.item_id)
        tx.execute(some.where(items.c.status == "hit", items.c.item_id.not_in(counted)).values(status=_without_hits()))
        faces = counted.where(hits.c.tier == "face")
        tx.execute(some.where(_is_hit(items.c.item_id.in_(counted), items.c.item_id.in_(faces))).values(status="hit"))


def settle_subject(tx: Connection, subject_id: str) -> None:
    """Update the status of every item with a hit of this subject, which has ended or is in force again."""
    of_subject = sa.select(hits.c.item_id).where(hits.c.subject_id == subject_id).distinct()
    settle_statuses(tx, tx.execute(of_subject).scalars().all())


def statuses_now(connection: Connection, scope: Scope) -> dict[str, int]:
    """Count live items in scope by their status at the present time, even before a run has stored it."""
    now, counts = moment(connection), count_statuses(connection, scope)
    lapsed = subjects.c.lapsed_at.is_not(None)
    drifted = sa.or_(sa.and_(is_in_force(now), lapsed), sa.and_(subjects.c.expires_at <= now, ~lapsed))
    theirs = sa.select(subjects.c.subject_id).where(subjects.c.state == ACTIVE, drifted)
    if connection.execute(theirs.limit(1)).first() is None:
        return counts
    touched = sa.select(hits.c.item_id).where(hits.c.subject_id.in_(theirs))
    counted = hits_in_force(now).where(hits.c.item_id.in_(touched)).with_only_columns(hits.c.item_id).correlate(None)
    faces = counted.where(hits.c.tier == "face")
    hit = _is_hit(items.c.item_id.in_(counted), items.c.item_id.in_(faces))
    lost = sa.and_(items.c.status == "hit", items.c.item_id.not_in(counted))
    settled = sa.case((hit, "hit"), (lost, _without_hits()), else_=items.c.status)
    query = sa.select(items.c.status, settled.label("settled"), sa.func.count()).where(
        *scope.where(), items.c.item_id.in_(touched)
    )
    for before, after, count in connection.execute(query.group_by(items.c.status, sa.text("settled"))):
        counts[before] -= count
        counts[after] = counts.get(after, 0) + count
    return {status: count for status, count in sorted(counts.items()) if count}


def _without_hits() -> sa.ColumnElement[str]:
    """Return the column with the status of an item that has no hit (any more)."""
    compared = (
        sa.select(shards.c.shard_id)
        .where(shards.c.shard_id == items.c.shard_id, shards.c.covered_threshold.is_not(None))
        .correlate(items)
        .exists()
    )
    text_alone = sa.and_(items.c.content_sha256.is_(None), items.c.kind.in_(BOUNTIES))
    no_face = sa.func.coalesce(items.c.faces, 0) == 0
    return sa.case((text_alone, "clean"), (no_face, "no_face"), (compared, "clean"), else_="pending")


def _is_hit(counted: sa.ColumnElement[bool], by_face: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    """Condition on ``items``: not called a hit, but has one that counts; of a ``pending`` item only a face."""
    scanned = sa.and_(items.c.status.in_(("clean", "no_face")), counted)
    return sa.or_(scanned, sa.and_(items.c.status == "pending", by_face))
