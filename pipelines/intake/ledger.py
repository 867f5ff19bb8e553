"""The ledger: every item ever listed, each with exactly one status (I1).

``pending`` until scanned *and* compared; then ``clean`` or ``hit``; ``no_face``; ``unscannable:<reason>``;
``fetch_failed:<reason>``. The last two may be tried again by later sweeps before they are settled
(:mod:`pipelines.intake.retries`).
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Final, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from embeddings.faults import SCANNER_REASONS
from pipelines.database.tables import hits, items, model_files, picture_texts
from pipelines.home.sealing import Sealer
from pipelines.intake.model_reading import READER
from pipelines.intake.texts import FILE_NAME, file_name
from pipelines.policy.levels import platform_level
from pipelines.sources import Item

SCANNER_FAULTS: Final = tuple(f"unscannable:{reason}" for reason in SCANNER_REASONS)
"""Statuses that say more of the scanner than of the item: other models scan it again, and nobody inherits them."""

Work = Literal["new", "outdated", "all"]
"""Which items a scan takes: those without a result, those with a result of other models (a backfill), or both."""


@dataclass(frozen=True, slots=True)
class Scope:
    """The part of the ledger that a sweep is about: one source, and one day of it or all."""

    source_id: str | None
    day: date | None
    outside: tuple[date, date] | None = None
    """With a day: also items received before the first of these days, or after the second."""

    def where(self) -> list[sa.ColumnElement[bool]]:
        """Conditions on ``items`` for the live items in scope."""
        conditions: list[sa.ColumnElement[bool]] = [items.c.live]
        if self.source_id is not None:
            conditions.append(items.c.source_id == self.source_id)
        if self.day is not None:
            in_scope = items.c.day == self.day.isoformat()
            if self.outside is not None:
                first, last = (day.isoformat() for day in self.outside)
                in_scope = sa.or_(in_scope, items.c.day < first, items.c.day > last)
            conditions.append(in_scope)
        return conditions


def source_id(uri: str) -> str:
    """Return a short opaque id of a source; its address stays in the sealed records."""
    return hashlib.sha256(uri.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def unscanned(
    scope: Scope, *, model_id: str, retry: sa.ColumnElement[bool], work: Work = "all"
) -> sa.ColumnElement[bool]:
    """Condition on ``items``: has to be fetched and embedded, because it has no result, or none by ``model_id`` (I4).

    ``retry``: the condition under which an item whose last try gave nothing is tried again.
    """
    waiting = sa.and_(items.c.status == "pending", items.c.shard_id.is_(None))
    other_model = sa.and_(items.c.model_id != model_id, _may_be_scanned())
    new = sa.or_(waiting, retry)
    other_model = sa.or_(other_model, has_earlier_header())
    wanted = {"new": new, "outdated": other_model, "all": sa.or_(new, other_model)}[work]
    return sa.and_(*scope.where(), wanted)


def outdated(*, model_id: str) -> sa.ColumnElement[bool]:
    """Condition on ``items``: has a result, of other models than ``model_id``, which stands until there is a new
    one."""
    other_model = sa.and_(items.c.model_id != model_id, items.c.content_sha256.is_not(None), _may_be_scanned())
    return sa.or_(other_model, has_earlier_header())


def is_read_by_earlier() -> sa.ColumnElement[bool]:
    """Condition on ``model_files``: read by a version of the reader that reads less."""
    return sa.or_(model_files.c.reader.is_(None), model_files.c.reader < READER)


def has_earlier_header() -> sa.ColumnElement[bool]:
    """Condition on ``items``: the content is a model file that an earlier version read. What it found stands
    meanwhile."""
    return items.c.content_sha256.in_(sa.select(model_files.c.content_sha256).where(is_read_by_earlier()))


def _may_be_scanned() -> sa.ColumnElement[bool]:
    """Condition on ``items``: other models may scan it. What is wrong with the bytes is wrong for every model."""
    return sa.or_(~items.c.status.like("unscannable:%"), items.c.status.in_(SCANNER_FAULTS))


def status_after_scan(model_id: str) -> sa.ColumnElement[str]:
    """Return the status after a scan. The same content embedded by new models stays ``hit`` or ``clean`` meanwhile."""
    new: sa.ColumnElement[str] = sa.bindparam("new_status", type_=sa.String)
    content = sa.bindparam("new_content_sha256", type_=sa.String)
    earlier = sa.or_(items.c.model_id != model_id, has_earlier_header())
    again = sa.and_(earlier, items.c.content_sha256 == content)
    return sa.case(
        (sa.and_(again, items.c.status == "hit"), "hit"),
        (sa.and_(again, items.c.status == "clean", new == "pending"), "clean"),
        else_=new,
    )


def count_outdated(connection: Connection, scope: Scope, *, model_id: str) -> int:
    """Live items in scope whose result is of other models."""
    other = sa.select(sa.true()).where(*scope.where(), items.c.model_id != model_id).limit(1)
    earlier = sa.select(sa.true()).select_from(model_files).where(is_read_by_earlier()).limit(1)
    if all(connection.execute(asked).first() is None for asked in (other, earlier)):
        return 0  # answered by indexes: the usual case, and asked often
    query = sa.select(sa.func.count()).select_from(items).where(*scope.where(), outdated(model_id=model_id))
    return int(connection.execute(query).scalar_one())


def count_unsettled(connection: Connection, scope: Scope) -> int:
    """Count live items in scope whose tries gave nothing so far and that will be tried again."""
    query = sa.select(sa.func.count()).select_from(items).where(*scope.where(), items.c.retry_at.is_not(None))
    return int(connection.execute(query).scalar_one())


def count_damaged(connection: Connection, scope: Scope) -> dict[str, int]:
    """Count live items in scope that were scanned although something of their file is odd: ``damaged:``, by the gravest
    damage of a picture; ``odd_header:``, by each thing that a model file's header should not have; and ``texts:``, by
    why what a picture says of its making could not be read, or not all of it."""
    query = sa.select(items.c.damage, sa.func.count()).where(*scope.where(), items.c.damage.is_not(None))
    rows = connection.execute(query.group_by(items.c.damage).order_by(items.c.damage))
    found = {f"damaged:{damage}": int(count) for damage, count in rows}
    of_item = items.join(model_files, model_files.c.content_sha256 == items.c.content_sha256)
    noted = sa.select(model_files.c.notes, sa.func.count()).select_from(of_item)
    noted = noted.where(*scope.where(), model_files.c.notes.is_not(None)).group_by(model_files.c.notes)
    odd: Counter[str] = Counter()
    for notes, count in connection.execute(noted):
        odd.update(dict.fromkeys((f"odd_header:{note}" for note in notes.split(",")), int(count)))
    of_picture = items.join(picture_texts, picture_texts.c.content_sha256 == items.c.content_sha256)
    cut = sa.select(picture_texts.c.status, sa.func.count()).select_from(of_picture)
    cut = cut.where(*scope.where(), picture_texts.c.status.like("unscannable:%")).group_by(picture_texts.c.status)
    texts = {f"texts:{status.partition(':')[2]}": int(count) for status, count in connection.execute(cut)}
    return found | dict(sorted(odd.items())) | dict(sorted(texts.items()))


@dataclass(frozen=True, slots=True)
class UnreadableCounts:
    """A number of live items, and how many of these should have been readable and were not, by reason."""

    items: int
    unreadable: int
    reasons: dict[str, int]


def count_unreadable(connection: Connection, scope: Scope) -> UnreadableCounts:
    """Count what could not be read, without what has no content, and without known formats that are never read."""
    columns = (items.c.status, items.c.format, sa.func.count())
    query = sa.select(*columns).where(*scope.where()).group_by(items.c.status, items.c.format)
    total, reasons = 0, Counter[str]()
    for status, kind, count in connection.execute(query):
        family, _, reason = str(status).partition(":")
        total += count
        never = reason == "no_content" or (reason == "format" and kind is not None)
        reasons[reason] += 0 if family != "unscannable" or never else int(count)
    found = {reason: count for reason, count in sorted(reasons.items()) if count}
    return UnreadableCounts(items=int(total), unreadable=sum(found.values()), reasons=found)


def count_statuses(connection: Connection, scope: Scope) -> dict[str, int]:
    """Live items in scope by status."""
    query = sa.select(items.c.status, sa.func.count()).where(*scope.where()).group_by(items.c.status)
    return {str(status): int(count) for status, count in connection.execute(query.order_by(items.c.status))}


def scanner_faults(statuses: Mapping[str, int]) -> int:
    """Count the items that are unscannable by a fault that may be the scanner's."""
    return sum(statuses.get(status, 0) for status in SCANNER_FAULTS)


