"""The walk over a PNG file: chunks, checksums, frames, and as many pixels as there are.

A decoder would refuse a file with a wrong checksum or take one whose compressed data ends early for whole. So the data
is inflated here, against the size that the header implies, and handed to Pillow as stored (uncompressed) blocks: it is
still inflated only once, which makes the check cost 5% of the decoding instead of 40%. Checksums are compared and a
wrong one is noted, but pixels are taken as they are. What is missing at the end is filled, white or transparent.

W3C PNG, third edition (2025), which includes APNG.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from embeddings.errors import UnscannableError
from embeddings.images.damage import CHECKSUM, CORRUPT, NO_END, STRAY_BYTES, TRAILING_BYTES, TRUNCATED

MAGIC = b"\x89PNG\r\n\x1a\n"
MAX_CHUNKS = 300_000
PIECE = 1 << 20
"""Bytes inflated at a time."""

_FILTERS = 4
"""The last of the filters of rows, from 0."""
_FED = 1 << 10
"""Compressed bytes inflated at a time."""

Chunk = tuple[bytes, memoryview]
"""A chunk's type and all of its bytes: length, type, body, checksum."""


@dataclass(frozen=True, slots=True)
class PngPixels:
    """A PNG file of only the chunks that carry pixels, uncompressed."""

    file: io.BytesIO
    grid: tuple[int, int] = (1, 1)
    """Every how many columns and rows a pixel is there: more than 1 where an interlaced file ends early."""


def read_chunks(data: bytes, damage: list[str]) -> Iterator[Chunk]:
    """Yield the chunks up to IEND, or as far as they go; what is wrong with them is added to ``damage``.

    A chunk of pixels that the file is too short for is yielded with what there is of it. Raises ``too_complex``.
    """
    view, at = memoryview(data), len(MAGIC)
    for _ in range(MAX_CHUNKS):
        if at + 8 > len(data):
            damage.append(NO_END)
            return
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if not kind.isalpha():
            damage.append(STRAY_BYTES)
            return
        if end > len(data):
            damage.append(NO_END)
            if kind in (b"IDAT", b"fdAT", b"IEND"):
                yield kind, memoryview(_chunk(kind, bytes(view[at + 8 : at + 8 + length])))
            return
        if _carries_pixels(kind) and zlib.crc32(view[at + 4 : end - 4]) != int.from_bytes(view[end - 4 : end], "big"):
            damage.append(CHECKSUM)
        yield kind, view[at:end]
        if kind == b"IEND":
            if data[end:].strip(b"\0"):
                damage.append(TRAILING_BYTES)
            return
        at = end
    raise UnscannableError("too_complex")


def count_frames(chunks: Sequence[Chunk], damage: list[str]) -> int:
    """Frames of an animation as Pillow counts them, 1 without one. Raises ``truncated`` or ``corrupt``.

    Frames that were announced and are not there add ``truncated`` to ``damage``.
    """
    kinds = [kind for kind, _ in chunks]
    if b"IDAT" not in kinds and NO_END in damage:
        raise UnscannableError("truncated")
    if kinds.count(b"IHDR") != 1 or kinds[0] != b"IHDR" or b"IDAT" not in kinds or kinds.count(b"acTL") > 1:
        raise UnscannableError("corrupt")
    if not _is_animated(chunks):
        return 1
    (announced,) = struct.unpack_from(">I", chunks[kinds.index(b"acTL")][1], 8)
    found = _controls(kinds)
    if found < announced:
        damage.append(TRUNCATED)
    separate = kinds.index(b"fcTL") > kinds.index(b"IDAT")  # the default image is a frame of its own, the first
    return min(int(announced), found) + separate


def durations(chunks: Sequence[Chunk]) -> list[float]:
    """Seconds for which each frame of an animation is shown, a default image that is none of them for 0 seconds."""
    kinds = [kind for kind, _ in chunks]
    if not _is_animated(chunks):
        return []
    times = [0.0] if kinds.index(b"fcTL") > kinds.index(b"IDAT") else []
    for kind, chunk in chunks:
        if kind == b"fcTL" and len(chunk) >= 12 + 26:
            part, whole = struct.unpack_from(">HH", chunk, 8 + 20)
            times.append(part / (whole or 100))
    return times


