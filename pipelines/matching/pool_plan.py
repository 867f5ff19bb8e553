"""What one run of pooling goes by, and what it did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from indexes.gallery import Gallery
from indexes.thresholds import Bands


@dataclass(frozen=True, slots=True)
class PoolCounts:
    """What one run did. ``posts``: pooled again; ``pools``: compared; ``hits``: new ones."""

    posts: int = 0
    pools: int = 0
    hits: int = 0

    def __add__(self, other: PoolCounts) -> PoolCounts:
        """Both together."""
        return PoolCounts(self.posts + other.posts, self.pools + other.pools, self.hits + other.hits)


@dataclass(frozen=True, slots=True)
class PoolPlan:
    """What pools are made and compared by, as one reading transaction saw it."""

    gallery: Gallery
    versions: Mapping[str, int]
    bands: Bands
    settings: str
