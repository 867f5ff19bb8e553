"""Fingerprints: which stored pictures a picture repeats or nearly repeats.

:class:`Fingerprints` holds PDQ hashes in FAISS's flat binary index and answers with every pair at or below a Hamming
distance: exact, by threshold and not by rank, of one model of hash only (I3, I4). It knows row numbers and opaque ids;
:mod:`embeddings.images.pdq` knows how hashes are made.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from embeddings.errors import ModelMismatchError, NotReadyError, VectorError
from embeddings.images.pdq import PDQ_BITS, PDQ_BYTES
from embeddings.types import UInt8
from indexes.stored import Int64

Int32 = npt.NDArray[np.int32]

SEGMENT_ROWS = 1 << 14
"""Hashes in one FAISS index: half a megabyte, which stays in a core's cache while a block of probes passes. Twice as
fast as one index of a million (benchmarks.fingerprints)."""
PAIRS_AT_ONCE = 1 << 26
MOST_PROBES, FEWEST_PROBES = 1024, 16
"""Probes in one block: as many as keep ``PAIRS_AT_ONCE`` pairs at most, the number there is if everything matches."""


@dataclass(frozen=True, slots=True)
class NearPairs:
    """Pairs at or below a distance, ordered by (probe, row): row numbers int64 (n,), Hamming distances int32 (n,)."""

    probe: Int64
    row: Int64
    distances: Int32

    def __len__(self) -> int:
        return int(self.distances.shape[0])


class Fingerprints:
    """PDQ hashes of one model with their ids. Read-only once built; safe to share between threads."""

    def __init__(self, hashes: UInt8, *, ids: Sequence[str], model_id: str) -> None:
        """``hashes``: uint8 (n, 32), see :func:`hash_matrix`; row i belongs to ``ids[i]``; made by ``model_id``.

        Raises :class:`NotReadyError` when empty (I7): whoever means "nothing stored yet" builds no index.
        """
        import faiss

        _require_hashes(hashes)
        if len(hashes) == 0:
            raise NotReadyError("there are no fingerprints to compare with")
        if len(hashes) != len(ids):
            raise NotReadyError("the fingerprints and their ids differ in number")
        self.ids = tuple(ids)
        self.model_id = model_id
        self._segments = []
        for start in range(0, len(hashes), SEGMENT_ROWS):
            segment = faiss.IndexBinaryFlat(PDQ_BITS)
            segment.add(np.ascontiguousarray(hashes[start : start + SEGMENT_ROWS]))
            self._segments.append(segment)

    def __len__(self) -> int:
        return len(self.ids)

    def pairs(self, probes: UInt8, *, model_id: str, distance: int) -> NearPairs:
        """Return all (probe, stored hash) pairs that differ in at most ``distance`` bits: :meth:`stream` in one
        piece."""
        return _joined(list(self.stream(probes, model_id=model_id, distance=distance)))

    def stream(self, probes: UInt8, *, model_id: str, distance: int) -> Iterator[NearPairs]:
        """Yield the pairs of :meth:`pairs` in (probe, row) order, one part for each block of probes.

        ``probes``: uint8 (n, 32) made by ``model_id``. Raises :class:`ModelMismatchError` for another model of hash
        (I4) and :class:`VectorError` for other shapes or a distance outside 0 to 256.
        """
        if model_id != self.model_id:
            raise ModelMismatchError(f"the fingerprints are of {self.model_id}, the probes of {model_id}")
        _require_hashes(probes)
        _require_distance(distance)
        step = min(max(PAIRS_AT_ONCE // len(self), FEWEST_PROBES), MOST_PROBES)
        return (self._near(probes, start, start + step, distance) for start in range(0, len(probes), step))

    def _near(self, probes: UInt8, first: int, last: int, distance: int) -> NearPairs:
        block = np.ascontiguousarray(probes[first:last])
        parts = []
        for number, segment in enumerate(self._segments):
            # FAISS answers with distances strictly below the radius.
            limits, distances, labels = segment.range_search(block, distance + 1)
            if len(labels):
                probe = np.repeat(np.arange(len(block), dtype=np.int64), np.diff(limits).astype(np.int64))
                parts.append(NearPairs(probe + first, labels + number * SEGMENT_ROWS, distances.astype(np.int32)))
        found = _joined(parts)
        order = np.lexsort((found.row, found.probe))
        return NearPairs(found.probe[order], found.row[order], found.distances[order])


def hash_matrix(hashes: Sequence[bytes]) -> UInt8:
    """PDQ hashes or SHA-256 digests, 32 bytes each, as uint8 (n, 32)."""
    if any(len(value) != PDQ_BYTES for value in hashes):
        raise VectorError(f"a hash does not have {PDQ_BYTES} bytes")
    return np.frombuffer(b"".join(hashes), dtype=np.uint8).reshape(-1, PDQ_BYTES)


def brute_force_near(probes: UInt8, stored: UInt8, *, distance: int, block: int) -> NearPairs:
    """The definition: every pair's differing bits counted, ``block`` stored rows at a time. The oracle of the tests."""
    _require_hashes(probes)
    _require_hashes(stored)
    _require_distance(distance)
    left, columns = (np.ascontiguousarray(side).view(np.uint64) for side in (probes, stored))
    columns = np.ascontiguousarray(columns.T)  # word by word, so that whole columns are counted at once
    parts = []
    for number, words in enumerate(left):
        for start in range(0, len(stored), block):
            part = columns[:, start : start + block]
            bits = np.zeros(part.shape[1], dtype=np.uint16)
            for column, word in zip(part, words, strict=True):
                bits += np.bitwise_count(column ^ word)
            near = np.flatnonzero(bits <= distance)
            parts.append(NearPairs(np.full(len(near), number), near + start, bits[near].astype(np.int32)))
    return _joined(parts)


def _joined(parts: Sequence[NearPairs]) -> NearPairs:
    if not parts:
        return NearPairs(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int32))
    probe, row, distances = ([getattr(part, name) for part in parts] for name in ("probe", "row", "distances"))
    return NearPairs(np.concatenate(probe), np.concatenate(row), np.concatenate(distances))


def _require_hashes(hashes: UInt8) -> None:
    if hashes.dtype != np.uint8 or hashes.ndim != 2 or hashes.shape[1] != PDQ_BYTES:
        raise VectorError(f"expected hashes as uint8 of shape (n, {PDQ_BYTES})")


def _require_distance(distance: int) -> None:
    if not 0 <= distance <= PDQ_BITS:
        raise VectorError(f"a distance of {PDQ_BITS}-bit hashes is from 0 to {PDQ_BITS}")
