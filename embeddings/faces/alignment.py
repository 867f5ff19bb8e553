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
    """Template pixels per source pixel (n,) of affine maps (n, 2, 3), along whichever image axis has more."""
    larger: Float32 = _scales_by_axis(matrices).max(axis=1)
    return larger


def _scales_by_axis(matrices: Float32) -> Float32:
    """Template pixels per source pixel (n, 2) along the two axes of the image."""
    sides: Float32 = np.hypot(matrices[:, 0, :2], matrices[:, 1, :2])
    return sides


def align(image: UInt8, landmarks: Float32) -> UInt8:
    """Aligned crops (n, 112, 112, 3) of the faces of ``image``, RGB uint8 (h, w, 3), at ``landmarks`` (n, 5, 2)."""
    return cut(image, fit(landmarks))


def cut(image: UInt8, matrices: Float32) -> UInt8:
    """Crops (n, 112, 112, 3) of ``image``, RGB uint8 (h, w, 3), under affine maps (n, 2, 3) to the template.

    Bilinear with black outside the image, as insightface does. A face more than twice the template's size is first
    shrunk by area averaging, along each axis by its own factor, because bilinear sampling would alias it.
    """
    crops = np.empty((len(matrices), CROP_SIDE, CROP_SIDE, 3), dtype=np.uint8)
    for crop, matrix, sides in zip(crops, matrices, _scales_by_axis(matrices).tolist(), strict=True):
        across, down = (int(1 / side) if side > 0 else 1 for side in sides)
        source, moved = shrink(image, matrix, factors=(across, down)) if max(across, down) >= 2 else (image, matrix)
        crop[:] = warped(source, moved, (CROP_SIDE, CROP_SIDE), ground=0)
    return crops


def shrink(image: UInt8, matrix: Float32, *, factors: tuple[int, int]) -> tuple[UInt8, Float32]:
    """The part of ``image`` that ``matrix`` (2, 3) takes into the crop, shrunk by these factors, and its matrix.

    ``factors``: across and down, each at least 1.
    """
    height, width = image.shape[:2]
    inverse = cv2.invertAffineTransform(matrix)
    by = np.maximum(np.array(factors), 1)
    side = float(CROP_SIDE)
    corners = np.array([[0, 0, 1], [side, 0, 1], [0, side, 1], [side, side, 1]]) @ inverse.T
    low = np.clip(np.floor(corners.min(axis=0)) - by, 0, [width - 1, height - 1]).astype(int) // by * by
    high = np.clip(np.ceil(corners.max(axis=0)) + by, low + 1, [width, height]).astype(int)
    part = image[low[1] : high[1], low[0] : high[0]]
    small_size = part.shape[1] // by[0], part.shape[0] // by[1]
    if min(small_size) == 0:
        return image, matrix
    part = part[: small_size[1] * by[1], : small_size[0] * by[0]]
    small: UInt8 = cv2.resize(part, (int(small_size[0]), int(small_size[1])), interpolation=cv2.INTER_AREA)
    # A pixel of the small image is centred on its block: x = low + factor * x' + (factor - 1) / 2.
    offset = low + (by - 1) / 2
    moved = np.empty((2, 3), dtype=np.float32)
    moved[:, :2] = matrix[:, :2] * by
    moved[:, 2] = matrix[:, :2] @ offset + matrix[:, 2]
    return small, moved
