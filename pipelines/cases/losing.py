"""What a change of an opt-out that finds less takes along: hits, and what rested on them alone."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from pipelines.database.parts import parts
from pipelines.database.tables import hits, outbox, verdicts
from pipelines.database.times import moment
from pipelines.hits.counting import hits_in_force, said, verdict_of_hit
from pipelines.takedown.outbox import not_taken_back


@dataclass(frozen=True, slots=True)
class Resting:
    """What is in force of one person: items by verdict, and messages that were not taken back."""

    takedown: int
    review: int
    messages: int


@dataclass(frozen=True, slots=True)
class Lost:
    """What a change takes along. ``hits`` in ``items``, of which people ``confirmed`` some; ``takedowns`` and
    ``reviews``: items that are no longer for either; below 0: that newly are; ``messages``: unsent ones of a machine,
    taken back. What was sent stands, and so does what people decided.
    """

    hits: int
    items: int
    confirmed: int
    takedowns: int
    reviews: int
    messages: int


def read_resting(connection: Connection, subject_id: str) -> Resting:
    """Count what is in force of a person."""
    found = hits_in_force(moment(connection)).join(verdicts, verdict_of_hit()).where(hits.c.subject_id == subject_id)
    items = sa.func.count(hits.c.item_id.distinct())
    by_verdict = found.with_only_columns(verdicts.c.verdict, items).group_by(verdicts.c.verdict)
    counts = {str(verdict): int(count) for verdict, count in connection.execute(by_verdict)}
    standing = sa.select(sa.func.count()).select_from(outbox).where(outbox.c.subject_id == subject_id, not_taken_back())
    messages = int(connection.execute(standing).scalar_one())
    return Resting(counts.get("takedown", 0), counts.get("review", 0), messages)


def lost(connection: Connection, before: Resting, subject_id: str, hit_ids: Collection[str]) -> Lost:
    """What went with these hits, which were dropped since ``before`` was read."""
    items, confirmed = set[str](), 0
    for some in parts(sorted(hit_ids)):
        query = sa.select(hits.c.item_id, said("confirm").label("confirmed")).where(hits.c.hit_id.in_(some))
        for row in connection.execute(query):
            items.add(row.item_id)
            confirmed += bool(row.confirmed)
    after = read_resting(connection, subject_id)
    return Lost(
        hits=len(hit_ids),
        items=len(items),
        confirmed=confirmed,
        takedowns=before.takedown - after.takedown,
        reviews=before.review - after.review,
        messages=before.messages - after.messages,
    )
