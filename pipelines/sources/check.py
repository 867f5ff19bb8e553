"""Checks a source's listing beforehand: what would be lost, what misread, what is out of order.

Reads the listing as a sweep does and enters nothing. Rows are named by their numbers; their content is not repeated
(I8).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from pipelines.sources.item import Item, ItemSource
from pipelines.sources.moments import is_plausible
from pipelines.sources.rows import BROKEN

_LOOKED_AT: Final = 10_000
_DELETION: Final = re.compile(r"delet|remov|withdrawn|taken_?down", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Rows:
    """A count of rows, and the numbers of the first of them."""

    count: int
    rows: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SourceReport:
    """How a listing is read. ``sound``: nothing of it is lost or misread.

    ``dates``: rows by the form of ``received_at``; ``file``: the file's own time was taken. ``adapted``: fields that
    are read from another form than the documented one, which loses nothing. ``updated_at``: rows that have it;
    ``generation``: rows for which the listing says when it was made; ``unordered``: rows with neither, for which an
    older listing cannot be told from a newer one; ``deletions_unordered``: deletions among these.
    ``repeated_in_order``: further rows of an id, of which the newest counts. ``unread``: fields in the first rows that
    nothing reads; one that sounds like a deletion is wrong. ``wrong``: what is lost or misread, by name.
    """

    sound: bool
    rows: int
    kinds: Mapping[str, int]
    dates: Mapping[str, int]
    deletions: int
    text_only: int
    adapted: Mapping[str, int]
    updated_at: int
    generation: int
    unordered: int
    deletions_unordered: int
    repeated_in_order: int
    unread: Mapping[str, int]
    wrong: Mapping[str, Rows]


class _Wrong:
    """Row numbers by what is wrong with the rows, the first ``most`` of each."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._counts: Counter[str] = Counter()
        self._rows: dict[str, list[int]] = {}

    def add(self, what: str, row: int) -> None:
        self._counts[what] += 1
        if len(rows := self._rows.setdefault(what, [])) < self._most:
            rows.append(row)

    def all(self) -> dict[str, Rows]:
        return {what: Rows(count, tuple(self._rows[what])) for what, count in sorted(self._counts.items())}


def check_source(source: ItemSource, *, most: int) -> SourceReport:
    """Read the whole listing and report on it. ``most``: row numbers named for each kind of mistake.

    Raises :class:`CorruptionError` where the listing cannot be read to its end, as a sweep would.
    """
    counts: dict[str, Counter[str]] = {name: Counter() for name in ("kinds", "dates", "adapted", "totals")}
    wrong, seen = _Wrong(most), set[int]()
    for number, item in enumerate(source.items(None), start=1):
        row = item.listed.row or number
        counts["kinds"][item.kind] += 1
        counts["dates"][item.listed.date_form] += 1
        counts["adapted"].update(item.listed.adapted)
        counts["totals"].update(_totals(item))
        counts["totals"]["repeated_in_order"] += hash(item.item_id) in seen and item.problem != "duplicate_id"
        seen.add(hash(item.item_id))
        for what in _mistakes(item, source):
            wrong.add(what, row)
    unread = source.other_fields(most=_LOOKED_AT)
    found = wrong.all() | {f"unread field {name}": Rows(unread[name], ()) for name in unread if _DELETION.search(name)}
    totals = counts["totals"]
    return SourceReport(
        sound=not found,
        rows=totals["rows"],
        kinds=dict(sorted(counts["kinds"].items())),
        dates=dict(sorted(counts["dates"].items())),
        deletions=totals["deletions"],
        text_only=totals["text_only"],
        adapted=dict(sorted(counts["adapted"].items())),
        updated_at=totals["updated_at"],
        generation=totals["generation"],
        unordered=totals["unordered"],
        deletions_unordered=totals["deletions_unordered"],
        repeated_in_order=totals["repeated_in_order"],
        unread=unread,
        wrong=found,
    )


def _totals(item: Item) -> Iterator[str]:
    told = item.listed
    yield "rows"
    ordered = told.updated_at is not None or told.generation is not None
    for name, holds in (
        ("deletions", item.deleted),
        ("text_only", not item.has_content and not item.deleted and item.problem != "row_invalid"),
        ("updated_at", told.updated_at is not None),
        ("generation", told.generation is not None),
        ("unordered", not ordered),
        ("deletions_unordered", not ordered and item.deleted),
    ):
        if holds:
            yield name


def _mistakes(item: Item, source: ItemSource) -> Iterator[str]:
    """Yield what of a row would be lost or misread, by name."""
    told = item.listed
    unreadable = "object" in told.bad
    if unreadable:
        yield "unreadable row"
    elif BROKEN in told.bad:
        yield "row read in part"
    yield from (f"field {name}" for name in sorted(set(told.bad) - {"object", BROKEN}) if not unreadable)
    if told.date_form == "missing" and not unreadable and not item.deleted:
        yield "no received_at"
    if told.dated and not is_plausible(item.received_at):
        yield "implausible received_at"
    if item.problem == "duplicate_id":
        yield "repeated id"
    if item.problem == "row_invalid" and not item.has_content and not item.deleted and not unreadable:
        yield "no content"
    if not item.deleted and (reason := source.trouble(item)) is not None:
        yield f"content {reason}"
