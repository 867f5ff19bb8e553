"""A gallery that compares centroids first where subjects have many references, and references only where that hits.

It answers what :class:`indexes.gallery.Gallery` answers, pairs of faces and references, through the same methods.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

import numpy as np

from embeddings.errors import NotReadyError
from embeddings.types import Float32, check_unit
from indexes.clusters import Clusters, Float64, subject_centroids, tight_clusters
from indexes.flat import FlatGallery
from indexes.gallery import Gallery
from indexes.join import Pairs, joined, recheck
from indexes.stored import Int64

Engine = Literal["join", "faiss"]
"""What finds the pairs: our own join of codes, or FAISS's flat index. Both find the same."""

PROBES_AT_ONCE = 4096

WORTHWHILE = 0.5
"""Share of all comparisons that may be left for centroids to be used: above it two searches, their rechecks and making
the centroids take about the time that they save (benchmarks.templates)."""


class ClusteredGallery(Gallery):
    """A gallery with centroids in front. Beside its own index it keeps one of centroids and one of loose references."""

    def __init__(
        self,
        vectors: Float32,
        *,
        template_ids: Sequence[str],
        subject_ids: Sequence[str],
        model_id: str,
        registry_version: int,
        clusters: Clusters,
    ) -> None:
        """As :class:`Gallery`; ``clusters`` were made of these very ``vectors``."""
        super().__init__(
            vectors,
            template_ids=template_ids,
            subject_ids=subject_ids,
            model_id=model_id,
            registry_version=registry_version,
        )
        self.clusters = clusters
        self._centroids = self._part(clusters.centroids)
        self._loose = self._part(self.vectors[clusters.loose]) if len(clusters.loose) else None

    @property
    def compared_first(self) -> int:
        """Vectors that every face is compared with: centroids and loose references."""
        return len(self.clusters.centroids) + len(self.clusters.loose)

    def pairs(self, probes: Float32, *, model_id: str, threshold: float) -> Pairs:
        """Find the pairs of :meth:`Gallery.pairs`; below the threshold of the clusters by comparing every reference."""
        if threshold < self.clusters.threshold:
            return super().pairs(probes, model_id=model_id, threshold=threshold)
        self._require(model_id, probes)
        near = [self._near_members(probes, start, threshold) for start in range(0, max(len(probes), 1), PROBES_AT_ONCE)]
        parts = [recheck(probes, self.vectors, near, threshold=threshold)]
        if self._loose is not None:
            found = self._loose.pairs(probes, model_id=model_id, threshold=threshold)
            parts.append(Pairs(left=found.left, right=self.clusters.loose[found.right], scores=found.scores))
        both = joined(parts)
        order = np.lexsort((both.right, both.left))
        return Pairs(left=both.left[order], right=both.right[order], scores=both.scores[order])

    def _near_members(self, probes: Float32, start: int, threshold: float) -> tuple[Int64, Int64]:
        """Pairs (probe, reference) for every centroid that a face of this block comes near, as row numbers."""
        lowered = self.clusters.lowered(threshold)
        block = probes[start : start + PROBES_AT_ONCE]
        found = self._centroids.pairs(block, model_id=self.model_id, threshold=float(lowered.min()))
        near = found.scores >= lowered[found.right]
        # Several centroids may stand for the same references, which are to be scored once.
        firsts, place = np.unique(self.clusters.first, return_index=True)
        group = np.searchsorted(firsts, self.clusters.first[found.right[near]])
        probe, group = np.divmod(np.unique(found.left[near] * len(firsts) + group), len(firsts))
        counts = self.clusters.counts[place[group]]
        return np.repeat(probe + start, counts), self.clusters.members[_spread(firsts[group], counts)]

    def _part(self, vectors: Float32) -> Gallery:
        rows = [str(row) for row in range(len(vectors))]
        return Gallery(
            vectors,
            template_ids=rows,
            subject_ids=rows,
            model_id=self.model_id,
            registry_version=self.registry_version,
        )


def make_gallery(
    vectors: Float32,
    *,
    template_ids: Sequence[str],
    subject_ids: Sequence[str],
    weights: Float64,
    model_id: str,
    registry_version: int,
    threshold: float,
    margin: float | None,
    engine: Engine = "join",
) -> Gallery:
    """Return a gallery for matching at ``threshold``, with centroids in front where they save comparisons.

    ``weights``: the quality of each reference, above 0. ``margin`` None: exact, by :func:`tight_clusters`; otherwise
    by :func:`subject_centroids`, with its recall. ``engine`` "faiss": every reference, without centroids. Raises what
    :class:`Gallery` raises.
    """
    if len(vectors) == 0 or not len(vectors) == len(template_ids) == len(subject_ids) == len(weights):
        raise NotReadyError("the gallery is empty, or its vectors, ids and weights differ in number")
    check_unit(vectors)
    kind: Callable[..., Gallery] = FlatGallery
    if engine == "join":
        clusters = _worthwhile(vectors, subject_ids, weights=weights, threshold=threshold, margin=margin)
        kind = Gallery if clusters is None else partial(ClusteredGallery, clusters=clusters)
    return kind(
        vectors,
        template_ids=template_ids,
        subject_ids=subject_ids,
        model_id=model_id,
        registry_version=registry_version,
    )


def _worthwhile(
    vectors: Float32, subject_ids: Sequence[str], *, weights: Float64, threshold: float, margin: float | None
) -> Clusters | None:
    """The clusters of these references, None where they would save too little."""
    if margin is None:
        clusters = tight_clusters(vectors, subject_ids, weights=weights, threshold=threshold)
    else:
        clusters = subject_centroids(vectors, subject_ids, weights=weights, threshold=threshold, margin=margin)
    if clusters is not None and len(clusters.centroids) + len(clusters.loose) > WORTHWHILE * len(vectors):
        return None
    return clusters


def _spread(first: Int64, counts: Int64) -> Int64:
    """``first[i], first[i] + 1, ...``, ``counts[i]`` of them, for each i in turn: (n,) twice -> (counts.sum(),)."""
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    places: Int64 = np.arange(total, dtype=np.int64) + np.repeat(first - (ends - counts), counts)
    return places
