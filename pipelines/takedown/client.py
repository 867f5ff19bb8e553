"""One delivery attempt to the takedown service: a message goes in, a :class:`Delivery` comes out.

The client knows HTTP and signatures and nothing of the outbox: whether and when to try again is the dispatcher's to
decide. What the service says beyond its status and ``Retry-After`` is neither kept nor logged.
"""

from __future__ import annotations

import email.utils
import enum
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Final, Protocol, Self

import httpx

from embeddings.errors import ConfigError
from pipelines.takedown import signing

IDEMPOTENCY_HEADER: Final = "idempotency-key"
_MAX_RESPONSE_BYTES: Final = 4096  # enough for any short answer; more closes the connection instead of being read


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
    """seconds the service asked for (429 and 503); not capped here"""


class TakedownClient(Protocol):
    """Sends messages to one endpoint. Failures of the network are results, not exceptions."""

    @property
    def endpoint_id(self) -> str:
        """Names the endpoint without revealing its address (a digest of the URL)."""

    def send(self, message: Message) -> Delivery:
        """Attempt one delivery, once."""


class HttpTakedownClient:
    """The takedown service over HTTP, as Standard Webhooks 1.0.0 has it. Not shared between threads.

    ``timeout_seconds`` bounds connecting, each write and each read. ``now`` gives the signed timestamps.
    """

    def __init__(
        self, url: str, secrets: Sequence[str], *, timeout_seconds: float, now: Callable[[], datetime]
    ) -> None:
        signing.require_secrets(secrets)
        self._url = _checked(url)
        self._secrets = tuple(secrets)
        self._timeout_seconds = timeout_seconds
        self._now = now
        # trust_env off: the environment is read in one place, and a proxy variable must not redirect takedowns.
        self._http = httpx.Client(timeout=timeout_seconds, follow_redirects=False, trust_env=False)

    @property
    def endpoint_id(self) -> str:
        """SHA-256 of the URL."""
        return hashlib.sha256(str(self._url).encode()).hexdigest()

    def send(self, message: Message) -> Delivery:
        """POST the message once. Redirects are not followed; an answer that breaks off is no answer."""
        body = message.body.encode()
        stamp = int(self._now().timestamp())
        headers = signing.signature_headers(self._secrets, message.message_id, stamp, body)
        headers |= {IDEMPOTENCY_HEADER: message.key, "content-type": "application/json"}
        try:
            with self._http.stream("POST", self._url, content=body, headers=headers) as response:
                self._drain(response)
        except httpx.TimeoutException:
            return Delivery(Outcome.RETRY, "timeout")
        except httpx.ConnectError:
            return Delivery(Outcome.RETRY, "connection_failed")
        except httpx.TransportError:
            return Delivery(Outcome.RETRY, "connection_lost")
        return _read(response.status_code, response.headers, self._now())

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        """Close at the end of the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        self.close()

    def _drain(self, response: httpx.Response) -> None:
        """Read a short answer to its end, so that a cut is noticed and the connection can serve the next message."""
        deadline, size = time.monotonic() + self._timeout_seconds, 0
        for chunk in response.iter_raw():  # raw: a compressed answer must not expand
            size += len(chunk)
            if size > _MAX_RESPONSE_BYTES:
                return
            if time.monotonic() > deadline:
                raise httpx.ReadTimeout("the answer drips")


def retry_after_seconds(value: str, *, now: datetime, date: str = "") -> float | None:
    """Seconds from now, from delta-seconds or an HTTP-date (RFC 9110, 10.2.3). None when absent or unreadable.

    ``date``: the answer's own ``Date``. A moment counts from there, since both are of the service's clock.
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


def _read(status: int, headers: Mapping[str, str], now: datetime) -> Delivery:
    result = str(status)
    if 200 <= status < 300:
        return Delivery(Outcome.SUCCESS, result)
    if status == 410:
        return Delivery(Outcome.GONE, result)
    if status in (429, 503):
        asked, date = headers.get("retry-after", ""), headers.get("date", "")
        return Delivery(Outcome.RETRY, result, retry_after_seconds(asked, now=now, date=date))
    if 400 <= status < 500 and status not in (408, 425):
        return Delivery(Outcome.REJECTED, result)
    return Delivery(Outcome.RETRY, result)


def _checked(url: str) -> httpx.URL:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        parsed = httpx.URL("")
    usable = parsed.scheme in ("http", "https") and parsed.host and "%" not in parsed.host and not parsed.userinfo
    if not usable or not 0 < (parsed.port or 443) < 65536:
        # The address is not repeated: it may carry a credential.
        raise ConfigError("LIKENESS_TAKEDOWN_URL must be an http or https address without user name and password")
    return parsed
