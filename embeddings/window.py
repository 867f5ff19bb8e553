"""Work on many things at once with bounded memory and a fixed order: the running pipeline under shards and contents.

Decoding, detection and alignment of one image are one task, a batch of crops or of prepared frames of many images is
another, all on the same threads. Each spends its time in code that releases the GIL, so one thread per core keeps every
core busy, and a decoder never waits for a network or the other way round. Tasks are handed out through a window, which
bounds what is in memory; results are taken in order, so neither batches nor results depend on timing. Knows no images.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import numpy as np

from embeddings.types import Float32, UInt8

WINDOW_PER_WORKER = 4
"""Images in flight per worker: enough that a slow one does not idle the others, few enough to bound memory."""

T = TypeVar("T")
R = TypeVar("R")


def nothing() -> None:
    """Do nothing: the default where a caller may ask to be told of progress."""


@contextmanager
def threads(workers: int) -> Iterator[Executor]:
    """Open a pool of ``workers`` threads; work that has not begun when the block is left is cancelled."""
    pool = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="embed")
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def in_order(pool: Executor, work: Callable[[T], R], values: Iterable[T], *, workers: int) -> Iterator[R]:
    """Yield ``work(value)`` for each value in order, with a bounded number begun and not yet taken."""
    window = workers * WINDOW_PER_WORKER
    begun: deque[Future[R]] = deque()
    for value in values:
        begun.append(pool.submit(work, value))
        if len(begun) >= window:
            yield begun.popleft().result()
    while begun:
        yield begun.popleft().result()


class Batches:
    """Rows of pixels gathered into whole batches, each of which becomes vectors in one task on ``pool``."""

    def __init__(self, pool: Executor, work: Callable[[UInt8], Float32], *, size: int, dimension: int) -> None:
        """``work`` turns pixels (n, ...) into vectors (n, ``dimension``); ``size`` is the rows of a whole batch."""
        self._pool = pool
        self._work = work
        self._size = size
        self._vectors: list[Future[Float32]] = []
        self._waiting: list[UInt8] = []
        self._none = np.empty((0, dimension), dtype=np.float32)

    def add(self, rows: Iterable[UInt8]) -> None:
        """Add ``rows``, all of one shape; what makes a whole batch is begun at once."""
        self._waiting.extend(rows)
        while len(self._waiting) >= self._size:
            self._begin(self._waiting[: self._size])
            del self._waiting[: self._size]

    def result(self) -> Float32:
        """Return the vectors of all rows, in their order."""
        if self._waiting:
            self._begin(self._waiting)
            self._waiting = []
        return np.concatenate([self._none, *(part.result() for part in self._vectors)])

    def _begin(self, rows: list[UInt8]) -> None:
        self._vectors.append(self._pool.submit(self._work, np.stack(rows)))
