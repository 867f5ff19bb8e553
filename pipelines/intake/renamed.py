"""What a name that stood in the name of a file is worth once the file is called otherwise.

The name of a file is part of an item's texts and of nobody's digest: bytes and listed texts may stay what they were
(:func:`pipelines.intake.ledger.text_digest`). So the hits in it are dropped here, in the transaction that lists the new
one, which is searched again; what a person confirmed stands.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from pipelines.database.tables import decisions, hits
from pipelines.intake.texts import FILE_NAME, file_name
from pipelines.sources import Item


def drop_renamed(tx: Connection, item: Item, item_id: str, *, known: Callable[[], Item], now: datetime) -> None:
    """Drop the unconfirmed hits in the file name of the ``known`` item, which is opened if there are any, unless
    ``item`` has the same."""
    of_name = sa.and_(hits.c.item_id == item_id, hits.c.place == FILE_NAME, hits.c.dropped_at.is_(None))
    if tx.execute(sa.select(hits.c.hit_id).where(of_name).limit(1)).first() is None:
        return
    if file_name(known()) == file_name(item):
        return
    same = [decisions.c[name] == hits.c[name] for name in ("item_id", "subject_id", "content_key", "found_by_id")]
    standing = sa.and_(*same, decisions.c.decision == "confirm", decisions.c.reversed_at.is_(None))
    confirmed = sa.select(decisions.c.decision_id).where(standing).correlate(hits).exists()
    tx.execute(sa.update(hits).where(of_name, ~confirmed).values(dropped_at=now))
