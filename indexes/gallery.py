"""The gallery: every active template in memory, searched exactly by FAISS.

It is rebuilt from sealed templates at the start of each run and never written anywhere. It answers with row numbers of
templates; who they belong to is a list of opaque ids beside them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import faiss
import numpy as np

from embeddings.errors import ModelMismatchError, NotReadyError
from embeddings.types import Float32, check_unit
from indexes.join import Int64, Pairs, candidate_slack, recheck

PROBE_BLOCK = 1024
"""Faces per FAISS call. Below about 250 FAISS leaves its matrix-product path (DESIGN 8)."""


@dataclass(frozen=True, slots=True)
class GalleryMatches:
    """The best template of each (probe, subject) pair at or above the threshold, ordered by (probe, subject id)."""

    probe: Int64
    template: Int64
    scores: Float32

    def __len__(self) -> int:
        return int(self.scores.shape[0])


class Gallery:
    """FAISS flat index over the templates of one model. Read-only once built; safe to share between threads."""

    def __init__(
        self,
        vectors: Float32,
        *,
        template_ids: Sequence[str],
        subject_ids: Sequence[str],
        model_id: str,
        registry_version: int,
    ) -> None:
        """``vectors``: unit float32 (n, d); row i belongs to ``template_ids[i]`` of ``subject_ids[i]``.

        Raises :class:`NotReadyError` when empty (I7) and :class:`VectorError` for vectors that are not unit (I4).
        """
        if len(vectors) == 0:
            raise NotReadyError("the gallery is empty: no active subject has a template for the current models")
        if not len(vectors) == len(template_ids) == len(subject_ids):
            raise NotReadyError("the gallery's vectors and ids differ in number")
        check_unit(vectors)
        self.vectors: Float32 = np.ascontiguousarray(vectors)
        self.template_ids = tuple(template_ids)
        self.subject_ids = tuple(subject_ids)
        self.model_id = model_id
        self.registry_version = registry_version
        names, self._subject_of_row = np.unique(np.array(self.subject_ids), return_inverse=True)
        self.subjects: tuple[str, ...] = tuple(str(name) for name in names)
        self._index = faiss.IndexFlatIP(self.dimension)
        self._index.add(self.vectors)

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return int(self.vectors.shape[1])

    def __len__(self) -> int:
        return len(self.template_ids)

    def pairs(self, probes: Float32, *, model_id: str, threshold: float) -> Pairs:
        """All (probe, template) pairs at or above ``threshold``, exactly as brute force gives them.

        ``probes``: unit float32 (n, dimension) made by ``model_id``. Raises :class:`ModelMismatchError` for another
        model or dimension.
        """
        self._require(model_id, probes)
        check_unit(probes)
        floor = threshold - candidate_slack(self.dimension)
        candidates: list[tuple[Int64, Int64]] = []
        for start in range(0, len(probes), PROBE_BLOCK):
            block = np.ascontiguousarray(probes[start : start + PROBE_BLOCK])
            # FAISS returns scores strictly above the radius; the slack makes that harmless.
            limits, _, labels = self._index.range_search(block, floor)
            rows = np.repeat(np.arange(len(block), dtype=np.int64), np.diff(limits).astype(np.int64))
            candidates.append((rows + start, labels.astype(np.int64)))
        return recheck(probes, self.vectors, candidates, threshold=threshold)

    def match(self, probes: Float32, *, model_id: str, threshold: float) -> GalleryMatches:
        """Per probe and subject the best template at or above ``threshold``; ties go to the earlier template."""
        pairs = self.pairs(probes, model_id=model_id, threshold=threshold)
        subject = self._subject_of_row[pairs.right]
        order = np.lexsort((pairs.right, -pairs.scores, subject, pairs.left))
        probe, subject = pairs.left[order], subject[order]
        first = np.ones(len(order), dtype=bool)
        first[1:] = (probe[1:] != probe[:-1]) | (subject[1:] != subject[:-1])
        best = order[first]
        return GalleryMatches(probe=pairs.left[best], template=pairs.right[best], scores=pairs.scores[best])

    def _require(self, model_id: str, probes: Float32) -> None:
        if model_id != self.model_id:
            raise ModelMismatchError(f"the gallery holds vectors of {self.model_id}, the probes are of {model_id}")
        if probes.ndim != 2 or probes.shape[1] != self.dimension:
            raise ModelMismatchError(f"the gallery holds vectors of dimension {self.dimension}, the probes do not")
