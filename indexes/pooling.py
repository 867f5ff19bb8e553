"""Faces of several pictures pooled into one vector each person, which scores higher with its person than one face does.

The mean of several vectors of one person keeps what they share and loses what pose, light and chance put into each; a
stranger's score with it is no higher than with one of them (benchmarks.pooling). Which faces belong together is decided
by the same threshold by which a face is taken for somebody's: the best face that is left is a *pivot*, and every face
that reaches the threshold with it is of its pool. So each picture of a pool matches the pivot by itself, and no chain
of likenesses joins two people. The result depends on what the faces are, never on the order in which they are given.

Knows no database, no subjects and no pictures but their numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from embeddings.types import Float32, check_unit
from indexes.join import candidate_slack, pair_scores
from indexes.stored import Int64

POOLING_VERSION = 1
"""Part of what pools are recorded by. Raise it whenever the same faces would give other pools."""
LEAST_WEIGHT = 1e-3
"""Of a face in a pool, however poor it is."""
_VANISHING = 1e-6
"""Length of a weighted mean below which it has no direction."""


@dataclass(frozen=True, slots=True)
class Pool:
    """Faces of one person in different pictures, and the one vector that stands for them.

    ``rows``: of the faces, the pivot first; one for each picture. ``vector``: unit float32 (d,), the weighted mean
    direction; of one face it is that face's very vector.
    """

    rows: tuple[int, ...]
    vector: Float32 = field(repr=False)


def pool_faces(
    vectors: Float32, weights: npt.NDArray[np.float64], pictures: Sequence[int], *, threshold: float
) -> list[Pool]:
    """Pool unit ``vectors`` (n, d): every face is in one pool, or stands behind a better one of its picture there.

    ``weights`` (n,): the quality of each face, above 0. ``pictures``: a number for each face; faces of pictures that
    repeat one another have the same one, and count once in a pool. Pools come with the best pivot first. Raises
    :class:`VectorError` for vectors that are not unit.
    """
    check_unit(vectors)
    places = _in_order(vectors, weights, pictures)
    left, weighed, numbers = vectors[places], weights[places], np.asarray(pictures)[places]
    pools = []
    while len(places):
        near = _near(left, left[0], threshold)
        near[0] = True
        _, first = np.unique(numbers[near], return_index=True)
        chosen = np.flatnonzero(near)[np.sort(first)]
        vector = pooled_vector(left[chosen], weighed[chosen])
        if vector is not None:
            pools.append(Pool(tuple(int(row) for row in places[chosen]), vector))
        places, left, weighed, numbers = places[~near], left[~near], weighed[~near], numbers[~near]
    return pools


def pooled_vector(vectors: Float32, weights: npt.NDArray[np.float64]) -> Float32 | None:
    """The weighted mean direction of unit ``vectors`` (n, d), float32 (d,), summed in the order given.

    One vector is its own mean. None where the vectors cancel each other out.
    """
    if len(vectors) == 1:
        only: Float32 = vectors[0]
        return only
    total = np.zeros(vectors.shape[1], dtype=np.float64)
    for vector, weight in zip(vectors, weights, strict=True):
        total += weight * vector.astype(np.float64)
    length = float(np.sqrt(np.sum(total * total)))
    return (total / length).astype(np.float32) if length > _VANISHING * float(np.sum(weights)) else None


def distinct_pictures(hashes: Mapping[str, str | None], *, distance: int) -> dict[str, int]:
    """A number for each picture, the same for pictures that repeat one another.

    ``hashes``: content digest -> PDQ hash in 64 hex digits, or None. Pictures are joined with the first, in order of
    digest, from which at most ``distance`` bits differ; one without a hash repeats nothing.
    """
    kept = np.empty((len(hashes), 4), dtype=np.uint64)
    owners: list[int] = []
    numbers: dict[str, int] = {}
    for number, (content, pdq) in enumerate(sorted(hashes.items())):
        numbers[content] = number
        if pdq is None:
            continue
        bits = np.frombuffer(bytes.fromhex(pdq), dtype=np.uint64)
        near = np.bitwise_count(kept[: len(owners)] ^ bits).sum(axis=1) <= distance
        first = int(np.argmax(near)) if len(owners) else 0
        if len(owners) and near[first]:
            numbers[content] = owners[first]
        else:
            kept[len(owners)] = bits
            owners.append(number)
    return numbers


def face_weight(detector_score: float, width: float, height: float, *, side: int) -> float:
    """The quality of a face: how sure the detector is of it, and less where it is smaller than the crop.

    ``side``: of the recogniser's crop in pixels. A face below it was enlarged, and says the less the more it was.
    """
    share = min(1.0, float(np.sqrt(max(width, 0.0) * max(height, 0.0))) / side)
    return max(LEAST_WEIGHT, detector_score * share)


def _in_order(vectors: Float32, weights: npt.NDArray[np.float64], pictures: Sequence[int]) -> Int64:
    """Rows from the best face to the poorest; what is equal in quality by what it holds."""
    order = sorted(range(len(vectors)), key=lambda row: (-weights[row], vectors[row].tobytes(), pictures[row]))
    return np.array(order, dtype=np.int64)


def _near(vectors: Float32, pivot: Float32, threshold: float) -> npt.NDArray[np.bool_]:
    """Which vectors reach the threshold with the pivot: by a product, and by the defined score where that is close."""
    products = vectors @ pivot
    slack = np.float32(candidate_slack(vectors.shape[1]))
    near: npt.NDArray[np.bool_] = products >= np.float32(threshold)
    close = np.flatnonzero(np.abs(products - np.float32(threshold)) <= slack)
    if len(close):
        repeated = np.broadcast_to(pivot, (len(close), len(pivot)))
        near[close] = pair_scores(vectors[close], repeated) >= np.float32(threshold)
    return near
