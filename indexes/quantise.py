"""int8 codes of unit vectors, and the bound that makes a first pass over them exact (I3).

A vector is x = s*c + e with c in int8, a scale s and r >= |e|. A probe is q = t*b + f likewise, with R >= |f|. With
D = b.c, the product of the codes, which is a whole number and computed exactly,

    q.x = t*s*D + (t*b).e + f.x  <=  t*s*D + (N + R)*r + R*N,        N = 1 + UNIT_TOLERANCE >= |x|, |q|

by Cauchy-Schwarz and |t*b| <= |q| + |f|. So a pair whose score reaches a threshold has

    D  >=  (threshold - MARGIN - R*N - (N + R)*r) / (t*s)

and everything below may be dropped unseen. Three roundings are between these lines and the machine.

- :func:`indexes.join.pair_scores` rounds a float64 sum to float32: less than 2**-24 + d*2**-52, which MARGIN covers.
- The right side is taken in float64, and lowered by one whole number.
- r is computed in float32, and raised. s*c and x - s*c are each rounded once per element, which moves |e| by at most
  2**-24 * (|x| + 2*|e|) < 2**-22; a float32 sum of d squares is off by at most d*2**-24 of itself. The raise is 2**-22
  and d*2**-22 of r: several times both.

All probes of one search share one scale t, and what is quantised together shares one scale s: then what the worst row
of a block needs is hardly less than what each row needs, and one comparison of whole numbers per pair settles nearly
all of them. With a scale for each row r would be half as long, but a block's least product a third lower, so that
every block had pairs to look at again. This module knows arrays only: not where they are kept, nor what multiplies
them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from embeddings.errors import VectorError
from embeddings.types import UNIT_TOLERANCE, Float32

Int8 = npt.NDArray[np.int8]
Float64 = npt.NDArray[np.float64]

LEVELS = 127
"""Codes are -127..127: symmetric, so that opposite vectors have opposite codes."""
LONGEST = 1.0 + UNIT_TOLERANCE
"""N of the module docstring: no vector that passes :func:`embeddings.types.check_unit` is longer."""
MARGIN = 1e-6
MAX_DIMENSION = 1 << 16
"""Beyond it a product of codes no longer fits an int32, nor the rounding terms above."""
ROUND = np.float32(2.0**-22)
ROWS_AT_ONCE = 256
"""Vectors quantised at once: at 512 dimensions they and their working copy stay in a core's cache."""


@dataclass(frozen=True, slots=True)
class Worst:
    """Of some rows, the values that make the bound weakest: smallest and largest scale, largest residual."""

    least_scale: float
    scale: float
    residual: float


@dataclass(frozen=True, slots=True)
class Codes:
    """``codes`` int8 (n, d), C-contiguous; ``scales`` and ``residuals`` float32 (n,): s and r of the module."""

    codes: Int8
    scales: Float32
    residuals: Float32

    def __len__(self) -> int:
        return int(self.codes.shape[0])

    def part(self, start: int, stop: int) -> Codes:
        """Rows ``start`` to ``stop`` as views."""
        return Codes(self.codes[start:stop], self.scales[start:stop], self.residuals[start:stop])

    def worst(self) -> Worst:
        """Return the weakest values among these rows, of which there is at least one."""
        return Worst(float(self.scales.min()), float(self.scales.max()), float(self.residuals.max()))


def quantise_unit(vectors: Float32) -> Codes:
    """Codes of vectors float32 (n, d) that :func:`check_unit` has passed, all with the scale that the largest component
    needs.

    Raises :class:`VectorError` for vectors longer than ``MAX_DIMENSION``.
    """
    rows, dimension = vectors.shape
    if dimension > MAX_DIMENSION:
        raise VectorError(f"vectors of dimension {dimension} are longer than the bound is proven for")
    codes = np.empty((rows, dimension), dtype=np.int8)
    scale = _peak(vectors) / np.float32(LEVELS) if rows else np.float32(1)
    residuals = np.empty(rows, dtype=np.float32)
    work = np.empty((min(rows, ROWS_AT_ONCE), dimension), dtype=np.float32)
    for start in range(0, rows, ROWS_AT_ONCE):
        part = vectors[start : start + ROWS_AT_ONCE]
        buffer, span = work[: len(part)], slice(start, start + len(part))
        np.multiply(part, np.float32(1) / scale, out=buffer)
        np.rint(buffer, out=buffer)
        np.copyto(codes[span], buffer, casting="unsafe")
        np.multiply(buffer, scale, out=buffer)
        np.subtract(part, buffer, out=buffer)
        residuals[span] = np.sqrt(np.einsum("ij,ij->i", buffer, buffer))
    residuals *= np.float32(1) + ROUND * np.float32(dimension)
    residuals += ROUND
    return Codes(codes, np.full(rows, scale), residuals)


def least_products(
    scales: Float32, residuals: Float32, *, probe_scale: float, probe_residual: float, threshold: float
) -> Float64:
    """Per stored row the smallest product of codes that a pair at or above ``threshold`` can have, (n,)."""
    fixed, slope = _reach(probe_residual, threshold)
    return np.floor((fixed - slope * residuals.astype(np.float64)) / (probe_scale * scales.astype(np.float64))) - 1.0


def least_product(worst: Worst, *, probe_scale: float, probe_residual: float, threshold: float) -> int:
    """Return a lower bound of :func:`least_products` for every row of a block with these worst values."""
    fixed, slope = _reach(probe_residual, threshold)
    reach = fixed - slope * worst.residual
    return math.floor(reach / (probe_scale * (worst.scale if reach >= 0 else worst.least_scale))) - 1


def _reach(probe_residual: float, threshold: float) -> tuple[float, float]:
    """Return (a, b): a pair reaches the threshold only if product * scales >= a - b * residual of the row."""
    slope = LONGEST + probe_residual
    return float(np.float32(threshold)) - MARGIN - probe_residual * LONGEST, slope


def _peak(vectors: Float32) -> np.float32:
    return np.float32(max(vectors.max(), -vectors.min()))
