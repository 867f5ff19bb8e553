"""Enters hits of faces and of pools in the transaction that commits their coverage."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from pipelines.database import insert_missing
from pipelines.database.parts import parts
from pipelines.database.tables import hits


def insert_found(tx: Connection, rows: Sequence[dict[str, Any]], *, review: float, now: datetime) -> int:
    """Insert the hits that are not stored; return how many are new.

    ``review``: the review threshold in force for all of ``rows``; a hit below it, because thresholds were raised
    meanwhile, has lapsed. A hit that is found again is judged again: its item came back, perhaps with another parent,
    so its corroboration may be new. One that was dropped with a reference is another finding now, and one that was
    rejected stays rejected.
    """
    for some in parts([row["hit_id"] for row in rows]):
        tx.execute(sa.delete(hits).where(hits.c.hit_id.in_(some), hits.c.dropped_at.is_not(None)))
        tx.execute(sa.update(hits).where(hits.c.hit_id.in_(some)).values(judged_at=None))
    return insert_missing(tx, hits, [row | {"lapsed_at": now if row["score"] < review else None} for row in rows])
