"""Several pictures as one content: what a model file's header holds, one after the other, each a frame of its own.

The bytes are never stored or sent. They begin with what no picture file begins with; a file that somebody uploads in
this form is read like any other, within the same bounds.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

from embeddings.errors import UnscannableError

MAGIC: Final = b"\x89several pictures\r\n"
MOST: Final = 64
_LENGTH: Final = struct.Struct("<Q")


def together(files: Sequence[bytes]) -> bytes:
    """Return picture files as one content; a single one as it is."""
    if len(files) == 1:
        return files[0]
    return MAGIC + b"".join(_LENGTH.pack(len(file)) + file for file in files)


def are_several(data: bytes) -> bool:
    """Whether ``data`` is made by :func:`together`."""
    return data.startswith(MAGIC)


def apart(data: bytes) -> list[bytes]:
    """Return the files of :func:`together`. Raises ``corrupt`` for lengths that do not fit, and ``too_complex``."""
    files, at = list[bytes](), len(MAGIC)
    while at < len(data):
        if len(files) == MOST:
            raise UnscannableError("too_complex")
        if at + _LENGTH.size > len(data):
            raise UnscannableError("corrupt")
        (length,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size + length
        if at > len(data):
            raise UnscannableError("corrupt")
        files.append(data[at - length : at])
    if not files:
        raise UnscannableError("empty")
    return files
