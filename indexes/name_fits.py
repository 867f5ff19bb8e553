"""The rules of :mod:`indexes.name_rules` for long texts and long names: the same answers, worked out by whole slices.

Where a text repeats a name, the name is tried at every repeat, and a letter at a time that takes the length of the one
times that of the other. So a place is judged by comparing slices of bytes and letters, which costs a thousandth; and a
place that cannot be better than what is known is not judged at all. :mod:`indexes.name_rules` stays the definition;
the tests compare the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from indexes.name_rules import RULES, Form, NameSettings, Rule
from indexes.name_text import EDGE, HARD, LEET, LINE, SOFT, TextReading, continues_letter, has_tail, skeleton

_HARD: Final = bytes(int(boundary >= HARD) for boundary in range(256))
_SOFT: Final = bytes(int(boundary >= SOFT) for boundary in range(256))
_JOINED: Final = RULES.index("joined")


@dataclass(frozen=True, slots=True)
class PreparedReading:
    """A reading, ready to be judged at many places."""

    reading: TextReading
    skeleton: str


def place_of(reading: TextReading) -> PreparedReading:
    """Prepare a reading."""
    return PreparedReading(reading, skeleton(reading.letters))


def best_rank(form: Form) -> int:
    """Return the strongest rule, by its position, by which this form may be found."""
    return min(RULES.index(form.rule), _JOINED)


def fits_fast(form: Form, place: PreparedReading, start: int, *, settings: NameSettings) -> Rule | None:
    """Return what :func:`indexes.name_rules.fits` does, where the skeletons of form and text agree from ``start``
    on."""
    reading, end = place.reading, start + len(form.letters)
    if start < 0 or end > len(reading.letters):
        return None
    rule = _rule(form, reading, start, end, settings)
    return rule if rule is not None and _spells(form, reading, start, end) else None


def _rule(form: Form, reading: TextReading, start: int, end: int, settings: NameSettings) -> Rule | None:
    inside = reading.boundaries[start + 1 : end]
    first, last = reading.boundaries[start], reading.boundaries[end]
    hard, soft = inside.translate(_HARD), inside.translate(_SOFT)
    if form.is_mononym:
        whole = _within(hard, form.may_part) and EDGE not in inside and min(first, last) >= HARD
        piece = 1 not in soft and min(first, last) >= SOFT
        return form.rule if whole or piece else None
    if form.alone:
        gaps = hard == form.apart and all(boundary == HARD for boundary, flag in zip(inside, hard, strict=True) if flag)
        return form.rule if gaps and min(first, last) >= SOFT else None
    as_parted = _within(hard, form.may_part)
    spelled = 0 not in hard and not (form.anywhere and len(hard) == 1)
    if EDGE in inside or not (as_parted or spelled or _has_one_gap(form, hard, inside, (first, last))):
        return None
    if form.anywhere:
        return None if end < len(reading.letters) and continues_letter(reading.letters[end]) else form.rule
    within = 1 not in hard and len(form.letters) >= settings.inside_letters
    tailed = last < SOFT <= first and has_tail(reading, end)
    if min(first, last) < SOFT and not within and not tailed:
        return None
    if as_parted and _within(form.apart, hard) and not tailed:
        return form.rule
    if not _within(form.apart, soft) and len(form.letters) < settings.joined_letters:
        return None
    return form.rule if form.rule == "middle" else "joined"


def _has_one_gap(form: Form, hard: bytes, inside: bytes, ends: tuple[int, int]) -> bool:
    if not form.anywhere or form.cuts or hard.count(1) != 1:
        return False
    at = hard.index(1)
    alone = (form.signs > 3 or ends[0] >= SOFT) and (form.signs > 2 or ends[1] >= SOFT)
    over_lines = inside[at] == LINE and form.signs > 3 and min(ends) >= SOFT
    return (inside[at] == HARD or over_lines) and not continues_letter(form.letters[at + 1]) and alone


def _within(flags: bytes, others: bytes) -> bool:
    """Whether every 1 of ``flags`` is one of ``others`` too, of the same length."""
    return int.from_bytes(flags, "big") & ~int.from_bytes(others, "big") == 0


def _spells(form: Form, reading: TextReading, start: int, end: int) -> bool:
    found = reading.letters[start:end]
    if found == form.letters:
        return True
    for letter, wanted, may, might in zip(found, form.letters, reading.worded[start:end], form.worded, strict=True):
        if letter == wanted or (may and wanted in LEET.get(letter, "")) or (might and letter in LEET.get(wanted, "")):
            continue
        return False
    return True


def is_excluded_fast(phrases: Sequence[Form], place: PreparedReading, start: int, end: int) -> bool:
    """Return what :func:`indexes.name_rules.is_excluded` does, looking only where a phrase's skeleton is."""
    for phrase in phrases:
        sought, length = skeleton(phrase.letters), len(phrase.letters)
        at = place.skeleton.find(sought, max(end - length, 0), start + length)
        while at >= 0 and sought:
            if _stands(phrase, place.reading, at, at + length):
                return True
            at = place.skeleton.find(sought, at + 1, start + length)
    return False


def _stands(phrase: Form, reading: TextReading, start: int, end: int) -> bool:
    edges = min(reading.boundaries[start], reading.boundaries[end])
    inside = reading.boundaries[start + 1 : end]
    if EDGE in inside or not (edges >= SOFT or phrase.anywhere):
        return False
    return _within(inside.translate(_HARD), phrase.may_part) and _spells(phrase, reading, start, end)
