"""WebP: the walk over its chunks, which mends what viewers forgive.

Browsers show what there is of a file that ends early, and mind a wrong length in its head as little. libwebp's whole
decoder refuses both, so the lengths are set right and the missing end of a still image is filled with zero bytes, which
decode to some colour, up to what a picture of its size may take. Of an animation the whole frames are kept. RFC 9649.
"""

from __future__ import annotations

import struct
from typing import Final

from embeddings.errors import UnscannableError
from embeddings.images.account import MAX_BLOCKS, Container, check_size, exif_orientation
from embeddings.images.colour import MAX_PROFILE_BYTES
from embeddings.images.damage import LENGTH, TRAILING_BYTES, TRUNCATED

_BITSTREAMS: Final = (b"VP8 ", b"VP8L")
_KNOWN: Final = (*_BITSTREAMS, b"VP8X", b"ANIM", b"ANMF", b"ALPH", b"ICCP", b"EXIF", b"XMP ")
_MOST_PER_PIXEL: Final = 4
_MOST_BESIDE: Final = 1 << 20
"""Bytes that a still image's data may take: as many a pixel, which is what pixels take that cannot be compressed, and
beside them. A length that says more is wrong."""
_LEAST_SHARE: Final = 0.02
"""Share of a still image's data below which nothing of it would be shown."""


def walk(data: bytes, max_pixels: int) -> Container:
    """Read sizes, frames, orientation and profile. Raises :class:`UnscannableError`."""
    (riff,) = struct.unpack_from("<I", data, 4)
    width = height = frames = 0
    animated, orientation, at, profile = False, 1, 12, b""
    kept, damage, durations = list[bytes](), list[str](), list[float]()
    for _ in range(MAX_BLOCKS):
        if at + 8 > len(data):
            break
        kind, length = struct.unpack_from("<4sI", data, at)
        if kind not in _KNOWN and at >= 8 + riff:
            break
        whole = at + 8 + length <= len(data)
        body = data[at + 8 : at + 8 + min(length, 32)]
        if kind in (b"VP8X", *_BITSTREAMS):
            size = _size(kind, body)
            check_size(*size, max_pixels)
            width, height = max(width, size[0]), max(height, size[1])
            animated |= kind == b"VP8X" and bool(body[0] & 2)
        elif kind == b"EXIF":
            exif = data[at + 8 : at + 8 + length]
            orientation = exif_orientation(exif[6:] if exif[:6] == b"Exif\0\0" else exif)
        elif kind == b"ICCP" and whole and length <= MAX_PROFILE_BYTES:
            profile = data[at + 8 : at + 8 + length]
        elif kind == b"ANMF" and whole:
            frames += 1
            durations.append(int.from_bytes(body[12:15], "little") / 1000 or 0.1)
        if whole or kind in _BITSTREAMS:
            kept.append(_chunk(data, at, length, width * height))
        at += 8 + length + (length & 1)
        if not whole:
            damage.append(TRUNCATED)
            break
    else:
        raise UnscannableError("too_complex")
    if not (width and height):
        raise UnscannableError("truncated" if damage or 8 + riff > len(data) else "corrupt")
    if (animated and not frames) or not (frames or _has_bitstream(kept)):
        raise UnscannableError("truncated" if damage or 8 + riff > len(data) else "corrupt")
    damage += _lengths(data, riff, at, frames if animated else 0)
    return Container(
        "webp",
        width,
        height,
        frames if animated else 1,
        orientation,
        _file(kept) if set(damage) - {TRAILING_BYTES} else data[: 8 + riff],
        damage=tuple(dict.fromkeys(damage)),
        durations=tuple(durations) if animated else (),
        profile=profile,
    )


def _file(chunks: list[bytes]) -> bytes:
    body = b"".join(chunks)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def _lengths(data: bytes, riff: int, at: int, frames: int) -> list[str]:
    """What is wrong with the length in the head, where the chunks end at ``at``."""
    if 8 + riff > len(data):
        return [LENGTH] if not frames and 0 <= at - len(data) <= 1 else [TRUNCATED]
    if 8 + riff < at:
        return [LENGTH]
    return [TRAILING_BYTES] if data[8 + riff :].strip(b"\0") else []


def _chunk(data: bytes, at: int, length: int, pixels: int) -> bytes:
    """The chunk at ``at``, filled up where the file ends within it, as far as so many ``pixels`` may take. Raises
    ``truncated`` where hardly any is there."""
    body = data[at + 8 : at + 8 + length]
    wanted = max(len(body), min(length, _MOST_PER_PIXEL * pixels + _MOST_BESIDE))
    if len(body) < _LEAST_SHARE * wanted:
        raise UnscannableError("truncated")
    head = data[at : at + 4] + struct.pack("<I", wanted)
    return head + body + bytes(wanted - len(body) + (wanted & 1))


def _has_bitstream(chunks: list[bytes]) -> bool:
    return any(chunk[:4] in _BITSTREAMS for chunk in chunks)


def _size(kind: bytes, body: bytes) -> tuple[int, int]:
    if kind == b"VP8X":
        return int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", body, 1)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", body, 6)
    return width & 0x3FFF, height & 0x3FFF
