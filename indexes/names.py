"""Names in texts: which subjects a text names, for many names at once.

An Aho-Corasick automaton over skeletons (letters without separators, all that a figure could stand for made one) finds
where a name of several words may stand, a set lookup of words where one of one word may; :mod:`indexes.name_rules`
then decides. Most texts end at the first step, which runs in C. Texts are an attacker's: every step is linear in them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from indexes.name_fits import PreparedReading, best_rank, fits_fast, is_excluded_fast, place_of
from indexes.name_rules import (
    VERSION,
    Form,
    NameMatch,
    NameSettings,
    SubjectNames,
    forms_of,
    is_usable,
    match_at,
    phrase_of,
    read_name,
    skeleton_of,
    spans_of_words,
)
from indexes.name_text import (
    KINDS,
    LETTERS_ALONE,
    LETTERS_AND_FIGURES,
    PIECES,
    WORDS_ALONE,
    WORDS_AND_FIGURES,
    TextReading,
    end_as_written,
    read_text,
)

if TYPE_CHECKING:
    import ahocorasick

_JOINTS = re.compile(r"'|a(?=A)|A(?=Aa)|x(?=[aA])|[aA](?=x)")
"""The places in a word's letter kinds (:data:`indexes.name_text.KINDS`) where the word falls into pieces."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """A form of a name and whose it is."""

    subject: int
    form: Form


def matcher_id(settings: NameSettings) -> str:
    """Return the matcher's id, which coverage and hits record: a text searched by another matcher is searched again."""
    return f"{VERSION}-{settings.least_letters}-{settings.joined_letters}-{settings.inside_letters}"


class NameMatcher:
    """The names of some subjects, ready to be found. Read-only once built; safe to share between threads.

    ``unusable``: names left out because they are too short, see :func:`indexes.name_rules.require_usable`.
    """

    def __init__(self, subjects: Sequence[SubjectNames], *, settings: NameSettings) -> None:
        self.settings = settings
        self.matcher_id = matcher_id(settings)
        self.unusable = 0
        self._subject_ids = [subject.subject_id for subject in subjects]
        self._phrases = [[phrase_of(phrase) for phrase in subject.exclusions] for subject in subjects]
        self._mononyms: dict[str, list[_Entry]] = {}
        self._patterns: dict[str, list[_Entry]] = {}
        for number, subject in enumerate(subjects):
            for position, name in enumerate(map(read_name, subject.names)):
                self._add(number, name, primary=position == 0)
        self._automaton = _automaton(self._patterns)

    def __len__(self) -> int:
        return len(self._subject_ids)

    def find(self, text: str) -> tuple[NameMatch, ...]:
        """Return the best match of each subject that the text names, ordered by subject id."""
        with_figures = text.translate(LETTERS_AND_FIGURES)
        alone = text.translate(LETTERS_ALONE)
        streams = [(True, with_figures), (False, alone)] if with_figures != alone else [(False, alone)]
        found: list[tuple[bool, int, list[_Entry]]] = []
        if self._automaton is not None:
            for figures, stream in streams:
                found += [(figures, end, entries) for end, entries in self._automaton.iter(stream)]
        named = bool(self._mononyms) and self._has_mononym(text)
        return self._decide(text, found, named) if found or named else ()

    def _add(self, number: int, name: TextReading, *, primary: bool) -> None:
        if not is_usable(name, settings=self.settings):
            self.unusable += 1
            return
        for form in forms_of(name, primary=primary):
            kept = self._mononyms if form.is_mononym else self._patterns
            kept.setdefault(skeleton_of(form), []).append(_Entry(number, form))

    def _has_mononym(self, text: str) -> bool:
        names = self._mononyms.keys()
        if not names.isdisjoint(text.translate(WORDS_ALONE).split()):
            return True
        if not names.isdisjoint(text.translate(WORDS_AND_FIGURES).split()):
            return True
        joints = [joint.end() for joint in _JOINTS.finditer(text.translate(KINDS))]
        if not joints:
            return False
        pieces = text.translate(PIECES)
        cut = " ".join(pieces[start:end] for start, end in zip([0, *joints], [*joints, len(pieces)], strict=True))
        return not names.isdisjoint(cut.split())

    def _decide(self, text: str, found: Sequence[tuple[bool, int, list[_Entry]]], named: bool) -> tuple[NameMatch, ...]:
        """Decide by the rules which of the places are matches."""
        places = {figures: place_of(read_text(text, figures=figures)) for figures in (True, False)}
        best: dict[str, NameMatch] = {}
        for figures, end, entries in found:
            for entry in entries:
                start = end + 1 - len(entry.form.letters)
                self._try(best, places[figures], entry, start)
        for place in places.values() if named else ():
            for entry, start in self._mononyms_in(place):
                self._try(best, place, entry, start)
        return tuple(replace(match, end=end_as_written(text, match.end)) for _, match in sorted(best.items()))

    def _mononyms_in(self, place: PreparedReading) -> Iterator[tuple[_Entry, int]]:
        for start, end in spans_of_words(place.reading):
            for entry in self._mononyms.get(place.skeleton[start:end], ()):
                yield entry, start

    def _try(self, best: dict[str, NameMatch], place: PreparedReading, entry: _Entry, start: int) -> None:
        """Enter a match if it is one, and better than what the text is known to hold of the subject."""
        subject_id, reading = self._subject_ids[entry.subject], place.reading
        known = best.get(subject_id)
        if known is not None and start >= 0 and known.order[:2] < (best_rank(entry.form), reading.sources[start]):
            return
        rule = fits_fast(entry.form, place, start, settings=self.settings)
        if rule is None:
            return
        end = start + len(entry.form.letters)
        match = match_at(reading, subject_id, rule, start, end)
        if known is not None and known.order <= match.order:
            return
        if not is_excluded_fast(self._phrases[entry.subject], place, start, end):
            best[match.subject_id] = match


def _automaton(patterns: dict[str, list[_Entry]]) -> ahocorasick.Automaton | None:
    """None for no patterns: the library refuses to search for nothing."""
    import ahocorasick

    if not patterns:
        return None
    automaton = ahocorasick.Automaton()
    for letters, entries in patterns.items():
        automaton.add_word(letters, entries)
    automaton.make_automaton()
    return automaton
