"""Which format a file is in, and what it says about itself before any pixel is decoded.

The bytes are an attacker's: every length is checked against what is there, loops are bounded, and nothing is allocated
by a size that the file claims. JPEG, PNG, WebP, GIF and TIFF files are walked part by part, each by the module of its
name; of the others the decoder reads the header, which decodes no pixel.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Final

from embeddings.errors import UnscannableError
from embeddings.images import gif, jpeg, png, tiff, webp
from embeddings.images.account import Container, check_size, exif_orientation
from embeddings.images.others import walk_avif, walk_bmp, walk_heic, walk_ico

__all__ = ["VIDEO", "Container", "check_size", "exif_orientation", "inspect", "sniff"]

VIDEO: Final = ("mp4", "webm")
"""Formats that :mod:`embeddings.images.video` decodes."""
_AVIF: Final = (b"avif", b"avis")
_HEIC: Final = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_MAGIC: Final = (
    (b"\xff\xd8\xff", "jpeg"),
    (png.MAGIC, "png"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
    (b"II+\0\x08\0\0\0", "tiff"),
    (b"MM\0+\0\x08\0\0", "tiff"),
    (b"\x1a\x45\xdf\xa3", "webm"),
)


def sniff(data: bytes) -> str:
    """Return the format by the first 16 bytes: ``jpeg``, ``png``, ``webp``, ``gif``, ``avif``, ``heic``, ``bmp``,
    ``tiff``, ``ico``, ``mp4`` or ``webm``. Raises ``empty`` or ``format``; a file's name and declared type play no
    part."""
    if not data:
        raise UnscannableError("empty")
    for magic, name in _MAGIC:
        if data.startswith(magic):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    if data[4:8] == b"ftyp" and len(data) >= 12:
        return "avif" if data[8:12] in _AVIF else "heic" if data[8:12] in _HEIC else "mp4"
    if data[:2] == b"BM" and data[6:10] == bytes(4):  # two reserved fields
        return "bmp"
    if data[:4] == b"\0\0\1\0" and 0 < int.from_bytes(data[4:6], "little") <= 256 and data[9:10] == b"\0":
        return "ico"
    raise UnscannableError("format")


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
