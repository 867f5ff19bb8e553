"""Listings as a platform's uploaders make them: mostly pictures, and among them what no scanner should stumble over."""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

_SIDE: Final = 48
_ODD_IDS: Final = (
    *(
        "a/b|c;d,e&f?g#h",
        "with space\ttab",
        "two\nlines",
        "bell\x07 and \x1b[31mcolour",
        "\U0001f600\U0001f9d1‍\U0001f680",
    ),
    *("right\u202eto left", "quote'\"`$(x)", "../../up", "%2e%2e%00", "=1+1"),
)


def jpeg(random: np.random.Generator) -> bytes:
    """A small picture of one colour, with a little noise so that no two are the same file."""
    colour = random.integers(0, 8, 3) * 32
    pixels = np.clip(colour + random.integers(-6, 7, (_SIDE, _SIDE, 3)), 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="JPEG", quality=90)
    return buffer.getvalue()


def bomb(_random: np.random.Generator) -> bytes:
    """A PNG of a few bytes that says it has ten thousand million pixels."""
    head = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b""))
    chunks = (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def cut(random: np.random.Generator) -> bytes:
    """A picture that ends early."""
    data = jpeg(random)
    return data[: int(random.integers(20, len(data) - 2))]


def stirred(random: np.random.Generator) -> bytes:
    """A picture with other bytes in it."""
    data = bytearray(jpeg(random))
    for at in random.integers(20, len(data), 12):
        data[at] = random.integers(0, 256)
    return bytes(data)


BAD: Final[dict[str, tuple[Callable[[np.random.Generator], bytes] | None, str | None]]] = {
    "cut": (cut, None),
    "stirred": (stirred, None),
    "bomb": (bomb, "unscannable:too_many_pixels"),
    "wrong_type": (lambda random: b"<html>" + random.bytes(300).hex().encode(), "unscannable:format"),
    "no_bytes": (lambda _random: b"", "unscannable:empty"),
    "no_file": (None, "fetch_failed:missing"),
    "noise": (lambda random: random.bytes(500), "unscannable:format"),
}
"""Kinds of bad files: how one is made (None: it is not there), and the status that it has to have; None: any settled
one, since part of a damaged picture may well be seen."""


def write_uploads(folder: Path, count: int, *, bad_share: float, seed: int) -> dict[str, int]:
    """Write ``count`` rows into ``folder / "uploads.jsonl"`` with their files beside it; return how many of each kind.

    Of the rows ``bad_share`` have bad files. One in fifty has an odd id, one in fifty the content of the row before it
    and one in a hundred its id.
    """
    random = np.random.default_rng(seed)
    counts: dict[str, int] = dict.fromkeys(("good", *BAD), 0)
    before = ("", "")
    with (folder / "uploads.jsonl").open("w", encoding="utf-8") as listing:
        for number in range(count):
            kind = list(BAD)[int(random.integers(len(BAD)))] if random.random() < bad_share else "good"
            counts[kind] += 1
            item_id, path = f"{kind}-{number}", f"{number % 100:02}/{number}.jpg"
            drawn = random.random()
            if drawn < 0.02:
                item_id += _ODD_IDS[number % len(_ODD_IDS)]
            elif drawn < 0.04 and kind == "good" and before[1]:
                path = before[1]
            elif drawn < 0.05 and kind == "good" and before[0]:
                item_id = before[0]
            _write(folder / path, kind, random)
            before = (item_id, path) if kind == "good" else before
            row = {"id": item_id, "kind": "image", "path": path, "received_at": "2026-03-01T10:00:00Z"}
            listing.write(json.dumps(row) + "\n")
    return counts


def _write(file: Path, kind: str, random: np.random.Generator) -> None:
    make = jpeg if kind == "good" else BAD[kind][0]
    if make is None or file.exists():
        return
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(make(random))