def pixels_only(chunks: Sequence[Chunk], damage: list[str], *, frames: int) -> PngPixels:
    """Return a PNG file of only the chunks that carry pixels, uncompressed, with a value for every pixel.

    Text, profiles and unknown chunks never reach the decoder. Where there are several ``frames``, those before the
    first that is damaged are kept. Adds to ``damage`` what is missing or broken. Raises ``truncated`` or ``corrupt``
    where no row of pixels is left.
    """
    kinds = [kind for kind, _ in chunks]
    header = bytes(chunks[0][1][8:21])
    animated = _is_animated(chunks) and frames > 1
    result, store = io.BytesIO(MAGIC), zlib.compressobj(0)
    result.seek(0, io.SEEK_END)
    first, grid = kinds.index(b"IDAT"), (1, 1)
    tail = list(_whole_frames(chunks, header, damage)) if animated else []
    for kind, chunk in chunks[:first]:
        if kind == b"acTL" and animated:
            count = (b"fcTL" in kinds[:first]) + sum(kind == b"fcTL" for kind, _ in tail)
            _write_chunk(result, kind, struct.pack(">I", count) + bytes(chunk[12:16]))
        elif _carries_pixels(kind) and (animated or kind not in (b"acTL", b"fcTL", b"fdAT")):
            _write_chunk(result, kind, bytes(chunk[8:-4]))
    expected = left = raw_size(header)
    inflated = inflate((body[8:-4] for name, body in chunks if name == b"IDAT"), expected=expected, damage=damage)
    for piece in _sound_rows(inflated, header, damage):
        left -= len(piece)
        _write_chunk(result, b"IDAT", store.compress(piece))
    if left:
        grid = _require_rows(header, expected - left, damage)
        for piece in _filling(header, expected - left, left):
            _write_chunk(result, b"IDAT", store.compress(piece))
    _write_chunk(result, b"IDAT", store.flush())
    for kind, chunk in tail:
        _write_chunk(result, kind, bytes(chunk[8:-4]))
    _write_chunk(result, b"IEND", b"")
    result.seek(0)
    return PngPixels(result, grid)


def inflate(bodies: Iterable[memoryview], *, expected: int, damage: list[str]) -> Iterator[bytes]:
    """At most ``expected`` bytes of the zlib stream cut into ``bodies``, piece by piece; more is left unread.

    Adds ``truncated`` to ``damage`` if there are fewer, ``corrupt`` if the stream is broken, ``checksum`` if its own
    checksum does not fit.
    """
    stream, head, seal, sum_ = zlib.decompressobj(-15), b"", b"", 1
    try:
        for body in _fed(bodies):
            if len(head) < 2:  # the two bytes before the compressed data
                head, body = head + bytes(body[: 2 - len(head)]), body[2 - len(head) :]
                if len(head) == 2 and (head[0] & 15 != 8 or int.from_bytes(head, "big") % 31 or head[1] & 32):
                    raise zlib.error("no zlib stream")
            if stream.eof:
                seal += bytes(body[:4])
                continue
            rest: bytes | memoryview = body
            while not stream.eof:
                piece = stream.decompress(rest, min(expected, PIECE) or 1)
                rest = stream.unconsumed_tail
                if not expected and piece:
                    return  # more than there is room for
                expected -= len(piece)
                sum_ = zlib.adler32(piece, sum_)
                if piece:
                    yield piece
                elif not rest:
                    break
            seal += stream.unused_data[:4] if stream.eof else b""
    except zlib.error:
        damage.append(CORRUPT)
        return
    if expected:
        damage.append(TRUNCATED)
    elif len(seal) >= 4 and int.from_bytes(seal[:4], "big") != sum_:
        damage.append(CHECKSUM)


def _sound_rows(pieces: Iterable[bytes], header: bytes, damage: list[str]) -> Iterator[bytes]:
    """Yield ``pieces`` of rows up to the first row whose filter is none of the five there are: what follows a broken
    place in compressed data looks like data for a while."""
    starts, begin = [], 0
    for rows, bytes_ in _passes(header):
        starts.append((begin, begin + rows * (1 + bytes_), 1 + bytes_))
        begin += rows * (1 + bytes_)
    at = 0
    for piece in pieces:
        values = np.frombuffer(piece, dtype=np.uint8)
        for begin, end, size in starts:
            first = begin - at if begin >= at else -(at - begin) % size
            filters = values[first : max(end - at, 0) : size]
            if (wrong := np.flatnonzero(filters > _FILTERS)).size:
                damage.append(CORRUPT)
                yield piece[: first + int(wrong[0]) * size]
                return
        yield piece
        at += len(piece)


def _fed(bodies: Iterable[memoryview]) -> Iterator[memoryview]:
    """``bodies`` in small parts and an empty one: zlib keeps what it made of a part in which it finds a fault."""
    for body in bodies:
        yield from (body[at : at + _FED] for at in range(0, len(body), _FED))
    yield memoryview(b"")


