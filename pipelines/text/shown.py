"""Counts for previews, and the digest by which an act names the preview that its author saw."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from typing import Final

DIGITS: Final = 32
"""Hex digits of a digest: 128 bits, so that nobody can make uploads to fit one."""


def digest_of(shown: object) -> str:
    """Return the digest of ``shown`` as JSON: :data:`DIGITS` hex digits, the same in whatever order keys were set."""
    return hashlib.sha256(json.dumps(shown, sort_keys=True).encode()).hexdigest()[:DIGITS]


def counts_of(words: Iterable[str]) -> dict[str, int]:
    """Count how often each word occurs, the most frequent first."""
    return dict(sorted(Counter(words).items(), key=lambda entry: (-entry[1], entry[0])))
