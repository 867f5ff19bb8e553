"""One exchange: a request goes out, a head and a body come back, all within a deadline and stated sizes.

Uses httpcore, the engine of httpx, because everything httpx adds on top is unwanted here: redirects, cookies, proxies
and credentials from the environment, decompression.
"""

from __future__ import annotations

import functools
import ssl
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import httpcore
import httpx

from embeddings.errors import ConfigError
from pipelines.exchange.allowance import Allowance, OversizeError
from pipelines.exchange.limits import HeadLimits
from pipelines.exchange.network import BoundedBackend
from pipelines.exchange.urls import as_connected

Headers = Sequence[tuple[bytes, bytes]]
USUAL_HEADERS: Final = [(b"User-Agent", b"likeness"), (b"Accept", b"*/*"), (b"Accept-Encoding", b"identity")]
_FRAMING: Final = 8
"""Bytes on the wire for a byte of body: a chunk of one byte takes six (RFC 9112, 7.1), and has room for no extension
that an honest server would send."""
_IDLE_SECONDS: Final = 30.0
_IDLE_CONNECTIONS: Final = 32


class BoundedClient:
    """A pool of connections. Safe to use from several threads; each exchange belongs to the thread that began it.

    ``permitted`` decides to which addresses names may lead. ``proxy``: the URL of a proxy for all exchanges.
    ``tls``: the context that verifies servers; by default by the authorities of ``certifi``. Connections are closed
    by :meth:`close`, or when the client is garbage collected.
    """

    def __init__(
        self,
        *,
        head: HeadLimits,
        permitted: Callable[[str], bool] = lambda _: True,
        proxy: str | None = None,
        tls: ssl.SSLContext | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.allowance = Allowance(clock)
        self._head = head
        backend = BoundedBackend(self.allowance, permitted=permitted)
        context = tls or _authorities()
        if proxy is None:
            self._pool = httpcore.ConnectionPool(
                ssl_context=context,
                max_connections=None,  # the caller's threads are the limit; waiting here would eat into the deadline
                max_keepalive_connections=_IDLE_CONNECTIONS,
                keepalive_expiry=_IDLE_SECONDS,
                network_backend=backend,
            )
        else:
            self._pool = _through(proxy, context, backend)
        self.close = weakref.finalize(self, self._pool.close)

    @contextmanager
    def exchange(
        self, method: str, url: httpcore.URL, headers: Headers, content: bytes | None = None
    ) -> Iterator[httpcore.Response]:
        """Send a request and yield the answer, its head read and checked, its body unread. Use within
        ``allowance.within``.

        Raises what httpcore raises, :class:`DeadlineError` and :class:`OversizeError` among it.
        """
        # Reads take up to 64 KiB at a time, so a head of this size is always read to its end.
        self.allowance.expect(self._head.max_header_bytes)
        with self._pool.stream(method, url, headers=list(headers), content=content) as response:
            self._check_head(response)
            self.allowance.expect(float("inf"))
            yield response

    def body(self, response: httpcore.Response, *, max_bytes: int) -> bytes:
        """Return the body as it was sent, at most ``max_bytes`` long. Raises :class:`OversizeError` for a longer
        one."""
        if (content_length(response) or 0) > max_bytes:
            raise OversizeError("the answer is too large")
        self.allowance.expect(_FRAMING * max_bytes + self._head.max_header_bytes)
        body = bytearray()
        for chunk in response.iter_stream():
            body += chunk
            if len(body) > max_bytes:
                raise OversizeError("the answer is too large")
            self.allowance.remaining()
        return bytes(body)

    def _check_head(self, response: httpcore.Response) -> None:
        fields = response.headers
        size = sum(len(name) + len(value) for name, value in fields)
        if len(fields) > self._head.max_header_fields or size > self._head.max_header_bytes:
            raise OversizeError("the head of the answer is too large")


def _through(proxy: str, context: ssl.SSLContext, backend: httpcore.NetworkBackend) -> httpcore.HTTPProxy:
    try:
        parsed = httpx.URL(proxy)
        usable = parsed.scheme == "http" and bool(parsed.host)
    except (httpx.InvalidURL, ValueError):
        usable = False
    if not usable:
        raise ConfigError("HTTPS_PROXY must be the http address of a proxy, or not be set")
    return httpcore.HTTPProxy(
        as_connected(parsed),
        proxy_auth=(parsed.username, parsed.password) if parsed.userinfo else None,
        ssl_context=context,
        max_connections=None,
        network_backend=backend,
    )


@functools.cache
def _authorities() -> ssl.SSLContext:
    """Load the authorities once: reading some 140 certificates takes as long as many exchanges."""
    return httpcore.default_ssl_context()


def header(response: httpcore.Response, wanted: bytes) -> list[bytes]:
    """Return the values of the header ``wanted``, a name in lower case."""
    return [value.strip() for name, value in response.headers if name.lower() == wanted]


def content_length(response: httpcore.Response) -> int | None:
    """Return the largest length that the answer claims, in bytes; None if it claims none."""
    lengths = [value for value in header(response, b"content-length") if value.isdigit()]
    return max((int(value[:19]) for value in lengths), default=None)


def is_encoded(response: httpcore.Response) -> bool:
    """Whether the body is compressed, which no request asks for and nothing here inflates."""
    return any(value.lower() not in (b"", b"identity") for value in header(response, b"content-encoding"))
