"""What an image file says of itself before any pixel is decoded: what the walks over each format have in common."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Final

from embeddings.errors import UnscannableError
from embeddings.images import png

MAX_BLOCKS: Final = 300_000
"""Blocks walked in one file. GIF has the smallest ones; at its usual 255 bytes this is 76 MB."""


@dataclass(frozen=True, slots=True)
class Container:
    """A file's own account of itself, as far as it could be checked without decoding."""

    format: str
    """One of the formats of :func:`embeddings.images.magic.sniff`."""
    width: int
    """Width in pixels as stored, before the orientation is applied; 0 where only the decoder reads the size."""
    height: int
    frames: int
    orientation: int
    """Exif orientation, 1 to 8; 1 when there is none or it makes no sense."""
    pixels: bytes
    """The bytes that the decoder is given: the file, mended where it was damaged."""
    damage: tuple[str, ...] = ()
    """What the walk found wrong (:mod:`embeddings.images.damage`)."""
    durations: tuple[float, ...] = ()
    """Seconds for which each frame of an animation is shown, as the file states them."""
    profile: bytes = field(default=b"", repr=False)
    """The ICC profile of its colours; empty where there is none."""
    chunks: tuple[png.Chunk, ...] = ()
    """PNG only: what the walk found, for :func:`embeddings.images.png.pixels_only`."""


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Raise ``corrupt`` for an empty size and ``too_many_pixels`` beyond the limit."""
    if width <= 0 or height <= 0:
        raise UnscannableError("corrupt")
    if width * height > max_pixels:
        raise UnscannableError("too_many_pixels")


def exif_orientation(tiff: bytes) -> int:
    """Return the orientation in an Exif block (TIFF header first), or 1 when it has none or is damaged."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(order + "I", tiff, 4)
        (count,) = struct.unpack_from(order + "H", tiff, start)
        for entry in range(start + 2, start + 2 + 12 * min(count, 512), 12):
            tag, kind, _, value = struct.unpack_from(order + "HHIH", tiff, entry)
            if tag == 0x0112:
                return value if kind == 3 and 1 <= value <= 8 else 1
    except struct.error:
        return 1
    return 1
