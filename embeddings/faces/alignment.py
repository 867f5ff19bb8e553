"""Aligned crops: the closed-form similarity from five landmarks to the ArcFace template, and the warp.

Umeyama, "Least-squares estimation of transformation parameters between two point patterns" (1991). In the plane and
without reflection the best rotation and scale are one complex number, so all faces are fitted at once without an SVD.
"""

from __future__ import annotations

import cv2
import numpy as np

from embeddings.images.warping import warped
from embeddings.types import Float32, UInt8

CROP_SIDE = 112
"""Side of an aligned crop, in pixels."""


def template() -> Float32:
    """The five-point ArcFace template (5, 2) in a 112x112 crop."""
    points = [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
    return np.array(points, dtype=np.float32)


def no_crops() -> UInt8:
    """An empty batch of crops (0, 112, 112, 3)."""
    return np.empty((0, CROP_SIDE, CROP_SIDE, 3), dtype=np.uint8)


def fit(landmarks: Float32) -> Float32:
    """Similarities (n, 2, 3) that take ``landmarks`` (n, 5, 2) to the template with least squared error.

    Landmarks that all coincide have no similarity; such a face gets scale 0, which warps to a flat crop.
    """
    target = template().astype(np.float64)
    source = landmarks.astype(np.float64)
    source_mean, target_mean = source.mean(axis=1), target.mean(axis=0)
    x, y = np.moveaxis(source - source_mean[:, None], 2, 0)
    u, v = (target - target_mean).T
    spread = (x * x + y * y).sum(axis=1)
    safe = np.where(spread > 0, spread, 1)
    cosine = (x * u + y * v).sum(axis=1) / safe
    sine = (x * v - y * u).sum(axis=1) / safe
    matrices = np.empty((len(source), 2, 3), dtype=np.float64)
    matrices[:, 0, 0], matrices[:, 0, 1] = cosine, -sine
    matrices[:, 1, 0], matrices[:, 1, 1] = sine, cosine
    matrices[:, :, 2] = target_mean - np.einsum("nij,nj->ni", matrices[:, :, :2], source_mean)
    return matrices.astype(np.float32)


def scales(matrices: Float32) -> Float32:
    """Template pixels per source pixel (n,) of similarities (n, 2, 3)."""
    return np.hypot(matrices[:, 0, 0], matrices[:, 1, 0])


def align(image: UInt8, landmarks: Float32) -> UInt8:
    """Aligned crops (n, 112, 112, 3) of the faces of ``image``, RGB uint8 (h, w, 3), at ``landmarks`` (n, 5, 2).

    Bilinear with black outside the image, as insightface does. A face more than twice the template's size is first
    shrunk by area averaging, because bilinear sampling would alias it.
    """
    matrices = fit(landmarks)
    crops = np.empty((len(matrices), CROP_SIDE, CROP_SIDE, 3), dtype=np.uint8)
    for crop, matrix, scale in zip(crops, matrices, scales(matrices), strict=True):
        factor = int(1 / scale) if scale > 0 else 1
        source, moved = shrink(image, matrix, factor=factor) if factor >= 2 else (image, matrix)
        crop[:] = warped(source, moved, (CROP_SIDE, CROP_SIDE), ground=0)
    return crops


def shrink(image: UInt8, matrix: Float32, *, factor: int) -> tuple[UInt8, Float32]:
    """The part of ``image`` that ``matrix`` (2, 3) takes into the crop, shrunk ``factor`` times, and its matrix."""
    height, width = image.shape[:2]
    inverse = cv2.invertAffineTransform(matrix)
    side = float(CROP_SIDE)
    corners = np.array([[0, 0, 1], [side, 0, 1], [0, side, 1], [side, side, 1]]) @ inverse.T
    low = np.clip(np.floor(corners.min(axis=0)) - factor, 0, [width - 1, height - 1]).astype(int) // factor * factor
    high = np.clip(np.ceil(corners.max(axis=0)) + factor, low + 1, [width, height]).astype(int)
    part = image[low[1] : high[1], low[0] : high[0]]
    whole = part.shape[1] // factor * factor, part.shape[0] // factor * factor
    if min(whole) == 0:
        return image, matrix
    part = part[: whole[1], : whole[0]]
    small: UInt8 = cv2.resize(part, (whole[0] // factor, whole[1] // factor), interpolation=cv2.INTER_AREA)
    # A pixel of the small image is centred on its block: x = low + factor * x' + (factor - 1) / 2.
    offset = low + (factor - 1) / 2
    moved = np.empty((2, 3), dtype=np.float32)
    moved[:, :2] = matrix[:, :2] * factor
    moved[:, 2] = matrix[:, :2] @ offset + matrix[:, 2]
    return small, moved
