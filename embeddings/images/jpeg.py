"""JPEG: the walk over its segments, which mends what viewers forgive, and its pixels at one of four scales.

libjpeg-turbo (simplejpeg) decodes strictly first; what it then warns about is decoded as far as it goes, which is what
browsers show. What it refuses altogether, such as unusual sampling, Pillow is asked for. A JPEG in four inks is
inverted, 255 meaning no ink, whether or not Adobe's marker says so: browsers and Pillow read it so.

JFIF and Exif: JEITA CP-3451; the profile in APP2 segments: ICC.1 annex B.4.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from io import BytesIO
from typing import Final

import numpy as np
import simplejpeg
from PIL import JpegImagePlugin

from embeddings.errors import UnscannableError
from embeddings.images.account import MAX_BLOCKS, Container, check_size, exif_orientation
from embeddings.images.colour import MAX_PROFILE_BYTES
from embeddings.images.damage import CORRUPT, NO_END, STRAY_BYTES, TRAILING_BYTES, TRUNCATED
from embeddings.images.faults import decoder_errors
from embeddings.types import UInt8

SCALES: Final = (0.125, 0.25, 0.5, 1.0)
"""Scales at which libjpeg-turbo's inverse transform is vectorised; others are slower than the next larger one."""
MAX_SCANS: Final = 200
"""Scans of a progressive JPEG. Encoders write about ten; each one costs a pass over the whole image."""

_MARKER: Final = re.compile(rb"\xff+([^\x00\xd0-\xd7\xff])")
"""A marker among coded pixels, where 0xFF stands before 0x00 or a restart otherwise."""
_BARE: Final = (0x01, *range(0xD0, 0xD9))
"""Markers without a length."""


def walk(data: bytes) -> Container:
    """Read the segments before the first scan, and look for the end. The size is left to the decoder, so that the two
    cannot differ.

    Bytes between segments are left out of what the decoder is given, and an end mark is added where there is none.
    """
    orientation, at, damage = 1, 2, list[str]()
    kept, profile, said = [data[:2]], dict[bytes, bytes](), list[bytes]()
    for _ in range(MAX_BLOCKS):
        if data[at] != 0xFF or data[at + 1] == 0:
            damage.append(STRAY_BYTES)
            at = data.find(b"\xff", at + 1)
            if at < 0:
                raise UnscannableError("truncated")
            continue
        marker = data[at + 1]
        if marker == 0xDA:
            break
        if marker == 0xD9:
            raise UnscannableError("corrupt")
        if marker == 0xFF or marker in _BARE:  # a fill byte; nothing that a header needs
            at += 1 if marker == 0xFF else 2
            continue
        (length,) = struct.unpack_from(">H", data, at + 2)
        body = data[at + 4 : at + 2 + length]
        if marker == 0xE1 and body[:6] == b"Exif\0\0" and orientation == 1:
            orientation = exif_orientation(body[6:])
        if marker == 0xE2 and body[:12] == b"ICC_PROFILE\0":
            said.append(body[12:14] if len(body) > 14 else b"")
            profile.setdefault(said[-1][:1], body[14:])
        else:
            kept.append(data[at : at + 2 + length])
        at += 2 + length
    else:
        raise UnscannableError("too_complex")
    end, wrong = _end(data, at)
    damage += wrong
    pixels = data
    # The decoder refuses a profile with gaps, which viewers do without.
    whole = sorted(said) == [bytes([number, len(said)]) for number in range(1, len(said) + 1)]
    if not whole or STRAY_BYTES in damage or NO_END in damage:
        pixels = b"".join([*kept, data[at:end], b"\xff\xd9" if NO_END in damage else b""])
    joined = b"".join(profile[number] for number in sorted(profile)) if whole else b""
    return Container(
        "jpeg",
        0,
        0,
        1,
        orientation,
        pixels,
        damage=tuple(dict.fromkeys(damage)),
        profile=joined if len(joined) <= MAX_PROFILE_BYTES else b"",
    )


def _end(data: bytes, at: int) -> tuple[int, list[str]]:
    """Where the coded pixels that begin at ``at`` end, and what is wrong with that.

    A segment that the file is too short for is left out. Raises ``truncated`` where no pixels follow, ``too_complex``.
    """
    scans, begin = 0, at
    for _ in range(MAX_BLOCKS):
        marker = data[at + 1]
        if marker == 0xD9:
            return at + 2, [TRAILING_BYTES] if data[at + 2 :].strip(b"\0") else []
        scans += marker == 0xDA
        if scans > MAX_SCANS:
            raise UnscannableError("too_complex")
        size = 2 if marker in _BARE else 2 + int.from_bytes(data[at + 2 : at + 4].ljust(2, b"\xff"), "big")
        if at + size >= len(data):
            if at == begin:
                raise UnscannableError("truncated")
            return at, [NO_END, TRUNCATED]
        found = _MARKER.search(data, at + size)
        if found is None:
            break
        at = found.end() - 2
    else:
        raise UnscannableError("too_complex")
    return len(data.rstrip(b"\xff")), [NO_END]


@dataclass(frozen=True, slots=True)
class JpegHeader:
    """What the decoder says of a file before its pixels."""

    width: int
    height: int
    inks: bool
    """Whether it is in four inks (CMYK or YCCK)."""
    by_pillow: bool
    """Whether only Pillow decodes it."""


def read_header(container: Container, *, max_pixels: int) -> JpegHeader:
    """Read the size. Raises :class:`UnscannableError`."""
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(container.pixels, strict=False)
        header = JpegHeader(width, height, colours in ("CMYK", "YCCK"), by_pillow=False)
    except (ValueError, KeyError):
        with decoder_errors():
            image = JpegImagePlugin.JpegImageFile(BytesIO(container.pixels))
        header = JpegHeader(*image.size, image.mode == "CMYK", by_pillow=True)
    check_size(header.width, header.height, max_pixels)
    return header


def stored_pixels(container: Container, header: JpegHeader, scale: float, damage: list[str]) -> UInt8:
    """The stored (not yet upright) pixels, RGB (h, w, 3) or ink (h, w, 4) with 0 for none, at one of ``SCALES``.

    Adds to ``damage`` what the decoder had to forgive.
    """
    if header.by_pillow:
        return _by_pillow(container)
    # At full size no minimum is passed: for images of a few pixels several scales round to the same size.
    sides = (header.width, header.height)
    width, height = (-int(-side * scale // 1) for side in sides) if scale < 1 else (0, 0)
    target = "CMYK" if header.inks else "RGB"
    for strict in (True, False):
        try:
            pixels: UInt8 = simplejpeg.decode_jpeg(
                container.pixels, target, min_width=width, min_height=height, strict=strict
            )
        except ValueError as error:
            if not strict:
                with decoder_errors():
                    raise
            damage.append(TRUNCATED if "premature end" in str(error).lower() else CORRUPT)
        else:
            return 255 - pixels if header.inks else pixels
    raise AssertionError("the second try returns or raises")


def _by_pillow(container: Container) -> UInt8:
    with decoder_errors():
        image = JpegImagePlugin.JpegImageFile(BytesIO(container.pixels))
        image.load()
        return np.asarray(image if image.mode in ("RGB", "CMYK") else image.convert("RGB"))