def raw_size(header: bytes) -> int:
    """Bytes of the filtered rows of an image with this IHDR body. Raises ``corrupt`` for an unknown colour type."""
    return sum(rows * (1 + bytes_) for rows, bytes_ in _passes(header))


ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""First column and row, and steps, of the seven passes of an interlaced image."""
GRIDS = ((8, 8), (4, 8), (4, 4), (2, 4), (2, 2), (1, 2), (1, 1))
"""Every how many columns and rows there is a pixel after each pass."""


def _passes(header: bytes) -> list[tuple[int, int]]:
    """Rows, and bytes in each beside its filter, of every pass."""
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(colour)
    if channels is None:
        raise UnscannableError("corrupt")
    sizes = []
    for left, top, right, down in ADAM7 if interlaced else ((0, 0, 1, 1),):
        columns, rows = -(-(width - left) // right), -(-(height - top) // down)
        empty = columns <= 0 or rows <= 0
        sizes.append((0, 0) if empty else (rows, -(-columns * channels * depth // 8)))
    return sizes


def _require_rows(header: bytes, had: int, damage: Sequence[str]) -> tuple[int, int]:
    """The grid of pixels that ``had`` bytes of rows cover. Raises where they are not even one row."""
    passes = _passes(header)
    if had < 1 + passes[0][1]:
        raise UnscannableError("corrupt" if CORRUPT in damage else "truncated")
    if not header[12]:
        return 1, 1
    whole = 0
    for rows, bytes_ in passes:
        had -= rows * (1 + bytes_)
        whole += had >= 0
    return GRIDS[max(whole, 1) - 1]


def _filling(header: bytes, at: int, count: int) -> Iterator[bytes]:
    """``count`` bytes of rows from byte ``at`` on, unfiltered: white, or clear, or the first colour of a palette.

    Many rows in one piece: how many there are, the header decides.
    """
    value = b"\xff" if header[9] in (0, 2) else b"\0"
    for rows, bytes_ in _passes(header):
        size = 1 + bytes_
        if at >= rows * size:
            at -= rows * size
            continue
        row, left = b"\0" + value * bytes_, min(count, rows * size - at)
        count -= left
        begun = row[at % size :][:left] if at % size else b""
        left, at = left - len(begun), 0
        if begun:
            yield begun
        block = row * min(rows, max(1, PIECE // size))
        while left > 0:
            yield block[:left]
            left -= len(block)
        if count <= 0:
            return


def _whole_frames(chunks: Sequence[Chunk], header: bytes, damage: list[str]) -> Iterator[Chunk]:
    """Yield the chunks of the frames after the first image, up to the first that lacks pixels."""
    kinds = [kind for kind, _ in chunks]
    last = len(kinds) - 1 - kinds[::-1].index(b"IDAT")
    (announced,) = struct.unpack_from(">I", chunks[kinds.index(b"acTL")][1], 8)
    left = announced - (b"fcTL" in kinds[:last])
    frame: list[Chunk] = []
    for kind, chunk in [*chunks[last + 1 :], (b"IEND", memoryview(b""))]:
        if kind in (b"fcTL", b"IEND") and frame:
            wrong: list[str] = []
            if not _is_whole(frame, header, wrong):
                damage += wrong or [TRUNCATED]
                return
            damage += wrong
            yield from frame
            left -= 1
            if not left:
                return
            frame = []
        if kind == b"fcTL" or (kind == b"fdAT" and frame):
            frame.append((kind, chunk))


def _is_whole(frame: Sequence[Chunk], header: bytes, wrong: list[str]) -> bool:
    control = frame[0][1]
    if len(control) < 12 + 26:
        return False
    wide, high = struct.unpack_from(">II", control, 12)
    if not (0 < wide <= int.from_bytes(header[:4], "big") and 0 < high <= int.from_bytes(header[4:8], "big")):
        wrong.append(CORRUPT)
        return False
    bodies = (chunk[12:-4] for _, chunk in frame[1:])
    for _ in inflate(bodies, expected=raw_size(bytes(control[12:20]) + header[8:]), damage=wrong):
        pass
    return not {TRUNCATED, CORRUPT} & set(wrong)


def is_deep(chunks: Sequence[Chunk]) -> bool:
    """Whether it is a still picture in colours of 16 bits, none of which stands for transparency."""
    depth, colour = chunks[0][1][16:18]
    return depth == 16 and colour in (2, 6) and not any(kind in (b"tRNS", b"acTL") for kind, _ in chunks)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))


def _write_chunk(file: io.BytesIO, kind: bytes, body: bytes) -> None:
    if body or kind == b"IEND":
        file.write(_chunk(kind, body))


def _carries_pixels(kind: bytes) -> bool:
    return kind in (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"acTL", b"fcTL", b"fdAT")


def _controls(kinds: Sequence[bytes]) -> int:
    """Frames that have a control chunk, and pixels after it."""
    return sum(kind == b"fcTL" and following in (b"IDAT", b"fdAT") for kind, following in pairwise(kinds))


def _is_animated(chunks: Sequence[Chunk]) -> bool:
    """Whether an animation is announced where it counts, before the first image data, and has frames."""
    kinds = [kind for kind, _ in chunks]
    if b"acTL" not in kinds or b"IDAT" not in kinds or b"fcTL" not in kinds:
        return False
    control = chunks[kinds.index(b"acTL")][1]
    announced = len(control) >= 20 and int.from_bytes(control[8:12], "big") > 0
    return announced and kinds.index(b"acTL") < kinds.index(b"IDAT")
