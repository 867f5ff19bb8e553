"""Names in sentences, masked until somebody asks: enough to see that one is meant, too little to learn it."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Final

from indexes.name_text import HARD, NONE, SOFT, TextReading, end_as_written, is_without_spaces, read_text, skeleton
from indexes.name_views import as_meant
from pipelines.evidence.passages import Passage

_DOT: Final = "\u2022"
_LEAST: Final = 3
"""Letters of a word that is masked by itself; shorter ones are words of any sentence."""
_WORD: Final = re.compile(r"[^\W_]+")


def masked(text: str) -> str:
    """Dots for each word but for its first letters and its last: ``Ei...n Co....s``."""
    return _WORD.sub(lambda found: _mask(found[0]), text)


def masked_passage(passage: Passage) -> Passage:
    """The sentence with the term masked, also where it stands again: in any case and spelling that is found as a name,
    joined or spelled out, and each word of it by itself."""
    before, after = (_masked_again(text, passage.term) for text in (passage.before, passage.after))
    return Passage(before, masked(passage.term), after)


def _masked_again(text: str, term: str) -> str:
    wanted = _wanted(term)
    spans = [found.span() for found in re.finditer(re.escape(term), text, re.IGNORECASE)] if term else []
    for figures in (True, False):
        spans += _spans(text, read_text(as_meant(text), figures=figures), wanted)
    shown, done = "", 0
    for start, end in _joined(spans):
        shown, done = shown + text[done:start] + masked(text[start:end]), end
    return shown + text[done:]


def _wanted(term: str) -> dict[str, bool]:
    """Skeletons of the term and its words -> whether they are masked wherever their letters stand.

    A word by itself is masked where a word begins or ends with it: ``undoes`` is not.
    """
    wanted: dict[str, bool] = {}
    for figures in (True, False):
        reading = read_text(as_meant(term), figures=figures)
        for least in (HARD, SOFT):
            edges = [at for at, boundary in enumerate(reading.boundaries) if boundary >= least]
            words = [reading.letters[start:end] for start, end in pairwise(edges)]
            wanted |= {skeleton(word): False for word in words if len(word) >= _LEAST}
        whole = skeleton(reading.letters)
        if len(whole) >= _LEAST and max(reading.boundaries[1:-1], default=NONE) >= SOFT:
            wanted[whole] = True
    return wanted | {one: True for one in wanted if all(map(is_without_spaces, one))}


def _spans(text: str, reading: TextReading, wanted: dict[str, bool]) -> list[tuple[int, int]]:
    """Where the text has what is masked."""
    letters, spans = skeleton(reading.letters), list[tuple[int, int]]()
    for one, anywhere in wanted.items():
        start = letters.find(one)
        while start >= 0:
            end = start + len(one)
            if anywhere or max(reading.boundaries[start], reading.boundaries[end]) >= SOFT:
                spans.append((reading.sources[start], end_as_written(text, reading.sources[end - 1] + 1)))
            start = letters.find(one, start + 1)
    return spans


def _joined(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The spans in order, those that touch as one."""
    joined: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        else:
            joined.append((start, end))
    return joined


def _mask(word: str) -> str:
    if word.isdecimal():
        return word
    if len(word) <= 2:
        return _DOT * len(word)
    shown = 2 if len(word) > 5 else 1
    last = word[-1] if len(word) > 3 else ""
    return word[:shown] + _DOT * (len(word) - shown - len(last)) + last
