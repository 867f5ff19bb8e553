"""From the JSON of a model file's header to all that is kept of it: sizes, texts, and the picture in it.

One function, so that it can be done here or in a process that can do nothing else (:class:`HeaderReader`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from embeddings.errors import UnscannableError
from embeddings.headers.evidence import HeaderText, TextLimits, evident_texts, thumbnail
from embeddings.headers.safetensors import LENGTH_BYTES, HeaderLimits, parse_header


@dataclass(frozen=True, slots=True)
class ReadingLimits:
    """What is read of a header."""

    header: HeaderLimits
    texts: TextLimits
    thumbnail_bytes: int
    """Of the picture in it, encoded."""


@dataclass(frozen=True, slots=True, repr=False)
class ReadHeader:
    """What a header gave. ``repr`` shows nothing of it."""

    json_bytes: int
    """Size of the JSON."""
    payload_bytes: int
    """Size of all tensors."""
    tensors: int
    texts: tuple[HeaderText, ...]
    picture: bytes | None
    """An image file, not decoded."""
    picture_problem: str | None
    """The reason why there is none although the header has something in its place."""

    @property
    def file_bytes(self) -> int:
        """Size of the whole file."""
        return LENGTH_BYTES + self.json_bytes + self.payload_bytes


class HeaderReader(Protocol):
    """Reads headers. Safe to call from several threads. :func:`read_header` is one."""

    def __call__(self, data: bytes, *, file_bytes: int | None, limits: ReadingLimits) -> ReadHeader:
        """Read the JSON ``data`` as :func:`read_header` does."""
        ...


def read_header(data: bytes, *, file_bytes: int | None, limits: ReadingLimits) -> ReadHeader:
    """Read the header whose JSON is ``data``, in a file of ``file_bytes`` in all; None: not known.

    Raises :class:`UnscannableError` as :func:`embeddings.headers.safetensors.parse_header` does.
    """
    header = parse_header(data, file_bytes=file_bytes, limits=limits.header)
    picture, problem = None, None
    try:
        picture = thumbnail(header.metadata, max_bytes=limits.thumbnail_bytes)
    except UnscannableError as error:
        problem = error.reason
    texts = evident_texts(header.metadata, limits=limits.texts)
    return ReadHeader(header.bytes, header.payload_bytes, header.tensors, texts, picture, problem)
