"""Deterministic stand-ins for the models: functions of pixels, fast enough for thousands of sweeps.

A picture of one plain colour shows the "person" of that colour; a white one shows nobody; one that is split in two
halves shows two people. Different colours are strangers: their vectors are nearly orthogonal.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Sequence

import numpy as np
from PIL import Image

from embeddings.content.clip import ClipTransform
from embeddings.faces.alignment import template
from embeddings.models.load import FaceModels
from embeddings.types import Content, Detections, FaceSettings, Float32, UInt8
from indexes.gallery import Gallery
from pipelines.home.canary import Canary

SIDE = 64
DIMENSION = 32
Colour = tuple[int, int, int]
WHITE: Colour = (255, 255, 255)


def person(number: int) -> Colour:
    """The colour of person ``number``, 0 to 199."""
    return (number, (number * 7) % 200, 100)


def picture(*colours: Colour) -> bytes:
    """A PNG with one upright stripe per colour."""
    stripes = [np.full((SIDE, SIDE, 3), colour, dtype=np.uint8) for colour in colours]
    buffer = io.BytesIO()
    Image.fromarray(np.concatenate(stripes, axis=1)).save(buffer, format="PNG")
    return buffer.getvalue()


def content_of(data: bytes) -> Content:
    """These bytes with their digest."""
    return Content(hashlib.sha256(data).digest(), data)


class ColourDetector:
    """Finds one face per stripe that is not white."""

    def detect(self, image: UInt8, *, as_is: bool = False) -> Detections:
        """One face in the middle of each stripe."""
        starts = [
            x for x in range(0, image.shape[1] - SIDE // 2, SIDE) if not (image[SIDE // 2, x + SIDE // 2] == 255).all()
        ]
        boxes = np.array([[x, 0, x + SIDE, SIDE] for x in starts], dtype=np.float32).reshape(-1, 4)
        inside = template() * (SIDE / 224.0) + SIDE / 4
        marks = np.array([inside + np.array([x, 0]) for x in starts], dtype=np.float32).reshape(-1, 5, 2)
        return Detections(boxes, marks, np.full(len(starts), 0.9, dtype=np.float32))


class ColourRecognizer:
    """Embeds the colour in the middle of a crop."""

    dimension = DIMENSION

    def embed(self, crops: UInt8) -> Float32:
        """A unit vector drawn from a generator seeded with the colour."""
        return vectors_of_colours([tuple(int(c) for c in crop[56, 56]) for crop in crops])


def vectors_of_colours(colours: Sequence[tuple[int, ...]]) -> Float32:
    """Float32 (n, DIMENSION)."""
    drawn = [np.random.default_rng(list(colour)).normal(size=DIMENSION) for colour in colours]
    matrix = np.array(drawn, dtype=np.float32).reshape(-1, DIMENSION)
    return np.ascontiguousarray(matrix / np.linalg.norm(matrix, axis=1, keepdims=True)).astype(np.float32)


def fake_models(model_id: str = "fake-1") -> FaceModels:
    """Models that see colours."""
    settings = FaceSettings(scales=(SIDE,), min_score=0.5, nms_iou=0.5, max_faces=10)
    return FaceModels(
        pack="opencv-zoo",
        model_id=model_id,
        dimension=DIMENSION,
        settings=settings,
        detector=ColourDetector(),
        recognizer=ColourRecognizer(),
        batch=8,
    )


def fake_canary(model_id: str = "fake-1") -> Canary:
    """A canary of a colour that no test uses."""
    planted = vectors_of_colours([(255, 0, 255)])
    return Canary(template=planted, probe=planted, strangers=vectors_of_colours([(254, 254, 0)]), model_id=model_id)


class MeanRater:
    """Rates an image by how light it is."""

    def rate(self, image: UInt8) -> float:
        """Mean of all channels, 0 for black and 1 for white."""
        return float(image.mean() / 255)


class ColourEncoder:
    """Encodes the colour of the first pixel."""

    dimension = DIMENSION
    batch = 4
    transform = ClipTransform((8, 8), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "bicubic", "shortest")

    def encode_images(self, pixels: UInt8) -> Float32:
        """As :class:`ColourRecognizer`."""
        return vectors_of_colours([tuple(int(c) for c in image[4, 4]) for image in pixels])

    def encode_texts(self, texts: Sequence[str]) -> Float32:
        """A text that names a colour, such as ``person 7``, lies where pictures of it do; any other by itself."""
        named = [re.fullmatch(r"person (\d+)", text) for text in texts]
        seeds = [tuple(hashlib.sha256(text.encode()).digest()[:8]) for text in texts]
        return vectors_of_colours(
            [person(int(found[1])) if found else seed for found, seed in zip(named, seeds, strict=True)]
        )


class FakeContentModels:
    """What :class:`pipelines.home.content_models.ContentModels` offers; CLIP is off unless it is given an id."""

    def __init__(self, clip_model_id: str | None = None, *, clip_wanted: bool = False) -> None:
        self.rating_model_id: str | None = "mean-1"
        self.clip_model_id = clip_model_id
        self.clip_wanted = clip_wanted or clip_model_id is not None
        self.rater = MeanRater()
        self.encoder = ColourEncoder()
        self.text_encoder = self.encoder

    def offer_clip(self) -> None:
        """Fetch nothing."""

    def require_clip(self) -> None:
        """Ask for nothing."""


class BlindGallery(Gallery):
    """A gallery that answers "no match" to everything, as a broken index would."""

    def pairs(self, probes, *, model_id, threshold):  # type: ignore[no-untyped-def]
        """Nothing, ever."""
        return super().pairs(probes[:0], model_id=model_id, threshold=threshold)
