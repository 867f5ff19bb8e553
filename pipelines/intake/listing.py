"""Enters what a source lists into the ledger: the newest known state of each item, in whatever order listings come.

A listing may be older than the ledger: yesterday's export listed again, a folder put back from a backup. So each row is
compared with the ledger (:func:`weigh`) by the age that it states, ``updated_at`` and the listing's ``generation``.
Where neither tells, a deletion stands until a row undoes it by name, and an earlier state comes back only where no hit
is lost by it. Rows passed over are counted and change nothing. docs/sources.md has the rules as a table.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from pipelines.database.parts import parts
from pipelines.database.tables import examined, hits, items, manifests, superseded
from pipelines.home.sealing import Sealer
from pipelines.intake.ledger import digest_of, item_values, source_id, unscanned_values
from pipelines.intake.renamed import drop_renamed
from pipelines.sources import Item, Listed
from pipelines.sources.metadata import REVISION_FIELDS
from pipelines.sources.rows import BROKEN
from pipelines.takedown.outbox import cancel_unsent

PassedOver = Literal["older", "deletion_stands", "repeated"]
"""Why a row changes nothing: it is older than the ledger; it does not say that it undoes a deletion; or it is an
earlier state of the item, and nothing says that the state came back."""
_IN_PART: Final = frozenset({BROKEN, "object"})
"""Bad fields which mean that more of the row, or of the side-car, may be missing."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_KNOWN: Final = [
    items.c[name]
    for name in (
        *("item_id", "source_id", "source_digest", "content_digest", "live", "parent_model", "status"),
        *("received_at", "updated_at", "generation", "deleted_at"),
    )
]


@dataclass(frozen=True, slots=True)
class ListedCounts:
    """How many rows listing a source entered, passed over, and could not read.

    ``older``, ``deletion_stands``, ``repeated``: rows passed over (:data:`PassedOver`). ``undated``: rows that are no
    deletions and have no readable date. ``bad_rows``: rows with an unreadable field; ``bad_fields``: how many by field.
    """

    listed: int = 0
    new: int = 0
    changed: int = 0
    deleted: int = 0
    older: int = 0
    deletion_stands: int = 0
    repeated: int = 0
    undated: int = 0
    bad_rows: int = 0
    bad_fields: Mapping[str, int] = field(default_factory=dict)

    def __add__(self, other: ListedCounts) -> ListedCounts:
        names = [one.name for one in fields(self) if one.name != "bad_fields"]
        both = {name: getattr(self, name) + getattr(other, name) for name in names}
        wrong = sorted({*self.bad_fields, *other.bad_fields})
        added = {name: self.bad_fields.get(name, 0) + other.bad_fields.get(name, 0) for name in wrong}
        return ListedCounts(**both, bad_fields=added)

    @property
    def passed_over(self) -> dict[str, int]:
        """Rows that were passed over, by reason."""
        return {"older": self.older, "deletion_stands": self.deletion_stands, "repeated": self.repeated}


def was_listed(connection: Connection, digest: str | None) -> bool:
    """Whether this very manifest was listed to its end before."""
    query = sa.select(manifests.c.digest).where(manifests.c.digest == digest)
    return digest is not None and connection.execute(query).first() is not None


def remember_listed(tx: Connection, digest: str | None, *, now: datetime) -> None:
    """Note that this manifest was listed to its end."""
    if digest is not None and not was_listed(tx, digest):
        tx.execute(sa.insert(manifests).values(digest=digest, listed_at=now))


def record_listing(
    tx: Connection, sealer: Sealer, listed: Sequence[Item], *, source_uri: str, now: datetime, again: bool = False
) -> ListedCounts:
    """Enter listed items: new ones as ``pending``, changed ones back to ``pending``, deleted ones as not live.

    ``again``: the same listing was entered before, so that an earlier state of an item is no news in it. A path is an
    id only within its folder: where another source has it already, the item is entered as ``<path>@<source id>``.
    Takedowns of content that is gone are cancelled if they were never sent.
    """
    counts = _count_reading(listed)
    for named in _rounds(_named(tx, listed, source_uri)):
        counts += _Entry(tx, sealer, source_uri, now, again).enter(named)
    return counts


