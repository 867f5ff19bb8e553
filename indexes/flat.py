"""FAISS as a second engine: a gallery whose pairs a flat index proposes, and the check that two engines find the same.

Scores are the project's own (:func:`indexes.join.pair_scores`): the index only says which pairs to score, at the
threshold less what a float32 product may lack. So both engines are held to one set of pairs (I3), and a difference is
a fault of one of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np

from embeddings.errors import CorruptionError
from embeddings.types import Float32
from indexes.gallery import Gallery
from indexes.join import PAIRS_AT_ONCE, Pairs, candidate_slack, joined, recheck
from indexes.stored import Block, Int64, Stored

PROBES_AT_ONCE: Final = 4096
FIRST_NEIGHBOURS: Final = 64
MOST_NEIGHBOURS: Final = 2048
"""The most that FAISS returns for one vector on a GPU."""

CHECKED_AT_ONCE: Final = 1 << 24
"""Comparisons whose pairs are in memory at once while two engines are held to each other."""

Propose = Callable[[Float32, float], tuple[Int64, Int64]]
"""Unit vectors float32 (n, d) and a least product -> row numbers of (vector, template), in any order."""


class FlatGallery(Gallery):
    """A gallery that FAISS's flat index searches, on a GPU where this FAISS has one. Compares every reference."""

    @cached_property
    def _propose(self) -> Propose:
        import faiss

        flat = faiss.IndexFlatIP(self.dimension)
        flat.add(self.vectors)
        if not faiss.get_num_gpus():
            return lambda probes, least: _within(flat, probes, least)
        device = faiss.index_cpu_to_all_gpus(flat)
        return lambda probes, least: nearest_first(device, flat, probes, least)

    def pairs(self, probes: Float32, *, model_id: str, threshold: float) -> Pairs:
        """Find the pairs of :meth:`Gallery.pairs`."""
        self._require(model_id, probes)
        return self._pairs(len(probes), lambda start, stop: probes[start:stop], threshold=threshold)

    def pairs_stored(self, stored: Stored, *, model_id: str, threshold: float) -> Pairs:
        """Find the pairs of :meth:`Gallery.pairs_stored`, from the stored vectors; their codes are not read."""
        self._require_model(model_id)
        read = lambda start, stop: stored.vectors(np.arange(start, stop))  # noqa: E731
        return self._pairs(stored.rows, read, threshold=threshold)

    def _pairs(self, rows: int, read: Callable[[int, int], Float32], *, threshold: float) -> Pairs:
        least = threshold - candidate_slack(self.dimension)
        step = max(1, min(PROBES_AT_ONCE, PAIRS_AT_ONCE // len(self)))
        parts = []
        for start in range(0, rows, step):
            block = np.ascontiguousarray(read(start, min(start + step, rows)))
            found = recheck(block, self.vectors, [self._propose(block, least)], threshold=threshold)
            parts.append(Pairs(left=found.left + start, right=found.right, scores=found.scores))
        return joined(parts)


def _within(index: Any, probes: Float32, least: float) -> tuple[Int64, Int64]:
    """Every template above ``least``, by the flat index's own range search."""
    ends, _, templates = index.range_search(probes, least)
    return np.repeat(np.arange(len(probes)), np.diff(ends.astype(np.int64))), templates.astype(np.int64)


def nearest_first(index: Any, flat: Any, probes: Float32, least: float) -> tuple[Int64, Int64]:
    """Return every template above ``least`` by an index that only knows nearest neighbours, as on a GPU.

    Asks again, for more, for vectors whose last neighbour is still above ``least``; the range search of ``flat``
    answers for those that have more than :data:`MOST_NEIGHBOURS`.
    """
    left, right = [], []
    rows, count = np.arange(len(probes)), min(FIRST_NEIGHBOURS, index.ntotal)
    while len(rows):
        scores, templates = index.search(probes[rows], count)
        more = (scores[:, -1] > least) & (count < index.ntotal)
        near = (scores > least) & ~more[:, None]
        left.append(np.repeat(rows, near.sum(axis=1)))
        right.append(templates[near].astype(np.int64))
        rows = rows[more]
        if count >= MOST_NEIGHBOURS:
            break
        count = min(4 * count, MOST_NEIGHBOURS, index.ntotal)
    if len(rows):
        probe, template = _within(flat, probes[rows], least)
        left.append(rows[probe])
        right.append(template)
    if not left:
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    return np.concatenate(left), np.concatenate(right)


@dataclass(frozen=True, slots=True)
class Window:
    """Some consecutive blocks of a stored side, as a stored side (:class:`indexes.stored.Stored`)."""

    whole: Stored
    first: int
    blocks: int

    @property
    def block_rows(self) -> int:
        """Rows to a block, as in the whole."""
        return self.whole.block_rows

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return self.whole.dimension

    @property
    def rows(self) -> int:
        """Rows of these blocks: the last one of the whole may be shorter."""
        return max(0, min(self.whole.rows - self.first * self.block_rows, self.blocks * self.block_rows))

    def block(self, number: int) -> Block:
        """Block ``first + number`` of the whole."""
        return self.whole.block(self.first + number)

    def vectors(self, rows: Int64) -> Float32:
        """Return the vectors of ascending ``rows``, counted from the first block."""
        return self.whole.vectors(rows + self.first * self.block_rows)


def other_engine(gallery: Gallery) -> Gallery:
    """Return a gallery of the same templates that the other engine searches."""
    kind: type[Gallery] = Gallery if isinstance(gallery, FlatGallery) else FlatGallery
    return kind(
        gallery.vectors,
        template_ids=gallery.template_ids,
        subject_ids=gallery.subject_ids,
        model_id=gallery.model_id,
        registry_version=gallery.registry_version,
    )


def require_same_pairs(gallery: Gallery, stored: Stored, *, threshold: float) -> int:
    """Compare stored vectors with a gallery by both engines; return the number of pairs that both find.

    Holds the pairs of a few blocks at a time. Raises :class:`CorruptionError` where a pair or a score differs: then
    neither can be relied on.
    """
    other, model_id = other_engine(gallery), gallery.model_id
    step, same = max(1, CHECKED_AT_ONCE // (len(gallery) * stored.block_rows)), 0
    for first in range(0, -(-stored.rows // stored.block_rows), step):
        window = Window(stored, first, step)
        found = (each.pairs_stored(window, model_id=model_id, threshold=threshold) for each in (gallery, other))
        one, two = map(_in_order, found)
        if not np.array_equal(one, two):
            alone, missing = len(np.setdiff1d(one, two)), len(np.setdiff1d(two, one))
            raise CorruptionError(
                f"two engines compared the same {window.rows} faces with the same {len(gallery)} references and "
                f"differ: {alone} pairs by the one alone, {missing} by the other; nothing more is compared"
            )
        same += len(one)
    return same


def _in_order(pairs: Pairs) -> np.ndarray[Any, Any]:
    """Pairs and their scores as records, in one order."""
    kind = [("left", "<i8"), ("right", "<i8"), ("score", "<f4")]
    records = np.empty(len(pairs), dtype=kind)
    records["left"], records["right"], records["score"] = pairs.left, pairs.right, pairs.scores
    return records[np.lexsort((pairs.right, pairs.left))]
