"""Downloads the content of one URL that an attacker may have written.

Errors carry a fixed word and at most a status code, never a URL.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import httpcore
import httpx

from embeddings.errors import ConfigError, FetchError, UnscannableError
from pipelines.exchange.allowance import OversizeError
from pipelines.exchange.client import USUAL_HEADERS, BoundedClient
from pipelines.exchange.limits import HeadLimits
from pipelines.exchange.urls import PORTS, VALID_PORTS, as_connected, parse_url
from pipelines.sources.addresses import is_public
from pipelines.sources.item import FetchSettings
from pipelines.sources.metadata import MAX_LOCATOR
from pipelines.sources.ranges import RangeReading, StreamReading, check_answer, fetch_errors
from pipelines.sources.reading import Reading


class Downloader:
    """Fetches from the allowed hosts. Safe to use from several threads.

    Connections are closed when the downloader is garbage collected, or by :meth:`close`.
    """

    def __init__(self, settings: FetchSettings, head: HeadLimits) -> None:
        self._timeout = settings.timeout_seconds
        self._allowed = frozenset(_allowed_host(entry) for entry in settings.allowed_hosts)
        self._client = BoundedClient(
            head=head, permitted=lambda address: settings.allow_private_addresses or is_public(address)
        )
        self.close = self._client.close

    def trouble(self, url: str) -> str | None:
        """Return the reason for which ``url`` would not be requested, or None."""
        try:
            self._checked(url)
        except FetchError as error:
            return error.reason
        return None

    def fetch(self, url: str, *, max_bytes: int) -> bytes:
        """Download the body of ``url``, at most ``max_bytes`` long.

        Raises :class:`FetchError` with ``bad_url``, ``host_not_allowed``, ``address_not_allowed``, ``connection``,
        ``timeout``, ``redirect``, ``missing`` (404, 410), ``denied`` (401, 403), ``http_status`` or ``encoding``; and
        :class:`UnscannableError` ``too_large``.
        """
        target = self._checked(url)
        with self._in_time(), self._client.exchange("GET", target, USUAL_HEADERS) as response:
            check_answer(response, 200)
            try:
                return self._client.body(response, max_bytes=max_bytes)
            except OversizeError:
                raise UnscannableError("too_large") from None

    @contextmanager
    def open(self, url: str, *, whole: bool) -> Iterator[Reading]:
        """Open the body of ``url`` to be read piece by piece: ``whole`` from one answer, else a range request per
        piece.

        Opening and reading raise :class:`FetchError` as :meth:`fetch` does, ``range`` for a server that answers with
        another range, and ``changed`` where the content changed between two requests.
        """
        target = self._checked(url)
        allowance = self._client.allowance
        with self._in_time(), ExitStack() as answers:
            if whole:
                response = answers.enter_context(self._client.exchange("GET", target, USUAL_HEADERS))
                check_answer(response, 200)
                yield StreamReading(response, allowance)
            else:
                yield RangeReading(
                    lambda more: self._client.exchange("GET", target, USUAL_HEADERS + more), allowance, answers
                )

    @contextmanager
    def _in_time(self) -> Iterator[None]:
        """Hold this thread to the deadline of one fetch, and turn httpcore's errors into :class:`FetchError`."""
        with fetch_errors(), self._client.allowance.within(self._timeout):
            yield

    def _checked(self, url: str) -> httpcore.URL:
        """Parse ``url`` once and check it, so that what is connected to is what was checked."""
        parsed = parse_url(url) if len(url) <= MAX_LOCATOR else None
        if parsed is None:
            raise FetchError("bad_url")
        host, usual = parsed.raw_host, PORTS[parsed.scheme]
        port = usual if parsed.port is None else parsed.port
        listed = (host, port) in self._allowed or (port == usual and (host, None) in self._allowed)
        if not listed:
            hint = "add the host (and any unusual port) to allowed_hosts in likeness.toml to fetch from it"
            raise FetchError("host_not_allowed", hint)
        return as_connected(parsed)


def _allowed_host(entry: str) -> tuple[bytes, int | None]:
    try:
        parsed = httpx.URL(f"any://{entry}")
    except (httpx.InvalidURL, ValueError):
        parsed = None
    port_known = parsed is None or parsed.port is None or parsed.port in VALID_PORTS
    plain = parsed is not None and parsed.raw_path in (b"", b"/") and not parsed.userinfo and "*" not in entry
    if parsed is None or not parsed.raw_host or not plain or not port_known:
        raise ConfigError(f'allowed_hosts: {entry!r} is not a host such as "cdn.example" or "cdn.example:8443"')
    return parsed.raw_host, parsed.port
