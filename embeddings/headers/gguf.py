"""What a GGUF file says of itself: the texts of its header, and what its tensors are called. No tensor is ever built.

The file is the magic, a version (2 or 3), the number of tensors and of entries, the entries (key, type, value) and the
tensors' names, sizes and places, all little-endian. The bytes are an attacker's (I9): every length is held against what
is there, lists are passed over without building them, and what the bound cuts off is left and noted.

Format: ggml-org/ggml, docs/gguf.md.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Final

from embeddings.headers.safetensors import MAX_NAME, MAX_RANK, HeaderLimits

MAGIC: Final = b"GGUF"
_VERSIONS: Final = (2, 3)
_SIZES: Final = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Bytes of a value by its type; a text is 8 and a list 9."""
_TEXT: Final = 8
_LIST: Final = 9
_LEFT_OUT: Final = "tokenizer."
"""What begins so is the vocabulary of a language model: hundreds of thousands of words that are about nobody."""
_MOST_ENTRIES: Final = 10_000
_MOST_LISTED: Final = 1_000


@dataclass(frozen=True, slots=True, repr=False)
class GgufHeader:
    """The texts of a header by key, the names of the tensors, and what was odd. ``repr`` shows nothing of it."""

    metadata: dict[str, str] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    """``header_cut``: the file, or the part of it that was read, ends within the header; ``repeated_key``."""


def is_gguf(first: bytes) -> bool:
    """Whether a file that begins with ``first`` claims to be a GGUF file of a known version."""
    return first[:4] == MAGIC and len(first) >= 8 and struct.unpack_from("<I", first, 4)[0] in _VERSIONS


def read_gguf(data: bytes, *, limits: HeaderLimits) -> GgufHeader:
    """Return what the beginning of a file says, as far as it can be read. Never raises for what the bytes hold."""
    reader = _Reader(data)
    metadata, names, notes = dict[str, str](), list[str](), set[str]()
    try:
        tensors, entries = reader.numbers("<QQ", at=8)
        for _ in range(min(entries, _MOST_ENTRIES)):
            key = reader.text(MAX_NAME)
            value = reader.value(reader.numbers("<I")[0], wanted=not key.startswith(_LEFT_OUT))
            if value:
                notes |= {"repeated_key"} if key in metadata else set()
                metadata[key] = f"{metadata[key]}\n{value}" if key in metadata else value
        if entries > _MOST_ENTRIES:
            raise EndError
        notes |= {"header_cut"} if tensors > limits.max_tensors else set()
        for _ in range(min(tensors, limits.max_tensors)):
            names.append(reader.text(MAX_NAME))
            (rank,) = reader.numbers("<I")
            if rank > MAX_RANK:
                raise EndError
            reader.skip(8 * rank + 4 + 8)
    except EndError:
        notes.add("header_cut")
    return GgufHeader(metadata, tuple(names), tuple(sorted(notes)))


class EndError(Exception):
    """The bytes end, or say something that no header says."""


class _Reader:
    """A place in bytes that only moves on."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def numbers(self, form: str, *, at: int | None = None) -> tuple[int, ...]:
        self._at = self._at if at is None else at
        size = struct.calcsize(form)
        if self._at + size > len(self._data):
            raise EndError
        found: tuple[int, ...] = struct.unpack_from(form, self._data, self._at)
        self._at += size
        return found

    def skip(self, count: int) -> None:
        if count > len(self._data) - self._at:
            raise EndError
        self._at += count

    def text(self, most: int | None = None) -> str:
        (length,) = self.numbers("<Q")
        if length > len(self._data) - self._at or (most is not None and length > 4 * most):
            raise EndError
        start = self._at
        self._at += length
        return self._data[start : self._at].decode("utf-8", "replace")

    def value(self, kind: int, *, wanted: bool) -> str | None:
        """The text of an entry, or of a list of texts, one a line; None for anything else."""
        if kind == _TEXT:
            text = self.text()
            return text if wanted else None
        if kind != _LIST:
            self.skip(_size_of(kind))
            return None
        inner, count = self.numbers("<IQ")
        if inner != _TEXT:
            self.skip(_size_of(inner) * count)
            return None
        listed: list[str] = []
        for _ in range(count):
            if wanted and len(listed) < _MOST_LISTED:
                listed.append(self.text())
            else:
                self.skip(self.numbers("<Q")[0])
        return "\n".join(listed) or None


def _size_of(kind: int) -> int:
    """Bytes of a value. Lists of lists exist in no file, and end the header."""
    if kind not in _SIZES:
        raise EndError
    return _SIZES[kind]
