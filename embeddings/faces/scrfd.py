"""Finding faces with SCRFD. Owns the decoding of its nine outputs; the rest is :mod:`embeddings.faces.detection`.

Guo, Deng, Lattas, Zafeiriou, "Sample and Computation Redistribution for Efficient Face Detection" (2021); the decoding
follows insightface's ``SCRFD``, which decodes every anchor and then applies the score mask. Here the mask comes first.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from embeddings.faces.detection import SessionDetector
from embeddings.models.preparation import STRIDES
from embeddings.types import Float32

ANCHORS = 2
"""Anchors per cell, both at the cell's corner."""


class ScrfdDetector(SessionDetector):
    """A :class:`SessionDetector` around :func:`embeddings.models.preparation_insightface.prepare_scrfd`."""

    extent: ClassVar[float] = 1.0

    def candidates(self, heads: list[Float32]) -> Float32:
        """See :func:`decode_scrfd`."""
        return decode_scrfd(heads, min_score=self._settings.detection_score)


def decode_scrfd(heads: list[Float32], *, min_score: float) -> Float32:
    """Candidates of one image as rows (n, 15): x1, y1, x2, y2, five landmarks (x, y), score; in network input pixels.

    ``heads`` are, for strides 8, 16 and 32, scores (1, h/s, w/s, 2), then boxes (1, h/s, w/s, 8), then landmarks
    (1, h/s, w/s, 20): distances from the anchor to the sides, and offsets from it, in units of the stride.
    """
    count = len(STRIDES)
    parts = [
        _decode(*(heads[level + kind * count][0] for kind in range(3)), stride=stride, min_score=min_score)
        for level, stride in enumerate(STRIDES)
    ]
    return np.concatenate(parts)


def _decode(scores: Float32, boxes: Float32, landmarks: Float32, *, stride: int, min_score: float) -> Float32:
    columns = scores.shape[1]
    (likely,) = np.nonzero(scores.reshape(-1) >= min_score)
    cell = likely // ANCHORS
    anchor = np.stack([cell % columns, cell // columns], axis=1).astype(np.float32) * stride
    sides = boxes.reshape(-1, 4)[likely] * stride
    points = anchor[:, None, :] + (landmarks.reshape(-1, 10)[likely] * stride).reshape(-1, 5, 2)
    found = scores.reshape(-1, 1)[likely]
    rows = [anchor - sides[:, :2], anchor + sides[:, 2:], points.reshape(-1, 10), found]
    return np.ascontiguousarray(np.concatenate(rows, axis=1), dtype=np.float32)
