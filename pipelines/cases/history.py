"""What happened, in order, to a person's opt-out, a request, an uploader's items or a model: read off their rows.

Who did what is in the audit chain, row by row; this is the outline for whoever opens a case. Opaque ids, counts and
fixed words only (I8).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from pipelines.cases.findings import About, list_told
from pipelines.database.tables import decisions, hits, items, requests, subjects, templates

MOST_ROWS: Final = 5000
"""Of each kind, the newest, that a history is made of."""

_BY_DAY: Final = ("uploaded", "deleted")


@dataclass(frozen=True, slots=True)
class HistoryEvent:
    """``count`` things that happened together. ``what``: a fixed word; ``actor``: who did it, None: see the audit
    chain; ``about``: the request, reference, item or batch, None where there were several."""

    at: datetime
    what: str
    count: int
    actor: str | None
    about: str | None


def read_history(connection: Connection, about: About, *, limit: int, judged: bool = True) -> list[HistoryEvent]:
    """Return what happened, the newest first, at most ``limit`` lines; ``judged`` False: without what people
    decided."""
    single = [*_of_messages(connection, about), *(_of_decisions(connection, about) if judged else ())]
    if about.subject_id is not None:
        single += [*_of_requests(connection, about), *_of_finds(connection, about)]
        single += [] if about.request_id else [*_of_subject(connection, about.subject_id)]
    else:
        single += [*_of_items(connection, about), *_of_finds(connection, about)]
    together = _together(single)
    return sorted(together, key=lambda event: (event.at, event.what, event.about or ""), reverse=True)[:limit]


def _together(events: Iterable[HistoryEvent]) -> list[HistoryEvent]:
    """Merge what one person, or a machine, did of one kind within one minute; of uploads and deletions, on one day."""
    merged: dict[tuple[Any, ...], HistoryEvent] = {}
    for event in events:
        start = event.at.replace(second=0, microsecond=0)
        key = (start.date() if event.what in _BY_DAY else start, event.what, event.actor)
        known = merged.get(key)
        if known is None:
            merged[key] = event
        else:
            same = known.about if known.about == event.about else None
            merged[key] = HistoryEvent(
                max(known.at, event.at), event.what, known.count + event.count, event.actor, same
            )
    return list(merged.values())


def _of_subject(connection: Connection, subject_id: str) -> Iterator[HistoryEvent]:
    row = connection.execute(sa.select(subjects).where(subjects.c.subject_id == subject_id)).one()
    yield HistoryEvent(row.created_at, "enrolled", 1, None, subject_id)
    if row.lapsed_at is not None:
        yield HistoryEvent(row.lapsed_at, "consent_over", 1, None, subject_id)
    if row.ended_at is not None:
        yield HistoryEvent(row.ended_at, row.state, 1, None, subject_id)
    later = sa.select(templates.c.template_id, templates.c.created_at).where(
        templates.c.subject_id == subject_id, templates.c.created_at > row.created_at
    )
    for template_id, at in connection.execute(later):
        yield HistoryEvent(at, "reference_added", 1, None, template_id)


def _of_requests(connection: Connection, about: About) -> Iterator[HistoryEvent]:
    query = sa.select(requests).where(requests.c.subject_id == about.subject_id)
    if about.request_id is not None:
        query = query.where(requests.c.request_id == about.request_id)
    for row in connection.execute(query):
        moments = {
            "request_received": row.received_at,
            "request_opened": row.opened_at,
            "request_previewed": row.previewed_at,
            "request_accepted": row.accepted_at,
            "request_searched": row.searched_at,
        }
        if row.completed_at is not None:
            moments[f"request_{row.state}"] = row.completed_at
        yield from (HistoryEvent(at, what, 1, None, row.request_id) for what, at in moments.items() if at is not None)


def _of_finds(connection: Connection, about: About) -> Iterator[HistoryEvent]:
    """When evidence was found, whatever became of it."""
    query = sa.select(hits.c.found_at, hits.c.found_by, hits.c.item_id)
    query = query.join(items, items.c.item_id == hits.c.item_id).where(*about.of_items())
    if about.subject_id is not None:
        query = query.where(hits.c.subject_id == about.subject_id)
    for row in connection.execute(query.order_by(hits.c.found_at.desc()).limit(MOST_ROWS)):
        yield HistoryEvent(row.found_at, f"found_by_{row.found_by}", 1, None, row.item_id)


def _of_decisions(connection: Connection, about: About) -> Iterator[HistoryEvent]:
    query = sa.select(decisions).join(items, items.c.item_id == decisions.c.item_id).where(*about.of_items())
    if about.subject_id is not None:
        query = query.where(decisions.c.subject_id == about.subject_id)
    for row in connection.execute(query.order_by(decisions.c.decided_at.desc()).limit(MOST_ROWS)):
        yield HistoryEvent(row.decided_at, f"decided_{row.decision}", 1, row.actor, row.item_id)
        if row.reversed_at is not None:
            yield HistoryEvent(row.reversed_at, f"undone_{row.decision}", 1, None, row.item_id)


def _of_messages(connection: Connection, about: About) -> Iterator[HistoryEvent]:
    for message in list_told(connection, about, limit=MOST_ROWS):
        kind = message.action.replace(".", "_")
        yield HistoryEvent(message.created_at, f"{kind}_written", 1, None, message.item_id)
        if message.acknowledged_at is not None:
            yield HistoryEvent(message.acknowledged_at, f"{kind}_acknowledged", 1, None, message.item_id)


def _of_items(connection: Connection, about: About) -> Iterator[HistoryEvent]:
    own = (items.c.item_id, items.c.received_at, items.c.deleted_at)
    query = sa.select(*own).where(*about.of_items()).order_by(items.c.received_at.desc()).limit(MOST_ROWS)
    for row in connection.execute(query):
        yield HistoryEvent(row.received_at, "uploaded", 1, None, row.item_id)
        if row.deleted_at is not None:
            yield HistoryEvent(row.deleted_at, "deleted", 1, None, row.item_id)
