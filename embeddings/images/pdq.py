"""PDQ: a 256-bit perceptual hash that tells distinct pictures from re-encodings of one.

Facebook's PDQ (github.com/facebook/ThreatExchange, "pdq"): two pictures whose hashes differ in at most 31 bits are the
same picture for most purposes. A hash of a picture is no biometric template. Knows pixels only.
"""

from __future__ import annotations

import numpy as np

from embeddings.types import UInt8

_LONG_SIDE = 384
"""PDQ works on 64x64. Halving an image to about this first moves a hash by 7 bits of 256 on average (up to 22 on
photographs, 36 on drawn patterns: benchmarks.evidence.pdq) and costs 1.4 ms instead of 9; at 256, where PDQ's own
filter changes its width, it would move 18 (30 at most)."""

PDQ_BYTES = 32
PDQ_BITS = 8 * PDQ_BYTES

PDQ_MODEL_ID = f"pdq-{_LONG_SIDE}-1"
"""Which hashes may be compared with each other: the long side to which pictures are halved, and the version of this
preparation. Whoever changes what :func:`pdq` returns for a picture changes this, and a test notices if not."""

MIN_QUALITY = 50
"""PDQ's own measure of how much there is to hash, 0 to 100; below this a hash says little (its documentation)."""


def pdq(image: UInt8) -> bytes | None:
    """Return the hash of an RGB image (h, w, 3) as 32 bytes, or None when the picture is too plain to be told from
    others."""
    import pdqhash

    from embeddings.faces.detection import resize_to

    image, _, _ = resize_to(image, long_side=_LONG_SIDE)
    bits, quality = pdqhash.compute(np.ascontiguousarray(image))
    return np.packbits(np.asarray(bits, dtype=np.uint8)).tobytes() if quality >= MIN_QUALITY else None


def pdq_score(distance: int) -> float:
    """Return the similarity of two hashes that differ in ``distance`` bits: 1 for equal ones, 1/256 less per bit."""
    return 1.0 - distance / PDQ_BITS
