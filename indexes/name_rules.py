"""When a text holds a name: the forms a name is looked for in, and the rule by which one fits at a place.

The rules are the whole definition; :func:`brute_force_names` applies them to every name at every letter, and the index
in :mod:`indexes.names` must find exactly the same. A name of several words is found as a whole only: with a separator
between its words, in another order, joined (``janedoe``), or spelled out letter by letter; never by one word of it. A
name of one word is found as a whole word. Names in scripts without spaces are found anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Final, Literal

from embeddings.errors import EnrolmentError
from indexes.name_text import (
    EDGE,
    FIGURES,
    HARD,
    LEET,
    NONE,
    SOFT,
    TextReading,
    continues_letter,
    end_as_written,
    is_without_spaces,
    read_text,
    skeleton,
)

Rule = Literal["full_name", "alias", "reordered", "joined", "token"]
RULES: Final[tuple[Rule, ...]] = ("full_name", "alias", "reordered", "joined", "token")
"""The strongest first: where a text holds a person's names several times, that is the one reported."""
MOST_TURNED = 5  # words up to which a name is looked for in other orders
VERSION = "names-1"
"""Part of the matcher's id. Raise it whenever other names are found in the same text."""


@dataclass(frozen=True, slots=True)
class NameSettings:
    """Fewest letters of a name that is looked for at all, joined without a visible joint, and inside a longer word.

    ``most_letters``: most letters of a name or an exclusion that enrolment accepts; it changes no search.
    """

    least_letters: int
    joined_letters: int
    inside_letters: int
    most_letters: int


@dataclass(frozen=True, slots=True)
class SubjectNames:
    """The names of a subject, the full one first, then aliases; and phrases in which a name does not count."""

    subject_id: str
    names: tuple[str, ...] = field(repr=False)
    exclusions: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class NameMatch:
    """A subject's name in a text: ``text[start:end]``, found by ``rule``."""

    subject_id: str
    rule: Rule
    start: int
    end: int

    @property
    def order(self) -> tuple[int, int, int]:
        """Sort key: the best match has the least."""
        return RULES.index(self.rule), self.start, self.end


@dataclass(frozen=True, slots=True)
class Form:
    """One way a name may be written. ``cuts``: between which letters one word of it ends and the next begins."""

    letters: str = field(repr=False)
    worded: bytes = field(repr=False)
    cuts: frozenset[int] = field(repr=False)
    rule: Rule
    """The rule by which the form is found when its words are apart."""
    anywhere: bool
    """Whether the script has no spaces, so that the name is found inside longer runs of letters."""
    apart: bytes = field(repr=False)
    """``cuts`` as a flag for each place between two letters."""

    @property
    def is_mononym(self) -> bool:
        """Whether the name is one word in a script with spaces."""
        return not self.cuts and not self.anywhere


def require_usable(names: Sequence[str], exclusions: Sequence[str], *, settings: NameSettings) -> None:
    """Raise :class:`EnrolmentError` for a name that would be found everywhere or nowhere, or is longer than any name,
    naming it by its position."""
    for kind, texts in (("name", names), ("exclusion", exclusions)):
        for position, text in enumerate(texts, start=1):
            if len(text) > settings.most_letters:
                raise EnrolmentError(
                    f"long_{kind}", f"{kind} {position} has more than {settings.most_letters} letters: shorten it"
                )
    for position, name in enumerate(names, start=1):
        if not is_usable(read_name(name), settings=settings):
            raise EnrolmentError(
                "short_name",
                f"name {position} has fewer than {settings.least_letters} letters (2 in Chinese, Japanese or Korean): "
                "it would be found everywhere",
            )
    for position, phrase in enumerate(exclusions, start=1):
        if not read_text(phrase, figures=True).letters:
            raise EnrolmentError("empty_exclusion", f"exclusion {position} has no letters")


def read_name(name: str) -> TextReading:
    """Read a name as it is looked for: without the ``@`` before a handle, figures as letters."""
    return read_text(name.strip().lstrip("@").rstrip("!"), figures=True)


def is_usable(name: TextReading, *, settings: NameSettings) -> bool:
    """Whether a name has letters enough to be looked for."""
    letters = [letter for letter in name.letters if not continues_letter(letter)]
    spelled = sum(letter not in FIGURES for letter in letters)
    without_spaces = bool(letters) and all(map(is_without_spaces, letters))
    return len(letters) >= (2 if without_spaces else settings.least_letters) and spelled > 0


def forms_of(name: TextReading, *, primary: bool) -> list[Form]:
    """Return the forms of one name: as given, and with its words turned round or reversed."""
    words = _words(name)
    orders = [words]
    if 1 < len(words) <= MOST_TURNED:
        orders += [words[turn:] + words[:turn] for turn in range(1, len(words))] + [words[::-1]]
    anywhere = all(map(is_without_spaces, name.letters))
    forms: dict[tuple[str, frozenset[int]], Form] = {}
    for number, order in enumerate(orders):
        given: Rule = "full_name" if primary else "alias"
        rule: Rule = "reordered" if number else given if len(words) > 1 or anywhere else "token"
        form = _form(order, rule, anywhere)
        forms.setdefault((form.letters, form.cuts), form)
    return list(forms.values()) if name.letters else []


def phrase_of(text: str) -> Form:
    """Return the form of an excluded phrase, as written."""
    reading = read_text(text, figures=True)
    anywhere = all(is_without_spaces(letter) for letter in reading.letters)
    return _form(_words(reading), "full_name", anywhere)


