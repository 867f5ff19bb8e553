"""Content that is too large to hold: read from its beginning on, as much of it as is wanted.

Owns the :class:`Reading` seam and the one over bytes in memory; :mod:`pipelines.sources.contained` reads files,
:mod:`pipelines.sources.ranges` what servers send.
"""

from __future__ import annotations

from typing import Protocol


class Reading(Protocol):
    """One opened content and a place in it. Belongs to the thread that opened it."""

    @property
    def size(self) -> int | None:
        """Bytes in all; None as long as nothing was read, or when the server does not say."""
        ...

    def read(self, count: int) -> bytes:
        """The next ``count`` bytes; fewer at the end, and only there. Raises :class:`FetchError`."""
        ...

    def allow(self, seconds: float) -> None:
        """From now on reading may take so long, instead of what was left. Files take the time they take."""
        ...


class BytesReading:
    """Bytes that are in memory already."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0
        self.size = len(data)

    def read(self, count: int) -> bytes:
        """See :class:`Reading`."""
        part = self._data[self._at : self._at + count]
        self._at += len(part)
        return part

    def allow(self, seconds: float) -> None:
        """Nothing is waited for."""
