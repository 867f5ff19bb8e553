"""Evidence as the policy looks at it, and how many different pictures some of it comes from.

Knows no database and no policy file.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from pipelines.policy.schema import Band

Tier = Literal["exact", "face", "header", "text"]
BOUNTIES = ("bounty", "bounty_entry")


@dataclass(frozen=True, slots=True)
class Evidence:
    """One hit. ``pdq``: of the item's picture, 64 hex digits or None; ``content_sha256``: of the item's content.

    ``band`` is today's: None for a face whose score is below the thresholds in force.
    """

    hit_id: str
    item_id: str
    kind: str
    content_sha256: str
    tier: Tier
    band: Band | None
    score: float
    threshold: float
    threshold_source: str
    model_id: str
    pdq: str | None = None
    template_id: str | None = None
    place: str | None = None
    match: str | None = None
    seed_id: str | None = None
    confirmed: bool = False
    """A person said that it is so."""


@dataclass(frozen=True, slots=True)
class Context:
    """How mature an item's content is. ``level``: a word of :data:`pipelines.rating.LEVELS`, or ``unknown``."""

    level: str = "unknown"
    mature: bool = False
    minor_looking: bool = False


def of_tier(evidence: Sequence[Evidence], *tiers: Tier, strong: bool = False) -> list[Evidence]:
    """Those of some tiers; with ``strong``, of the strong band only."""
    return [hit for hit in evidence if hit.tier in tiers and (hit.band == "strong" or not strong)]


def tiers_of(evidence: Collection[Evidence]) -> str:
    """The tiers among the evidence, as one sorted word list."""
    return " ".join(sorted({hit.tier for hit in evidence}))


def count_distinct(evidence: Sequence[Evidence], *, duplicate_distance: int) -> int:
    """How many different pictures the evidence comes from; re-encodings and repeats of one count once.

    Pictures are joined greedily in order of content digest, so that the count does not depend on arrival. A picture
    without a hash counts as distinct from every other content.
    """
    pictures = {hit.content_sha256: hit.pdq for hit in evidence}
    kept: list[int] = []
    unhashed = 0
    for _, pdq in sorted(pictures.items()):
        if pdq is None:
            unhashed += 1
            continue
        bits = int(pdq, 16)
        if all((bits ^ other).bit_count() > duplicate_distance for other in kept):
            kept.append(bits)
    return len(kept) + unhashed
