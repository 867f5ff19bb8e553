"""A manifest as a source: one row per item, as a platform's warehouse exports it (JSON Lines or Parquet).

Owns what a row means and where its content is. A bad row is still an item, so that it is counted and never lost; a
manifest that cannot be read to its end raises :class:`CorruptionError`, because a short listing would pass for a
complete one (I1, I7).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from datetime import UTC, date, datetime
from pathlib import Path

from embeddings.errors import ConfigError, CorruptionError, FetchError
from pipelines.sources.contained import path_text, read_file, reading_file
from pipelines.sources.item import FetchSettings, Item, Kind
from pipelines.sources.metadata import MAX_ID, MAX_LOCATOR, UNREADABLE, default_kind, is_storable, read_metadata
from pipelines.sources.reading import Reading
from pipelines.sources.rows import Row, read_json_lines

_JSON_LINES = (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz")
_PARQUET = (".parquet",)
_WITHOUT_CONTENT = ("bounty", "bounty_entry")


class ManifestSource:
    """The items of one manifest file. Safe to use from several threads.

    Paths are relative to the manifest's folder and lead nowhere else; URLs go through :class:`Downloader`.
    """

    def __init__(self, uri: str, manifest: Path, settings: FetchSettings, *, to_list: bool = True) -> None:
        from pipelines.sources.download import Downloader

        self._uri = uri
        self._manifest = manifest
        if not manifest.name.lower().endswith((*_JSON_LINES, *_PARQUET)):
            raise ConfigError(f"the manifest of {uri!r} must end in one of {', '.join((*_JSON_LINES, *_PARQUET))}")
        if to_list and not manifest.is_file():
            raise ConfigError(f"the manifest of {uri!r} does not exist or is not a file")
        self._root = os.path.realpath(os.fsencode(manifest.parent))
        self._label = path_text(os.fsencode(manifest.name))
        self._downloader = Downloader(settings)

    @property
    def uri(self) -> str:
        """What the source was opened with."""
        return self._uri

    def items(self, day: date | None) -> Iterator[Item]:
        """One item per row, in the order of the file. See :class:`ItemSource`.

        A row without a usable ``received_at`` belongs to no day; it is yielded for every ``day``, with the manifest's
        own time, so that sweeps by day cannot miss it. A second row of one id gets the row number added
        to its id, unless it says that the item was deleted: that is then true of the first.
        """
        from pipelines.sources.rows import read_parquet

        try:
            written = datetime.fromtimestamp(self._manifest.stat().st_mtime, UTC)
        except OSError:
            raise CorruptionError(f"the manifest of {self._uri!r} is gone or cannot be read") from None
        rows = read_parquet if self._manifest.name.lower().endswith(_PARQUET) else read_json_lines
        seen: set[str] = set()
        for row in rows(self._manifest):
            item, dated = self._item(row, written, seen)
            seen.add(item.item_id)
            if day is None or not dated or item.received_at.date() == day:
                yield item

    def fetch(self, item: Item, *, max_bytes: int) -> bytes:
        """The content behind the row's path or URL. See :class:`ItemSource`.

        An item without a locator raises :class:`FetchError` ``row_invalid`` or ``missing``.
        """
        locator = _located(item)
        if "://" in locator:
            return self._downloader.fetch(locator, max_bytes=max_bytes)
        return read_file(self._root, _path(locator), max_bytes=max_bytes)

    def open(self, item: Item, *, whole: bool) -> AbstractContextManager[Reading]:
        """The same, to be read piece by piece. See :class:`ItemSource`."""
        locator = _located(item)
        if "://" in locator:
            return self._downloader.open(locator, whole=whole)
        return reading_file(self._root, _path(locator))

    def _item(self, row: Row, written: datetime, seen: set[str]) -> tuple[Item, bool]:
        """The item of a row, and whether the row said when it was received."""
        metadata = UNREADABLE if row.fields is None else read_metadata(row.fields)
        locator, located = _locator(row.fields or {})
        kind: Kind = metadata.kind or default_kind(locator)
        content = locator != "" or metadata.deleted or kind in _WITHOUT_CONTENT
        sound = metadata.valid and located and content and metadata.item_id is not None
        problem = None if sound and metadata.received_at is not None else "row_invalid"
        item_id = metadata.item_id or f"row-{row.number}@{self._label}"[:MAX_ID]
        if item_id in seen and not (metadata.deleted and problem is None):  # a later row may delete an earlier one's
            problem = problem or "duplicate_id"
            item_id = _free_id(item_id, row.number, seen)
        item = Item(
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
        )
        return item, metadata.received_at is not None


def _located(item: Item) -> str:
    if not item.locator:
        raise FetchError("row_invalid" if item.problem == "row_invalid" else "missing")
    return item.locator


def _path(locator: str) -> bytes:
    return locator.encode("utf-8", "surrogatepass")


def _locator(fields: Mapping[str, object]) -> tuple[str, bool]:
    """The row's path, else its URL, and whether what was given is usable. A path with ``://`` is never opened."""
    given = [fields.get(name) for name in ("path", "url")]
    path, url = (None if value == "" else value for value in given)
    value = url if path is None else path
    if value is None:
        return "", True
    if not isinstance(value, str) or len(value) > MAX_LOCATOR or not is_storable(value):
        return "", False
    if ("://" in value) != (path is None):
        return "", False
    return value, True


def _free_id(item_id: str, number: int, seen: set[str]) -> str:
    candidate = f"{item_id[: MAX_ID - 64]}#row-{number}"
    while candidate in seen:
        candidate += "+"
    return candidate
