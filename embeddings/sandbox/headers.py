"""Headers of model files read in a confined process: the same as in this one, checked before it is used."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any, Final

from embeddings.errors import UnscannableError
from embeddings.headers.evidence import HeaderText, TextLimits
from embeddings.headers.reading import NO_PICTURE, NOTES, ReadHeader, ReadingLimits
from embeddings.headers.safetensors import MAX_NUMBER
from embeddings.sandbox.header_work import HEADER_SIZES, READ_HEADER
from embeddings.sandbox.pool import DecodingPool, unbelievable

_ROOM: Final = 64
"""Bytes that a byte of the header, or a character of a text, may take in the answer: six where it is escaped, each text
twice where two places have it, and its place before each."""
_MOST_PLACES: Final = 64
_PICTURES: Final = 4
"""Pictures of the largest size that there is room for."""
_FRAMING: Final = 4096
"""Bytes between the pictures."""
_MOST: Final = {"payload_bytes": MAX_NUMBER}
_MOST_STORED: Final = 2**31 - 1
"""What a column of a size holds; the size of all tensors is not stored."""


class SandboxedHeaderReader:
    """An :class:`embeddings.headers.reading.HeaderReader` on a pool of confined processes."""

    def __init__(self, pool: DecodingPool) -> None:
        self.pool = pool

    def __call__(self, data: bytes, *, file_bytes: int | None, limits: ReadingLimits) -> ReadHeader:
        """Read ``data``. Raises :class:`UnscannableError`."""
        if len(data) > limits.header.max_bytes:
            raise UnscannableError("too_large")
        facts = {"limits": asdict(limits), "file_bytes": file_bytes}
        room = _ROOM * min(len(data), _MOST_PLACES * limits.texts.max_chars)
        room += _PICTURES * limits.thumbnail_bytes + _FRAMING
        answer = next(self.pool.results(READ_HEADER, facts, data, room=room), None)
        if answer is None:
            raise unbelievable()
        sizes = {name: _size(name, answer.facts.get(name)) for name in (*HEADER_SIZES, "text_bytes")}
        cut = sizes.pop("text_bytes")
        picture, problem = answer.payload[cut:].tobytes(), answer.facts.get("picture_problem")
        if problem not in (None, NO_PICTURE):
            raise unbelievable()
        return ReadHeader(
            **sizes,
            texts=_texts(answer.payload[:cut].tobytes(), limits.texts),
            picture=picture if answer.facts.get("has_picture") is True else None,
            picture_problem=problem,
            notes=_notes(answer.facts.get("notes")),
        )


def _texts(data: bytes, limits: TextLimits) -> tuple[HeaderText, ...]:
    try:
        found: Any = json.loads(data)
        texts = tuple(HeaderText(place, text) for place, text in found)
    except (ValueError, TypeError, RecursionError) as error:
        raise unbelievable() from error
    for one in texts:
        if not isinstance(one.place, str) or not isinstance(one.text, str) or len(one.text) > limits.max_chars:
            raise unbelievable()
    return texts


def _notes(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > len(NOTES):
        raise unbelievable()
    if any(not isinstance(one, str) or one not in NOTES for one in value):
        raise unbelievable()
    return tuple(value)


def _size(name: str, value: object) -> int:
    if not isinstance(value, int) or not 0 <= value <= _MOST.get(name, _MOST_STORED):
        raise unbelievable()
    return value
