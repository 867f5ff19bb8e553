"""The words for what is wrong with an image file that viewers show all the same.

Such a file is decoded as far as they show it, and the damage is a note on the item (``damaged:<reason>``); only what no
common viewer shows is an :class:`embeddings.errors.UnscannableError`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

TRUNCATED: Final = "truncated"
"""Pixels at the end are missing."""
CORRUPT: Final = "corrupt"
"""Pixel data are broken from some place on."""
CHECKSUM: Final = "checksum"
"""A checksum of something that carries pixels does not fit."""
LENGTH: Final = "length"
"""A length that the file states is wrong."""
STRAY_BYTES: Final = "stray_bytes"
"""Bytes between the parts of the file belong to none."""
NO_END: Final = "no_end"
"""The mark at the end is missing, and every pixel is there."""
TRAILING_BYTES: Final = "trailing_bytes"
"""Bytes follow the end."""
DAMAGE: Final = (TRUNCATED, CORRUPT, CHECKSUM, LENGTH, STRAY_BYTES, NO_END, TRAILING_BYTES)
"""All of it, the gravest first."""


def gravest(damage: Iterable[str]) -> str | None:
    """Return the gravest of these words, None where there is none."""
    return min(damage, key=DAMAGE.index, default=None)
