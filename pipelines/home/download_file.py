"""Downloads one file from a publisher: resumed where the last connection was cut, through redirects, at a least speed.

Knows neither packs nor digests: :mod:`pipelines.home.downloads` checks what arrived.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from embeddings.errors import WeightsError
from pipelines.exchange.limits import HeadLimits
from pipelines.home.private_files import open_private
from pipelines.home.progress import Progress

if TYPE_CHECKING:
    import httpcore

    from pipelines.exchange.client import BoundedClient

_REDIRECTS: Final = (301, 302, 303, 307, 308)


@dataclass(frozen=True, slots=True, kw_only=True)
class PullLimits:
    """``attempts`` connections are made for one file before giving up; nothing larger than ``max_bytes`` is taken.

    The head of the answer, after at most ``max_redirects`` redirects, comes within ``timeout_seconds``; of the body so
    many seconds bring at least ``min_bytes_per_second`` each.
    """

    attempts: int
    timeout_seconds: float
    min_bytes_per_second: int
    max_redirects: int
    max_bytes: int
    head: HeadLimits


def fetch_file(url: str, part: Path, *, limits: PullLimits, proxy: str | None, progress: Progress) -> None:
    """Make ``part`` the whole file, going on behind the bytes that are there. Raises :class:`WeightsError`."""
    import httpcore

    from pipelines.exchange.client import BoundedClient

    trusted = httpcore.default_ssl_context()
    trusted.load_default_certs()  # the operator's own as well, where a proxy opens connections
    client = BoundedClient(head=limits.head, proxy=proxy, tls=trusted)
    cut = (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError, httpcore.ProxyError)
    try:
        for _ in range(limits.attempts):
            try:
                _fetch_rest(client, url, part, limits=limits, progress=progress)
            except cut:
                continue
            return
    finally:
        client.close()
    raise WeightsError(
        f"the connection was cut {limits.attempts} times, or brought less than {limits.min_bytes_per_second} bytes per "
        "second; what arrived is kept: run the same command again to go on"
    )


def _fetch_rest(client: BoundedClient, url: str, part: Path, *, limits: PullLimits, progress: Progress) -> None:
    """Ask, on one connection, for the bytes after those that are there, or for the whole file."""
    from pipelines.exchange.client import USUAL_HEADERS

    have = part.stat().st_size if part.exists() else 0
    # Byte ranges count encoded bytes: only the plain form, which the usual headers ask for, can be resumed.
    headers = [*USUAL_HEADERS, *([(b"Range", b"bytes=%d-" % have)] if have else [])]
    with (
        client.allowance.within(limits.timeout_seconds),
        _answer(client, url, headers, max_redirects=limits.max_redirects) as response,
    ):
        if response.status == 416:
            return  # the part is whole, or not this file: the caller's digest tells
        if response.status not in (200, 206):
            raise WeightsError(f"the server answered {response.status} instead of the file: try later, or report it")
        _keep(client, response, part, have=have, limits=limits, progress=progress)


def _keep(
    client: BoundedClient,
    response: httpcore.Response,
    part: Path,
    *,
    have: int,
    limits: PullLimits,
    progress: Progress,
) -> None:
    """Write the body as it arrives; pieces gathered in memory would be lost with the connection."""
    import httpcore

    from pipelines.exchange.client import content_length, header

    resumed = response.status == 206
    if resumed and not any(value.startswith(b"bytes %d-" % have) for value in header(response, b"content-range")):
        part.unlink()
        raise httpcore.ReadError("another range than was asked for")
    done = have if resumed else 0
    total = done + (content_length(response) or 0)
    span, arrived = limits.min_bytes_per_second * limits.timeout_seconds, 0
    client.allowance.renew(limits.timeout_seconds)
    with open(part, "ab" if resumed else "wb", opener=open_private) as file:
        for chunk in response.iter_stream():
            file.write(chunk)
            done += len(chunk)
            arrived += len(chunk)
            if max(done, total) > limits.max_bytes:
                raise WeightsError("the file is larger than any model of this pack: not taken")
            if arrived >= span:
                client.allowance.renew(limits.timeout_seconds)
                arrived = 0
            client.allowance.remaining()
            progress("download", done, max(total, done))


@contextmanager
def _answer(
    client: BoundedClient, url: str, headers: list[tuple[bytes, bytes]], *, max_redirects: int
) -> Iterator[httpcore.Response]:
    """Yield the first answer that is no redirect. Publishers hand downloads to other hosts; the digest tells whether to
    believe them. A redirect from https to http is refused.
    """
    import httpx

    from pipelines.exchange.client import header
    from pipelines.exchange.urls import as_connected, parse_url

    target = parse_url(url)
    for _ in range(max_redirects + 1):
        if target is None:
            break
        with client.exchange("GET", as_connected(target), headers) as response:
            if response.status not in _REDIRECTS:
                yield response
                return
            places = header(response, b"location")
        was = target
        try:
            target = parse_url(str(was.join(places[0].decode("ascii")))) if places else None
        except (httpx.InvalidURL, ValueError):
            target = None
        if target is not None and was.scheme == "https" != target.scheme:
            target = None
    raise WeightsError("the server redirects too often, or to no usable address: try later, or report it")
