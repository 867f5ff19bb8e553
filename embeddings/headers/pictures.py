"""The pictures inside a header: a thumbnail, and the cover images that a platform's extension writes beside it.

Not decoded here: only their first bytes are looked at. Several pictures are handed on as one content, picture after
picture (:mod:`embeddings.images.several`).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from embeddings.errors import UnscannableError
from embeddings.headers.loose import value_of
from embeddings.headers.places import COVERS, THUMBNAIL
from embeddings.images.magic import sniff

MOST_COVERS: Final = 32
_DATA_URL: Final = re.compile(r"data:image/[a-z0-9.+-]{1,32};base64,", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class HeaderPictures:
    """The pictures of a header as files, and whether there are more that cannot be read."""

    files: tuple[bytes, ...] = field(repr=False)
    unreadable: bool


def pictures_in(metadata: Mapping[str, str], *, max_bytes: int) -> HeaderPictures:
    """Return the pictures of a header, each at most ``max_bytes`` and all together no more than four times that."""
    files, unreadable = list[bytes](), False
    try:
        first = thumbnail(metadata, max_bytes=max_bytes)
        files += [] if first is None else [first]
    except UnscannableError:
        unreadable = True
    covers = value_of(metadata.get(COVERS, ""))
    listed = covers if isinstance(covers, list) else [covers]
    for one in listed:
        if one in ("", None):
            continue
        try:
            files.append(_cover(one, max_bytes=max_bytes))
        except UnscannableError:
            unreadable = True
    distinct = list(dict.fromkeys(files))
    kept, left = list[bytes](), 4 * max_bytes
    for file in distinct[: MOST_COVERS + 1]:
        left -= len(file)
        kept += [file] if left >= 0 else []
    return HeaderPictures(tuple(kept), unreadable or len(kept) < len(distinct))


def thumbnail(metadata: Mapping[str, str], *, max_bytes: int) -> bytes | None:
    """Return the image file in ``modelspec.thumbnail``; None without one. Not decoded: only its first bytes were looked
    at.

    Raises :class:`UnscannableError` ``thumbnail`` for anything but a data URL, strict base64, of an image of a known
    format and at most ``max_bytes``: another viewer may show it, so it must not count as no thumbnail.
    """
    value = metadata.get(THUMBNAIL, "")
    if not value:
        return None
    start = _DATA_URL.match(value)
    if start is None:
        raise UnscannableError("thumbnail")
    return _decoded(value[start.end() :], max_bytes=max_bytes)


def _cover(value: object, *, max_bytes: int) -> bytes:
    if not isinstance(value, str):
        raise UnscannableError("thumbnail")
    start = _DATA_URL.match(value)
    return _decoded(value[start.end() :] if start else value, max_bytes=max_bytes)


def _decoded(encoded: str, *, max_bytes: int) -> bytes:
    if len(encoded) > 4 * (max_bytes + 2) // 3 + 4:
        raise UnscannableError("thumbnail")
    try:
        data = base64.b64decode(encoded, validate=True)
        sniff(data)
    except (ValueError, UnscannableError):
        raise UnscannableError("thumbnail") from None
    if len(data) > max_bytes or base64.b64encode(data).decode() != encoded:  # too much padding, or stray bits
        raise UnscannableError("thumbnail")
    return data
