"""Names in sentences, masked until somebody asks: enough to see that one is meant, too little to learn it."""

from __future__ import annotations

import re
from typing import Final

from pipelines.evidence.passages import Passage

_DOT: Final = "\u2022"
_WORD: Final = re.compile(r"[^\W_]+")


def masked(text: str) -> str:
    """Dots for each word but for its first letters and its last: ``Ei...n Co....s``."""
    return _WORD.sub(lambda found: _mask(found[0]), text)


def masked_passage(passage: Passage) -> Passage:
    """The sentence with the term masked, also where it stands again, in any case."""
    again = re.compile(re.escape(passage.term), re.IGNORECASE)
    before, after = (again.sub(lambda found: masked(found[0]), text) for text in (passage.before, passage.after))
    return Passage(before, masked(passage.term), after)


def _mask(word: str) -> str:
    if word.isdecimal():
        return word
    if len(word) <= 2:
        return _DOT * len(word)
    shown = 2 if len(word) > 5 else 1
    last = word[-1] if len(word) > 3 else ""
    return word[:shown] + _DOT * (len(word) - shown - len(last)) + last
