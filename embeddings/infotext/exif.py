"""Texts in an Exif block: the comment and description tags, in whichever encoding their writers used.

The Exif standard leaves the byte order of a Unicode comment open, and writers disagree: piexif writes big-endian
whatever the block's order is. So both readings are made, and the one that looks like text is taken.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from embeddings.infotext.fields import Budget, RawField

_USER_COMMENT: Final = 0x9286
_POINTER: Final = 0x8769
_MOST_ENTRIES: Final = 512
_MOST_BLOCKS: Final = 8
_SIZES: Final = {1: 1, 2: 1, 7: 1}
"""Bytes of the types that texts have: BYTE, ASCII, UNDEFINED."""
ENCODINGS: Final = ("utf-8", "utf-16", "utf-16-le", "utf-16-be", "iso2022_jp")
"""Encodings of texts, beside Latin-1, which Python has built in."""
_TAGS: Final = {
    0x010E: "imagedescription",
    0x010F: "make",  # ComfyUI's animated WebP: "workflow:{...}"
    0x0110: "model",  # and "prompt:{...}"
    0x0131: "software",
    _USER_COMMENT: "usercomment",
    0x927C: "makernote",
    0x9C9B: "xptitle",
    0x9C9C: "xpcomment",
    0x9C9E: "xpkeywords",
    0x9C9F: "xpsubject",
}


def exif_fields(block: bytes | memoryview, budget: Budget) -> Iterator[RawField]:
    """Yield the texts of an Exif block (TIFF header first). What is damaged is left out. The block is not copied, and
    each entry is charged: a file may have the same block read again and again."""
    tiff = memoryview(block)
    tiff = tiff[6:] if bytes(tiff[:6]) == b"Exif\0\0" else tiff
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(bytes(tiff[:4]))
    if order is None:
        return
    waiting, seen = [struct.unpack_from(order + "I", tiff, 4)[0]] if len(tiff) >= 8 else [], set[int]()
    while waiting and len(seen) < _MOST_BLOCKS:
        start = waiting.pop()
        if start in seen or start + 2 > len(tiff):
            continue
        seen.add(start)
        (count,) = struct.unpack_from(order + "H", tiff, start)
        budget.exceeded |= count > _MOST_ENTRIES
        for at in range(start + 2, start + 2 + 12 * min(count, _MOST_ENTRIES), 12):
            if at + 12 > len(tiff) or not budget.walk_over(12):
                break
            tag, kind, length, value = struct.unpack_from(order + "HHII", tiff, at)
            if tag == _POINTER:
                waiting.append(value)
            elif tag in _TAGS and kind in _SIZES:
                place = at + 8 if length <= 4 else value
                data = budget.take(tiff[place : place + length])
                yield RawField(_TAGS[tag], _decoded(tag, data, little=order == "<"))
    budget.exceeded |= bool(waiting)


def _decoded(tag: int, data: bytes, *, little: bool) -> str:
    if tag == _USER_COMMENT:
        return decode_comment(data, little=little)
    if tag >= 0x9C9B:
        return data.decode("utf-16-le", "replace").rstrip("\0")
    return decode_text(data.rstrip(b"\0"))


def decode_text(data: bytes) -> str:
    """Return bytes of no stated encoding as text: UTF-8 where they are that, else Latin-1."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def decode_comment(data: bytes, *, little: bool) -> str:
    """Return the text of a UserComment, whose first eight bytes name its encoding, or do not."""
    code, body = data[:8], data[8:]
    if code == b"UNICODE\0":
        return _utf16(body, little=little)
    if code == b"JIS\0\0\0\0\0":
        return body.decode("iso2022_jp", "replace").rstrip("\0")
    if code not in (b"ASCII\0\0\0", bytes(8)):
        body = data  # writers that leave the code out
    return _utf16(body, little=little) if b"\0" in body.rstrip(b"\0") else decode_text(body.rstrip(b"\0"))


def _utf16(body: bytes, *, little: bool) -> str:
    """Decode in both byte orders and as UTF-8, and take what has the most ordinary characters."""
    if body[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return body.decode("utf-16", "replace").rstrip("\0")
    orders = ("utf-16-le", "utf-16-be") if little else ("utf-16-be", "utf-16-le")
    readings = [body.decode(order, "replace").rstrip("\0") for order in orders]
    if b"\0" not in body.rstrip(b"\0"):
        readings.append(decode_text(body.rstrip(b"\0")))
    return max(readings, key=_plainness)


def _plainness(text: str) -> float:
    """Share of characters that texts have everywhere: printable ASCII and line breaks. A start of it decides."""
    start = text[:2000]
    return sum(" " <= letter <= "~" or letter == "\n" for letter in start) / max(1, len(start))
