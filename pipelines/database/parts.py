"""Cuts what a statement names into parts that every database takes. Knows no tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, TypeVar

AT_ONCE: Final = 300
"""Keys of up to three columns that fit into one statement: an older SQLite takes 999 values."""

T = TypeVar("T")


def parts(values: Sequence[T]) -> Iterator[Sequence[T]]:
    """Yield ``values`` in order, at most :data:`AT_ONCE` of them at a time."""
    for start in range(0, len(values), AT_ONCE):
        yield values[start : start + AT_ONCE]
