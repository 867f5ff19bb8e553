"""A folder of files as a source: each file is an item, JSON side-cars carry the metadata.

Nothing beneath the root is skipped silently: hidden files, links, pipes and folders that cannot be listed are items
too, with a ``problem`` where their content cannot be had. Links to folders are not descended into.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path

from embeddings.errors import ConfigError, FetchError, ItemError, UnscannableError
from embeddings.images.magic import sniff
from pipelines.sources.contained import (
    open_file,
    open_folder,
    path_bytes,
    path_text,
    read_file,
    reading_file,
    trouble_with,
)
from pipelines.sources.item import Item, Listed
from pipelines.sources.metadata import (
    MAX_METADATA_BYTES,
    UNREADABLE_OBJECT,
    Metadata,
    Reader,
    default_kind,
)
from pipelines.sources.reading import Reading
from pipelines.sources.values import MAX_ID

_JSON = b".json"
_NO_TIME = datetime.fromtimestamp(0, UTC)

MAX_DISGUISED_BYTES = 32 * 2**20
"""Bytes of a broken side-car that are read to see whether it is a picture."""


@dataclass(frozen=True, slots=True)
class _File:
    """A file, as the file system describes it."""

    path: bytes
    modified_at: datetime | None
    """Time of modification; None where it cannot be had or is beyond the calendar."""
    revision: str | None
    problem: str | None


class DirectorySource:
    """Every file beneath ``root``. Holds no descriptor; listing and fetching are safe from several threads."""

    def __init__(self, uri: str, root: Path, reader: Reader, *, to_list: bool = True) -> None:
        self._uri = uri
        self._reader = reader
        if to_list and not root.is_dir():
            raise ConfigError(f"the directory source {uri!r} does not exist or is not a directory")
        self._root = os.path.realpath(os.fsencode(root))

    @property
    def uri(self) -> str:
        """The URI that the source was opened with."""
        return self._uri

    def items(self, day: date | None) -> Iterator[Item]:
        """Yield one item per file in the order of names, folder by folder.

        A second item with the same id gets its path as id (with ``#2`` and so on if that is taken too). A file whose
        side-car has no date gets its own time; one whose date cannot be read comes with every ``day``.
        """
        seen: set[str] = set()
        for file, sidecar in self._walk():
            metadata = Metadata() if sidecar is None else self._read_sidecar(sidecar)
            found = [_item(file, metadata, seen)]
            seen.add(found[0].item_id)
            if (
                sidecar is not None and metadata is UNREADABLE_OBJECT and self._is_picture(sidecar)
            ):  # an upload in disguise
                found.append(_item(replace(file, path=sidecar), Metadata(), seen))
                seen.add(found[1].item_id)
            yield from (one for one in found if day is None or not one.listed.dated or one.received_at.date() == day)

    def fetch(self, item: Item, *, max_bytes: int) -> bytes:
        """Read the file's bytes."""
        return read_file(self._root, path_bytes(item.locator), max_bytes=max_bytes)

    def open(self, item: Item, *, whole: bool) -> AbstractContextManager[Reading]:
        """Open the file to be read piece by piece."""
        return reading_file(self._root, path_bytes(item.locator))

    def other_fields(self, *, most: int) -> dict[str, int]:
        """Return nothing: side-cars are not searched for unknown fields."""
        return {}

    def digest(self) -> str | None:
        """Return None: a folder has no digest, because it changes all the time."""
        return None

    def trouble(self, item: Item) -> str | None:
        """Return what is wrong with the file, or None."""
        return trouble_with(self._root, path_bytes(item.locator)) if item.has_content else None

    def _walk(self) -> Iterator[tuple[_File, bytes | None]]:
        """Yield each file with the path of its side-car, or None."""
        folders = [b""]
        while folders:
            folder = folders.pop()
            try:
                descriptor = open_folder(self._root, folder)
            except OSError as error:
                yield from self._unlistable(folder, error)
                continue
            subfolders: list[bytes] = []
            try:
                names, subfolders = _list(descriptor)
                yield from self._files(descriptor, folder, names)
            except OSError as error:
                yield from self._unlistable(folder, error)
            finally:
                os.close(descriptor)
            folders.extend(_join(folder, name) for name in reversed(subfolders))

    def _files(self, descriptor: int, folder: bytes, names: list[bytes]) -> Iterator[tuple[_File, bytes | None]]:
        sidecars = _pair(names)
        beside = set(sidecars.values())
        for name in names:
            if name not in beside and (file := self._stat(descriptor, folder, name)) is not None:
                sidecar = sidecars.get(name)
                yield file, None if sidecar is None else _join(folder, sidecar)

    def _unlistable(self, folder: bytes, error: OSError) -> Iterator[tuple[_File, None]]:
        """Yield a folder that cannot be listed as an item, so that its content is not skipped silently."""
        if not folder:
            raise ConfigError(f"the directory source {self._uri!r} cannot be listed: {os.strerror(error.errno or 0)}")
        if not isinstance(error, FileNotFoundError):
            problem = "denied" if isinstance(error, PermissionError) else "io"
            yield _File(folder, None, None, problem), None

    def _stat(self, descriptor: int, folder: bytes, name: bytes) -> _File | None:
        """Describe a file; None when it is gone since it was listed."""
        path = _join(folder, name)
        try:
            status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return None
        except OSError:
            return _File(path, None, None, "io")
        problem = None
        if stat.S_ISLNK(status.st_mode):
            try:
                target = open_file(self._root, path)
            except FetchError as error:
                problem = error.reason
            else:
                status = os.fstat(target)
                os.close(target)
        elif not stat.S_ISREG(status.st_mode):
            problem = "not_a_file"
        revision = f"{status.st_size}-{status.st_mtime_ns}"
        return _File(path, _moment(status.st_mtime), revision, problem)

    def _is_picture(self, path: bytes) -> bool:
        try:
            sniff(read_file(self._root, path, max_bytes=MAX_DISGUISED_BYTES))
        except FetchError:
            return False
        except UnscannableError as error:
            return error.reason == "too_large"  # too large for a side-car: the scan decides what it is
        return True

    def _read_sidecar(self, path: bytes) -> Metadata:
        try:
            return self._reader.read_sidecar(read_file(self._root, path, max_bytes=MAX_METADATA_BYTES))
        except ItemError:
            return UNREADABLE_OBJECT


def _list(descriptor: int) -> tuple[list[bytes], list[bytes]]:
    """Sorted names of the files (anything that is no folder) and of the folders."""
    files: list[bytes] = []
    folders: list[bytes] = []
    with os.scandir(descriptor) as entries:
        for entry in entries:
            (folders if entry.is_dir(follow_symlinks=False) else files).append(os.fsencode(entry.name))
    return sorted(files), sorted(folders)


def _pair(names: list[bytes]) -> dict[bytes, bytes]:
    """File name -> side-car name: ``photo.jpg.json``, else ``photo.json`` if only one other file has that stem."""
    present = set(names)
    contents = [name for name in names if not name.endswith(_JSON)]
    stems = Counter(_stem(name) for name in contents)
    pairs: dict[bytes, bytes] = {}
    for name in contents:
        stem = _stem(name)
        if name + _JSON in present:
            pairs[name] = name + _JSON
        elif stem + _JSON in present and stems[stem] == 1 and stem not in present:
            pairs[name] = stem + _JSON
    return pairs


def _stem(name: bytes) -> bytes:
    return name.rpartition(b".")[0] or name


def _join(folder: bytes, name: bytes) -> bytes:
    return folder + b"/" + name if folder else name


def _moment(seconds: float) -> datetime | None:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):  # a forged mtime beyond the calendar
        return None


