"""The gallery: every active template in memory, searched exactly by the threshold join.

It is rebuilt from sealed templates at the start of each run and never written anywhere. It answers with row numbers of
templates; who they belong to is a list of opaque ids beside them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from embeddings.errors import ModelMismatchError, NotReadyError
from embeddings.types import Float32, check_unit
from indexes.first_pass import Probes, pack_probes
from indexes.join import Pairs, join_pairs, joined
from indexes.quantise import quantise_unit
from indexes.stored import FreshVectors, Int64, ResidentCodes, Stored

PACKED_TEMPLATES = 4096
"""Up to this many templates are packed where there are more probes, which are then streamed past them."""

PROBES_AT_ONCE = 4096
TEMPLATES_PER_BLOCK = 1024
"""Templates and probes compared in one task at most, so that a low threshold does not fill the memory."""


@dataclass(frozen=True, slots=True)
class GalleryMatches:
    """The best template of each (probe, subject) pair at or above the threshold, ordered by (probe, subject id)."""

    probe: Int64
    template: Int64
    scores: Float32

    def __len__(self) -> int:
        return int(self.scores.shape[0])


class Gallery:
    """The templates of one model, their codes beside them. Read-only once built; safe to share between threads.

    FAISS's flat index (:mod:`indexes.flat`) keeps a second copy of the vectors, where the codes are a quarter of that,
    and is slower at every size of gallery and batch (benchmarks.search, work "gallery").
    """

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

    @cached_property
    def _codes(self) -> ResidentCodes:
        """The templates as the side that faces are streamed past."""
        codes = quantise_unit(self.vectors)
        return ResidentCodes(codes, fetch=self.vectors.__getitem__, block_rows=TEMPLATES_PER_BLOCK)

    @cached_property
    def _packed(self) -> Probes:
        """The templates as the side that is streamed past stored faces."""
        return pack_probes(self.vectors)

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return int(self.vectors.shape[1])

    def __len__(self) -> int:
        return len(self.template_ids)

    def pairs(self, probes: Float32, *, model_id: str, threshold: float) -> Pairs:
        """Return all (probe, template) pairs at or above ``threshold``, exactly as brute force gives them.

        ``probes``: unit float32 (n, dimension) made by ``model_id``. Raises :class:`ModelMismatchError` for another
        model or dimension.
        """
        self._require(model_id, probes)
        if len(self) <= PACKED_TEMPLATES and len(probes) > len(self):
            return join_pairs([FreshVectors(probes)], self._packed, threshold=threshold)
        parts = []
        for start in range(0, max(len(probes), 1), PROBES_AT_ONCE):
            packed = pack_probes(probes[start : start + PROBES_AT_ONCE])
            found = join_pairs([self._codes], packed, threshold=threshold)
            order = np.lexsort((found.left, found.right))
            parts.append(Pairs(found.right[order] + start, found.left[order], found.scores[order]))
        return joined(parts)

    def match(self, probes: Float32, *, model_id: str, threshold: float) -> GalleryMatches:
        """Per probe and subject the best template at or above ``threshold``; ties go to the earlier template."""
        return self._best(self.pairs(probes, model_id=model_id, threshold=threshold))

    def match_stored(self, stored: Stored, *, model_id: str, threshold: float) -> GalleryMatches:
        """:meth:`match` for vectors that are stored for the join; ``probe`` is then the number of the stored row."""
        return self._best(self.pairs_stored(stored, model_id=model_id, threshold=threshold))

    def pairs_stored(self, stored: Stored, *, model_id: str, threshold: float) -> Pairs:
        """:meth:`pairs` for vectors that are stored for the join; ``left`` is then the number of the stored row."""
        self._require_model(model_id)
        return join_pairs([stored], self._packed, threshold=threshold)

    def _best(self, pairs: Pairs) -> GalleryMatches:
        subject = self._subject_of_row[pairs.right]
        order = np.lexsort((pairs.right, -pairs.scores, subject, pairs.left))
        probe, subject = pairs.left[order], subject[order]
        first = np.ones(len(order), dtype=bool)
        first[1:] = (probe[1:] != probe[:-1]) | (subject[1:] != subject[:-1])
        best = order[first]
        return GalleryMatches(probe=pairs.left[best], template=pairs.right[best], scores=pairs.scores[best])

    def _require(self, model_id: str, probes: Float32) -> None:
        self._require_model(model_id)
        if probes.ndim != 2 or probes.shape[1] != self.dimension:
            raise ModelMismatchError(f"the gallery holds vectors of dimension {self.dimension}, the probes do not")

    def _require_model(self, model_id: str) -> None:
        if model_id != self.model_id:
            raise ModelMismatchError(f"the gallery holds vectors of {self.model_id}, the probes are of {model_id}")