def weigh(item: Item, known: Any, *, left_behind: bool, again: bool) -> PassedOver | None:
    """Return why a listed item that differs from its ledger row changes nothing; None if it is to be entered.

    ``left_behind``: the item was in the listed state before. Where ``updated_at`` or ``generation`` tells which is
    newer, it alone decides.
    """
    told = item.listed
    by_time, by_generation = _ages(told, known)
    if -1 in (by_time, by_generation):
        return "older"
    if item.deleted:
        return None
    if not known.live:
        # A row with the very time of the deletion may be from before it, and undoes nothing.
        undone = told.undeleted and not (by_time == 0 and left_behind and again)
        return None if undone or _is_after_deletion(told, known, by_time, by_generation) else "deletion_stands"
    if 1 in (by_time, by_generation) or not left_behind:
        return None
    # Nobody can tell whether the earlier state came back, and a state that shows somebody, or may, is not given up.
    return "repeated" if again or known.status in ("hit", "pending") else None


def _is_after_deletion(told: Listed, known: Any, by_time: int | None, by_generation: int | None) -> bool:
    """Whether a live row is newer than the deletion. A row without a time is no newer than its listing."""
    if by_generation == 1 or (known.deleted_at is None and by_time == 1):
        return True
    moment = told.updated_at or (_EPOCH + timedelta(microseconds=told.generation) if told.generation else None)
    return known.deleted_at is not None and moment is not None and moment > known.deleted_at


def _ages(told: Listed, known: Any) -> tuple[int | None, int | None]:
    """Compare a row with the ledger by ``updated_at`` and by ``generation``: -1 older, 1 newer, 0 equal, None
    unknown."""
    return _compare(told.updated_at, known.updated_at), _compare(told.generation, known.generation)


def _compare(one: Any, other: Any) -> int | None:
    return None if one is None or other is None else (one > other) - (one < other)


def _count_reading(listed: Sequence[Item]) -> ListedCounts:
    wrong: dict[str, int] = {}
    for name in (name for item in listed for name in set(item.listed.bad)):
        wrong[name] = wrong.get(name, 0) + 1
    return ListedCounts(
        listed=len(listed),
        undated=sum(not (item.listed.dated or item.deleted) for item in listed),
        bad_rows=sum(bool(item.listed.bad) for item in listed),
        bad_fields=dict(sorted(wrong.items())),
    )


def _named(tx: Connection, listed: Sequence[Item], source_uri: str) -> list[tuple[str, Item]]:
    """Pair items with their ids in the ledger."""
    here = source_id(source_uri)
    paths = [item.item_id for item in listed if item.item_id == item.locator and source_uri.startswith("directory:")]
    elsewhere = set(
        tx.execute(sa.select(items.c.item_id).where(items.c.item_id.in_(paths), items.c.source_id != here)).scalars()
    )
    return [(f"{item.item_id}@{here}" if item.item_id in elsewhere else item.item_id, item) for item in listed]


def _rounds(named: Sequence[tuple[str, Item]]) -> list[dict[str, Item]]:
    """Split named items, in order, into parts in which no id occurs twice."""
    rounds: list[dict[str, Item]] = []
    times: dict[str, int] = {}
    for item_id, item in named:
        number = times[item_id] = times.get(item_id, -1) + 1
        if number == len(rounds):
            rounds.append({})
        rounds[number][item_id] = item
    return rounds