def judge_anew(tx: Connection, contents: Collection[str]) -> None:
    """Have the hits of items with these contents judged again, because the contents' ratings have changed."""
    having = sa.select(items.c.item_id).where(items.c.content_sha256.in_(contents), items.c.status == "hit")
    tx.execute(sa.update(hits).where(hits.c.item_id.in_(having)).values(judged_at=None))


def item_values(sealer: Sealer, item: Item, item_id: str, source_uri: str, digest: str) -> dict[str, Any]:
    """Return the columns of ``items`` that follow from a listed item."""
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
        "content_digest": digest_of([item.locator, item.revision, item.received_at.isoformat(), item.kind]),
        "text_digest": text_digest(sealer, item),
        "platform_level": platform_level(item.nsfw_level),
        "sealed_record": sealer.seal_record({"source": source_uri, "item": item.to_record()}, item_id),
    }


def text_digest(sealer: Sealer, item: Item) -> str | None:
    """Return a MAC of the item's texts, which a change of them changes; short texts could be guessed from a digest.

    The name of the file is part of it only where it is the only text: it changes with the content, and an item with a
    changed content is searched again, while what was decided of its texts stands.
    """
    texts = [item.title, item.prompt, item.tags, item.trigger_words]
    if any(texts):
        return sealer.text_mac(json.dumps(texts))
    name = file_name(item)
    return sealer.text_mac(json.dumps([FILE_NAME, name])) if name else None


def unscanned_values() -> dict[str, Any]:
    """Return the columns of an item whose content has to be scanned."""
    return {"status": "pending", "content_sha256": None, "shard_id": None, "model_id": None, "faces": None}


def digest_of(values: object) -> str:
    """Return a digest that changes whenever any of ``values`` changes."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
