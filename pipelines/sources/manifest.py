"""A manifest as a source: one row per item, as a platform's warehouse exports it (JSON Lines or Parquet).

Owns what a row means and where its content is. A bad row is still an item, so that it is counted and never lost; a
manifest that cannot be read to its end raises :class:`CorruptionError`, because a short listing would pass for a
complete one (I1, I7).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Container, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from embeddings.errors import ConfigError, CorruptionError, FetchError
from pipelines.sources.contained import path_text, read_file, reading_file, trouble_with
from pipelines.sources.item import Item, Kind, Listed
from pipelines.sources.metadata import MAX_LOCATOR, UNREADABLE_OBJECT, Reader, default_kind, read_generation
from pipelines.sources.reading import Reading
from pipelines.sources.rows import Row, other_fields, read_json_lines
from pipelines.sources.values import MAX_ID, Value, is_storable

if TYPE_CHECKING:
    from pipelines.sources.download import Downloader

_JSON_LINES = (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz")
_PARQUET = (".parquet",)
_WITHOUT_CONTENT = ("bounty", "bounty_entry")


class ManifestSource:
    """The items of one manifest file. Safe to use from several threads.

    Paths are relative to the manifest's folder and lead nowhere else; URLs go through :class:`Downloader`.
    """

    def __init__(
        self, uri: str, manifest: Path, downloader: Downloader, reader: Reader, *, to_list: bool = True
    ) -> None:
        self._uri = uri
        self._reader = reader
        self._manifest = manifest
        if not manifest.name.lower().endswith((*_JSON_LINES, *_PARQUET)):
            raise ConfigError(f"the manifest of {uri!r} must end in one of {', '.join((*_JSON_LINES, *_PARQUET))}")
        if to_list and not manifest.is_file():
            raise ConfigError(f"the manifest of {uri!r} does not exist or is not a file")
        self._root = os.path.realpath(os.fsencode(manifest.parent))
        self._label = path_text(os.fsencode(manifest.name))
        self._is_parquet = manifest.name.lower().endswith(_PARQUET)
        self._downloader = downloader

    @property
    def uri(self) -> str:
        """The URI that the source was opened with."""
        return self._uri

    def items(self, day: date | None) -> Iterator[Item]:
        """Yield one item per row, in the order of the file.

        A row without a usable ``received_at`` is yielded for every ``day``, with the manifest's own time in its place,
        so that sweeps by day cannot miss it. A second row of one id gets the row number added to its id, unless both
        say when they were true, or it says that the item was deleted.
        """
        from pipelines.sources.rows import read_parquet

        try:
            written = datetime.fromtimestamp(self._manifest.stat().st_mtime, UTC)
        except (OSError, OverflowError, ValueError):
            raise CorruptionError(f"the manifest of {self._uri!r} is gone or cannot be read") from None
        rows = read_parquet if self._is_parquet else read_json_lines
        generation = self.generation()
        wrong = ("generation",) if generation.how == "bad" else ()
        seen: dict[str, bool] = {}
        for number, row in enumerate(rows(self._manifest)):
            if number == 0 and header_generation(row) is not None:
                continue
            if wrong:
                row, wrong = replace(row, bad=(*row.bad, *wrong)), ()  # reported once
            item = self._item(row, written, generation, seen)
            seen[item.item_id] = seen.get(item.item_id, True) and item.listed.updated_at is not None
            if day is None or not item.listed.dated or item.received_at.date() == day:
                yield item

    def generation(self) -> Value[int | None]:
        """When the manifest says that it was made: in its first line, or in the metadata of a Parquet file.

        Raises :class:`CorruptionError` for a file that cannot be read.
        """
        from pipelines.sources.rows import parquet_generation

        if self._is_parquet:
            return read_generation(parquet_generation(self._manifest))
        first = next(read_json_lines(self._manifest), None)
        return (first and header_generation(first)) or Value(None, "missing")

    def other_fields(self, *, most: int) -> dict[str, int]:
        """Count the fields in the first ``most`` rows that nothing reads."""
        return other_fields(self._manifest, parquet=self._is_parquet, most=most)

    def digest(self) -> str | None:
        """Return the SHA-256 of the file."""
        try:
            with self._manifest.open("rb") as stream:
                return hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError:
            raise CorruptionError(f"the manifest of {self._uri!r} is gone or cannot be read") from None

    def trouble(self, item: Item) -> str | None:
        """Return what is wrong with the file or the URL, or None."""
        if not item.has_content:
            return None
        if "://" in item.locator:
            return self._downloader.trouble(item.locator)
        return trouble_with(self._root, _path(item.locator))

    def fetch(self, item: Item, *, max_bytes: int) -> bytes:
        """Fetch the content behind the row's path or URL.

        An item without a locator raises :class:`FetchError` ``row_invalid`` or ``missing``.
        """
        locator = _located(item)
        if "://" in locator:
            return self._downloader.fetch(locator, max_bytes=max_bytes)
        return read_file(self._root, _path(locator), max_bytes=max_bytes)

    def open(self, item: Item, *, whole: bool) -> AbstractContextManager[Reading]:
        """Open the content behind the row's path or URL to be read piece by piece."""
        locator = _located(item)
        if "://" in locator:
            return self._downloader.open(locator, whole=whole)
        return reading_file(self._root, _path(locator))

    def _item(self, row: Row, written: datetime, generation: Value[int | None], seen: Mapping[str, bool]) -> Item:
        """Make the item of a row. ``seen``: the ids so far, each with whether all its rows said when they were true."""
        fields = row.fields
        metadata = UNREADABLE_OBJECT if fields is None else self._reader.read(fields, bad=row.bad)
        locator, located = _locator(fields or {})
        kind: Kind = metadata.kind or default_kind(locator)
        content = locator != "" or metadata.deleted or kind in _WITHOUT_CONTENT
        bad = [*metadata.bad, *located, *(["id"] if metadata.item_id is None and "id" not in metadata.bad else [])]
        problem = "bad_field" if bad else None
        if not content or metadata.item_id is None:
            problem = "row_invalid"
        item_id = metadata.item_id or f"row-{row.number}@{self._label}"[:MAX_ID]
        ordered = seen.get(item_id, False) and metadata.updated_at is not None
        if item_id in seen and (metadata.item_id is None or not (metadata.deleted or ordered)):
            problem = problem or "duplicate_id"
            item_id = _free_id(item_id, row.number, seen)
        return Item(
            item_id=item_id,
            kind=kind,
            received_at=metadata.received_at or written,
            locator=locator,
            parent_model=metadata.parent_model,
            uploader=metadata.uploader,
            title=metadata.title,
            prompt=metadata.prompt,
            tags=metadata.tags,
            trigger_words=metadata.trigger_words,
            nsfw_level=metadata.nsfw_level,
            revision=metadata.revision,
            deleted=metadata.deleted,
            problem=problem,
            listed=Listed(
                updated_at=metadata.updated_at,
                generation=metadata.generation if metadata.generation is not None else generation.read,
                undeleted=metadata.undeleted,
                dated=metadata.received_at is not None,
                date_form=metadata.date_form,
                bad=(*bad, *metadata.damaged),
                adapted=metadata.adapted,
                row=row.number,
            ),
        )


