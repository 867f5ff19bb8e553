"""What may be done with uploaded bytes in a decoding process: an allowlist of pure functions, by name.

A function takes facts (JSON) and the bytes of one upload, and gives results: facts, bytes, and whether it is the last.
:mod:`embeddings.sandbox.allowlist` has those that the scanner's own processes know. Whoever adds one also says what
known good work it is controlled with: that is done once before the process is confined, so that whatever libraries load
on first use is there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from embeddings.types import UInt8

Facts = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Result:
    """One result of a function: facts, and bytes."""

    facts: Facts = field(repr=False)
    payload: UInt8 = field(repr=False)
    """Any shape, C-contiguous."""
    last: bool


Function = Callable[[Facts, bytes], Iterator[Result]]


@dataclass(frozen=True, slots=True)
class Work:
    """A function, and known good work for it."""

    function: Function
    controls: Callable[[], Iterator[tuple[Facts, bytes]]]
    """The first shows whether the function works; all of them load what it loads on first use."""
