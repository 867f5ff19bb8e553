"""Encodes pictures into files, sound ones and broken ones. The same pixels always give the same bytes.

Owns formats. Pictures are uint8 RGB (h, w, 3).
"""

from __future__ import annotations

import json
import struct
import zlib
from base64 import b64encode
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Final

import numpy as np
from PIL import Image

from embeddings.types import UInt8

_ORIENTATION_TAG: Final = 0x0112
_UPRIGHT_TO_STORED: Final = {3: 2, 6: 1, 8: 3}
"""EXIF orientation -> quarter turns against the clock that take the upright picture to the stored one."""
_PNG_MAGIC: Final = b"\x89PNG\r\n\x1a\n"


def jpeg(image: UInt8, *, quality: int) -> bytes:
    """Baseline JPEG, 4:2:0."""
    return _save(Image.fromarray(image), "JPEG", quality=quality)


def jpeg_grey(image: UInt8, *, quality: int) -> bytes:
    """JPEG with a single component."""
    return _save(Image.fromarray(image).convert("L"), "JPEG", quality=quality)


def jpeg_cmyk(image: UInt8, *, quality: int) -> bytes:
    """JPEG with four components, as print shops write it."""
    return _save(Image.fromarray(image).convert("CMYK"), "JPEG", quality=quality)


def jpeg_turned(image: UInt8, *, orientation: int, quality: int) -> bytes:
    """JPEG whose pixels lie on the side or upside down and whose EXIF ``orientation`` (3, 6 or 8) sets them upright."""
    exif = Image.Exif()
    exif[_ORIENTATION_TAG] = orientation
    stored = np.ascontiguousarray(np.rot90(image, _UPRIGHT_TO_STORED[orientation]))
    return _save(Image.fromarray(stored), "JPEG", quality=quality, exif=exif.tobytes())


def png(image: UInt8, *, compression: int = 6) -> bytes:
    """PNG, ``compression`` 0 to 9."""
    return _save(Image.fromarray(image), "PNG", compress_level=compression)


def png_transparent(image: UInt8, *, margin: int) -> bytes:
    """PNG with an alpha channel; ``margin`` pixels on each side are fully transparent black."""
    alpha = np.zeros((*image.shape[:2], 4), dtype=np.uint8)
    inner = (slice(margin, -margin), slice(margin, -margin))
    alpha[(*inner, slice(0, 3))] = image[inner]
    alpha[(*inner, 3)] = 255
    return _save(Image.fromarray(alpha), "PNG")


def webp(image: UInt8, *, quality: int, effort: int = 4) -> bytes:
    """Lossy WebP, ``effort`` 0 to 6."""
    return _save(Image.fromarray(image), "WEBP", quality=quality, method=effort)


def gif(frames: Sequence[UInt8]) -> bytes:
    """GIF of one or more frames of one size, each with its own palette."""
    first, *others = (Image.fromarray(frame).quantize(256) for frame in frames)
    options: dict[str, object] = {"save_all": True, "append_images": others, "duration": 200} if others else {}
    return _save(first, "GIF", **options)


def oversized_png(*, width: int, height: int) -> bytes:
    """Return a PNG of a few bytes whose header, with a correct checksum, claims ``width`` by ``height`` pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(64))), (b"IEND", b""))
    return _PNG_MAGIC + b"".join(_chunk(kind, body) for kind, body in chunks)


def safetensors(metadata: Mapping[str, str], *, weights: bytes) -> bytes:
    """Return a sound safetensors file with one tensor of bytes, ``weights``, and ``metadata``."""
    tensor = {"dtype": "U8", "shape": [len(weights)], "data_offsets": [0, len(weights)]}
    header = json.dumps({"__metadata__": dict(metadata), "lora.weight": tensor}, sort_keys=True).encode()
    return safetensors_of(header, weights)


def safetensors_of(header: bytes, weights: bytes) -> bytes:
    """Return a file in the safetensors layout with any header, sound or not."""
    return struct.pack("<Q", len(header)) + header + weights


def data_url(image_file: bytes) -> str:
    """Return a JPEG file as a modelspec thumbnail has it."""
    return f"data:image/jpeg;base64,{b64encode(image_file).decode()}"


def loud_pickle() -> bytes:
    """Return a pickle that raises :class:`ValueError` in whoever loads it: ``int("not a number")``. Harmless
    otherwise."""
    return b"cbuiltins\nint\n(S'not a number'\ntR."


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _save(image: Image.Image, form: str, **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()
