"""Exif and XMP items of AVIF and HEIF files: boxes ``meta``, ``iinf`` and ``iloc``.

ISO/IEC 14496-12 (boxes, item information and location), 23008-12 Annex A (how Exif and XMP are items).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from embeddings.infotext.fields import Budget

_MOST_BOXES: Final = 4096
_MOST_ITEMS: Final = 4096


def isobmff_metadata(data: bytes, budget: Budget) -> Iterator[tuple[str, memoryview]]:
    """Yield ``exif`` or ``xmp`` and the bytes of each such item, where they lie in one piece in the file.

    Where there are more boxes or places than are looked at, the budget counts as exceeded. Raises ``struct.error`` or
    ``IndexError`` where a box ends too early.
    """
    view = memoryview(data)
    for kind, meta in _boxes(view, budget):
        if kind != b"meta":
            continue
        inner = dict(_boxes(meta[4:], budget))
        if b"iinf" not in inner or b"iloc" not in inner:
            return
        wanted = dict(_metadata_items(inner[b"iinf"], budget))
        for item, start, length in _locations(inner[b"iloc"], budget):
            if item in wanted:
                yield wanted[item], view[start : start + length]
        return


def _boxes(view: memoryview, budget: Budget) -> Iterator[tuple[bytes, memoryview]]:
    at = 0
    for _ in range(_MOST_BOXES):
        if at + 8 > len(view):
            return
        size, kind = struct.unpack_from(">I4s", view, at)
        head = 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", view, at + 8)
            head = 16
        end = len(view) if size == 0 else at + size
        if end < at + head:
            return
        yield kind, view[at + head : end]
        at = end
    budget.exceeded |= at + 8 <= len(view)


def _metadata_items(iinf: memoryview, budget: Budget) -> Iterator[tuple[int, str]]:
    """Yield the number of each Exif and XMP item, and which it is."""
    start = 6 if iinf[0] == 0 else 8
    for kind, entry in _boxes(iinf[start:], budget):
        if kind != b"infe" or entry[0] not in (2, 3):
            continue
        number, at = (struct.unpack_from(">H", entry, 4)[0], 8) if entry[0] == 2 else (_word(entry, 4), 10)
        item_type = bytes(entry[at : at + 4])
        if item_type == b"Exif":
            yield number, "exif"
        elif item_type == b"mime" and b"application/rdf+xml" in bytes(entry[at + 4 : at + 256]):
            yield number, "xmp"


def _locations(iloc: memoryview, budget: Budget) -> Iterator[tuple[int, int, int]]:
    """Yield number, offset in the file and length of each item of one extent that lies in the file itself."""
    version = iloc[0]
    sizes, more = iloc[4], iloc[5]
    offset_size, length_size, base_size = sizes >> 4, sizes & 15, more >> 4
    index_size = more & 15 if version in (1, 2) else 0
    wide = 4 if version == 2 else 2
    at, count = 6 + wide, _number(iloc, 6, wide)
    budget.exceeded |= count > _MOST_ITEMS
    for _ in range(min(count, _MOST_ITEMS)):
        number = _number(iloc, at, wide)
        at += wide
        method = _number(iloc, at, 2) & 15 if version in (1, 2) else 0
        at += 4 if version in (1, 2) else 2
        base = _number(iloc, at, base_size)
        extents = _number(iloc, at + base_size, 2)
        at += base_size + 2
        offset = _number(iloc, at + index_size, offset_size)
        length = _number(iloc, at + index_size + offset_size, length_size)
        at += extents * (index_size + offset_size + length_size)
        if method == 0 and extents == 1:
            yield number, base + offset, length


def _word(view: memoryview, at: int) -> int:
    return _number(view, at, 4)


def _number(view: memoryview, at: int, size: int) -> int:
    if at + size > len(view):
        raise IndexError("the box ends within a number")
    return int.from_bytes(view[at : at + size], "big")
