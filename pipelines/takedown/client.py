"""One delivery attempt to the takedown service: a message goes in, a :class:`Delivery` comes out.

The client knows HTTP and signatures and nothing of the outbox; the dispatcher decides whether and when to try again.
What the service says beyond its status and ``Retry-After`` is neither kept nor logged.
"""

from __future__ import annotations

import email.utils
import enum
import hashlib
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Final, Protocol, Self

import httpcore
import httpx

from pipelines.exchange.allowance import OversizeError
from pipelines.exchange.client import BoundedClient, header
from pipelines.exchange.limits import HeadLimits
from pipelines.exchange.urls import is_loopback, service_url
from pipelines.takedown import signing

IDEMPOTENCY_HEADER: Final = "idempotency-key"
_HEADERS: Final = [(b"User-Agent", b"likeness"), (b"Accept-Encoding", b"identity")]


class Outcome(enum.Enum):
    """What an attempt means for the message. Only ``SUCCESS`` says that the service has it."""

    SUCCESS = "success"
    RETRY = "retry"  # no complete answer, a redirect, 408, 425, 429 or a fault of the service
    REJECTED = "rejected"  # another 4xx: the service refuses; retried all the same, but somebody should look
    GONE = "gone"  # 410: the endpoint wants no more messages


@dataclass(frozen=True, slots=True)
class Message:
    """What is sent: the same id, key and body at every attempt."""

    message_id: str
    key: str
    body: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """The result of one attempt. ``result`` is a status code (``"503"``) or a fixed word (``"timeout"``)."""

    outcome: Outcome
    result: str
    retry_after: float | None = None
    """Seconds that the service asked for (429 and 503); not capped here."""

    @property
    def answered(self) -> bool:
        """Whether the service gave a status at all."""
        return self.result.isdigit()


class TakedownClient(Protocol):
    """Sends messages to one endpoint. Failures of the network are results, not exceptions."""

    @property
    def endpoint_id(self) -> str:
        """A digest of the URL, which names the endpoint without revealing its address."""

    def send(self, message: Message) -> Delivery:
        """Attempt one delivery, once."""


class HttpTakedownClient:
    """The takedown service over HTTP, by Standard Webhooks 1.0.0. Not to be shared between threads.

    ``timeout_seconds`` bounds a whole attempt, from the resolving of the name to the end of the answer, of which
    ``max_answer_bytes`` are read. ``now`` gives the signed timestamps, ``clock`` the seconds of the time-out. Raises
    :class:`ConfigError` for an address that is neither https nor on this machine (:func:`service_url`).
    """

    def __init__(
        self,
        url: str,
        secrets: Sequence[str],
        *,
        timeout_seconds: float,
        max_answer_bytes: int,
        head: HeadLimits,
        now: Callable[[], datetime],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        signing.require_secrets(secrets)
        self._url = service_url(url, setting="LIKENESS_TAKEDOWN_URL")
        self._address = str(httpx.URL(url))
        self._secrets = tuple(secrets)
        self._timeout_seconds = timeout_seconds
        self._max_answer_bytes = max_answer_bytes
        self._now = now
        self._client = service_client(self._url, head=head, clock=clock)

    @property
    def endpoint_id(self) -> str:
        """SHA-256 of the URL in its normal form."""
        return hashlib.sha256(self._address.encode()).hexdigest()

    @property
    def host(self) -> str:
        """The name of the host, without port, path or credentials."""
        return httpx.URL(self._address).host

    def send(self, message: Message) -> Delivery:
        """POST the message once. Redirects are not followed; an answer that breaks off is no answer."""
        body = message.body.encode()
        stamp = int(self._now().timestamp())
        told = signing.signature_headers(self._secrets, message.message_id, stamp, body)
        told |= {IDEMPOTENCY_HEADER: message.key, "content-type": "application/json", "content-length": str(len(body))}
        headers = [*_HEADERS, *((name.encode(), value.encode()) for name, value in told.items())]
        try:
            with (
                self._client.allowance.within(self._timeout_seconds),
                self._client.exchange("POST", self._url, headers, body) as response,
            ):
                self._drain(response)
        except httpcore.TimeoutException:
            return Delivery(Outcome.RETRY, "timeout")
        except OversizeError:
            return Delivery(Outcome.RETRY, "answer_too_large")
        except httpcore.ConnectError:
            return Delivery(Outcome.RETRY, "connection_failed")
        except (httpcore.NetworkError, httpcore.ProtocolError):
            return Delivery(Outcome.RETRY, "connection_lost")
        return _read(response, self._now())

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def __enter__(self) -> Self:
        """Close at the end of the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        self.close()

    def _drain(self, response: httpcore.Response) -> None:
        """Read a short answer to its end, so that a cut is noticed and the connection can serve the next message. A
        long one is left, which closes the connection: its status is known.
        """
        with suppress(OversizeError):
            self._client.body(response, max_bytes=self._max_answer_bytes)


def service_client(
    url: httpcore.URL, *, head: HeadLimits, clock: Callable[[], float] = time.monotonic
) -> BoundedClient:
    """Make a client for a configured service; over http it connects to this machine only."""
    permitted = is_loopback if url.scheme == b"http" else lambda _: True
    return BoundedClient(head=head, permitted=permitted, clock=clock)


def retry_after_seconds(value: str, *, now: datetime, date: str = "") -> float | None:
    """Read a Retry-After (RFC 9110, 10.2.3) as seconds from now. None when absent or unreadable.

    ``date``: the answer's ``Date``, from which an HTTP-date counts, since both are by the service's clock.
    """
    value = value.strip()
    if value.isascii() and value.isdigit() and len(value) <= 9:
        return float(value)
    moment = _moment(value)
    return None if moment is None else max(0.0, (moment - (_moment(date) or now)).total_seconds())


def _moment(http_date: str) -> datetime | None:
    try:
        moment = email.utils.parsedate_to_datetime(http_date)
    except (ValueError, OverflowError):
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _text(response: httpcore.Response, name: bytes) -> str:
    values = header(response, name)
    return values[0].decode("ascii", "replace") if values else ""


def _read(response: httpcore.Response, now: datetime) -> Delivery:
    status = response.status
    result = str(status)
    if 200 <= status < 300:
        return Delivery(Outcome.SUCCESS, result)
    if status == 410:
        return Delivery(Outcome.GONE, result)
    if status in (429, 503):
        asked, date = _text(response, b"retry-after"), _text(response, b"date")
        return Delivery(Outcome.RETRY, result, retry_after_seconds(asked, now=now, date=date))
    if 400 <= status < 500 and status not in (408, 425):
        return Delivery(Outcome.REJECTED, result)
    return Delivery(Outcome.RETRY, result)
