"""Reading what a picture says of its making as work for a confined process."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Final

import numpy as np

from embeddings.infotext.exif import ENCODINGS
from embeddings.infotext.fields import InfotextLimits
from embeddings.infotext.read import read_infotext
from embeddings.sandbox.work import Facts, Result, Work

READ_INFOTEXT: Final = "read_infotext"


def _read(facts: Facts, data: bytes) -> Iterator[Result]:
    found = read_infotext(data, limits=InfotextLimits(**facts["limits"]))
    said = json.dumps(asdict(found)).encode()
    yield Result({}, np.frombuffer(said, dtype=np.uint8), last=True)


def _controls() -> Iterator[tuple[Facts, bytes]]:
    """A picture with a text in its lowest bits, and one with a packet of XMP: what loads libraries on first use."""
    from PIL import Image, PngImagePlugin

    for name in ENCODINGS:  # Python loads each on first use
        "\u3042".encode(name).decode(name)
    limits: Facts = {"limits": asdict(InfotextLimits(1 << 16, 1000, 1000, 1 << 16))}
    bits = np.unpackbits(np.frombuffer(b"stealth_pnginfo" + bytes([0, 0, 0, 8]) + b"x", dtype=np.uint8))
    pixels = np.zeros((1, len(bits), 4), dtype=np.uint8)
    pixels[0, :, 3] = bits
    hidden, told, chunks = io.BytesIO(), io.BytesIO(), PngImagePlugin.PngInfo()
    Image.fromarray(pixels.transpose(1, 0, 2).copy(), "RGBA").save(hidden, "PNG")
    chunks.add_itxt("XML:com.adobe.xmp", '<a xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>x</dc:title></a>')
    Image.new("L", (1, 1)).save(told, "PNG", pnginfo=chunks)
    yield limits, hidden.getvalue()
    yield limits, told.getvalue()


INFOTEXT_WORK: Final = Work(_read, _controls)
