"""How much memory decoding an image takes, from its header alone: so that a small file cannot ask for all there is.

Deflate makes a thousand bytes of one, so neither the size of a file nor its pixels bound what its decoding takes: a PNG
has up to eight bytes a pixel. The figures below are the peak over all copies that decoding makes, from the bytes to one
upright RGB frame, rounded up; a test decodes every kind and compares. Frames of an animation are decoded one at a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from embeddings.errors import UnscannableError
from embeddings.images import png
from embeddings.images.containers import Container

_PER_PIXEL: Final[Mapping[str, int]] = {
    "jpeg": 22,
    "png": 24,
    "webp": 30,
    "gif": 30,
    "avif": 40,
    "heic": 40,
    "bmp": 24,
    "tiff": 48,
    "ico": 30,
}
"""Bytes a pixel of one frame. JPEG: coefficients of a progressive file in four colours, the inks, two copies in RGB.
PNG, beside its rows as they are stored: what Pillow decodes to, the same as RGBA, its ground and mask, two copies in
RGB. WebP and GIF: the same, with the canvas and the frame before it."""


def decode_bytes(container: Container) -> int:
    """Bytes that decoding one frame of the file takes at most, beyond the file itself."""
    needed = _PER_PIXEL[container.format] * container.width * container.height
    if container.format == "png":
        needed += png.raw_size(bytes(container.chunks[0][1][8:21]))
    return needed


def require_memory(container: Container, most: int) -> None:
    """Raise ``too_much_memory`` for a file whose decoding takes more than ``most`` bytes."""
    if decode_bytes(container) > most:
        raise UnscannableError("too_much_memory")
