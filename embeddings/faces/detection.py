"""Finding faces at several scales, with YuNet here and SCRFD in :mod:`embeddings.faces.scrfd`. Owns scales,
letterboxing and suppression, which they share, and YuNet's box decoding.

YuNet: Wu, Peng, Yu, "YuNet: A Tiny Millisecond-level Face Detector" (2023); the decoding follows OpenCV's
``FaceDetectorYN``. A detector misses faces that fill the frame, the typical generated portrait, so each image is looked
at on a large and a small scale and the union is reduced by non-maximum suppression.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import cv2
import numpy as np
import numpy.typing as npt

from embeddings.models.preparation import STRIDES
from embeddings.types import Detections, FaceSettings, Float32, ModelSession, UInt8

CELL = STRIDES[-1]
"""Input sides are padded to a multiple of this, in pixels."""
MAX_CANDIDATES = 2048
"""Cells kept for suppression, best first: an image made to fire everywhere must not cost quadratic time."""

LARGEST_TERM = 40.0
"""Logits and log-sizes are clipped here so that exp() stays finite; real ones are below 10."""


class SessionDetector(ABC):
    """A :class:`embeddings.types.FaceDetector` around a prepared network. Safe to call from several threads."""

    extent: ClassVar[float] = 0.0
    """What :func:`suppress` adds to the sides of a box."""

    @abstractmethod
    def candidates(self, heads: list[Float32]) -> Float32:
        """From the network's outputs for one image to rows (n, 15) as :func:`decode_heads` gives them."""

    def __init__(self, session: ModelSession, *, settings: FaceSettings) -> None:
        self._session = session
        self._settings = settings

    def detect(self, image: UInt8, *, as_is: bool = False) -> Detections:
        """All faces of ``image``, RGB uint8 (h, w, 3), best score first; boxes and landmarks in its pixels.

        An image is never enlarged: one smaller than a scale is looked at as it is. ``as_is``: at its own size alone.
        """
        long_side = max(image.shape[:2])
        scales = (long_side,) if as_is else self._settings.scales
        sides = sorted({min(scale, long_side) for scale in scales}, reverse=True)
        found, scale_x, scale_y = [], 1.0, 1.0
        for side in sides:  # each scale is made from the one before
            image, shrunk_x, shrunk_y = resize_to(image, long_side=side)
            scale_x, scale_y = scale_x * shrunk_x, scale_y * shrunk_y
            heads = self._session.run({"image": letterbox(image)[None]})
            rows = self.candidates(heads)
            rows[:, 0:14:2] /= scale_x
            rows[:, 1:14:2] /= scale_y
            found.append(rows)
        rows = suppress(np.concatenate(found), nms_iou=self._settings.nms_iou, extent=self.extent)
        return Detections(
            boxes=np.ascontiguousarray(rows[:, :4]),
            landmarks=rows[:, 4:14].reshape(-1, 5, 2).copy(),
            scores=rows[:, 14].copy(),
        )


class YuNetDetector(SessionDetector):
    """A :class:`SessionDetector` around :func:`embeddings.models.preparation.prepare_yunet`."""

    def candidates(self, heads: list[Float32]) -> Float32:
        """See :func:`decode_heads`."""
        return decode_heads(heads, min_score=self._settings.detection_score)


def resize_to(image: UInt8, *, long_side: int) -> tuple[UInt8, float, float]:
    """``image`` shrunk until its long side is ``long_side`` pixels, and the horizontal and vertical scale.

    Halved by averaging as often as possible, then bilinear: as free of aliasing as area averaging in one step, and ten
    times as fast because OpenCV has a vectorised path for exact halves only.
    """
    height, width = image.shape[:2]
    factor = min(1.0, long_side / max(height, width))
    size = max(1, round(width * factor)), max(1, round(height * factor))
    halvings = 0
    while image.shape[1] >= 2 * size[0] and image.shape[0] >= 2 * size[1]:
        image = halve(image)
        halvings += 1
    covered = image.shape[1] << halvings, image.shape[0] << halvings
    if (image.shape[1], image.shape[0]) != size:
        image = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
    return image, size[0] / covered[0], size[1] / covered[1]


