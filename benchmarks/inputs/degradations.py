"""What becomes of a picture on its way: squeezed, sheared, noisy, compressed, drawn; named functions of its pixels.

Pictures are uint8 RGB (h, w, 3). *Small* ones are brought to 150 pixels first, as thumbnails are; there a grey level of
noise or a stroke of a filter weighs more. What hides a face by turning it is in :mod:`benchmarks.inputs.transforms`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import cv2
import numpy as np
import simplejpeg
from PIL import Image, ImageDraw, ImageFont

from embeddings.types import UInt8

Degradation = Callable[[UInt8], UInt8]
SMALL = 150
"""Longer side of a small picture, in pixels."""
GROUND = (128, 128, 128)


def degradations() -> Mapping[str, Degradation]:
    """All of them, by name."""
    at_150: dict[str, Degradation] = {
        "plain": lambda image: image,
        "noise 25": partial(noisy, sigma=25),
        "noise 40": partial(noisy, sigma=40),
        "noise 60": partial(noisy, sigma=60),
        "blur 2": lambda image: blurred(image, sigma=2),
        "blur 3": lambda image: blurred(image, sigma=3),
        "JPEG q10": partial(recompressed, quality=10),
        "JPEG q5": partial(recompressed, quality=5),
        "scan lines": scan_lines,
        "salt and pepper": salted,
        "pixelated": pixelated,
        "stylised": stylised,
        "edge-preserving filter": painted,
        "meme text": captioned,
        "low light": darkened,
    }
    return {
        "plain": lambda image: image,
        "width x 0.6": partial(resized, across=0.6),
        "height x 0.6": partial(resized, down=0.6),
        "width x 0.5": partial(resized, across=0.5),
        "height x 0.5": partial(resized, down=0.5),
        "width x 2": partial(resized, across=2.0),
        "height x 2": partial(resized, down=2.0),
        "sheared by 0.4": partial(sheared, by=0.4),
        "in perspective": partial(in_perspective, by=0.2),
        "noise 40": partial(noisy, sigma=40),
        "stylised": stylised,
        "pencil sketch": sketched,
        "3 levels": partial(posterised, levels=3),
        **{f"small, {name}": partial(_small, degradation=one) for name, one in at_150.items()},
    }


def _small(image: UInt8, *, degradation: Degradation) -> UInt8:
    factor = SMALL / max(image.shape[:2])
    return degradation(resized(image, across=factor, down=factor))


def resized(image: UInt8, *, across: float = 1.0, down: float = 1.0) -> UInt8:
    """Width and height times these factors."""
    size = max(1, round(image.shape[1] * across)), max(1, round(image.shape[0] * down))
    way = cv2.INTER_AREA if min(across, down) < 1 else cv2.INTER_LINEAR
    return cv2.resize(image, size, interpolation=way).astype(np.uint8)


def sheared(image: UInt8, *, by: float) -> UInt8:
    """Each row moved to the right by its distance from the top times ``by``."""
    height, width = image.shape[:2]
    matrix = np.array([[1, by, 0], [0, 1, 0]], dtype=np.float32)
    return cv2.warpAffine(image, matrix, (int(width + by * height), height), borderValue=GROUND).astype(np.uint8)


def in_perspective(image: UInt8, *, by: float) -> UInt8:
    """As seen from the left: the right edge shorter by ``by`` at either end."""
    height, width = image.shape[:2]
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], dtype=np.float32)
    moved = np.array([[0, 0], [width, by * height], [width, (1 - by) * height], [0, height]], dtype=np.float32)
    matrix = cv2.getPerspectiveTransform(corners, moved)
    return cv2.warpPerspective(image, matrix, (width, height), borderValue=GROUND).astype(np.uint8)


def noisy(image: UInt8, *, sigma: float) -> UInt8:
    """With Gaussian noise, clipped to what a pixel holds."""
    noise = np.random.default_rng(7).normal(0, sigma, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def salted(image: UInt8) -> UInt8:
    """One pixel in twenty white, one black."""
    drawn = np.random.default_rng(7).random(image.shape[:2])
    result = image.copy()
    result[drawn < 0.05], result[drawn > 0.95] = 0, 255
    return result


def blurred(image: UInt8, *, sigma: float) -> UInt8:
    """Under a Gaussian."""
    return cv2.GaussianBlur(image, (0, 0), sigma).astype(np.uint8)


def recompressed(image: UInt8, *, quality: int) -> UInt8:
    """Through a JPEG of that quality."""
    decoded: UInt8 = simplejpeg.decode_jpeg(simplejpeg.encode_jpeg(np.ascontiguousarray(image), quality=quality))
    return decoded


def scan_lines(image: UInt8) -> UInt8:
    """Every third row a quarter as bright."""
    result = image.copy()
    result[::3] = result[::3] // 4
    return result


def pixelated(image: UInt8) -> UInt8:
    """Blocks of four by four pixels."""
    blocks = cv2.resize(image, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    return cv2.resize(blocks, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_NEAREST).astype(np.uint8)


def posterised(image: UInt8, *, levels: int) -> UInt8:
    """Each colour in so many levels."""
    return (np.round(image / 255 * (levels - 1)) * (255 / (levels - 1))).astype(np.uint8)


def stylised(image: UInt8) -> UInt8:
    """OpenCV's painting effect: smoothed between edges, outlines drawn in black."""
    return cv2.stylization(np.ascontiguousarray(image), sigma_s=60, sigma_r=0.45).astype(np.uint8)


def painted(image: UInt8) -> UInt8:
    """OpenCV's edge-preserving filter, without outlines."""
    return cv2.edgePreservingFilter(np.ascontiguousarray(image), flags=1, sigma_s=60, sigma_r=0.4).astype(np.uint8)


def sketched(image: UInt8) -> UInt8:
    """OpenCV's pencil drawing, in grey."""
    drawing, _ = cv2.pencilSketch(np.ascontiguousarray(image), sigma_s=60, sigma_r=0.07, shade_factor=0.05)
    return np.repeat(drawing[:, :, None], 3, axis=2)


def captioned(image: UInt8) -> UInt8:
    """White letters with black edges along the top and the bottom."""
    picture = Image.fromarray(image)
    draw = ImageDraw.Draw(picture)
    letter = max(10, image.shape[0] // 8)
    font, edge = ImageFont.load_default(size=letter), max(1, letter // 12)
    for y, text in ((2, "WHEN THE SCAN"), (image.shape[0] - letter - 6, "FINDS NO FACE")):
        width = draw.textlength(text, font=font)
        at = ((image.shape[1] - width) / 2, y)
        draw.text(at, text, font=font, fill="white", stroke_width=edge, stroke_fill="black")
    return np.array(picture)


def darkened(image: UInt8) -> UInt8:
    """An eighth as bright, with the noise of a sensor."""
    noise = np.random.default_rng(7).normal(0, 3, image.shape)
    return np.clip(image * 0.12 + noise, 0, 255).astype(np.uint8)
