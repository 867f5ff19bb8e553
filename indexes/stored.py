"""The stored side of a join: many unit vectors in blocks of codes, and the vectors themselves for candidates only.

What is here lives in memory; :mod:`indexes.sealed` keeps the same on disk. Rows are numbers from 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from embeddings.types import Float32, check_unit
from indexes.quantise import Codes, Worst, quantise_unit

Int64 = npt.NDArray[np.int64]

BLOCK_ROWS = 16384
"""Rows to a block in memory, 8 MB at 512 dimensions: with a quarter of that the threads of a search for one probe hand
the interpreter to each other so often that it takes a sixth longer (benchmarks.search)."""

FRESH_ROWS = 512
"""Rows to a block of vectors quantised on the way: small, so that a few thousand occupy every core."""


@dataclass(frozen=True, slots=True)
class Block:
    """Codes of consecutive rows, and the weakest values among them."""

    codes: Codes
    worst: Worst


class Stored(Protocol):
    """Blocks of ``block_rows`` rows each, the last one shorter. Safe to read from several threads."""

    @property
    def rows(self) -> int:
        """Number of vectors."""
        ...

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        ...

    @property
    def block_rows(self) -> int:
        """Rows to a block."""
        ...

    def block(self, number: int) -> Block:
        """Rows ``number * block_rows`` and on. It may be overwritten by the same thread's next call."""
        ...

    def vectors(self, rows: Int64) -> Float32:
        """Return the stored vectors float32 (len(rows), dimension) that scores are defined on; ``rows`` ascends."""
        ...


class ResidentCodes:
    """Codes in memory: d + 8 bytes a row beside 4 d for float32. ``fetch`` has the vectors of candidates."""

    def __init__(self, codes: Codes, *, fetch: Callable[[Int64], Float32], block_rows: int = BLOCK_ROWS) -> None:
        self.rows, self.dimension = codes.codes.shape
        self.block_rows = block_rows
        self.vectors = fetch
        parts = (codes.part(start, start + block_rows) for start in range(0, self.rows, block_rows))
        self._blocks = [Block(part, part.worst()) for part in parts]

    def block(self, number: int) -> Block:
        """Return the codes of one block, which no later call overwrites."""
        return self._blocks[number]


class FreshVectors:
    """Vectors float32 (n, d) that are quantised block by block while they are compared: for a side that is used once.

    Raises :class:`VectorError` for vectors that are not unit (I4).
    """

    def __init__(self, vectors: Float32, *, block_rows: int = FRESH_ROWS) -> None:
        self._vectors = check_unit(vectors)
        self.rows, self.dimension = vectors.shape
        self.block_rows = block_rows

    def block(self, number: int) -> Block:
        """Quantise one block."""
        part = self._vectors[number * self.block_rows : (number + 1) * self.block_rows]
        codes = quantise_unit(part)
        return Block(codes, codes.worst())

    def vectors(self, rows: Int64) -> Float32:
        """Return the vectors of ``rows`` as they were given, float32 (len(rows), dimension)."""
        return self._vectors[rows]
