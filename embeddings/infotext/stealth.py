"""The text that NovelAI hides in the lowest bits of a PNG's pixels, column by column: alpha, or red, green and blue.

It begins with a signature of fifteen letters, so a few rows of the first column tell nearly every picture that has none
apart; only what passes is decoded. Signatures: ``stealth_pnginfo`` and ``stealth_rgbinfo``, with ``comp`` where gzip
follows.
"""

from __future__ import annotations

import io
import struct
import zlib
from typing import Final

from embeddings.infotext.fields import Budget

_SIGNATURES: Final = {
    b"stealth_pnginfo": (True, False),
    b"stealth_pngcomp": (True, True),
    b"stealth_rgbinfo": (False, False),
    b"stealth_rgbcomp": (False, True),
}
"""Signature to whether it is in alpha, and whether gzip follows."""
_HEAD: Final = 15
_PIECE: Final = 1 << 16
"""Bytes that are inflated at a time: of a chunk that holds the whole picture no more than its first rows need."""
_ROWS: Final = ((8, 120), (3, 40))
"""Rows of the first column that are looked at one after the other, in alpha and in colours alone: enough for the first
letter, which tells 255 of 256 pictures of noise apart, and for the whole signature."""


def stealth_text(data: bytes, budget: Budget) -> bytes | None:
    """Return the hidden text of a PNG; None if it has none, or is of a kind that none is hidden in."""
    if data[:8] != b"\x89PNG\r\n\x1a\n" or len(data) < 33 or data[24] != 8 or data[25] not in (2, 6) or data[28]:
        return None
    width, height = struct.unpack_from(">II", data, 16)
    channels = 4 if data[25] == 6 else 3
    if not 0 < width * height <= budget.limits.max_pixels:
        return None
    for rows in _ROWS[channels == 3]:
        column = _first_column(data, width, min(height, rows), channels)
        starts = [_letters([pixel[3] for pixel in column])] if channels == 4 else []
        starts.append(_letters([value for pixel in column for value in pixel[:3]]))
        if not any(start and any(known.startswith(start[:_HEAD]) for known in _SIGNATURES) for start in starts):
            return None
    if width * height > budget.pixels:
        budget.exceeded = True
        return None
    budget.pixels -= width * height
    return _decoded(data, budget, alpha=channels == 4)


def _letters(values: list[int]) -> bytes:
    """The letters in the lowest bits, the highest bit of each first; what is left over is dropped."""
    bits = "".join(str(value & 1) for value in values[: len(values) // 8 * 8])
    return int(bits or "0", 2).to_bytes(len(bits) // 8, "big")


def _first_column(data: bytes, width: int, rows: int, channels: int) -> list[bytes]:
    """Undo the filters of the first pixel of some rows, which depend on no other column."""
    stride = 1 + width * channels
    raw = _rows_of(data, rows * stride)
    column, above = list[bytes](), bytes(channels)
    for row in range(len(raw) // stride):
        method, pixel = raw[row * stride], raw[row * stride + 1 : row * stride + 1 + channels]
        if method in (2, 4):  # up; and Paeth, which is up where nothing is to the left
            pixel = bytes((value + up) & 255 for value, up in zip(pixel, above, strict=True))
        elif method == 3:
            pixel = bytes((value + up // 2) & 255 for value, up in zip(pixel, above, strict=True))
        column.append(pixel)
        above = pixel
    return column


def _rows_of(data: bytes, wanted: int) -> bytes:
    """Inflate the first ``wanted`` bytes of the image data."""
    stream, pieces, at = zlib.decompressobj(), list[bytes](), 8
    view = memoryview(data)
    while wanted > 0 and at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"IDAT":
            end = min(at + 8 + length, len(view))
            for start in range(at + 8, end, _PIECE):
                try:
                    piece = stream.decompress(view[start : min(start + _PIECE, end)], wanted)
                except zlib.error:
                    return b"".join(pieces)
                pieces.append(piece)
                wanted -= len(piece)
                if wanted <= 0:
                    break
        elif kind == b"IEND":
            break
        at += 12 + length
    return b"".join(pieces)


def _decoded(data: bytes, budget: Budget, *, alpha: bool) -> bytes | None:
    import numpy as np
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            pixels = np.asarray(image).transpose(1, 0, 2)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    for in_alpha in (True, False) if alpha else (False,):
        chosen = pixels[:, :, 3] if in_alpha else pixels[:, :, :3]
        hidden = np.packbits(chosen.reshape(-1) & 1).tobytes()
        found = _SIGNATURES.get(hidden[:_HEAD])
        if found is not None and found[0] == in_alpha and len(hidden) >= _HEAD + 4:
            (bits,) = struct.unpack_from(">I", hidden, _HEAD)
            body = hidden[_HEAD + 4 : _HEAD + 4 + bits // 8]
            return _unpacked(body, budget) if found[1] else budget.take(body)
    return None


def _unpacked(body: bytes, budget: Budget) -> bytes:
    stream = zlib.decompressobj(wbits=31)
    try:
        return budget.take(stream.decompress(body, budget.left + 1))
    except zlib.error:
        return b""
