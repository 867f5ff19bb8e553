"""What one exchange may still take: time on the monotonic clock, and bytes before the body of the answer.

A socket's time-out bounds one read, so a server that sends one byte per read, or ``103 Early Hints`` for ever, could
hold a client as long as it likes. Therefore each operation on a connection gets what is left of the whole exchange,
and an operation that begins after the end fails.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpcore


class DeadlineError(httpcore.ReadTimeout):
    """The exchange was not over by its deadline, whichever part of it was going on."""


class OversizeError(httpcore.RemoteProtocolError):
    """The answer's head or body is larger than this exchange takes."""


class Allowance(threading.local):
    """What the exchange of the calling thread may still take. Without one, there is no limit.

    ``clock`` gives seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ends = float("inf")
        self._bytes_left = float("inf")

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Bound everything that this thread does in the block by ``seconds`` from now, unless :meth:`renew` adds
        some."""
        self.renew(seconds)
        try:
            yield
        finally:
            self._ends = self._bytes_left = float("inf")

    def renew(self, seconds: float) -> None:
        """Let the exchange take ``seconds`` from now, instead of what was left."""
        self._ends = self._clock() + seconds

    def remaining(self) -> float:
        """Seconds left. Raises :class:`DeadlineError` when there are none."""
        left = self._ends - self._clock()
        if left <= 0:
            raise DeadlineError("the exchange takes too long")
        return left

    def expect(self, most: float) -> None:
        """Let about ``most`` bytes arrive from now on; a read that begins after that many fails."""
        self._bytes_left = most

    def require_bytes(self) -> None:
        """Raise :class:`OversizeError` when as many bytes have arrived as were expected."""
        if self._bytes_left <= 0:
            raise OversizeError("the answer is too large")

    def count(self, arrived: int) -> None:
        """Count ``arrived`` more bytes."""
        self._bytes_left -= arrived
