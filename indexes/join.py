"""The threshold join: all pairs of two sets of unit vectors whose similarity reaches a threshold.

The score of a pair is defined once, by :func:`pair_scores`: the inner product of the float32 vectors accumulated in
float64 and rounded to float32. It does not depend on block sizes, on the library or on the order of the vectors, so
every index can be held to the same set of pairs (I3). :func:`brute_force` is that definition applied to every pair: the
oracle of the tests.

:func:`stream_pairs` finds the same pairs from int8 codes: a first pass whose bound (:mod:`indexes.quantise`) can only
let too much through, then the defined score of what it let through. It runs over blocks on threads, holds a bounded
number of pairs, and answers in one order whatever the number of threads.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from embeddings.errors import ModelMismatchError
from embeddings.types import Float32, check_unit
from indexes.first_pass import Probes, Scratch, available_cores
from indexes.quantise import least_product, least_products
from indexes.stored import Int64, Stored

SCORE_SLACK = 1e-5
"""How far a float32 matrix product may be from :func:`pair_scores`. At dimension 512 the error bound of a float32
inner product of unit vectors is 512 * 2**-24 = 3e-5 in theory and below 1e-6 in practice; candidates are taken at
the threshold less this slack times a safety factor and then rechecked."""

PAIRS_AT_ONCE = 1 << 22
"""Pairs compared in one task, if its one block has no more: at 16 bytes each, its candidates at any threshold."""
PRODUCTS_AT_ONCE = 1 << 17
"""Products in one call: half a megabyte, so that they are looked at while they are in a core's cache."""
ROWS_AT_ONCE = 1 << 16
RECHECKED_AT_ONCE = 1 << 14
"""Candidates whose vectors are in memory at once, per thread: 32 MB for each side at dimension 512."""


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


def scores_at(left: Float32, right: Float32, rows: Int64, columns: Int64) -> Float32:
    """Scores of rows ``rows`` of ``left`` with rows ``columns`` of ``right``, float32 (n,); see :func:`pair_scores`.

    A block at a time, which bounds the gathered copies whatever the number of pairs.
    """
    scores = np.empty(len(rows), dtype=np.float32)
    for start in range(0, len(rows), RECHECKED_AT_ONCE):
        part = slice(start, start + RECHECKED_AT_ONCE)
        scores[part] = pair_scores(left[rows[part]], right[columns[part]])
    return scores


def score_matrix(left: Float32, right: Float32) -> Float32:
    """Score of every row of ``left`` with every row of ``right``, float32 (n, m), for few of them."""
    rows, columns = np.indices((len(left), len(right))).reshape(2, -1).astype(np.int64)
    return scores_at(left, right, rows, columns).reshape(len(left), len(right))


