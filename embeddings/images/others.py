"""Formats whose header the decoder itself reads, which decodes no pixel: AVIF, HEIC, BMP and ICO.

HEIC needs the extra ``heic`` (pi-heif). An icon's pictures are its frames, the largest first; BMP and PNG may be in it.
"""

from __future__ import annotations

import struct
from io import BytesIO
from typing import Final

from PIL import AvifImagePlugin, BmpImagePlugin, IcoImagePlugin, Image, ImageFile

from embeddings.errors import UnscannableError
from embeddings.images import png
from embeddings.images.account import Container, check_size, exif_orientation
from embeddings.images.colour import MAX_PROFILE_BYTES
from embeddings.images.faults import decoder_errors

MAX_ICONS: Final = 256


def walk_avif(data: bytes, max_pixels: int) -> Container:
    """Read the size, the frames, the orientation and the profile of an AVIF file."""
    with decoder_errors():
        return _account("avif", AvifImagePlugin.AvifImageFile(BytesIO(data)), data, max_pixels)


def walk_heic(data: bytes, max_pixels: int) -> Container:
    """Read the size, the pictures and the profile of a HEIC file. Raises ``no_heic_decoder`` without the extra."""
    with decoder_errors():
        return _account("heic", open_heic(data), data, max_pixels)


def walk_bmp(data: bytes, max_pixels: int) -> Container:
    """Read the size of a BMP file."""
    with decoder_errors():
        return _account("bmp", BmpImagePlugin.BmpImageFile(BytesIO(data)), data, max_pixels)


def walk_ico(data: bytes, max_pixels: int) -> Container:
    """Read the sizes of an icon's pictures, as they say themselves: the directory's are only eight bits wide."""
    with decoder_errors():
        entries = IcoImagePlugin.IcoFile(BytesIO(data)).entry[:MAX_ICONS]
        sizes = [_icon_size(data, entry.offset) for entry in entries]
    for size in sizes:
        check_size(*size, max_pixels)
    if not sizes:
        raise UnscannableError("corrupt")
    return Container("ico", max(size[0] for size in sizes), max(size[1] for size in sizes), len(sizes), 1, data)


def _icon_size(data: bytes, at: int) -> tuple[int, int]:
    if data[at : at + 8] == png.MAGIC:
        width, height = struct.unpack_from(">II", data, at + 16)
        return width, height
    width, height = struct.unpack_from("<ii", data, at + 4)
    return abs(width), abs(height) // 2  # below the picture's rows are those of its mask


def open_heic(data: bytes) -> ImageFile.ImageFile:
    """Open a HEIC file without decoding it. Raises ``no_heic_decoder`` without the extra ``heic``."""
    try:
        from pi_heif import HeifImageFile
    except ImportError as error:
        raise UnscannableError("no_heic_decoder", "install the extra `heic`") from error
    opened: ImageFile.ImageFile = HeifImageFile(BytesIO(data))
    return opened


def icon(data: bytes, number: int) -> Image.Image:
    """Return one picture of an icon."""
    return IcoImagePlugin.IcoFile(BytesIO(data)).frame(number)


def _account(kind: str, image: ImageFile.ImageFile, data: bytes, max_pixels: int) -> Container:
    check_size(*image.size, max_pixels)
    exif = image.info.get("exif") or b""
    profile = image.info.get("icc_profile") or b""
    return Container(
        kind,
        *image.size,
        max(int(getattr(image, "n_frames", 1)), 1),
        exif_orientation(exif.removeprefix(b"Exif\0\0")) if isinstance(exif, bytes) else 1,
        data,
        profile=profile if isinstance(profile, bytes) and len(profile) <= MAX_PROFILE_BYTES else b"",
    )