class _Entry:
    """The entering of items with distinct ids, in one transaction."""

    def __init__(self, tx: Connection, sealer: Sealer, source_uri: str, now: datetime, again: bool) -> None:
        self._tx, self._sealer, self._now, self._again = tx, sealer, now, again
        self._source_uri, self._source_id = source_uri, source_id(source_uri)
        self._counts: Counter[str] = Counter()
        self._models = set[str]()
        """Models of which something has changed."""
        self._behind = list[dict[str, Any]]()
        """States that items leave."""
        self._confirmed = dict[tuple[datetime | None, int | None], list[str]]()
        """By newest age that is known: items listed as they are known to be."""

    def enter(self, named: Mapping[str, Item]) -> ListedCounts:
        """Enter items by id, and count what that changed and what was passed over."""
        found = self._tx.execute(sa.select(*_KNOWN).where(items.c.item_id.in_(list(named))))
        rows = {row.item_id: row for row in found}
        digests = {item_id: _digest(item) for item_id, item in named.items()}
        left = self._left_behind([item_id for item_id, row in rows.items() if row.source_digest != digests[item_id]])
        for item_id, item in named.items():
            row, digest = rows.get(item_id), digests[item_id]
            if row is None:
                self._insert(item_id, item, digest)
            elif row.source_digest == digest:
                self._confirm(item_id, item, digest, row)
            elif reason := weigh(item, row, left_behind=digest in left.get(item_id, ()), again=self._again):
                self._counts[reason] += 1
            else:
                if row.source_digest not in left.get(item_id, ()):
                    state = {"item_id": item_id, "source_digest": row.source_digest}
                    self._behind.append({**state, "left_at": self._now})
                self._update(item_id, item, digest, row)
        self._finish()
        names = ("new", "changed", "deleted", "older", "deletion_stands", "repeated")
        new, changed, deleted, older, stands, repeated = (self._counts[name] for name in names)
        return ListedCounts(0, new, changed, deleted, older, stands, repeated)

    def _finish(self) -> None:
        if self._behind:
            self._tx.execute(sa.insert(superseded), self._behind)
        for (updated_at, generation), ids in self._confirmed.items():
            for part in parts(ids):
                newest = sa.update(items).where(items.c.item_id.in_(part))
                self._tx.execute(newest.values(updated_at=updated_at, generation=generation))
        _judge_models_anew(self._tx, self._models)

    def _confirm(self, item_id: str, item: Item, digest: str, row: Any) -> None:
        """Note an item listed as it is known, perhaps by a newer listing or another source."""
        if -1 in _ages(item.listed, row):
            return
        if row.source_id != self._source_id:
            self._update(item_id, item, digest, row)
        elif (marks := _marks(item.listed, row)) != (row.updated_at, row.generation):
            self._confirmed.setdefault(marks, []).append(item_id)

    def _left_behind(self, item_ids: Sequence[str]) -> dict[str, frozenset[str]]:
        """Return, by item, the digests of the states that it was in before."""
        found: dict[str, set[str]] = {}
        for part in parts(item_ids):
            query = sa.select(superseded.c.item_id, superseded.c.source_digest).where(superseded.c.item_id.in_(part))
            for row in self._tx.execute(query):
                found.setdefault(row.item_id, set()).add(row.source_digest)
        return {item_id: frozenset(digests) for item_id, digests in found.items()}

    def _insert(self, item_id: str, item: Item, digest: str) -> None:
        now, told = self._now, item.listed
        dated = item if told.dated else replace(item, received_at=now.astimezone(UTC))
        values = item_values(self._sealer, dated, item_id, self._source_uri, digest)
        values |= {"updated_at": told.updated_at, "generation": told.generation}
        values["deleted_at"] = now if item.deleted and told.updated_at is None else None
        self._counts.update({"new": 1, "deleted": int(item.deleted)})
        if item.kind != "image":
            self._models.add(item_id)  # the model's uploader was unknown until now
        self._tx.execute(
            sa.insert(items).values(
                item_id=item_id, attempts=0, first_seen=now, live_since=now, **values, **unscanned_values()
            )
        )

    def _update(self, item_id: str, item: Item, digest: str, row: Any) -> None:
        """Enter a change. Only what may have changed the content costs a new scan; a new parent a new judgement."""
        tx, now = self._tx, self._now
        self._counts.update({"changed": 1, "deleted": int(item.deleted and row.live)})
        if row.live or item.kind != "image":
            self._models.add(row.parent_model or item_id)
        item = self._filled(item_id, item)
        dated = item if item.listed.dated else replace(item, received_at=row.received_at)
        values = item_values(self._sealer, dated, item_id, self._source_uri, digest)
        values["updated_at"], values["generation"] = _marks(item.listed, row)
        if item.deleted and row.live:
            # A row is newer than a deletion without a time if it is newer than the deletion's listing.
            values["deleted_at"] = now if item.listed.updated_at is None else None
            values["generation"] = item.listed.generation
        elif not (item.deleted or row.live):
            values["deleted_at"], values["live_since"] = None, now
        changed = values["content_digest"] != row.content_digest or self._is_elsewhere(item_id, item, row)
        if changed or item.deleted != (not row.live):
            # A changed item gets all its attempts again: earlier ones were at other content.
            values = values | unscanned_values() | {"attempts": 0, "retry_at": None}
            # Its file may be called otherwise, although its texts and bytes are the same.
            tx.execute(sa.delete(examined).where(examined.c.item_id == item_id))
            drop_renamed(tx, item, item_id, known=lambda: Item.from_record(self._known(item_id)["item"]), now=self._now)
            cancel_unsent(tx, item_id=item_id, now=now)
        tx.execute(sa.update(items).where(items.c.item_id == item_id).values(**values))
        tx.execute(sa.update(hits).where(hits.c.item_id == item_id).values(judged_at=None))

    def _is_elsewhere(self, item_id: str, item: Item, row: Any) -> bool:
        """Whether the same relative path leads to a file in another folder, which nothing shows to be the same item."""
        if row.source_id == self._source_id or item.revision is not None or not item.has_content:
            return False
        if item.remote or item.locator.startswith("/"):
            return False
        return _folder(self._known(item_id)["source"]) != _folder(self._source_uri)

    def _known(self, item_id: str) -> dict[str, Any]:
        """Open the item's stored record."""
        sealed = self._tx.execute(sa.select(items.c.sealed_record).where(items.c.item_id == item_id)).scalar_one()
        return self._sealer.unseal_record(sealed, item_id)

    def _filled(self, item_id: str, item: Item) -> Item:
        """Fill fields that could not be read this time with what was known before."""
        if not item.listed.bad:
            return item
        record = self._known(item_id)
        known, bad = Item.from_record(record["item"]), set(item.listed.bad)
        if bad & set(REVISION_FIELDS):
            bad.add("revision")
        names = ["parent_model", "uploader", "title", "prompt", "tags", "trigger_words", "nsfw_level", "revision"]
        if not bad & _IN_PART:
            names = [name for name in names if name in bad]
        kept = {name: getattr(known, name) for name in names if not getattr(item, name)}
        if "kind" in bad:
            kept["kind"] = known.kind
        lost = bad & {"path", "url", *_IN_PART} and not item.has_content and not item.deleted
        if lost and known.has_content and record["source"] == self._source_uri:
            kept |= {"locator": known.locator, "problem": "bad_field", "kind": known.kind}
        return replace(item, **kept)


def _folder(uri: str) -> str:
    return uri.partition(":")[2].rpartition("/")[0]


def _digest(item: Item) -> str:
    """Return a digest of all that is listed of an item; a date that stands in for a missing one is left out."""
    return digest_of(item.to_record() | ({} if item.listed.dated else {"received_at": None}))


def _marks(told: Listed, row: Any) -> tuple[datetime | None, int | None]:
    """Return the newest known ``updated_at`` and ``generation`` of an item."""
    times = [moment for moment in (told.updated_at, row.updated_at) if moment is not None]
    numbers = [number for number in (told.generation, row.generation) if number is not None]
    return max(times, default=None), max(numbers, default=None)


def _judge_models_anew(tx: Connection, models: Collection[str]) -> None:
    """Have the hits of these models judged again, because one of their items has gone or changed: shares and
    corroboration of the others are different, and perhaps the known owner."""
    of_models = sa.or_(items.c.parent_model.in_(models), items.c.item_id.in_(models))
    rest = sa.select(items.c.item_id).where(of_models, items.c.live)
    again = sa.and_(hits.c.item_id.in_(rest), hits.c.judged_at.is_not(None))
    if models:
        tx.execute(sa.update(hits).where(again).values(judged_at=None))
