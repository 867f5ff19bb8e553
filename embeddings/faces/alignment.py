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
NOMINAL_BLUR = 0.5
"""Standard deviation of the blur that a picture is taken to have, in its own pixels."""
BLOCKS = 4
"""Reduction from which blocks are averaged first; what is left for the Gaussian is at least that."""
_NO_BLUR = 1e-3
"""A standard deviation that changes nothing; OpenCV takes 0 for "as along the other axis"."""


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

    Bilinear with black outside the image, as insightface does. Where a face is reduced, along an axis of the image, a
    Gaussian first removes what the crop has no pixels for, or fine lines would turn into other features. One that is
    reduced more than ``BLOCKS`` times is averaged in blocks before that, which costs less.
    """
    crops = np.empty((len(matrices), CROP_SIDE, CROP_SIDE, 3), dtype=np.uint8)
    for crop, matrix in zip(crops, matrices, strict=True):
        crop[:] = warped(*_without_fine_detail(image, matrix), (CROP_SIDE, CROP_SIDE), ground=0)
    return crops


def _without_fine_detail(image: UInt8, matrix: Float32) -> tuple[UInt8, Float32]:
    """The part of ``image`` that ``matrix`` (2, 3) takes into the crop, low-passed, and its matrix.

    A picture is taken to be blurred by ``NOMINAL_BLUR`` of its own pixels; the Gaussian makes that as many pixels of
    the crop (Lowe, "Distinctive image features from scale-invariant keypoints", 2004, section 3.3).
    """
    sides = _scales_by_axis(matrix[None])[0].astype(np.float64)
    reductions = 1 / np.where(sides > 0, sides, 1)
    if reductions.max() <= 1:
        return image, matrix
    across, down = np.maximum(reductions // BLOCKS, 1).astype(int).tolist()
    margin = np.ceil(3 * NOMINAL_BLUR * reductions).astype(int)
    part, moved = shrink(image, matrix, factors=(across, down), margin=(int(margin[0]), int(margin[1])))
    left = reductions / [across, down]
    blur_x, blur_y = np.maximum(NOMINAL_BLUR * np.sqrt(np.maximum(left**2 - 1, 0)), _NO_BLUR).tolist()
    smooth: UInt8 = cv2.GaussianBlur(part, (0, 0), sigmaX=blur_x, sigmaY=blur_y)
    return smooth, moved


def shrink(
    image: UInt8, matrix: Float32, *, factors: tuple[int, int], margin: tuple[int, int] = (0, 0)
) -> tuple[UInt8, Float32]:
    """The part of ``image`` that ``matrix`` (2, 3) takes into the crop, shrunk by these factors, and its matrix.

    ``factors``: across and down, each at least 1. ``margin``: pixels of the image beside that part, across and down.
    """
    height, width = image.shape[:2]
    inverse = cv2.invertAffineTransform(matrix)
    by = np.maximum(np.array(factors), 1)
    side = float(CROP_SIDE)
    corners = np.array([[0, 0, 1], [side, 0, 1], [0, side, 1], [side, side, 1]]) @ inverse.T
    beside = by + np.array(margin)
    low = np.clip(np.floor(corners.min(axis=0)) - beside, 0, [width - 1, height - 1]).astype(int) // by * by
    high = np.clip(np.ceil(corners.max(axis=0)) + beside, low + 1, [width, height]).astype(int)
    part = image[low[1] : high[1], low[0] : high[0]]
    small_size = part.shape[1] // by[0], part.shape[0] // by[1]
    if min(small_size) == 0:
        return image, matrix
    if max(factors) > 1:
        part = part[: small_size[1] * by[1], : small_size[0] * by[0]]
        part = cv2.resize(part, (int(small_size[0]), int(small_size[1])), interpolation=cv2.INTER_AREA)
    # A pixel of the small image is centred on its block: x = low + factor * x' + (factor - 1) / 2.
    offset = low + (by - 1) / 2
    moved = np.empty((2, 3), dtype=np.float32)
    moved[:, :2] = matrix[:, :2] * by
    moved[:, 2] = matrix[:, :2] @ offset + matrix[:, 2]
    return part, moved
