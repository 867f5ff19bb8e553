"""Addresses of pages: what is chosen on a page stands in its address, so an address is whole or it is another one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import urlencode


class Address(str):
    """A page's address, with whatever is from outside percent-encoded. Pages escape it and never cut it."""

    __slots__ = ()


def address_of(path: str, chosen: Mapping[str, str | Sequence[str] | None]) -> Address:
    """Make the address of ``path`` with what is chosen there; what is empty is left out.

    ``path`` is ours, without anything from outside.
    """
    query = urlencode({name: value for name, value in chosen.items() if value}, doseq=True)
    return Address(f"{path}?{query}" if query else path)
