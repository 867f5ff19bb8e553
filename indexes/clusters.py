"""Many references of one subject, compared by fewer vectors first.

A subject with more than four references may be represented by at most four centroids, weighted by the quality of the
references. A centroid is no reference: its score lies below the best reference's for some faces and above it for
strangers. So it only chooses candidates; every pair that is answered is scored between the face and the reference
itself, and names it (I10).

There are two ways to choose, and they differ in what they promise:

- :func:`tight_clusters` loses nothing (I3). With radius r, the largest angle between the centroid and a member, a face
  within angle a of some member is within a + r of the centroid. References of one person in different photographs lie
  45 to 65 degrees apart, and with the radius of such a cluster every stranger would be a candidate; so only references
  that nearly repeat one another are put together, four groups at most, and all others are compared as they are.
- :func:`subject_centroids` splits all references of a subject by spherical k-means and takes every centroid within a
  margin of the threshold. It may lose pairs: ``benchmarks.templates`` measures how many. Off by default.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from embeddings.types import UNIT_TOLERANCE, Float32
from indexes.stored import Int64

Float64 = npt.NDArray[np.float64]

MOST_CENTROIDS = 4
"""Centroids of one subject at most; a subject with no more references keeps them as they are."""

STRANGER_DEVIATIONS = 2.6
"""How many standard deviations of strangers' scores, 1 / sqrt(d) each, a lowered threshold must stay above zero: half a
percent of strangers pass. Rechecking one costs about as much as 50 comparisons, so a pair of references pays already
(benchmarks.templates)."""

_ROUNDING = 1e-5
_MOST_ROUNDS = 20


@dataclass(frozen=True, slots=True)
class Clusters:
    """Centroids and what each stands for. Row numbers are those of the gallery's vectors.

    ``centroids`` unit float32 (m, d). The references to score where centroid i is near are ``members[first[i] :
    first[i] + counts[i]]``. ``radius`` float64 (m,): the largest angle between the centroid and one of them, radians.
    ``loose``: rows that no centroid stands for. ``margin``: None for the proven bound, otherwise how far below the
    threshold a centroid may score. ``threshold``: the lowest for which this was made.
    """

    centroids: Float32
    first: Int64
    counts: Int64
    members: Int64
    radius: Float64
    loose: Int64
    margin: float | None
    threshold: float

    def lowered(self, threshold: float) -> Float64:
        """Return the least score (m,) with each centroid of a face that reaches ``threshold`` with one of its
        members."""
        if self.margin is not None:
            return np.full(len(self.centroids), threshold - self.margin)
        return lowered_threshold(threshold, self.radius)


def lowered_threshold(threshold: float, radius: Float64) -> Float64:
    """Bound q.c from below, for q.r >= ``threshold`` and an angle of at most ``radius`` radians between r and c.

    By the triangle inequality of angles. Norms of q and r may be ``UNIT_TOLERANCE`` from 1, that of c is 1.
    """
    cosine = threshold / ((1 + UNIT_TOLERANCE) if threshold > 0 else (1 - UNIT_TOLERANCE)) ** 2
    angle = np.minimum(math.acos(min(max(cosine, -1.0), 1.0)) + radius, math.pi)
    bound = np.cos(angle)
    lowest: Float64 = bound * np.where(bound > 0, 1 - UNIT_TOLERANCE, 1 + UNIT_TOLERANCE) - _ROUNDING
    return lowest


def largest_radius(threshold: float, dimension: int) -> float:
    """Return the radius in radians up to which a cluster saves work at ``threshold``; not above 0 if none does."""
    floor = min(STRANGER_DEVIATIONS / math.sqrt(dimension), 1.0)
    return math.acos(floor) - math.acos(min(max(threshold, -1.0), 1.0))


def tight_clusters(
    vectors: Float32, subject_ids: Sequence[str], *, weights: Float64, threshold: float
) -> Clusters | None:
    """Groups of nearly equal references, at most four a subject; None where that saves nothing.

    ``vectors`` unit float32 (n, d), ``weights`` (n,) above 0. The result holds the same groups whatever the order.
    """
    limit = largest_radius(threshold, vectors.shape[1])
    groups: list[tuple[Float32, Int64]] = []
    for rows in _large_subjects(subject_ids) if limit > 0 else ():
        groups += _tight_groups(vectors, _in_order(rows, vectors, weights), weights, limit)
    return _clusters(vectors, groups, margin=None, threshold=threshold)


def subject_centroids(
    vectors: Float32, subject_ids: Sequence[str], *, weights: Float64, threshold: float, margin: float
) -> Clusters | None:
    """Four centroids for each subject with more than four references; None if no subject has so many.

    Near any of a subject's centroids all its references are scored, so that the best one is named.
    """
    groups: list[tuple[Float32, Int64]] = []
    for rows in _large_subjects(subject_ids):
        ordered = _in_order(rows, vectors, weights)
        centroids, _ = spherical_kmeans(vectors[ordered], weights[ordered], most=MOST_CENTROIDS)
        groups.append((centroids, ordered))
    return _clusters(vectors, groups, margin=margin, threshold=threshold)


def spherical_kmeans(vectors: Float32, weights: Float64, *, most: int) -> tuple[Float32, Int64]:
    """At most ``most`` unit centroids (k, d) of unit ``vectors`` (n, d), and each vector's cluster (n,).

    Dhillon and Modha, "Concept decompositions for large sparse text data using clustering" (2001), from seeds chosen
    farthest first, beginning with the vector nearest to all others. No randomness: the same rows in the same order give
    the same clusters.
    """
    seeds = [int(np.argmax(vectors @ (weights @ vectors)))]
    while len(seeds) < min(most, len(vectors)):
        seeds.append(int(np.argmin((vectors @ vectors[seeds].T).max(axis=1))))
    centroids = vectors[seeds]
    labels: Int64 = np.full(len(vectors), -1, dtype=np.int64)
    for _ in range(_MOST_ROUNDS):
        found = np.argmax(vectors @ centroids.T, axis=1)
        if np.array_equal(found, labels):
            break
        used, labels = np.unique(found, return_inverse=True)
        means = (_mean(vectors[labels == place], weights[labels == place]) for place in range(len(used)))
        centroids = np.stack([centroids[old] if mean is None else mean for old, mean in zip(used, means, strict=True)])
    return centroids, labels


def _tight_groups(vectors: Float32, rows: Int64, weights: Float64, limit: float) -> list[tuple[Float32, Int64]]:
    """Up to four groups of at least two of ``rows`` within ``limit`` of their centroid: the densest place first."""
    near = vectors[rows] @ vectors[rows].T >= math.cos(limit)
    np.fill_diagonal(near, val=True)
    free = np.ones(len(rows), dtype=bool)
    groups: list[tuple[Float32, Int64]] = []
    while len(groups) < MOST_CENTROIDS:
        crowd = (near & free).sum(axis=1) * free
        seed = int(np.argmax(crowd))
        if crowd[seed] < 2:
            break
        members = rows[near[seed] & free]
        centroid = _mean(vectors[members], weights[members])
        if centroid is not None:
            members = members[_angles(vectors[members], centroid) <= limit]
            if len(members) >= 2:
                groups.append((centroid[None, :], members))
                free &= ~np.isin(rows, members)
        free[seed] = False  # grouped, or no group forms around it
    return groups


def _clusters(
    vectors: Float32, groups: Sequence[tuple[Float32, Int64]], *, margin: float | None, threshold: float
) -> Clusters | None:
    """Assemble ``groups``: centroids (k, d) and the rows that all k of them stand for."""
    if not groups:
        return None
    sizes = np.array([len(rows) for _, rows in groups], dtype=np.int64)
    shared = np.array([len(centroids) for centroids, _ in groups])
    members = np.concatenate([rows for _, rows in groups])
    loose = np.ones(len(vectors), dtype=bool)
    loose[members] = False
    return Clusters(
        centroids=np.concatenate([centroids for centroids, _ in groups]),
        first=np.repeat(np.cumsum(sizes) - sizes, shared),
        counts=np.repeat(sizes, shared),
        members=members,
        radius=np.array([_angles(vectors[rows], one).max() for centroids, rows in groups for one in centroids]),
        loose=np.flatnonzero(loose),
        margin=margin,
        threshold=threshold,
    )


def _large_subjects(subject_ids: Sequence[str]) -> list[Int64]:
    """The rows of each subject that has more than four."""
    _, subject = np.unique(np.array(subject_ids), return_inverse=True)
    order = np.argsort(subject, kind="stable").astype(np.int64)
    parts = np.split(order, np.flatnonzero(np.diff(subject[order])) + 1)
    return [rows for rows in parts if len(rows) > MOST_CENTROIDS]


def _in_order(rows: Int64, vectors: Float32, weights: Float64) -> Int64:
    """Order ``rows`` by their content, so that the order of enrolment decides nothing."""
    return np.array(sorted(rows.tolist(), key=lambda row: (vectors[row].tobytes(), weights[row])), dtype=np.int64)


def _mean(vectors: Float32, weights: Float64) -> Float32 | None:
    """The weighted mean direction, or None where the vectors cancel each other out."""
    total = weights @ vectors.astype(np.float64)
    norm = float(np.linalg.norm(total))
    return (total / norm).astype(np.float32) if norm > 1e-3 * float(weights.sum()) else None


def _angles(vectors: Float32, centroid: Float32) -> Float64:
    wide, centre = vectors.astype(np.float64), centroid.astype(np.float64)
    cosines = wide @ centre / (np.linalg.norm(wide, axis=1) * np.linalg.norm(centre))
    angles: Float64 = np.arccos(np.clip(cosines, -1.0, 1.0))
    return angles