def header_generation(row: Row) -> Value[int | None] | None:
    """Return the ``generation`` of a first line that has nothing else; None for a row of an item."""
    if row.fields is None or set(row.fields) != {"generation"} or row.bad:
        return None
    return read_generation(row.fields["generation"])


def _located(item: Item) -> str:
    if not item.locator:
        raise FetchError("row_invalid" if item.problem == "row_invalid" else "missing")
    return item.locator


def _path(locator: str) -> bytes:
    return locator.encode("utf-8", "surrogatepass")


def _locator(fields: Mapping[str, object]) -> tuple[str, tuple[str, ...]]:
    """Return the row's path, else its URL, and the unusable ones by name. A path with ``://`` is never opened."""
    bad: list[str] = []
    for name in ("path", "url"):
        value = fields.get(name)
        if value is None or value == "":
            continue
        sound = isinstance(value, str) and len(value) <= MAX_LOCATOR and is_storable(value)
        if isinstance(value, str) and sound and ("://" in value) == (name == "url"):
            return value, tuple(bad)
        bad.append(name)
    return "", tuple(bad)


def _free_id(item_id: str, number: int, seen: Container[str]) -> str:
    candidate = f"{item_id[: MAX_ID - 64]}#row-{number}"
    while candidate in seen:
        candidate += "+"
    return candidate
