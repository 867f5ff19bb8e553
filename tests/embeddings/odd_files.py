"""Files as viewers see them in the field: damaged, in odd colours, in other formats. All made of one portrait."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator

import cv2
import numpy as np
from PIL import Image
from skimage import data

from embeddings.types import UInt8
from tests.embeddings.conftest import chunk, encode


def portrait() -> UInt8:
    """256 x 256 pixels of the public-domain portrait."""
    return np.ascontiguousarray(data.astronaut()[0:256, 100:356])


def png_chunks(file: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 8
    while at < len(file):
        (length,) = struct.unpack_from(">I", file, at)
        yield file[at + 4 : at + 8], file[at + 8 : at + 8 + length]
        at += 12 + length


def png_of(*chunks: tuple[bytes, bytes]) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, body) for kind, body in chunks)


def with_chunk(file: bytes, kind: bytes, body: bytes) -> bytes:
    """A PNG with one more chunk after its header."""
    return file[:33] + chunk(kind, body) + file[33:]


def cmyk(*, adobe: int | None = 0) -> bytes:
    """A JPEG in four inks. ``adobe``: the transform that Adobe's marker names; None: without the marker."""
    buffer = io.BytesIO()
    Image.fromarray(portrait()).convert("CMYK").save(buffer, format="JPEG", quality=92)
    file = bytearray(buffer.getvalue())
    at = file.index(b"\xff\xee")
    (length,) = struct.unpack_from(">H", file, at + 2)
    if adobe is None:
        del file[at : at + 2 + length]
    else:
        file[at + 15] = adobe
    return bytes(file)


def profile(curve: Callable[[np.ndarray], np.ndarray]) -> bytes:
    """An ICC profile with the primaries of sRGB and a transfer ``curve`` from stored values to light."""
    table = (np.clip(curve(np.linspace(0, 1, 256)), 0, 1) * 65535).round().astype(int)
    trc = b"curv\0\0\0\0" + struct.pack(">I256H", 256, *table.tolist())

    def xyz(*values: float) -> bytes:
        return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(value * 65536) for value in values))

    described = b"desc\0\0\0\0" + struct.pack(">I", 2) + b"x\0" + bytes(78)
    tags = {b"desc": described, b"cprt": b"text\0\0\0\0x\0", b"wtpt": xyz(0.9642, 1, 0.8249)}
    tags |= {b"rXYZ": xyz(0.4361, 0.2225, 0.0139), b"gXYZ": xyz(0.3851, 0.7169, 0.0971)}
    tags |= {b"bXYZ": xyz(0.1431, 0.0606, 0.7141), b"rTRC": trc, b"gTRC": trc, b"bTRC": trc}
    table_, body, start = b"", b"", 132 + 12 * len(tags)
    for name, value in tags.items():
        table_ += name + struct.pack(">II", start + len(body), len(value))
        body += value + bytes(-len(value) % 4)
    head = struct.pack(">I", start + len(body)) + b"lcms" + b"\x02\x40\0\0" + b"mntrRGB XYZ " + bytes(12) + b"acsp"
    head += bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table_ + body


def squeezed() -> UInt8:
    """The portrait in grey, in 16 levels from 0 to 15."""
    grey = (portrait().mean(axis=2) / 255 * 15).round().astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)


def restoring() -> bytes:
    """The profile that restores :func:`squeezed`."""
    return profile(lambda value: np.clip(value * 255 / 16, 0, 1) ** 2.2)


def dim(gamma: float = 0.02) -> bytes:
    """A PNG whose values are raised to a tiny power, and whose gAMA chunk says so."""
    values = ((portrait() / 255.0) ** (2.2 * gamma) * 255).round().astype(np.uint8)
    return with_chunk(encode(values, "PNG"), b"gAMA", struct.pack(">I", round(100_000 * gamma)))


def in_alpha(kind: str, *, colour: int, opposite: bool) -> bytes:
    """A picture of one ``colour`` whose alpha channel is the portrait, or its negative."""
    grey = portrait().mean(axis=2).astype(np.uint8)
    layers = [np.full((256, 256, 3), colour, dtype=np.uint8), 255 - grey if opposite else grey]
    return encode(np.dstack(layers), kind, **({"lossless": True} if kind == "WEBP" else {}))


def whole() -> dict[str, bytes]:
    """Files that browsers show whole, although something is odd about them."""
    image = portrait()
    png, jpeg = encode(image, "PNG"), encode(image, "JPEG", quality=90)
    buffer = io.BytesIO()
    Image.fromarray(image).quantize(256).save(buffer, format="GIF")
    gif = buffer.getvalue()
    parts = dict(png_chunks(png))
    rows = zlib.decompress(b"".join(body for kind, body in png_chunks(png) if kind == b"IDAT"))
    packed = zlib.compress(rows)
    wrong_sum = bytearray(png_of((b"IHDR", parts[b"IHDR"]), (b"IDAT", packed), (b"IEND", b"")))
    wrong_sum[-13] ^= 0xFF
    segment = jpeg.index(b"\xff\xdb")
    return {
        "cmyk": cmyk(),
        "cmyk without Adobe's marker": cmyk(adobe=None),
        "ycck": cmyk(adobe=2),
        "rgb jpeg": encode(image, "JPEG", quality=92, keep_rgb=True),
        "jpeg with stray bytes": jpeg[:segment] + b"\0\1\2" + jpeg[segment:],
        "png without its end": png[:-12],
        "png with a wrong sum at its end": png[:-1] + b"\0",
        "png with a wrong sum of its pixels": bytes(wrong_sum),
        "png with a wrong adler": png_of((b"IHDR", parts[b"IHDR"]), (b"IDAT", packed[:-4] + bytes(4)), (b"IEND", b"")),
        "png with trailing rubbish": png + b"rubbish" * 9,
        "png with sBIT": with_chunk(png, b"sBIT", b"\3\3\3"),
        "png with linear cICP": with_chunk(png, b"cICP", bytes([1, 8, 0, 1])),
        "png with a tiny gamma": dim(),
        "png of 16 bits": cv2.imencode(".png", image[:, :, ::-1].astype(np.uint16) * 257)[1].tobytes(),
        "png restored by its profile": encode(squeezed(), "PNG", icc_profile=restoring()),
        "jpeg restored by its profile": encode(squeezed(), "JPEG", quality=100, icc_profile=restoring()),
        "webp restored by its profile": encode(squeezed(), "WEBP", lossless=True, icc_profile=restoring()),
        "gif without trailer": gif[:-1],
        "gif with stray zeros": gif[:-1] + b"\0\0\0;",
        "avif": encode(image, "AVIF", quality=80),
        "bmp": encode(image, "BMP"),
        "ico": encode(image, "ICO", sizes=[(256, 256), (32, 32)]),
    }


def half() -> dict[str, bytes]:
    """Files cut in the middle, of which browsers show the upper part."""
    image = portrait()
    files = {
        "jpeg": encode(image, "JPEG", quality=90),
        "progressive jpeg": encode(image, "JPEG", quality=90, progressive=True),
        "png": encode(image, "PNG"),
        "gif": in_palette(image),
    }
    return {name: file[: len(file) // 2] for name, file in files.items()}


def in_palette(image: UInt8) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).quantize(256).save(buffer, format="GIF")
    return buffer.getvalue()
