"""Which format a file is in, by its first bytes. Loads no decoder, so that whoever only asks this starts fast."""

from __future__ import annotations

from typing import Final

from embeddings.errors import UnscannableError

VIDEO: Final = ("mp4", "webm")
"""Formats that :mod:`embeddings.images.video` decodes."""
_AVIF: Final = (b"avif", b"avis")
_HEIC: Final = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_MAGIC: Final = (
    (b"\xff\xd8\xff", "jpeg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
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
