"""Faceless pictures whose files say whom they were to show, or only whom they were to be kept free of."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from io import BytesIO
from typing import Any, Final

from PIL import Image, PngImagePlugin

from embeddings.types import UInt8
from pipelines.sample.case import Case
from pipelines.sample.truth import ALPHA, Tier
from pipelines.sample.variants import crop, resize

_NAME: Final = "Sample Subject Alpha"
_TEXT: Final[Mapping[str, Tier]] = {ALPHA: "text"}
_SETTINGS: Final = "Steps: 28, Sampler: Euler a, CFG scale: 6, Seed: 12, Size: 512x512, Version: v1.9"
_ASKED: Final = f"photo of {_NAME}, 35mm film\nNegative prompt: blurry\n{_SETTINGS}"
_EXCLUDED: Final = f"a street at night\nNegative prompt: {_NAME}, blurry\n{_SETTINGS}"
_SCENES: Final = ("gravel", "moon", "coins", "hubble", "brick")
_COMMENT: Final = 0x9286
_EXIF: Final = 0x8769


def infotext_cases(pictures: Mapping[str, UInt8]) -> Iterator[Case]:
    """Yield a picture of each kind of file, and one whose negative prompt names somebody, which is no evidence."""
    scenes = [
        _part(pictures[name], number) for number, name in enumerate(("gravel", "moon", "coins", "hubble", "brick"))
    ]
    named: dict[str, Any] = {"status": "no_face", "faces": 0, "names": _TEXT}
    yield Case("infotext-parameters", ".png", _png(scenes[0], parameters=_ASKED), 0, **named)
    yield Case("infotext-graph", ".png", _png(scenes[1], prompt=json.dumps(_graph())), 1, **named)
    yield Case("infotext-jpeg", ".jpg", _with_comment(scenes[2], "JPEG", _ASKED), 0, **named)
    yield Case("infotext-webp", ".webp", _with_comment(scenes[3], "WEBP", _ASKED), 1, **named)
    yield Case("infotext-negative", ".png", _png(scenes[4], parameters=_EXCLUDED), 0, status="no_face", faces=0)


def _graph() -> dict[str, object]:
    """Three nodes: one is asked for, one is excluded."""
    return {
        "1": {"class_type": "CLIPTextEncode", "inputs": {"text": f"photo of {_NAME}"}},
        "2": {"class_type": "CLIPTextEncode", "inputs": {"text": "blurry"}},
        "3": {"class_type": "KSampler", "inputs": {"positive": ["1", 0], "negative": ["2", 0], "seed": 12}},
    }


def _part(picture: UInt8, number: int) -> UInt8:
    """A part of a faceless photograph that no other case shows."""
    height, width = picture.shape[:2]
    left, top = width * (1 + number % 2) // 4, height // 5
    return resize(crop(picture, (left, top, left + width // 2, top + height // 2)), width=320, height=240)


def _png(image: UInt8, **texts: str) -> bytes:
    """PNG with compressed texts."""
    file, chunks = BytesIO(), PngImagePlugin.PngInfo()
    for key, text in texts.items():
        chunks.add_text(key, text, zip=True)
    Image.fromarray(image).save(file, "PNG", pnginfo=chunks)
    return file.getvalue()


def _with_comment(image: UInt8, kind: str, text: str) -> bytes:
    """A picture with an Exif comment in UTF-16, as A1111 writes it."""
    file, exif = BytesIO(), Image.Exif()
    exif.get_ifd(_EXIF)[_COMMENT] = b"UNICODE\0" + text.encode("utf-16-be")
    Image.fromarray(image).save(file, kind, quality=85, exif=exif.tobytes())
    return file.getvalue()