def _words(reading: TextReading) -> list[tuple[str, bytes]]:
    edges = [at for at, boundary in enumerate(reading.boundaries) if boundary >= HARD]
    return [(reading.letters[start:end], reading.worded[start:end]) for start, end in pairwise(edges)]


def _form(words: Sequence[tuple[str, bytes]], rule: Rule, anywhere: bool) -> Form:
    cuts, length = set[int](), 0
    for letters, _ in words[:-1]:
        length += len(letters)
        cuts.add(length)
    worded = b"".join(flags for _, flags in words)
    letters = "".join(letters for letters, _ in words)
    apart = bytes(at in cuts for at in range(1, len(letters)))
    return Form(letters, worded, frozenset(cuts), rule, anywhere, apart)


def fits(form: Form, reading: TextReading, start: int, *, settings: NameSettings) -> Rule | None:
    """Return the rule by which the letters from ``start`` on are this form of a name, or None."""
    end = start + len(form.letters)
    if start < 0 or end > len(reading.letters) or not _spells(form, reading, start):
        return None
    inside = reading.boundaries[start + 1 : end]
    first, last = reading.boundaries[start], reading.boundaries[end]
    if form.is_mononym:
        whole = max(inside, default=NONE) < HARD and min(first, last) >= HARD
        piece = max(inside, default=NONE) == NONE and min(first, last) >= SOFT
        return form.rule if whole or piece else None
    hard = {at for at, boundary in enumerate(inside, start=1) if boundary >= HARD}
    if EDGE in inside or not (hard <= form.cuts or len(hard) == len(inside)):
        return None
    if form.anywhere:
        return None if end < len(reading.letters) and continues_letter(reading.letters[end]) else form.rule
    within = not hard and len(form.letters) >= settings.inside_letters
    if min(first, last) < SOFT and not within:
        return None
    if hard == form.cuts:
        return form.rule
    visible = all(inside[cut - 1] >= SOFT for cut in form.cuts)
    return "joined" if visible or len(form.letters) >= settings.joined_letters else None


def is_excluded(phrases: Sequence[Form], reading: TextReading, start: int, end: int) -> bool:
    """Whether the letters from ``start`` to ``end`` lie within one of the phrases."""
    return any(_stands(phrase, reading, at) for phrase in phrases for at in range(end - len(phrase.letters), start + 1))


def _stands(phrase: Form, reading: TextReading, start: int) -> bool:
    end = start + len(phrase.letters)
    if start < 0 or end > len(reading.letters) or not _spells(phrase, reading, start):
        return False
    edges = min(reading.boundaries[start], reading.boundaries[end])
    inside = reading.boundaries[start + 1 : end]
    apart = {at for at, boundary in enumerate(inside, start=1) if boundary >= HARD}
    return (edges >= SOFT or phrase.anywhere) and apart <= phrase.cuts and EDGE not in inside


def _spells(form: Form, reading: TextReading, start: int) -> bool:
    for here, wanted in enumerate(form.letters):
        found = reading.letters[start + here]
        if found == wanted or (reading.worded[start + here] and wanted in LEET.get(found, "")):
            continue
        if not (form.worded[here] and found in LEET.get(wanted, "")):
            return False
    return True


def spans_of_words(reading: TextReading) -> Iterator[tuple[int, int]]:
    """Yield where a name of one word may stand: whole words, and the pieces between all boundaries."""
    word = piece = 0
    for at in range(1, len(reading.letters) + 1):
        boundary = reading.boundaries[at]
        if boundary == NONE:
            continue
        yield piece, at
        if boundary >= HARD and word != piece:
            yield word, at
        piece = at
        word = at if boundary >= HARD else word


def match_at(reading: TextReading, subject_id: str, rule: Rule, start: int, end: int) -> NameMatch:
    """Return a match of the letters from ``start`` to ``end``, as a place in the text."""
    return NameMatch(subject_id, rule, reading.sources[start], reading.sources[end - 1] + 1)


def brute_force_names(subjects: Sequence[SubjectNames], text: str, *, settings: NameSettings) -> tuple[NameMatch, ...]:
    """The definition: every form of every name at every letter of both readings. The oracle of the tests.

    The best match of each subject, ordered by subject id.
    """
    readings = [read_text(text, figures=figures) for figures in (True, False)]
    best: dict[str, NameMatch] = {}
    for subject in subjects:
        phrases = [phrase_of(phrase) for phrase in subject.exclusions]
        for position, name in enumerate(map(read_name, subject.names)):
            usable = is_usable(name, settings=settings)
            for form in forms_of(name, primary=position == 0) if usable else ():
                for reading in readings:
                    for start in range(len(reading.letters)):
                        end = start + len(form.letters)
                        rule = fits(form, reading, start, settings=settings)
                        if rule is None or is_excluded(phrases, reading, start, end):
                            continue
                        match = match_at(reading, subject.subject_id, rule, start, end)
                        best[subject.subject_id] = min(
                            match, best.get(subject.subject_id, match), key=lambda one: one.order
                        )
    return tuple(replace(best[key], end=end_as_written(text, best[key].end)) for key in sorted(best))


def skeleton_of(form: Form) -> str:
    """Return the skeleton by which a form is looked up."""
    return skeleton(form.letters)
