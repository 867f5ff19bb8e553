"""What a file says about itself before any pixel is decoded.

The bytes are an attacker's: every length is checked against what is there, loops are bounded, and nothing is allocated
by a size that the file claims. JPEG, PNG, WebP, GIF and TIFF files are walked part by part, each by the module of its
name; of the others the decoder reads the header, which decodes no pixel.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping

from embeddings.errors import UnscannableError
from embeddings.images import gif, jpeg, png, tiff, webp
from embeddings.images.account import Container, check_size, exif_orientation
from embeddings.images.magic import sniff
from embeddings.images.others import walk_avif, walk_bmp, walk_heic, walk_ico

__all__ = ["Container", "check_size", "exif_orientation", "inspect"]


def inspect(data: bytes, *, max_pixels: int) -> Container:
    """Walk the file. Raises :class:`UnscannableError`: ``empty``, ``format``, ``too_many_pixels``, ``truncated``,
    ``corrupt``, ``too_complex``, ``no_heic_decoder``.
    """
    walks: Mapping[str, Callable[[bytes, int], Container]] = {
        "jpeg": lambda data, most: jpeg.walk(data),
        "png": _walk_png,
        "webp": webp.walk,
        "gif": gif.walk,
        "tiff": tiff.walk,
        "avif": walk_avif,
        "heic": walk_heic,
        "bmp": walk_bmp,
        "ico": walk_ico,
    }
    walk = walks.get(sniff(data))
    if walk is None:
        raise UnscannableError("format", "a video is no picture")
    try:
        return walk(data, max_pixels)
    except (IndexError, struct.error) as error:  # a fixed-size field that the file is too short for
        raise UnscannableError("truncated") from error


def _walk_png(data: bytes, max_pixels: int) -> Container:
    if data[8:16] != b"\x00\x00\x00\rIHDR":
        raise UnscannableError("corrupt" if len(data) >= 16 else "truncated")
    width, height = struct.unpack_from(">II", data, 16)
    check_size(width, height, max_pixels)
    damage: list[str] = []
    chunks = list(png.read_chunks(data, damage))
    frames = png.count_frames(chunks, damage)
    exif = [bytes(chunk[8:-4]) for kind, chunk in chunks if kind == b"eXIf"]
    return Container(
        "png",
        width,
        height,
        frames,
        exif_orientation(exif[0]) if exif else 1,
        data,
        damage=tuple(dict.fromkeys(damage)),
        durations=tuple(png.durations(chunks)),
        chunks=tuple(chunks),
    )
