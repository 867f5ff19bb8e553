"""PDQ: a 256-bit perceptual hash that tells distinct pictures from re-encodings of one.

Facebook's PDQ (github.com/facebook/ThreatExchange, "pdq"): two pictures whose hashes differ in at most 31 bits are the
same picture for most purposes. A hash of a picture is no biometric template. Knows pixels only.
"""

from __future__ import annotations

import cv2
import numpy as np
import pdqhash

from embeddings.types import UInt8

_LONG_SIDE = 256
"""PDQ works on 64x64; shrinking to this first costs a tenth and moves a hash by about 14 bits at most."""

MIN_QUALITY = 50
"""PDQ's own measure of how much there is to hash, 0 to 100; below this a hash says little (its documentation)."""


def pdq(image: UInt8) -> bytes | None:
    """The hash of an RGB image (h, w, 3) as 32 bytes, or None when the picture is too plain to be told from others."""
    height, width = image.shape[:2]
    factor = _LONG_SIDE / max(height, width)
    if factor < 1:
        size = (max(1, round(width * factor)), max(1, round(height * factor)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    bits, quality = pdqhash.compute(np.ascontiguousarray(image))
    return np.packbits(np.asarray(bits, dtype=np.uint8)).tobytes() if quality >= MIN_QUALITY else None
