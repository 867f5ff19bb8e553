"""Decides which network addresses may be talked to, and connects to nothing else.

The name is resolved once and the connection goes to the very address that was checked, so a name server that answers
differently the second time (DNS rebinding) gains nothing. A deadline covers all reads and writes of one fetch, however
slowly the bytes come. Name resolution itself is bounded by the system resolver's own time-out.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Iterable
from typing import Any, Final

import httpcore

from embeddings.errors import FetchError

_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
_6TO4: Final = ipaddress.IPv6Network("2002::/16")
_UNICAST: Final = ipaddress.IPv6Network("2000::/3")
"""All that is allocated as global unicast: leaves out what the standard library takes for global, as fec0::/10."""


def is_public(address: str) -> bool:
    """Whether ``address`` is an ordinary host on the internet, an IPv4 address wrapped in IPv6 included."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return is_public(str(parsed.ipv4_mapped))
        if parsed in _NAT64:
            return is_public(str(ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF)))
        if parsed not in _UNICAST or parsed in _6TO4:
            return False
    return parsed.is_global and not (parsed.is_multicast or parsed.is_reserved)


class Deadline(threading.local):
    """When the fetch of the calling thread must be over, on the monotonic clock."""

    at: float = float("inf")

    def set(self, seconds: float) -> None:
        """It must be over in ``seconds`` from now."""
        self.at = time.monotonic() + seconds

    def remaining(self) -> float:
        """Seconds left. Raises :class:`FetchError` ``timeout`` when there are none."""
        left = self.at - time.monotonic()
        if left <= 0:
            raise FetchError("timeout")
        return left


class CheckedBackend(httpcore.NetworkBackend):
    """httpcore's way to the network, limited to permitted addresses and the thread's deadline."""

    def __init__(self, deadline: Deadline, *, allow_private_addresses: bool) -> None:
        self._deadline = deadline
        self._allow_private = allow_private_addresses
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
        failure: Exception = FetchError("connection")
        for address in self._permitted(host, port):
            try:
                stream = self._network.connect_tcp(
                    address, port, self._deadline.remaining(), local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
            else:
                return _DeadlineStream(stream, self._deadline)
        raise failure

    def _permitted(self, host: str, port: int) -> list[str]:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            raise FetchError("connection") from None
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        permitted = [address for address in addresses if self._allow_private or is_public(address)]
        if not permitted:
            raise FetchError("address_not_allowed")
        return permitted


class _DeadlineStream(httpcore.NetworkStream):
    """A connection whose every operation ends by the deadline of the thread that uses it."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: Deadline) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._deadline.remaining())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._deadline.remaining())

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        secured = self._stream.start_tls(ssl_context, server_hostname, self._deadline.remaining())
        return _DeadlineStream(secured, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
