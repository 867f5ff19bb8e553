"""Sources of items: folders of files and manifests exported by a platform's warehouse.

::

    open_source(uri) ──> ItemSource ── items(day) ──> Item ──> ledger (to_record / from_record)
                              └─────── fetch(item) ──> bytes

A source lists everything and judges nothing: whatever is malformed is yielded with a ``problem`` word and counted by
the pipeline (I1). All that comes out of a source is untrusted (I9). Sources know no database and no model.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from embeddings.errors import ConfigError
from pipelines.exchange.limits import HeadLimits
from pipelines.sources.directory import DirectorySource
from pipelines.sources.item import KINDS, FetchSettings, Item, ItemSource, Kind, Listed
from pipelines.sources.manifest import ManifestSource
from pipelines.sources.metadata import Reader
from pipelines.sources.values import kind_key

__all__ = ["KINDS", "FetchSettings", "Item", "ItemSource", "Kind", "Listed", "open_source"]


def open_source(
    uri: str,
    *,
    settings: FetchSettings,
    head: HeadLimits | None = None,
    kinds: Mapping[str, Kind] | None = None,
    to_list: bool = True,
) -> ItemSource:
    """Return the source that ``uri`` names: ``directory:PATH`` or ``manifest:PATH`` (.jsonl, .ndjson, .gz, .parquet).

    ``head``: how large the head of a server's answer may be; ``kinds``: a platform's own names for kinds, needed for
    listing alone. ``to_list``: whether its items are to be
    listed; what they hold can be fetched though the listing is gone. Raises :class:`ConfigError` for an unknown kind of
    source, a missing path or unusable settings.
    """
    reader = Reader({kind_key(name): kind for name, kind in (kinds or {}).items()})
    kind, separator, path = uri.partition(":")
    if separator and path and kind == "directory":
        return DirectorySource(uri, Path(path), reader, to_list=to_list)
    if separator and path and kind == "manifest":
        from pipelines.sources.download import Downloader

        return ManifestSource(uri, Path(path), Downloader(settings, head or HeadLimits()), reader, to_list=to_list)
    raise ConfigError(f"unknown source {uri!r}: expected directory:PATH or manifest:PATH")
