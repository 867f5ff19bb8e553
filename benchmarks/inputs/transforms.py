"""What uploaders do to a picture so that its face is not found: named, deterministic functions from pixels to pixels.

Pictures are uint8 RGB (h, w, 3). Every transform takes the picture and the box of its face, (x1, y1, x2, y2) in
pixels, because some cut or scale by the face.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from functools import partial

import cv2
import numpy as np
import simplejpeg

from embeddings.types import UInt8
from pipelines.sample.photographs import Box
from pipelines.sample.variants import around, brightness, collage, crop, flip, hue, resize, scale

Transform = Callable[[UInt8, Box], UInt8]

GROUND = (128, 128, 128)
SHEET_CELL = 160
ANGLES = (15, 30, 45, 60, 90, 135, 180, 225, 270, 315)
RANDOM_ANGLES = 6
CERTAIN = frozenset(
    {
        *("original", "flip", "grey", "JPEG q10", "tight crop", "48 px face", "hue shift", "darkened"),
        *("inverted", "inverted, mirrored", "inverted, rotated 90"),
        *("contact sheet 4x4", "contact sheet 10x10", "contact sheet 4x4, rotated 90"),
        *(f"rotated {angle}" for angle in ANGLES),
        *(f"rotated at random, {draw}" for draw in range(RANDOM_ANGLES)),
    }
)
"""Under these every portrait has to be found."""


def turned(image: UInt8, box: Box, *, degrees: float) -> UInt8:
    """Turned against the clock on a canvas that holds all of it."""
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1.0)
    size = np.ceil(np.abs(matrix[:, :2]) @ [width, height]).astype(int)
    matrix[:, 2] += (size - [width, height]) / 2
    wide, high = size.tolist()
    result: UInt8 = cv2.warpAffine(image, matrix, (wide, high), flags=cv2.INTER_CUBIC, borderValue=GROUND)
    return result


def turned_at_random(image: UInt8, box: Box, *, draw: int) -> UInt8:
    """Turned by an angle that depends on the picture and ``draw`` alone."""
    random = np.random.default_rng((zlib.crc32(image.tobytes()), draw))
    return turned(image, box, degrees=float(random.uniform(0, 360)))


def grey(image: UInt8, box: Box) -> UInt8:
    """Without colour."""
    return np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[:, :, None], 3, axis=2)


def recompressed(image: UInt8, box: Box, *, quality: int) -> UInt8:
    """Through a JPEG of that quality."""
    data = simplejpeg.encode_jpeg(np.ascontiguousarray(image), quality=quality)
    decoded: UInt8 = simplejpeg.decode_jpeg(data)
    return decoded


def tight(image: UInt8, box: Box) -> UInt8:
    """The face and nearly nothing else."""
    return crop(image, around(box, margin=0.1))


def small(image: UInt8, box: Box, *, pixels: int) -> UInt8:
    """Shrunk until the longer side of the face has ``pixels``."""
    return scale(image, factor=min(1.0, pixels / max(box[2] - box[0], box[3] - box[1])))


def sheet(image: UInt8, box: Box, *, side: int, cell: int, degrees: float = 0.0) -> UInt8:
    """A contact sheet of ``side`` x ``side`` cells, all with this picture."""
    tile = turned(image, box, degrees=degrees) if degrees else image
    return collage([tile] * side**2, columns=side, cell=cell)


def noisy(image: UInt8, box: Box, *, sigma: float) -> UInt8:
    """With Gaussian noise."""
    noise = np.random.default_rng(7).normal(0, sigma, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def squeezed(image: UInt8, box: Box, *, factor: float) -> UInt8:
    """Anamorphic: the width times ``factor``."""
    return resize(image, width=round(image.shape[1] * factor), height=image.shape[0])


def stylised(image: UInt8, box: Box) -> UInt8:
    """OpenCV's edge-aware painting effect."""
    result: UInt8 = cv2.stylization(np.ascontiguousarray(image), sigma_s=60, sigma_r=0.45)
    return result


def sketched(image: UInt8, box: Box) -> UInt8:
    """OpenCV's pencil drawing, in grey."""
    drawing, _ = cv2.pencilSketch(np.ascontiguousarray(image), sigma_s=60, sigma_r=0.07, shade_factor=0.05)
    return np.repeat(drawing[:, :, None], 3, axis=2)


def inverted(image: UInt8, box: Box) -> UInt8:
    """The negative."""
    return 255 - image


def transforms() -> Mapping[str, Transform]:
    """All of them, by name."""
    rotations = {f"rotated {angle}": partial(turned, degrees=angle) for angle in ANGLES}
    drawn = {f"rotated at random, {draw}": partial(turned_at_random, draw=draw) for draw in range(RANDOM_ANGLES)}
    return {
        "original": lambda image, box: image,
        "flip": lambda image, box: flip(image),
        "grey": grey,
        "JPEG q10": partial(recompressed, quality=10),
        "tight crop": tight,
        "48 px face": partial(small, pixels=48),
        "24 px face": partial(small, pixels=24),
        "hue shift": lambda image, box: hue(image, degrees=90),
        "darkened": lambda image, box: brightness(image, factor=0.35),
        "anamorphic 0.6": partial(squeezed, factor=0.6),
        "noise sigma 40": partial(noisy, sigma=40),
        "stylised": stylised,
        "pencil sketch": sketched,
        "inverted": inverted,
        "inverted, mirrored": lambda image, box: flip(inverted(image, box)),
        "inverted, rotated 90": lambda image, box: turned(inverted(image, box), box, degrees=90),
        "contact sheet 4x4": partial(sheet, side=4, cell=SHEET_CELL),
        "contact sheet 10x10": partial(sheet, side=10, cell=SHEET_CELL),
        "contact sheet 4x4, rotated 90": partial(sheet, side=4, cell=SHEET_CELL, degrees=90),
        **rotations,
        **drawn,
    }
