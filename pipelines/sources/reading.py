"""Content that is too large for memory: read from its beginning, as far as wanted.

Owns the :class:`Reading` seam and the one over bytes in memory; :mod:`pipelines.sources.contained` reads files,
:mod:`pipelines.sources.ranges` what servers send.
"""

from __future__ import annotations

from typing import Protocol


class Reading(Protocol):
    """One opened content and a place in it. Belongs to the thread that opened it."""

    @property
    def size(self) -> int | None:
        """Size in bytes; None before the first read, or when the server does not say."""
        ...

    def read(self, count: int) -> bytes:
        """Read the next ``count`` bytes; fewer only at the end. Raises :class:`FetchError`."""
        ...

    def allow(self, seconds: float) -> None:
        """Let reading take ``seconds`` from now, instead of what was left. Files have no deadline."""
        ...


class BytesReading:
    """Bytes that are in memory already."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0
        self.size = len(data)

    def read(self, count: int) -> bytes:
        """Read the next ``count`` bytes."""
        part = self._data[self._at : self._at + count]
        self._at += len(part)
        return part

    def allow(self, seconds: float) -> None:
        """Ignore the deadline: nothing is waited for."""
