"""The ledger: every item ever listed, each with exactly one status (I1).

``pending`` until scanned *and* compared; then ``clean`` or ``hit``; ``no_face``; ``unscannable:<reason>``;
``fetch_failed:<reason>``, which is tried again by later sweeps.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from pipelines.database.tables import hits, items, shards, subjects
from pipelines.sealing import Sealer
from pipelines.sources import Item


@dataclass(frozen=True, slots=True)
class Scope:
    """The part of the ledger that a sweep is about: one source, and one day of it or all."""

    source_id: str | None
    day: date | None

    def where(self) -> list[sa.ColumnElement[bool]]:
        """Conditions on ``items`` for the live items in scope."""
        conditions: list[sa.ColumnElement[bool]] = [items.c.live]
        if self.source_id is not None:
            conditions.append(items.c.source_id == self.source_id)
        if self.day is not None:
            conditions.append(items.c.day == self.day.isoformat())
        return conditions


@dataclass(frozen=True, slots=True)
class ListedCounts:
    """What listing a source changed."""

    listed: int
    new: int
    changed: int
    deleted: int

    def __add__(self, other: ListedCounts) -> ListedCounts:
        return ListedCounts(
            self.listed + other.listed,
            self.new + other.new,
            self.changed + other.changed,
            self.deleted + other.deleted,
        )


def source_id(uri: str) -> str:
    """A short opaque id of a source; its address stays in the sealed records."""
    return hashlib.sha256(uri.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def record_listing(
    tx: Connection, sealer: Sealer, listed: Sequence[Item], *, source_uri: str, now: datetime
) -> ListedCounts:
    """Enter listed items: new ones as ``pending``, changed ones back to ``pending``, deleted ones as not live."""
    known = {
        row.item_id: row
        for row in tx.execute(
            sa.select(items.c.item_id, items.c.source_digest, items.c.live).where(
                items.c.item_id.in_([item.item_id for item in listed])
            )
        )
    }
    new = changed = deleted = 0
    for item in listed:
        digest = _source_digest(item, source_uri)
        row = known.get(item.item_id)
        if row is not None and row.source_digest == digest:
            continue
        values = _item_values(sealer, item, source_uri, digest)
        if row is None:
            tx.execute(sa.insert(items).values(item_id=item.item_id, attempts=0, first_seen=now, **values))
            new += 1
        else:
            # What was changed gets all its attempts again: earlier ones were at something else.
            tx.execute(sa.update(items).where(items.c.item_id == item.item_id).values(attempts=0, **values))
            changed += 1
        deleted += item.deleted and (row is None or row.live)
    return ListedCounts(listed=len(listed), new=new, changed=changed, deleted=deleted)


def unscanned(scope: Scope, *, model_id: str, max_attempts: int) -> sa.ColumnElement[bool]:
    """Condition on ``items``: has to be fetched and embedded. Includes items that another model scanned (I4)."""
    waiting = sa.and_(items.c.status == "pending", items.c.shard_id.is_(None))
    retry = sa.and_(items.c.status.like("fetch_failed:%"), items.c.attempts < max_attempts)
    other_model = sa.and_(items.c.model_id != model_id, ~items.c.status.like("unscannable:%"))
    return sa.and_(*scope.where(), sa.or_(waiting, retry, other_model))


def outdated(*, model_id: str) -> sa.ColumnElement[bool]:
    """Condition on ``items``: has a result, of other models than ``model_id``. It stands until there is a new one."""
    return sa.and_(
        items.c.model_id != model_id, items.c.content_sha256.is_not(None), ~items.c.status.like("unscannable:%")
    )


def status_after_scan(model_id: str) -> sa.ColumnElement[str]:
    """The new status; but the same content embedded by new models stays ``hit``, and ``clean`` until it is compared."""
    new: sa.ColumnElement[str] = sa.bindparam("new_status", type_=sa.String)
    content = sa.bindparam("new_content_sha256", type_=sa.String)
    again = sa.and_(items.c.model_id != model_id, items.c.content_sha256 == content)
    return sa.case(
        (sa.and_(again, items.c.status == "hit"), "hit"),
        (sa.and_(again, items.c.status == "clean", new == "pending"), "clean"),
        else_=new,
    )


def count_outdated(connection: Connection, scope: Scope, *, model_id: str) -> int:
    """Live items in scope whose result is of other models."""
    query = sa.select(sa.func.count()).select_from(items).where(*scope.where(), outdated(model_id=model_id))
    return int(connection.execute(query).scalar_one())


def count_statuses(connection: Connection, scope: Scope) -> dict[str, int]:
    """Live items in scope by status."""
    query = sa.select(items.c.status, sa.func.count()).where(*scope.where()).group_by(items.c.status)
    return {str(status): int(count) for status, count in connection.execute(query.order_by(items.c.status))}


def recompute_status(tx: Connection, *, subject_id: str) -> None:
    """After a subject ended: items whose only hits were of that subject are ``clean`` again.

    Or ``pending``, where a rescan found the hit in a shard that no sweep has compared with everybody yet.
    """
    hit_items = sa.select(hits.c.item_id).where(hits.c.subject_id == subject_id)
    still_hit = (
        sa.select(hits.c.hit_id)
        .join(subjects, subjects.c.subject_id == hits.c.subject_id)
        .where(
            hits.c.item_id == items.c.item_id,
            hits.c.content_sha256 == items.c.content_sha256,
            subjects.c.state == "active",
        )
        .exists()
    )
    compared = (
        sa.select(shards.c.shard_id)
        .where(shards.c.shard_id == items.c.shard_id, shards.c.covered_threshold.is_not(None))
        .exists()
    )
    tx.execute(
        sa.update(items)
        .where(items.c.status == "hit", items.c.item_id.in_(hit_items), ~still_hit)
        .values(status=sa.case((compared, "clean"), else_="pending"))
    )


def delete_items(tx: Connection, item_ids: Iterable[str]) -> None:
    """Mark items as gone from the platform: they are compared no more, and their faces count for nothing."""
    tx.execute(sa.update(items).where(items.c.item_id.in_(list(item_ids))).values(live=False))


def _item_values(sealer: Sealer, item: Item, source_uri: str, digest: str) -> dict[str, Any]:
    record = {"source": source_uri, "item": item.to_record()}
    return {
        "kind": item.kind,
        "parent_model": item.parent_model,
        "uploader": item.uploader,
        "received_at": item.received_at,
        "day": item.received_at.date().isoformat(),
        "live": not item.deleted,
        "problem": item.problem,
        "source_id": source_id(source_uri),
        "source_digest": digest,
        "sealed_record": sealer.seal_record(record, item.item_id),
        "status": "pending",
        "content_sha256": None,
        "shard_id": None,
        "model_id": None,
        "faces": None,
    }


def _source_digest(item: Item, source_uri: str) -> str:
    """Changes whenever anything the source says about the item changes, its content's revision included."""
    return hashlib.sha256(json.dumps([source_uri, item.to_record()], sort_keys=True).encode()).hexdigest()