def halve(image: UInt8) -> UInt8:
    """Half of ``image`` in both directions by averaging 2x2 pixels; an odd last row or column is dropped."""
    height, width = image.shape[0] // 2, image.shape[1] // 2
    half: UInt8 = cv2.resize(image[: 2 * height, : 2 * width], (width, height), interpolation=cv2.INTER_AREA)
    return half


def letterbox(image: UInt8) -> UInt8:
    """``image`` padded with black on the right and below until both sides are multiples of ``CELL``."""
    height, width = image.shape[:2]
    padded = np.zeros((-(-height // CELL) * CELL, -(-width // CELL) * CELL, 3), dtype=np.uint8)
    padded[:height, :width] = image
    return padded


def decode_heads(heads: list[Float32], *, min_score: float) -> Float32:
    """Candidates of one image as rows (n, 15): x1, y1, x2, y2, five landmarks (x, y), score; in network input pixels.

    ``heads`` are the outputs of :func:`embeddings.models.preparation.prepare_yunet` for one image. The score mask comes
    first, so boxes are computed for a handful of cells out of thousands.
    """
    # score = sqrt(class * object) with both at most 1, so each must reach min_score squared.
    floor = min_score * min_score
    logit = np.log(floor / (1 - floor)) if 0 < floor < 1 else -np.inf if floor <= 0 else np.inf
    likely = [_likely(head[0], stride, logit) for head, stride in zip(heads, STRIDES, strict=True)]
    terms, corners, strides = (np.concatenate(parts, axis=1) for parts in zip(*likely, strict=True))
    probability = 1 / (1 + np.exp(-np.clip(terms[:2], -LARGEST_TERM, LARGEST_TERM)))
    scores = np.sqrt(probability[0] * probability[1])
    centre = (corners + terms[2:4]) * strides
    half = np.exp(np.minimum(terms[4:6], LARGEST_TERM)) * (strides / 2)
    landmarks = (terms[6:16].reshape(5, 2, -1) + corners) * strides
    rows = np.concatenate([centre - half, centre + half, landmarks.reshape(10, -1), scores[None]])
    return np.ascontiguousarray(rows[:, scores >= min_score].T, dtype=np.float32)


def _likely(head: Float32, stride: int, logit: float) -> tuple[Float32, Float32, Float32]:
    """Cells of one head (terms, h, w) whose two logits reach ``logit``: terms (t, n), corners (2, n), stride (1, n)."""
    cells = head.reshape(head.shape[0], -1)
    (at,) = np.nonzero((cells[0] >= logit) & (cells[1] >= logit))
    corners = np.stack([at % head.shape[2], at // head.shape[2]]).astype(np.float32)
    return cells[:, at], corners, np.full((1, len(at)), stride, dtype=np.float32)


def suppress(rows: Float32, *, nms_iou: float, extent: float = 0.0) -> Float32:
    """Greedy non-maximum suppression: ``rows`` of :func:`decode_heads` without repeats of one face, best score first.

    ``extent`` pixels are added to both sides of each box and of each overlap: 1 where coordinates name whole pixels.
    Ties are broken by position, so the result does not depend on the order of equal scores.
    """
    order = np.lexsort((*rows[:, :4].T, -rows[:, 14]))[:MAX_CANDIDATES]
    rows = rows[order]
    areas = (rows[:, 2] - rows[:, 0] + extent) * (rows[:, 3] - rows[:, 1] + extent)
    alive = np.ones(len(rows), dtype=bool)
    kept = []
    for best in range(len(rows)):
        if not alive[best]:
            continue
        kept.append(best)
        rest = slice(best + 1, None)
        overlap = _intersection(rows[best], rows[rest], extent)
        alive[rest] &= overlap <= nms_iou * (areas[best] + areas[rest] - overlap)
    return rows[kept]


def _intersection(box: Float32, boxes: Float32, extent: float) -> npt.NDArray[np.float32]:
    top_left = np.maximum(box[:2], boxes[:, :2])
    sides = np.maximum(np.minimum(box[2:4], boxes[:, 2:4]) - top_left + extent, 0)
    area: npt.NDArray[np.float32] = sides[:, 0] * sides[:, 1]
    return area
