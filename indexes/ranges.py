"""Ranges of rows written out: what joins need that first find ranges of a sorted or grouped side."""

from __future__ import annotations

import numpy as np

from indexes.stored import Int64


def spread(first: Int64, counts: Int64) -> Int64:
    """``first[i], first[i] + 1, ...``, ``counts[i]`` of them, for each i in turn: (n,) twice -> (counts.sum(),)."""
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    places: Int64 = np.arange(total, dtype=np.int64) + np.repeat(first - (ends - counts), counts)
    return places