def brute_force(left: Float32, right: Float32, *, threshold: float, block: int) -> Pairs:
    """Return all pairs (i, j) with score(left[i], right[j]) >= threshold, by comparing every pair in blocks of
    ``block`` rows.

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
    """Return how far below the threshold a candidate's float32 product may lie while its score reaches the
    threshold."""
    return max(SCORE_SLACK, 2.0 * dimension * float(np.finfo(np.float32).eps))


def recheck(left: Float32, right: Float32, candidates: list[tuple[Int64, Int64]], *, threshold: float) -> Pairs:
    """Keep the candidate pairs whose defined score reaches the threshold, ordered by (left, right)."""
    rows = np.concatenate([pair[0] for pair in candidates]) if candidates else np.empty(0, dtype=np.int64)
    columns = np.concatenate([pair[1] for pair in candidates]) if candidates else np.empty(0, dtype=np.int64)
    scores = scores_at(left, right, rows, columns)
    kept = scores >= np.float32(threshold)
    rows, columns, scores = rows[kept], columns[kept], scores[kept]
    order = np.lexsort((columns, rows))
    return Pairs(left=rows[order], right=columns[order], scores=scores[order])


class _Task(NamedTuple):
    stored: Stored
    offset: int
    first: int
    last: int


def stream_pairs(
    stored: Sequence[Stored], probes: Probes, *, threshold: float, workers: int | None = None
) -> Iterator[Pairs]:
    """Yield all pairs (stored row, probe) at or above ``threshold``, in parts that follow each other in (row, probe)
    order.

    Rows are counted through ``stored`` in its order. ``workers``: threads; all cores of this process unless given. At
    most two tasks per thread are held, so memory grows neither with the rows nor with the matches already given out.
    Raises :class:`ModelMismatchError` when the dimensions differ, and whatever reading ``stored`` raises.
    """
    if any(side.dimension != probes.vectors.shape[1] for side in stored):
        raise ModelMismatchError("the stored vectors and the probes differ in dimension")
    tasks = _tasks(stored, len(probes))
    threads = (workers or available_cores()) if probes.kernel.threads else 1
    if threads == 1:
        scratch = [Scratch()]
        yield from (_scan(task, probes, threshold, scratch) for task in tasks)
        return
    scratch = [Scratch() for _ in range(threads)]
    pool = ThreadPoolExecutor(threads)
    try:
        waiting: deque[Future[Pairs]] = deque()
        for task in tasks:
            waiting.append(pool.submit(_scan, task, probes, threshold, scratch))
            if len(waiting) > 2 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def join_pairs(stored: Sequence[Stored], probes: Probes, *, threshold: float, workers: int | None = None) -> Pairs:
    """:func:`stream_pairs` in one piece: as many pairs in memory as there are."""
    return joined(stream_pairs(stored, probes, threshold=threshold, workers=workers))


def joined(parts: Iterable[Pairs]) -> Pairs:
    """Return the pairs of all parts in their order; of no parts, no pairs."""
    held = [part for part in parts if len(part)]
    return Pairs(
        left=np.concatenate([np.empty(0, dtype=np.int64), *(part.left for part in held)]),
        right=np.concatenate([np.empty(0, dtype=np.int64), *(part.right for part in held)]),
        scores=np.concatenate([np.empty(0, dtype=np.float32), *(part.scores for part in held)]),
    )


def _tasks(stored: Sequence[Stored], probes: int) -> Iterator[_Task]:
    offset = 0
    for side in stored:
        blocks = -(-side.rows // side.block_rows) if probes else 0
        step = max(1, min(ROWS_AT_ONCE, PAIRS_AT_ONCE // max(probes, 1)) // side.block_rows)
        for first in range(0, blocks, step):
            yield _Task(side, offset, first, min(first + step, blocks))
        offset += side.rows


def _scan(task: _Task, probes: Probes, threshold: float, free: list[Scratch]) -> Pairs:
    """One task: the first pass over its blocks, then the scores of what it lets through."""
    scratch = free.pop()
    try:
        candidates = _candidates(task, probes, threshold, scratch)
    finally:
        free.append(scratch)
    if not candidates:
        return joined([])
    rows, columns = (np.concatenate([pair[side] for pair in candidates]) for side in (0, 1))
    order = np.lexsort((columns, rows))
    rows, columns = rows[order], columns[order]
    scores = np.empty(len(rows), dtype=np.float32)
    for start in range(0, len(rows), RECHECKED_AT_ONCE):
        part = slice(start, start + RECHECKED_AT_ONCE)
        distinct, place = np.unique(rows[part], return_inverse=True)
        scores[part] = pair_scores(task.stored.vectors(distinct)[place], probes.vectors[columns[part]])
    kept = scores >= np.float32(threshold)
    return Pairs(left=rows[kept] + task.offset, right=columns[kept], scores=scores[kept])


def _candidates(task: _Task, probes: Probes, threshold: float, scratch: Scratch) -> list[tuple[Int64, Int64]]:
    bound = {"probe_scale": probes.scale, "probe_residual": probes.residual, "threshold": threshold}
    step = max(PRODUCTS_AT_ONCE // min(max(len(probes), 1), probes.kernel.probes_per_pack), 1)
    found: list[tuple[Int64, Int64]] = []
    for number in range(task.first, task.last):
        block = task.stored.block(number)
        least = least_product(block.worst, **bound)
        for low in range(0, len(block.codes), step):
            part = block.codes if step >= len(block.codes) else block.codes.part(low, low + step)
            for start, pack in probes.packs:
                products = probes.kernel.products(part.codes, pack, scratch)
                if products.max() < least:  # one pass over whole numbers: most end here
                    continue
                near = np.flatnonzero(products.ravel() >= least)
                rows, columns = np.divmod(near, products.shape[1])
                limits = least_products(part.scales[rows], part.residuals[rows], **bound)
                kept = products.ravel()[near] >= limits
                first = number * task.stored.block_rows + low
                found.append((rows[kept] + first, columns[kept] + start))
    return [pair for pair in found if len(pair[0])]
