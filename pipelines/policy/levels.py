"""The scale of how mature content is, and what platforms call its levels. Knows no database and no model."""

from __future__ import annotations

from typing import Final

LEVELS: Final = ("none", "suggestive", "mature", "explicit")
"""The scale; a position in it is what ``items.platform_level`` holds."""
UNKNOWN: Final = "unknown"
"""Instead of a level: nobody has said anything."""
_WORDS: Final = {
    "none": 0,
    "safe": 0,
    "pg": 0,
    "soft": 1,
    "suggestive": 1,
    "pg13": 1,
    "pg-13": 1,
    "mature": 2,
    "r": 2,
    "nsfw": 2,
    "x": 3,
    "xxx": 3,
    "explicit": 3,
    "blocked": 3,
}
_BITS: Final = ((0b111000, 3), (0b100, 2), (0b10, 1))
"""Civitai's levels as bits: PG 1, PG-13 2, R 4, X 8, XXX 16, blocked 32; the highest one set counts."""


def platform_level(given: str | None) -> int | None:
    """Return the platform's own rating as a position in :data:`LEVELS`: a word or a number of bits. None for anything
    else."""
    word = (given or "").strip().lower()
    if word.isascii() and word.isdigit() and len(word) <= 9:
        bits = int(word)
        return next((level for mask, level in _BITS if bits & mask), 0 if bits in (0, 1) else None)
    return _WORDS.get(word)
