"""Decoding a picture as work for a confined process: its frames one by one, with all that is said of them."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import fields
from importlib import import_module
from io import BytesIO
from typing import Final

import numpy as np
from PIL import Image

from embeddings.images.decode import DecodedImage, Frame, decode
from embeddings.sandbox.work import Facts, Result, Work
from embeddings.types import ImageLimits

_ON_USE: Final = ("embeddings.images.video", "av", "av.container", "pi_heif")
"""What is imported on first use, of extras for the most part: nothing can be once the process is confined."""
_FORMATS: Final = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
IMAGE_FACTS: Final = tuple(one.name for one in fields(DecodedImage) if one.name != "frames")
FRAME_FACTS: Final = tuple(one.name for one in fields(Frame) if one.name != "image" and not one.name.startswith("_"))


def decoding_facts(limits: ImageLimits, *, long_side: float, position: int | None = None, scale: float = 0.0) -> Facts:
    """What :func:`decode_image` is asked. ``position``: of the one frame that is wanted, at ``scale`` or more."""
    bounds = {one.name: getattr(limits, one.name) for one in fields(ImageLimits)}
    return {"limits": bounds, "long_side": long_side, "position": position, "scale": scale}


def decode_image(facts: Facts, data: bytes) -> Iterator[Result]:
    """Give the frames of a picture (:func:`embeddings.images.decode.decode`) one by one, or the one that is wanted."""
    image = decode(data, limits=ImageLimits(**facts["limits"]), long_side=facts["long_side"])
    head = {name: getattr(image, name) for name in IMAGE_FACTS}
    if facts["position"] is not None:
        for at, frame in enumerate(image.frames):
            if at == facts["position"]:
                yield _result(head, frame.at_least(facts["scale"]), last=True)
                return
    if image.frames_total > 1:
        for frame in image.frames:
            yield _result(head, frame, last=False)
        return
    before: Frame | None = None
    for frame in image.frames:
        if before is not None:
            yield _result(head, before, last=False)
        before = frame
    if before is not None:  # said with the last one, so that the process is free at once
        yield _result(head, before, last=True)


def _result(head: Facts, frame: Frame, *, last: bool) -> Result:
    own = {name: getattr(frame, name) for name in FRAME_FACTS}
    shape = {"rows": frame.image.shape[0], "columns": frame.image.shape[1], "enlarges": frame._enlarge is not None}
    return Result({"image": head, "frame": own, **shape}, np.ascontiguousarray(frame.image), last)


def _import_all_of(name: str) -> None:
    """Import a module, and all below it, if it is installed: PyAV imports its parts when a file asks for them."""
    with suppress(ImportError):
        module = import_module(name)
        for found in pkgutil.walk_packages(getattr(module, "__path__", ()), f"{name}."):
            if not found.name.endswith(".__main__"):
                import_module(found.name)


def _control_images() -> Iterator[tuple[Facts, bytes]]:
    """A small picture in each format that Pillow writes here."""
    limits = ImageLimits(**dict.fromkeys((one.name for one in fields(ImageLimits)), 1 << 30))
    facts = decoding_facts(limits, long_side=640)
    import_module("numpy.ma")  # not all of it: its tests are a part
    for name in _ON_USE:
        _import_all_of(name)
    Image.init()
    ramp = Image.linear_gradient("L").resize((16, 16))
    for name in _FORMATS:
        if name in Image.SAVE:
            buffer = BytesIO()
            ramp.convert("RGB").save(buffer, format=name)
            yield facts, buffer.getvalue()


DECODE_IMAGE: Final = "decode_image"
IMAGE_WORK: Final = Work(decode_image, _control_images)
