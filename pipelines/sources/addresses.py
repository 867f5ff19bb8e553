"""Decides which network addresses content may be fetched from."""

from __future__ import annotations

import ipaddress
from typing import Final

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
