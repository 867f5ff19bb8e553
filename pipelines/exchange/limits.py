"""How large the head of an answer may be. A module of its own, so that settings do not load the network's code."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadLimits:
    """The largest head of an answer: header fields, and bytes of all of them and of interim answers before it."""

    max_header_fields: int = 100
    max_header_bytes: int = 65536
