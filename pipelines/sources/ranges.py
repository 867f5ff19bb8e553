"""Reads what a server sends piece by piece: from one answer as it comes, or by range requests.

Range requests: RFC 9110, section 14. A server that is asked for a range and answers with everything is read from
the beginning, and cut off when nothing more is wanted. Checks answers; where to connect is decided elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Final

import httpcore

from embeddings.errors import FetchError
from pipelines.exchange.allowance import Allowance
from pipelines.exchange.client import content_length, header, is_encoded
from pipelines.exchange.network import AddressError

REASONS: Final = {401: "denied", 403: "denied", 404: "missing", 410: "missing"}
_CONTENT_RANGE: Final = re.compile(rb"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")
_VALIDATORS: Final = (b"etag", b"last-modified")

Ask = Callable[[list[tuple[bytes, bytes]]], AbstractContextManager[httpcore.Response]]
"""Sends a request with the given headers added."""


@contextmanager
def fetch_errors() -> Iterator[None]:
    """Turn httpcore's errors into :class:`FetchError` ``timeout`` or ``connection``."""
    try:
        yield
    except httpcore.TimeoutException:
        raise FetchError("timeout") from None
    except AddressError:
        raise FetchError("address_not_allowed") from None
    except (httpcore.NetworkError, httpcore.ProtocolError):
        raise FetchError("connection") from None


def check_answer(response: httpcore.Response, *accepted: int) -> None:
    """Raise :class:`FetchError` for a status that is not ``accepted``, a redirect, or an encoded body."""
    status = response.status
    if 300 <= status < 400:
        raise FetchError("redirect", str(status))
    if status not in accepted:
        raise FetchError(REASONS.get(status, "http_status"), str(status))
    if is_encoded(response):
        raise FetchError("encoding")


class StreamReading:
    """Reads the body of one answer as it comes."""

    def __init__(self, response: httpcore.Response, allowance: Allowance) -> None:
        self.size = content_length(response)
        self._chunks = response.iter_stream()
        self._allowance = allowance
        self._waiting = memoryview(b"")

    def read(self, count: int) -> bytes:
        """Read the next ``count`` bytes; fewer only at the end."""
        # Into one buffer: an object for each chunk would let a server that sends single bytes fill the memory.
        data = bytearray()
        while len(data) < count:
            if not self._waiting:
                with fetch_errors():
                    chunk = next(self._chunks, None)
                    self._allowance.remaining()
                if chunk is None:
                    break
                self._waiting = memoryview(chunk)
            part, self._waiting = self._waiting[: count - len(data)], self._waiting[count - len(data) :]
            data += part
        return bytes(data)

    def allow(self, seconds: float) -> None:
        """Let reading take ``seconds`` from now, instead of what was left."""
        self._allowance.renew(seconds)


class RangeReading:
    """Sends a range request per :meth:`read`. Raises :class:`FetchError` ``range`` for an answer with another range,
    and ``changed`` where two answers are of two contents.
    """

    def __init__(self, ask: Ask, allowance: Allowance, open_answers: ExitStack) -> None:
        self._ask = ask
        self._allowance = allowance
        self._open_answers = open_answers
        self._whole: StreamReading | None = None
        self._content: tuple[list[bytes], ...] | None = None
        self._size: int | None = None
        self._at = 0

    @property
    def size(self) -> int | None:
        """Size that the server stated; None before the first read, or when it states none."""
        return self._whole.size if self._whole else self._size

    def read(self, count: int) -> bytes:
        """Request the next ``count`` bytes; fewer come only at the end."""
        if self._whole:
            return self._whole.read(count)
        if self._size is not None:
            count = min(count, self._size - self._at)
        if count <= 0:
            return b""
        with ExitStack() as answer:
            wanted = b"bytes=%d-%d" % (self._at, self._at + count - 1)
            response = answer.enter_context(self._ask([(b"Range", wanted)]))
            if response.status == 416 and self._at == 0 and header(response, b"content-range") == [b"bytes */0"]:
                self._size = 0
                return b""
            check_answer(response, 200, 206)
            if response.status == 206:
                return self._part(response, count)
            if self._at:
                raise FetchError("range", "a part, then everything")
            self._open_answers.push(answer.pop_all())
            self._whole = StreamReading(response, self._allowance)
        return self._whole.read(count)

    def _part(self, response: httpcore.Response, count: int) -> bytes:
        """The body of an answer that has to be the next ``count`` bytes, or all there are."""
        ranges = header(response, b"content-range")
        told = _CONTENT_RANGE.fullmatch(ranges[0]) if len(ranges) == 1 else None
        if told is None:
            raise FetchError("range")
        first, last, size = (int(number) for number in told.groups())
        content = tuple(header(response, name) for name in _VALIDATORS)
        if self._content is not None and (content, size) != (self._content, self._size):
            raise FetchError("changed", "between two requests")
        if (first, last) != (self._at, min(self._at + count, size) - 1):
            raise FetchError("range")
        body = StreamReading(response, self._allowance).read(last - first + 2)
        if len(body) != last - first + 1:
            raise FetchError("range" if len(body) > last - first + 1 else "connection")
        self._content, self._size, self._at = content, size, last + 1
        return body

    def allow(self, seconds: float) -> None:
        """Let reading take ``seconds`` from now, instead of what was left."""
        self._allowance.renew(seconds)
