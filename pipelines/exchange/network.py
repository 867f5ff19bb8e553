"""httpcore's way to the network, every step of which keeps to the :class:`Allowance` of the thread that takes it.

A name is resolved once and the connection goes to the very address that was checked, so a name server that answers
differently the second time (DNS rebinding) gains nothing.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterable
from typing import Any

import httpcore

from pipelines.exchange.allowance import Allowance, DeadlineError


class AddressError(httpcore.ConnectError):
    """The name resolves to no address that may be connected to."""


class BoundedBackend(httpcore.NetworkBackend):
    """Connects to permitted addresses only. ``permitted`` is asked about each address a name resolves to."""

    def __init__(self, allowance: Allowance, *, permitted: Callable[[str], bool]) -> None:
        self._allowance = allowance
        self._permitted = permitted
        self._network = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to the first permitted address of ``host`` that answers."""
        addresses = _resolve(host, port, self._allowance.remaining())
        failure: Exception = AddressError("no address of this host is permitted")
        for address in filter(self._permitted, addresses):
            left = self._allowance.remaining()
            try:
                stream = self._network.connect_tcp(address, port, left, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
            else:
                return _BoundedStream(stream, self._allowance)
        raise failure


def _resolve(host: str, port: int, seconds: float) -> list[str]:
    """The addresses of a name. The system's resolver has no time-out that a caller could set, so a thread waits for it
    and is left behind when it is too slow; it ends when the resolver gives up.
    """
    answers: list[list[str]] = []

    def ask() -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            return
        answers.append(list(dict.fromkeys(str(entry[4][0]) for entry in found)))

    asking = threading.Thread(target=ask, name="resolve", daemon=True)
    asking.start()
    asking.join(min(seconds, threading.TIMEOUT_MAX))
    if asking.is_alive():
        raise DeadlineError("the name was not resolved in time")
    if not answers:
        raise httpcore.ConnectError("the name could not be resolved")
    return answers[0]


class _BoundedStream(httpcore.NetworkStream):
    """A connection whose every operation ends by the deadline of the thread that uses it."""

    def __init__(self, stream: httpcore.NetworkStream, allowance: Allowance) -> None:
        self._stream = stream
        self._allowance = allowance

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        self._allowance.require_bytes()
        data = self._stream.read(max_bytes, self._allowance.remaining())
        self._allowance.count(len(data))
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Write to the socket itself: httpcore would grant the whole time anew to each part that the server takes."""
        connection: socket.socket = self._stream.get_extra_info("socket")
        left = memoryview(buffer)
        while left:
            connection.settimeout(self._allowance.remaining())
            try:
                left = left[connection.send(left) :]
            except TimeoutError:
                raise DeadlineError("the request was not taken in time") from None
            except OSError as error:
                raise httpcore.WriteError(str(error)) from None

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        secured = self._stream.start_tls(ssl_context, server_hostname, self._allowance.remaining())
        return _BoundedStream(secured, self._allowance)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
