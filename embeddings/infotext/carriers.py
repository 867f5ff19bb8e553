"""Where a picture file keeps texts: chunks, segments and blocks of PNG, JPEG, WebP, GIF and AVIF.

Finds raw texts and decodes no pixel. The walks stop where a file is damaged and keep what came before: the structure is
judged elsewhere (:mod:`embeddings.images`). Every length is checked against what is there; loops are bounded,
and a bound that is reached is said.

PNG: W3C PNG 3rd edition. JPEG: ITU T.81, Exif 3.0, XMP part 3. WebP: RFC 9649. GIF: GIF89a. AVIF: ISO/IEC 14496-12.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Final

from embeddings.infotext.exif import decode_text, exif_fields
from embeddings.infotext.fields import Budget, RawField
from embeddings.infotext.isobmff import isobmff_metadata

XMP: Final = "xmp"
IPTC: Final = "iptc"
_MOST_BLOCKS: Final = 300_000
_KEY_LENGTH: Final = 79
_XMP_HEAD: Final = b"http://ns.adobe.com/xap/1.0/\0"
_PHOTOSHOP: Final = b"Photoshop 3.0\0"


def raw_fields(data: bytes, budget: Budget) -> Iterator[RawField]:
    """Yield every text of the file, in the file's order. Never raises."""
    walk = _walk_of(data[:16])
    if walk is None:
        return
    try:
        yield from walk(data, budget)
    except (IndexError, struct.error):  # the file ends within a field of fixed size
        return


def _walk_of(head: bytes) -> Callable[[bytes, Budget], Iterator[RawField]] | None:
    if head[:8] == b"\x89PNG\r\n\x1a\n":
        return _png
    if head[:3] == b"\xff\xd8\xff":
        return _jpeg
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return _webp
    if head[:6] in (b"GIF87a", b"GIF89a"):
        return _gif
    return _isobmff if head[4:8] == b"ftyp" else None


def _png(data: bytes, budget: Budget) -> Iterator[RawField]:
    view, at = memoryview(data), 8
    for _ in range(_MOST_BLOCKS):
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind in (b"tEXt", b"zTXt", b"iTXt"):
            yield from _png_text(kind, view[at + 8 : at + 8 + length], budget)
        elif kind == b"eXIf":
            yield from exif_fields(view[at + 8 : at + 8 + length], budget)
        elif kind == b"IEND":
            return
        at += 12 + length
    budget.exceeded = True


def _png_text(kind: bytes, body: memoryview, budget: Budget) -> Iterator[RawField]:
    """Read a text chunk: keyword, and what follows it by kind. Compressed texts are inflated within the budget."""
    keyword, found, _ = bytes(body[: _KEY_LENGTH + 1]).partition(b"\0")
    if not found:
        return
    rest, packed = body[len(keyword) + 1 :], kind == b"zTXt"
    if kind == b"zTXt":
        rest = rest[1:]
    elif kind == b"iTXt":
        packed = bytes(rest[:1]) == b"\x01"
        rest = rest[2:]
        for _ in range(2):  # the language, and the keyword in it
            end = bytes(rest[:1024]).find(b"\0")
            if end < 0:
                return
            rest = rest[end + 1 :]
    raw = _inflated(rest, budget) if packed else budget.take(rest)
    key = decode_text(keyword).strip().lower()
    yield RawField(XMP if key == "xml:com.adobe.xmp" else key, decode_text(raw))


def _inflated(data: memoryview, budget: Budget) -> bytes:
    """Inflate at most what the budget has left; of a damaged stream, what came before the damage."""
    stream, pieces = zlib.decompressobj(), list[bytes]()
    rest: bytes | memoryview = data
    while budget.left and not stream.eof:
        try:
            piece = stream.decompress(rest, min(budget.left, 1 << 16))
        except zlib.error:
            break
        rest = stream.unconsumed_tail
        pieces.append(budget.take(piece))
        if not piece and not rest:
            break
    budget.exceeded |= not budget.left and bool(rest)
    return b"".join(pieces)


def _jpeg(data: bytes, budget: Budget) -> Iterator[RawField]:
    """Read the segments before the first scan."""
    at = 2
    for _ in range(_MOST_BLOCKS):
        if data[at] != 0xFF or data[at + 1] in (0xDA, 0xD9):
            return
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:
            at += 2
            continue
        (length,) = struct.unpack_from(">H", data, at + 2)
        if marker in (0xE1, 0xED, 0xFE):
            yield from _jpeg_segment(marker, data[at + 4 : at + 2 + length], budget)
        at += 2 + length
    budget.exceeded = True


def _jpeg_segment(marker: int, body: bytes, budget: Budget) -> Iterator[RawField]:
    if marker == 0xFE:
        yield RawField("comment", decode_text(budget.take(body)))
    elif marker == 0xED and body.startswith(_PHOTOSHOP):
        yield RawField(IPTC, budget.take(body[len(_PHOTOSHOP) :]).decode("latin-1"))
    elif body.startswith(b"Exif\0\0"):
        yield from exif_fields(body, budget)
    elif body.startswith(_XMP_HEAD):
        yield RawField(XMP, decode_text(budget.take(body[len(_XMP_HEAD) :])))


def _webp(data: bytes, budget: Budget) -> Iterator[RawField]:
    view, at = memoryview(data), 12
    for _ in range(_MOST_BLOCKS):
        kind, length = struct.unpack_from("<4sI", data, at)
        if kind == b"EXIF":
            yield from exif_fields(view[at + 8 : at + 8 + length], budget)
        elif kind == b"XMP ":
            yield RawField(XMP, decode_text(budget.take(view[at + 8 : at + 8 + length])))
        at += 8 + length + (length & 1)
    budget.exceeded = True


def _gif(data: bytes, budget: Budget) -> Iterator[RawField]:
    """Read comments and XMP; what they are made of are blocks of at most 255 bytes."""
    at = 13 + _colour_table(data[10])
    for _ in range(_MOST_BLOCKS):
        kind, label = data[at], data[at + 1]
        if kind == 0x2C:
            at += 11 + _colour_table(data[at + 9])
        elif kind == 0x21:
            at += 2
        else:
            return
        pieces, start = list[bytes](), at
        for _ in range(_MOST_BLOCKS):
            length = data[at]
            if kind == 0x21 and label == 0xFE:
                pieces.append(budget.take(data[at + 1 : at + 1 + length]))
            at += 1 + length
            if not length:
                break
        else:
            budget.exceeded = True
        if pieces:
            yield RawField("comment", decode_text(b"".join(pieces)))
        elif data[start : start + 12] == b"\x0bXMP DataXMP":
            # XMP in a GIF is not cut into blocks: the blocks that a reader sees are its own bytes.
            yield RawField(XMP, decode_text(budget.take(data[start + 12 : max(start + 12, at - 258)])))
    budget.exceeded = True


def _colour_table(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _isobmff(data: bytes, budget: Budget) -> Iterator[RawField]:
    for kind, body in isobmff_metadata(data, budget):
        if kind == XMP:
            yield RawField(XMP, decode_text(budget.take(body)))
        else:
            (skipped,) = struct.unpack_from(">I", body)
            yield from exif_fields(body[4 + skipped :], budget)
