"""TIFF: the walk over its pages, so that no decoder follows a chain without end or meets a size that nobody checked.

TIFF 6.0 and BigTIFF. Reduced pages within a page (SubIFDs) are not looked at: viewers show none.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from embeddings.errors import UnscannableError
from embeddings.images.account import Container, check_size
from embeddings.images.damage import TRUNCATED

MAX_PAGES: Final = 2_000
_MAX_TAGS: Final = 1_000
_MAX_DEEP: Final = 16
"""Bytes a pixel, over all its samples."""
_WIDTH, _HEIGHT, _BITS, _ORIENTATION, _SAMPLES, _TILE_WIDTH, _TILE_HEIGHT = 256, 257, 258, 274, 277, 322, 323
_KINDS: Final = {1: "B", 3: "H", 4: "I", 16: "Q"}


@dataclass(frozen=True, slots=True)
class _Layout:
    """How a file writes its fields: byte order, and whether it is a BigTIFF."""

    order: str
    big: bool

    def page(self, data: bytes, at: int) -> tuple[dict[int, int], int]:
        """The values of the page at ``at``, the largest where there are several, and where the next page is."""
        (count,) = struct.unpack_from(self.order + ("Q" if self.big else "H"), data, at)
        if count > _MAX_TAGS:
            raise UnscannableError("corrupt")
        size, at = (20, at + 8) if self.big else (12, at + 2)
        found: dict[int, int] = {}
        for entry in range(at, at + size * count, size):
            tag, kind, number = struct.unpack_from(self.order + ("HHQ" if self.big else "HHI"), data, entry)
            letter = _KINDS.get(kind)
            if letter is None or tag > _TILE_HEIGHT or not 0 < number <= 64:
                continue
            room = 8 if self.big else 4
            width = struct.calcsize(self.order + letter)
            place = entry + size - room
            if number * width > room:
                (place,) = struct.unpack_from(self.order + ("Q" if self.big else "I"), data, place)
            found[tag] = max(struct.unpack_from(f"{self.order}{number}{letter}", data, place))
        (following,) = struct.unpack_from(self.order + ("Q" if self.big else "I"), data, at + size * count)
        return found, following


def walk(data: bytes, max_pixels: int) -> Container:
    """Count the pages up to the first that is damaged, and take the area that covers all of them."""
    layout = _Layout("<" if data[:2] == b"II" else ">", data[2:4] in (b"+\0", b"\0+"))
    (at,) = struct.unpack_from(layout.order + ("Q" if layout.big else "I"), data, 8 if layout.big else 4)
    seen, width, height, damage = set[int](), 0, 0, list[str]()
    while at and at not in seen and len(seen) < MAX_PAGES:
        try:
            page, following = layout.page(data, at)
            size = _page_size(page, max_pixels)
        except (struct.error, OverflowError) as error:
            if not seen:
                raise UnscannableError("truncated") from error
            damage.append(TRUNCATED)
            break
        seen.add(at)
        width, height, at = max(width, size[0]), max(height, size[1]), following
    if not seen:
        raise UnscannableError("corrupt")
    return Container("tiff", width, height, len(seen), 1, data, damage=tuple(damage))


def _page_size(page: dict[int, int], max_pixels: int) -> tuple[int, int]:
    """The size of a page when it is upright: Pillow turns it."""
    width, height = page.get(_WIDTH, 0), page.get(_HEIGHT, 0)
    check_size(width, height, max_pixels)
    if page.get(_BITS, 1) * page.get(_SAMPLES, 1) > 8 * _MAX_DEEP:
        raise UnscannableError("too_much_memory")
    if _TILE_WIDTH in page or _TILE_HEIGHT in page:
        check_size(page.get(_TILE_WIDTH, 0), page.get(_TILE_HEIGHT, 0), max_pixels)
    return (height, width) if 5 <= page.get(_ORIENTATION, 1) <= 8 else (width, height)
