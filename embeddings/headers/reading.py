"""From the header of a model file to all that is kept of it: sizes, texts, and the pictures in it.

One function, so that it can be done here or in a process that can do nothing else (:class:`HeaderReader`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from embeddings.headers.evidence import HeaderText, TextLimits, evident_texts
from embeddings.headers.gguf import is_gguf, read_gguf
from embeddings.headers.pickled import is_pickled, pickled_texts
from embeddings.headers.pictures import pictures_in
from embeddings.headers.safetensors import LENGTH_BYTES, HeaderLimits, parse_header
from embeddings.images.several import together

NOTES: Final = frozenset(("header_cut", "no_metadata", "not_text", "repeated_key", "unreadable_picture"))
"""All that may be noted of a header. The words are stored and counted in clear."""
NO_PICTURE: Final = "thumbnail"


@dataclass(frozen=True, slots=True)
class ReadingLimits:
    """What is read of a header."""

    header: HeaderLimits
    texts: TextLimits
    thumbnail_bytes: int
    """Of a picture in it, encoded; of all together four times as many."""


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
    """An image file, or several as :func:`embeddings.images.several.together` has them; not decoded."""
    picture_problem: str | None
    """:data:`NO_PICTURE` where there is none although the header has something in its place."""
    notes: tuple[str, ...] = ()
    """What was odd about the header: some of :data:`NOTES`."""

    @property
    def file_bytes(self) -> int:
        """Size of the whole file."""
        return LENGTH_BYTES + self.json_bytes + self.payload_bytes


class HeaderReader(Protocol):
    """Reads headers. Safe to call from several threads. :func:`read_header` is one."""

    def __call__(self, data: bytes, *, file_bytes: int | None, limits: ReadingLimits) -> ReadHeader:
        """Read ``data`` as :func:`read_header` does."""
        ...


def read_header(data: bytes, *, file_bytes: int | None, limits: ReadingLimits) -> ReadHeader:
    """Read the header whose JSON is ``data``, in a file of ``file_bytes`` in all; None: not known.

    The first bytes of a GGUF file, a pickle or an archive with one are read instead where ``data`` begins as these do,
    which no JSON does; of a pickle there are no sizes. Raises :class:`UnscannableError` as
    :func:`embeddings.headers.safetensors.parse_header` does, and nothing for the others.
    """
    if is_gguf(data):
        begun = read_gguf(data, limits=limits.header)
        texts = evident_texts(begun.metadata, limits=limits.texts, names=begun.names)
        return ReadHeader(len(data), 0, len(begun.names), texts, None, None, begun.notes)
    if is_pickled(data):
        texts, notes = pickled_texts(data, limits=limits.texts)
        return ReadHeader(len(data), 0, 0, texts, None, None, notes)
    header = parse_header(data, file_bytes=file_bytes, limits=limits.header)
    pictures = pictures_in(header.metadata, max_bytes=limits.thumbnail_bytes)
    texts = evident_texts(header.metadata, limits=limits.texts, names=header.names, hidden=header.hidden)
    return ReadHeader(
        json_bytes=header.bytes,
        payload_bytes=header.payload_bytes,
        tensors=header.tensors,
        texts=texts,
        picture=together(pictures.files) if pictures.files else None,
        picture_problem=NO_PICTURE if pictures.unreadable and not pictures.files else None,
        notes=(*header.notes, "unreadable_picture") if pictures.unreadable else header.notes,
    )
