"""Affine warps of an image of any shape. Owns what OpenCV's warp requires of its source.

``cv2.warpAffine`` keeps coordinates in 16 bits and refuses an image with a side of 32,767 pixels or more, which a file
of a hundred bytes can have. Such a side is shrunk by averaging first; the warped picture is smaller by far, so nothing
is lost.
"""

from __future__ import annotations

import cv2
import numpy as np

from embeddings.types import Float32, Float64, UInt8

LARGEST_SIDE = 32_000
"""Pixels that a side may have: less than the signed 16-bit integer in which OpenCV keeps a coordinate."""


def warped(image: UInt8, matrix: Float32 | Float64, size: tuple[int, int], *, ground: int) -> UInt8:
    """Warp ``image`` (h, w, 3) by ``matrix`` (2, 3), bilinearly, to ``size`` (width, height) on a grey ``ground``."""
    if max(image.shape[:2]) > LARGEST_SIDE:
        image, matrix = _shortened(image, matrix)
    shown: UInt8 = cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR, borderValue=(ground,) * 3)
    return shown


def _shortened(image: UInt8, matrix: Float32 | Float64) -> tuple[UInt8, Float64]:
    """``image`` with both sides at most ``LARGEST_SIDE``, each by its own factor, and the matrix that fits it."""
    height, width = image.shape[:2]
    size = min(width, LARGEST_SIDE), min(height, LARGEST_SIDE)
    small: UInt8 = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    factors = np.array([width / size[0], height / size[1]])
    moved = np.asarray(matrix, dtype=np.float64).copy()
    # A pixel of the small image is centred on its block: x = factor * x' + (factor - 1) / 2.
    moved[:, 2] += moved[:, :2] @ ((factors - 1) / 2)
    moved[:, :2] *= factors
    return small, moved
