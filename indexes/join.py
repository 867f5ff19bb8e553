"""The threshold join: all pairs of two sets of unit vectors whose similarity reaches a threshold.

The score of a pair is defined once, by :func:`pair_scores`: the inner product of the float32 vectors accumulated in
float64 and rounded to float32. It does not depend on block sizes, on the library or on the order of the vectors, so
every index can be held to the same set of pairs (I3). :func:`brute_force` is that definition applied to every pair: the
oracle of the tests, and fast enough to be used where one side is small.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from embeddings.types import Float32, check_unit

Int64 = npt.NDArray[np.int64]

SCORE_SLACK = 1e-5
"""How far a float32 matrix product may be from :func:`pair_scores`. At dimension 512 the error bound of a float32
inner product of unit vectors is 512 * 2**-24 = 3e-5 in theory and below 1e-6 in practice; candidates are taken at
the threshold less this slack times a safety factor and then rechecked."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pairs at or above a threshold, ordered by (left, right): row numbers int64 (n,) and float32 scores (n,)."""

    left: Int64
    right: Int64
    scores: Float32

    def __len__(self) -> int:
        return int(self.scores.shape[0])


def pair_scores(left: Float32, right: Float32) -> Float32:
    """Scores of row i of ``left`` with row i of ``right``, both float32 (n, d) -> float32 (n,)."""
    scores: Float32 = np.einsum("ij,ij->i", left, right, dtype=np.float64).astype(np.float32)
    return scores


def brute_force(left: Float32, right: Float32, *, threshold: float, block: int) -> Pairs:
    """All pairs (i, j) with score(left[i], right[j]) >= threshold, by comparing every pair in blocks of ``block`` rows.

    Memory is bounded by ``block`` x len(right) float32. Raises :class:`VectorError` for vectors that are not unit.
    """
    check_unit(left)
    check_unit(right, left.shape[1])
    found: list[tuple[Int64, Int64]] = []
    for start in range(0, len(left), block):
        products = left[start : start + block] @ right.T
        rows, columns = np.nonzero(products >= np.float32(threshold - candidate_slack(left.shape[1])))
        found.append((rows + start, columns))
    return recheck(left, right, found, threshold=threshold)


def candidate_slack(dimension: int) -> float:
    """How much below the threshold a candidate's float32 product may lie and its score still reach the threshold."""
    return max(SCORE_SLACK, 2.0 * dimension * float(np.finfo(np.float32).eps))


def recheck(left: Float32, right: Float32, candidates: list[tuple[Int64, Int64]], *, threshold: float) -> Pairs:
    """Keep the candidate pairs whose defined score reaches the threshold, ordered by (left, right)."""
    rows = np.concatenate([pair[0] for pair in candidates]) if candidates else np.empty(0, dtype=np.int64)
    columns = np.concatenate([pair[1] for pair in candidates]) if candidates else np.empty(0, dtype=np.int64)
    scores = np.empty(len(rows), dtype=np.float32)
    for start in range(0, len(rows), 65536):  # bounds the gathered copies, whatever the number of candidates
        part = slice(start, start + 65536)
        scores[part] = pair_scores(left[rows[part]], right[columns[part]])
    kept = scores >= np.float32(threshold)
    rows, columns, scores = rows[kept], columns[kept], scores[kept]
    order = np.lexsort((columns, rows))
    return Pairs(left=rows[order], right=columns[order], scores=scores[order])
