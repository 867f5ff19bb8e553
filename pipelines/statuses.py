"""Which items are called ``hit``: those that could be scanned and have evidence that counts."""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from pipelines.database.parts import parts
from pipelines.database.tables import hits, items, shards
from pipelines.judging import live_hits
from pipelines.policy import BOUNTIES


def settle_statuses(tx: Connection, item_ids: Collection[str]) -> None:
    """Make the status of these items say what counts now, after hits, decisions or subjects came or went.

    Without any hit left an item is ``clean`` or ``no_face``, as it was scanned (``clean`` if it is text alone); or
    ``pending``, where a rescan found
    the hit in a shard that no sweep has compared with everybody yet.
    """
    compared = (
        sa.select(shards.c.shard_id)
        .where(shards.c.shard_id == items.c.shard_id, shards.c.covered_threshold.is_not(None))
        .exists()
    )
    text_alone = sa.and_(items.c.content_sha256.is_(None), items.c.kind.in_(BOUNTIES))
    no_face = sa.func.coalesce(items.c.faces, 0) == 0
    before = sa.case((text_alone, "clean"), (no_face, "no_face"), (compared, "clean"), else_="pending")
    wanted = sorted(item_ids)
    for part in parts(wanted):
        some = sa.update(items).where(items.c.item_id.in_(part))
        counted = live_hits().where(hits.c.item_id.in_(part)).with_only_columns(hits.c.item_id)
        tx.execute(some.where(items.c.status == "hit", items.c.item_id.not_in(counted)).values(status=before))
        scanned = sa.or_(
            sa.and_(items.c.status.in_(("clean", "no_face")), items.c.item_id.in_(counted)),
            sa.and_(items.c.status == "pending", items.c.item_id.in_(counted.where(hits.c.tier == "face"))),
        )
        tx.execute(some.where(scanned).values(status="hit"))


def settle_subject(tx: Connection, subject_id: str) -> None:
    """The same for every item with a hit of this subject: it has ended."""
    of_subject = sa.select(hits.c.item_id).where(hits.c.subject_id == subject_id).distinct()
    settle_statuses(tx, tx.execute(of_subject).scalars().all())
