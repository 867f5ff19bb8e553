"""Opens files beneath a root folder and nowhere else, even if others rename or link things meanwhile.

Each path component is opened from its parent's descriptor without following links, so there is no moment between a
check and a use. A link is resolved first and its target then opened the same way: a link swapped in between leads to a
refusal, never outside. Owns the names of files as text; knows nothing of items.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from embeddings.errors import FetchError, UnscannableError

_STEP: Final = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_LIST: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_PIECE: Final = 1 << 20

_ESCAPE = re.compile(rb"\\(\\|x[0-9a-f]{2})")


def path_text(path: bytes) -> str:
    r"""Return a file name as valid UTF-8 text: bytes that are not UTF-8 become ``\xNN`` and a backslash is doubled."""
    return path.replace(b"\\", b"\\\\").decode("utf-8", "backslashreplace")


def path_bytes(text: str) -> bytes:
    """Return the inverse of :func:`path_text`."""
    encoded = text.encode("utf-8", "surrogatepass")
    return _ESCAPE.sub(lambda match: b"\\" if match[1] == b"\\" else bytes([int(match[1][1:], 16)]), encoded)


def open_file(root: bytes, path: bytes) -> int:
    """Return a descriptor of the regular file at ``path`` (relative to ``root``, a resolved folder). The caller closes
    it.

    Links are followed as long as they stay beneath ``root``. Raises :class:`FetchError` with ``outside_source``,
    ``not_a_file``, ``missing``, ``denied`` or ``io``.
    """
    try:
        return _open_resolving(root, path)
    except OSError as error:
        raise FetchError(_reason(error)) from None
    except ValueError:  # a NUL in the path
        raise FetchError("missing") from None


def open_folder(root: bytes, path: bytes) -> int:
    """Return a descriptor of the folder at ``path``, no link followed; ``path`` empty is the root. Raises
    :class:`OSError`."""
    if not path:
        return os.open(root, _LIST)
    return _walk(root, path.split(b"/"), _LIST)


def read_file(root: bytes, path: bytes, *, max_bytes: int) -> bytes:
    """Return the content of the file at ``path``. Never reads more than ``max_bytes + 1`` bytes.

    Raises :class:`FetchError` as :func:`open_file`, and :class:`UnscannableError` ``too_large``.
    """
    descriptor = open_file(root, path)
    try:
        size = os.fstat(descriptor).st_size
        if size > max_bytes:
            raise UnscannableError("too_large")
        return _read(descriptor, expected=size, max_bytes=max_bytes)
    except OSError as error:
        raise FetchError(_reason(error)) from None
    finally:
        os.close(descriptor)


def trouble_with(root: bytes, path: bytes) -> str | None:
    """Return the reason with which :func:`open_file` fails, or None, without reading anything."""
    try:
        os.close(open_file(root, path))
    except FetchError as error:
        return error.reason
    return None


class FileReading:
    """An open file as a :class:`pipelines.sources.reading.Reading`, from the descriptor's position on."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.size = os.fstat(descriptor).st_size

    def read(self, count: int) -> bytes:
        """Read the next ``count`` bytes."""
        parts: list[bytes] = []
        try:
            while count > 0 and (part := os.read(self._descriptor, min(count, _PIECE))):
                parts.append(part)
                count -= len(part)
        except OSError as error:
            raise FetchError(_reason(error)) from None
        return b"".join(parts)

    def allow(self, seconds: float) -> None:
        """Ignore the deadline: a file has none."""


@contextmanager
def reading_file(root: bytes, path: bytes) -> Iterator[FileReading]:
    """Open the file at ``path`` to be read piece by piece, and close it afterwards.

    Raises :class:`FetchError` with ``outside_source``, ``not_a_file``, ``missing``, ``denied`` or ``io``.
    """
    descriptor = open_file(root, path)
    try:
        yield FileReading(descriptor)
    finally:
        os.close(descriptor)


def _read(descriptor: int, *, expected: int, max_bytes: int) -> bytes:
    chunks: list[bytes] = []
    left, step = max_bytes + 1, expected + 1
    while left > 0 and (chunk := os.read(descriptor, min(step, left))):
        chunks.append(chunk)
        left -= len(chunk)
        step = _PIECE
    if left <= 0:
        raise UnscannableError("too_large")
    return b"".join(chunks)


def _open_resolving(root: bytes, path: bytes) -> int:
    parts = path.split(b"/")
    if not any(part in (b"", b".", b"..") for part in parts):
        try:
            return _open_regular(root, parts)
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.ENOTDIR):
                raise
    target = os.path.realpath(os.path.join(root, path))  # noqa: PTH118 - bytes
    prefix = root.rstrip(b"/") + b"/"
    if not target.startswith(prefix):
        raise FetchError("not_a_file" if target == root else "outside_source")
    return _open_regular(root, target[len(prefix) :].split(b"/"))


def _open_regular(root: bytes, parts: list[bytes]) -> int:
    descriptor = _walk(root, parts, _READ)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FetchError("not_a_file")
    return descriptor


def _walk(root: bytes, parts: list[bytes], flags: int) -> int:
    folder = os.open(root, _STEP & ~os.O_NOFOLLOW)
    try:
        for part in parts[:-1]:
            parent, folder = folder, os.open(part, _STEP, dir_fd=folder)
            os.close(parent)
        if flags == _READ:
            _refuse_special(os.stat(parts[-1], dir_fd=folder, follow_symlinks=False).st_mode)
        return os.open(parts[-1], flags, dir_fd=folder)
    finally:
        os.close(folder)


def _refuse_special(mode: int) -> None:
    """Refuse special files before opening, because opening a device has effects; ``fstat`` decides afterwards."""
    if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
        raise FetchError("not_a_file")


def _reason(error: OSError) -> str:
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return "missing"
    if error.errno in (errno.EACCES, errno.EPERM):
        return "denied"
    if error.errno == errno.ELOOP:  # a link that turned up after it was resolved, or a ring of links
        return "outside_source"
    return "io"
