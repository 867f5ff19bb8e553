"""Backwards from a confirmed model: the pictures that name it, found by an index in the transaction that confirms it.

The examining stage (:mod:`pipelines.matching.names`) compares every item with every seed and would find the same hits
under the same ids; its coverage stays what says that all were compared (I2). This brings the first of them forward.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from pipelines.database import insert_missing
from pipelines.database.parts import parts
from pipelines.database.tables import hits, items, made_with, seeds
from pipelines.home.workspace import Workspace
from pipelines.matching.finds import hit_rows, seed_hit
from pipelines.matching.sought import Seed, SeedMatch
from pipelines.registry.seeds import MADE_BY

AT_ONCE: Final = 2000
"""Most hits in the transaction of a decision; what is beyond is found by the next run, as every other copy is."""


def find_made_by(tx: Connection, workspace: Workspace, decision_ids: Sequence[str]) -> int:
    """Enter hits on the live pictures that name what these confirmations confirmed, in order of item; return how many
    were new."""
    new = 0
    for some in parts(decision_ids):
        own = sa.and_(seeds.c.decision_id.in_(some), seeds.c.kind == MADE_BY, seeds.c.revoked_at.is_(None))
        named = made_with.c.named == seeds.c.digest
        here = sa.and_(items.c.content_sha256 == made_with.c.content_sha256, items.c.live)
        columns = [seeds.c[name] for name in Seed.__slots__]
        query = sa.select(items.c.item_id, items.c.content_sha256, *columns).select_from(
            seeds.join(made_with, named).join(items, here)
        )
        rows = tx.execute(query.where(own).order_by(items.c.item_id, seeds.c.version).limit(AT_ONCE)).all()
        found = [seed_hit(row.item_id, row.content_sha256, SeedMatch(Seed(*row[2:]), 1.0), near=1.0) for row in rows]
        ids = [hit.hit_id for hit in found]
        for chosen in parts(ids):
            tx.execute(sa.delete(hits).where(hits.c.hit_id.in_(chosen), hits.c.dropped_at.is_not(None)))
        new += insert_missing(tx, hits, hit_rows(tx, workspace, found, "rescan"))
    return new
