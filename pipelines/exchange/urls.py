"""Which addresses of services may be configured. Errors say what is wrong with one without repeating it."""

from __future__ import annotations

import ipaddress
from typing import Final

import httpcore
import httpx

from embeddings.errors import ConfigError

PORTS: Final = {"http": 80, "https": 443}
VALID_PORTS: Final = range(1, 65536)
_LOOPBACK_6: Final = ipaddress.IPv6Address("::1")


def parse_url(url: str) -> httpx.URL | None:
    """``url`` parsed once; None unless it is http or https, with a host and a valid port, without user information."""
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError):
        return None
    usable = parsed.scheme in PORTS and parsed.raw_host and not parsed.userinfo
    return parsed if usable and (parsed.port is None or parsed.port in VALID_PORTS) else None


def as_connected(parsed: httpx.URL) -> httpcore.URL:
    """Convert a checked address for httpcore, so that the address used is the one checked."""
    port = PORTS[parsed.scheme] if parsed.port is None else parsed.port
    return httpcore.URL(scheme=parsed.raw_scheme, host=parsed.raw_host, port=port, target=parsed.raw_path)


def service_url(url: str, *, setting: str) -> httpcore.URL:
    """Return the address of a service that is trusted to have acted on what it acknowledges.

    Raises :class:`ConfigError`, naming ``setting``, for anything but https, and http on this very machine: without TLS
    whoever is on the way can answer 200 to a takedown that nobody ever saw.
    """
    parsed = parse_url(url)
    if parsed is None or "%" in parsed.host:
        raise ConfigError(f"{setting} must be an https address without user name and password")
    if parsed.scheme == "http" and not (parsed.host == "localhost" or is_loopback(parsed.host)):
        raise ConfigError(
            f"{setting} must begin with https://: over http anybody on the way can acknowledge a takedown that the "
            "service never saw; http is for 127.0.0.1, ::1 and localhost only"
        )
    return as_connected(parsed)


def is_loopback(address: str) -> bool:
    """Whether a literal address is of this machine: 127.0.0.0/8 or ::1."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return parsed.is_loopback and (parsed.version == 4 or parsed == _LOOPBACK_6)
