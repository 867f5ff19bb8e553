"""What an image file says about itself before any pixel is decoded: format, size, frames, orientation.

Owns the structural walk over JPEG, PNG, WebP and GIF files. The bytes are an attacker's: every length is checked
against what is there, loops are bounded, and nothing is allocated by a size that the file claims. The walks are
stricter than the decoders, which would accept a file that stops early or fails its checksums, and warn through
process-wide state.

JFIF/Exif: JEITA CP-3451 (orientation tag 0x0112). PNG: W3C PNG 3rd edition with APNG. WebP: RFC 9649. GIF: GIF89a.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from embeddings.errors import UnscannableError
from embeddings.images import png

MAX_BLOCKS = 300_000
"""Blocks walked in one file. GIF has the smallest ones; at its usual 255 bytes this is 76 MB."""
MAX_SCANS = 200
"""Scans of a progressive JPEG. Encoders write about ten; each one costs a pass over the whole image."""


@dataclass(frozen=True, slots=True)
class Container:
    """A file's own account of itself, as far as it could be checked without decoding."""

    format: str
    """``jpeg``, ``png``, ``webp`` or ``gif``."""
    width: int
    """Width in pixels as stored, before the orientation is applied; 0 for JPEG, whose decoder reads the size."""
    height: int
    frames: int
    orientation: int
    """Exif orientation, 1 to 8; 1 when there is none or it makes no sense."""
    pixels: bytes
    """The bytes that the decoder is given."""
    inverted: bool = False
    """JPEG in four colours only: stored as Adobe does, 255 meaning no ink."""
    chunks: tuple[png.Chunk, ...] = ()
    """PNG only: what the walk found, for :func:`embeddings.images.png.pixels_only`."""


def sniff(data: bytes) -> str:
    """Return the format by magic bytes. Raises ``empty`` or ``format``; a file's name and declared type play no
    part."""
    if not data:
        raise UnscannableError("empty")
    if data[:3] == b"\xff\xd8\xff":
        return "jpeg"
    if data[:8] == png.MAGIC:
        return "png"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    if data[:6] in (b"GIF87a", b"GIF89a"):
        return "gif"
    raise UnscannableError("format")


def inspect(data: bytes, *, max_pixels: int) -> Container:
    """Walk the file. Raises :class:`UnscannableError`: ``empty``, ``format``, ``too_many_pixels``, ``truncated``,
    ``corrupt``, ``too_complex``.
    """
    walk = {"jpeg": _walk_jpeg, "png": _walk_png, "webp": _walk_webp, "gif": _walk_gif}[sniff(data)]
    try:
        return walk(data, max_pixels)
    except (IndexError, struct.error) as error:  # a fixed-size field that the file is too short for
        raise UnscannableError("truncated") from error


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


def _walk_jpeg(data: bytes, max_pixels: int) -> Container:
    """Reads the segments before the first scan. The size is left to the decoder, so that the two cannot differ."""
    orientation, inverted, at = 1, False, 2
    for _ in range(MAX_BLOCKS):
        if data[at] != 0xFF:
            raise UnscannableError("corrupt")
        marker = data[at + 1]
        if marker in (0xDA, 0xD9):
            break
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:
            at += 2
            continue
        (length,) = struct.unpack_from(">H", data, at + 2)
        body = data[at + 4 : at + 2 + length]
        if marker == 0xE1 and body[:6] == b"Exif\0\0" and orientation == 1:
            orientation = exif_orientation(body[6:])
        inverted |= marker == 0xEE and body[:5] == b"Adobe"
        at += 2 + length
    else:
        raise UnscannableError("too_complex")
    if data.count(b"\xff\xda") > MAX_SCANS:
        raise UnscannableError("too_complex")
    return Container("jpeg", 0, 0, 1, orientation, data, inverted)


def _walk_png(data: bytes, max_pixels: int) -> Container:
    if data[8:16] != b"\x00\x00\x00\rIHDR":
        raise UnscannableError("corrupt" if len(data) >= 16 else "truncated")
    width, height = struct.unpack_from(">II", data, 16)
    check_size(width, height, max_pixels)
    chunks = list(png.read_chunks(data))
    frames = png.count_frames(chunks)
    exif = [bytes(chunk[8:-4]) for kind, chunk in chunks if kind == b"eXIf"]
    orientation = exif_orientation(exif[0]) if exif else 1
    return Container("png", width, height, frames, orientation, data, chunks=tuple(chunks))


def _walk_webp(data: bytes, max_pixels: int) -> Container:
    (riff,) = struct.unpack_from("<I", data, 4)
    end = 8 + riff
    if end > len(data):
        raise UnscannableError("truncated")
    width = height = frames = 0
    animated, orientation, at = False, 1, 12
    for _ in range(MAX_BLOCKS):
        if at + 8 > end:
            break
        kind, length = struct.unpack_from("<4sI", data, at)
        if at + 8 + length > end:
            raise UnscannableError("truncated")
        body = data[at + 8 : at + 8 + min(length, 32)]
        if kind in (b"VP8X", b"VP8 ", b"VP8L"):
            size = _webp_size(kind, body)
            check_size(*size, max_pixels)
            width, height = max(width, size[0]), max(height, size[1])
            animated |= kind == b"VP8X" and bool(body[0] & 2)
        elif kind == b"EXIF":
            exif = data[at + 8 : at + 8 + length]
            orientation = exif_orientation(exif[6:] if exif[:6] == b"Exif\0\0" else exif)
        frames += kind == b"ANMF"
        at += 8 + length + (length & 1)
    else:
        raise UnscannableError("too_complex")
    check_size(width, height, max_pixels)
    if animated and not frames:
        raise UnscannableError("corrupt")
    return Container("webp", width, height, frames if animated else 1, orientation, data[:end])


def _webp_size(kind: bytes, body: bytes) -> tuple[int, int]:
    if kind == b"VP8X":
        return int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", body, 1)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", body, 6)
    return width & 0x3FFF, height & 0x3FFF


def _walk_gif(data: bytes, max_pixels: int) -> Container:
    """Counts frames and takes the area that all of them cover: a frame may lie outside the declared screen."""
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    check_size(width, height, max_pixels)
    at = 13 + _colour_table(flags)
    frames, blocks = 0, MAX_BLOCKS
    while (kind := data[at]) != 0x3B:
        if kind == 0x2C:
            left, top, wide, high, flags = struct.unpack_from("<HHHHB", data, at + 1)
            check_size(wide, high, max_pixels)
            width, height = max(width, left + wide), max(height, top + high)
            check_size(width, height, max_pixels)
            frames += 1
            at += 11 + _colour_table(flags)
        elif kind == 0x21:
            at += 2
        else:
            raise UnscannableError("corrupt")
        while length := data[at]:
            at += 1 + length
            blocks -= 1
            if blocks < 0:
                break
        at += 1
        blocks -= 1
        if blocks < 0:
            raise UnscannableError("too_complex")
    if not frames:
        raise UnscannableError("corrupt")
    return Container("gif", width, height, frames, 1, data)


def _colour_table(flags: int) -> int:
    """Bytes of the colour table that ``flags`` announces."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0
