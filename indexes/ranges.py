"""Ranges of rows expanded to row numbers, for joins that first find ranges of a sorted or grouped side."""

from __future__ import annotations

import numpy as np

from indexes.stored import Int64


def spread(first: Int64, counts: Int64) -> Int64:
    """Expand ranges, (n,) twice, to (counts.sum(),): ``counts[i]`` numbers from ``first[i]`` on, for each i in turn."""
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    places: Int64 = np.arange(total, dtype=np.int64) + np.repeat(first - (ends - counts), counts)
    return places
