"""Degraded crops made readable before they are recognised: which crops are, and a cheap remedy.

Owns three measured properties of an aligned crop, which ordinary photographs hardly reach, and one remedy, a Gaussian.
The restored crop takes the place of the degraded one: a mean of both vectors would be pulled away by the degraded one.
It is a function of the crop alone, so that a template embeds to the same vector again from what is kept of it. Knows
nothing of detection.

*Noise*: the median absolute value of the finest diagonal detail (the HH band of a Haar wavelet) over 0.6745, which
estimates a Gaussian's standard deviation and hardly minds edges (Donoho, Johnstone, "Ideal spatial adaptation by
wavelet shrinkage", 1994).

*Lines*: scan lines make neighbouring rows differ far more than neighbouring columns.

*Flatness*: pixels that equal both their neighbours. Few levels, large blocks and heavy compression leave many, and
hard steps between them that the recogniser takes for features.

Measured and left out: stretched levels for dark pictures, which the recogniser reads as they are; sharpening of blurred
ones, which no property of the crop told from soft ones; closing the outlines of painted ones, which gains little.
"""

from __future__ import annotations

from math import log

import cv2
import numpy as np

from embeddings.types import Float32, UInt8

NOISY = 3.0
"""Estimated grey levels of noise from which a crop is smoothed; one that was enlarged shows less than the picture."""
LINED = 1.6
"""Natural logarithm of how much more rows than columns differ, or the reverse, from which there are lines."""
FLAT = 0.25
"""Share of the pixels in the middle that equal their neighbours, from which a crop is smoothed."""
BLUR = 1.6
"""Standard deviation of the Gaussian that noisy and flat crops are smoothed with, in pixels of the crop."""
LINE_BLUR = (0.8, 2.2)
"""Standard deviations along and across lines."""
DETECTION_BLUR = 2.0
"""Standard deviation of the Gaussian over a picture without faces before the detector looks at it once more, in pixels
of the detector's input."""
MIDDLE = slice(20, 92)
"""Rows and columns of a crop that are measured: face, whatever lies around it."""


def restored(crops: UInt8) -> UInt8:
    """``crops``, RGB uint8 (n, 112, 112, 3), each degraded one smoothed. Ordinary ones come back as they are."""
    done = crops
    for at, crop in enumerate(crops):
        if (widths := remedy(crop)) is not None:
            done = done.copy() if done is crops else done
            done[at] = _blurred(crop, *widths)
    return done


def remedy(crop: UInt8) -> tuple[float, float] | None:
    """Standard deviations across and down that ``crop``, RGB uint8 (112, 112, 3), is to be smoothed with, or None."""
    grey = cv2.cvtColor(np.ascontiguousarray(crop[MIDDLE, MIDDLE]), cv2.COLOR_RGB2GRAY).astype(np.float32)
    lined = lines(grey)
    if abs(lined) >= LINED:
        return LINE_BLUR if lined > 0 else LINE_BLUR[::-1]
    return (BLUR, BLUR) if noise(grey) >= NOISY or flatness(grey) >= FLAT else None


def smooth(picture: UInt8) -> UInt8:
    """Blur ``picture``, RGB uint8 (h, w, 3), so that a detector sees faces that noise, lines or strokes would hide."""
    return _blurred(picture, DETECTION_BLUR, DETECTION_BLUR)


def noise(grey: Float32) -> float:
    """Estimated noise of ``grey`` float32 (h, w) with even sides, in its levels."""
    detail = (grey[::2, ::2] - grey[1::2, ::2] - grey[::2, 1::2] + grey[1::2, 1::2]) / 2
    return float(np.median(np.abs(detail))) / 0.6745


def lines(grey: Float32) -> float:
    """How much more neighbouring rows of ``grey`` float32 (h, w) differ than columns: positive for horizontal lines.

    A natural logarithm; half a level is added to either, so that flat pictures have none.
    """
    down = float(np.median(np.abs(grey[1:] - grey[:-1])))
    across = float(np.median(np.abs(grey[:, 1:] - grey[:, :-1])))
    return log((down + 0.5) / (across + 0.5))


def flatness(grey: Float32) -> float:
    """Share of the pixels of ``grey`` float32 (h, w) that equal those above and to the left."""
    same = (grey[1:, 1:] == grey[:-1, 1:]) & (grey[1:, 1:] == grey[1:, :-1])
    return float(same.mean())


def _blurred(image: UInt8, across: float, down: float) -> UInt8:
    result: UInt8 = cv2.GaussianBlur(image, (0, 0), sigmaX=across, sigmaY=down)
    return result
