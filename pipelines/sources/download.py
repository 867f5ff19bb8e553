"""Downloads the content of one URL that an attacker may have written.

Uses httpcore, the engine of httpx, because everything httpx adds on top is unwanted here: redirects, cookies, proxies
and credentials from the environment, decompression. Errors carry a fixed word and at most a status code, never a URL.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

import httpcore
import httpx

from embeddings.errors import ConfigError, FetchError, UnscannableError
from pipelines.sources.addresses import CheckedBackend, Deadline
from pipelines.sources.item import FetchSettings
from pipelines.sources.metadata import MAX_LOCATOR
from pipelines.sources.ranges import RangeReading, StreamReading, check_answer, content_length, fetch_errors
from pipelines.sources.reading import Reading

_PORTS: Final = {"http": 80, "https": 443}
_VALID_PORTS: Final = range(1, 65536)
_HEADERS: Final = [(b"User-Agent", b"likeness"), (b"Accept", b"*/*"), (b"Accept-Encoding", b"identity")]
_IDLE_SECONDS: Final = 30.0
_IDLE_CONNECTIONS: Final = 32


class Downloader:
    """A pool of connections to the allowed hosts. Safe to use from several threads.

    Connections are closed when the downloader is garbage collected, or by :meth:`close`.
    """

    def __init__(self, settings: FetchSettings) -> None:
        self._timeout = settings.timeout_seconds
        self._allowed = frozenset(_allowed_host(entry) for entry in settings.allowed_hosts)
        self._deadline = Deadline()
        self._pool = httpcore.ConnectionPool(
            ssl_context=httpx.create_ssl_context(trust_env=False) if self._allowed else None,
            max_connections=None,  # the caller's threads are the limit; waiting here would eat into the deadline
            max_keepalive_connections=_IDLE_CONNECTIONS,
            keepalive_expiry=_IDLE_SECONDS,
            network_backend=CheckedBackend(self._deadline, allow_private_addresses=settings.allow_private_addresses),
        )
        self.close = weakref.finalize(self, self._pool.close)

    def fetch(self, url: str, *, max_bytes: int) -> bytes:
        """The body of ``url``, at most ``max_bytes`` long.

        Raises :class:`FetchError` with ``bad_url``, ``host_not_allowed``, ``address_not_allowed``, ``connection``,
        ``timeout``, ``redirect``, ``missing`` (404, 410), ``denied`` (401, 403), ``http_status`` or ``encoding``; and
        :class:`UnscannableError` ``too_large``.
        """
        target = self._checked(url)
        with self._in_time(), self._pool.stream("GET", target, headers=_HEADERS) as response:
            check_answer(response, 200)
            if (content_length(response) or 0) > max_bytes:
                raise UnscannableError("too_large")
            return _read_body(response, self._deadline, max_bytes)

    @contextmanager
    def open(self, url: str, *, whole: bool) -> Iterator[Reading]:
        """The body of ``url``, to be read piece by piece: of one answer, or a range of it per piece.

        Opening and reading raise :class:`FetchError` as :meth:`fetch` does, ``range`` for a server that answers with
        another range, and ``changed`` where the content changed between two requests.
        """
        target = self._checked(url)
        with self._in_time(), ExitStack() as answers:
            if whole:
                response = answers.enter_context(self._pool.stream("GET", target, headers=_HEADERS))
                check_answer(response, 200)
                yield StreamReading(response, self._deadline)
            else:
                yield RangeReading(
                    lambda more: self._pool.stream("GET", target, headers=_HEADERS + more), self._deadline, answers
                )

    @contextmanager
    def _in_time(self) -> Iterator[None]:
        """The deadline of one fetch, for this thread; and only errors of our own."""
        self._deadline.set(self._timeout)
        try:
            with fetch_errors():
                yield
        finally:
            self._deadline.at = float("inf")

    def _checked(self, url: str) -> httpcore.URL:
        """``url`` parsed once: what was checked is what is connected to."""
        try:
            parsed = httpx.URL(url) if len(url) <= MAX_LOCATOR else None
        except (httpx.InvalidURL, ValueError):
            parsed = None
        if parsed is None or parsed.scheme not in _PORTS or not parsed.raw_host or parsed.userinfo:
            raise FetchError("bad_url")
        host, usual = parsed.raw_host, _PORTS[parsed.scheme]
        port = usual if parsed.port is None else parsed.port
        if port not in _VALID_PORTS:
            raise FetchError("bad_url")
        listed = (host, port) in self._allowed or (port == usual and (host, None) in self._allowed)
        if not listed:
            hint = "add the host (and any unusual port) to allowed_hosts in likeness.toml to fetch from it"
            raise FetchError("host_not_allowed", hint)
        return httpcore.URL(scheme=parsed.raw_scheme, host=host, port=port, target=parsed.raw_path)


def _allowed_host(entry: str) -> tuple[bytes, int | None]:
    try:
        parsed = httpx.URL(f"any://{entry}")
    except (httpx.InvalidURL, ValueError):
        parsed = None
    port_known = parsed is None or parsed.port is None or parsed.port in _VALID_PORTS
    plain = parsed is not None and parsed.raw_path in (b"", b"/") and not parsed.userinfo and "*" not in entry
    if parsed is None or not parsed.raw_host or not plain or not port_known:
        raise ConfigError(f'allowed_hosts: {entry!r} is not a host such as "cdn.example" or "cdn.example:8443"')
    return parsed.raw_host, parsed.port


def _read_body(response: httpcore.Response, deadline: Deadline, max_bytes: int) -> bytes:
    body = bytearray()
    for chunk in response.iter_stream():
        body += chunk
        if len(body) > max_bytes:
            raise UnscannableError("too_large")
        deadline.remaining()
    return bytes(body)