def _item(file: _File, metadata: Metadata, seen: set[str]) -> Item:
    locator = path_text(file.path)
    item_id = metadata.item_id or _path_id(locator)
    duplicate = item_id in seen
    if duplicate:
        item_id = _free_id(_path_id(locator), seen)
    problem = file.problem
    if problem is None and not metadata.valid:
        problem = "sidecar_invalid"
    if problem is None and duplicate:
        problem = "duplicate_id"
    listed_at = file.modified_at if metadata.date_form == "missing" else None
    received_at = metadata.received_at or listed_at
    return Item(
        item_id=item_id,
        kind=metadata.kind or default_kind(locator),
        received_at=received_at or _NO_TIME,
        locator=locator,
        parent_model=metadata.parent_model,
        uploader=metadata.uploader,
        title=metadata.title,
        prompt=metadata.prompt,
        tags=metadata.tags,
        trigger_words=metadata.trigger_words,
        nsfw_level=metadata.nsfw_level,
        revision=file.revision,
        deleted=metadata.deleted,
        problem=problem,
        listed=Listed(
            updated_at=metadata.updated_at,
            generation=metadata.generation,
            undeleted=metadata.undeleted,
            dated=received_at is not None,
            date_form="file" if listed_at is not None else metadata.date_form,
            bad=(*metadata.bad, *metadata.damaged),
            adapted=metadata.adapted,
        ),
    )


def _path_id(locator: str) -> str:
    """The path, or its beginning and a digest where it is longer than an id may be."""
    if len(locator) <= MAX_ID:
        return locator
    digest = hashlib.sha256(locator.encode()).hexdigest()
    return f"{locator[: MAX_ID - 80]}~{digest}"


def _free_id(path: str, seen: set[str]) -> str:
    candidate, number = path, 1
    while candidate in seen:
        number += 1
        candidate = f"{path[: MAX_ID - 12]}#{number}"
    return candidate
