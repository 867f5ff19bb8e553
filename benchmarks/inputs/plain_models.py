"""Models that see colours, for benchmarks of what is around them: a plain picture shows the person of its colour."""

from __future__ import annotations

import numpy as np

from embeddings.faces.alignment import CROP_SIDE, template
from embeddings.models.load import FaceModels
from embeddings.types import Detections, FaceSettings, Float32, UInt8
from pipelines.home.canary import Canary

DIMENSION = 64
MODEL_ID = "plain-1"
_WHITE = 250


class PlainDetector:
    """Finds one face that fills the picture, unless it is white."""

    def detect(self, image: UInt8, *, as_is: bool = False) -> Detections:
        """Find it."""
        height, width = image.shape[:2]
        found = int(image[height // 2, width // 2].min() < _WHITE)
        boxes = np.array([[0, 0, width, height]] * found, dtype=np.float32).reshape(-1, 4)
        marks = (template() * (min(width, height) / CROP_SIDE)).astype(np.float32)
        return Detections(boxes, np.repeat(marks[None], found, axis=0), np.full(found, 0.9, dtype=np.float32))


class PlainRecognizer:
    """Embeds the colour in the middle of a crop, rounded, so that a JPEG's noise makes nobody else of it."""

    dimension = DIMENSION

    def embed(self, crops: UInt8) -> Float32:
        """Embed ``crops``."""
        middles = crops[:, CROP_SIDE // 2, CROP_SIDE // 2]
        return vectors_of(np.round(middles / 32).astype(np.int64))


def vectors_of(colours: np.ndarray) -> Float32:
    """Unit vectors (n, DIMENSION) for rounded colours (n, 3): nearly orthogonal for different ones."""
    drawn = [np.random.default_rng(colour).standard_normal(DIMENSION) for colour in colours.tolist()]
    matrix = np.array(drawn, dtype=np.float32).reshape(-1, DIMENSION)
    return np.ascontiguousarray(matrix / np.linalg.norm(matrix, axis=1, keepdims=True))


def plain_models() -> FaceModels:
    """Return the models, under the thresholds of the default pack."""
    return FaceModels(
        pack="opencv-zoo",
        model_id=MODEL_ID,
        dimension=DIMENSION,
        settings=FaceSettings(scales=(64,), min_score=0.5, nms_iou=0.5, max_faces=10),
        detector=PlainDetector(),
        recognizer=PlainRecognizer(),
        batch=64,
    )


def plain_canary() -> Canary:
    """Return a canary of a colour that no picture has."""
    planted = vectors_of(np.array([[99, 0, 99]]))
    return Canary(template=planted, probe=planted, strangers=vectors_of(np.array([[98, 0, 0]])), model_id=MODEL_ID)
