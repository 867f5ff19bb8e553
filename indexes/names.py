"""Names in texts: which subjects a text names, for many names at once.

An Aho-Corasick automaton over skeletons (letters without separators, all that a figure could stand for made one) finds
where a name of several words may stand, a set lookup of words where one of one word may; :mod:`indexes.name_rules`
then decides, for each view of the text (:mod:`indexes.name_views`). Most texts have one view and end at the first step,
which runs in C. Texts are an attacker's: every step is linear in them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from indexes.look_alikes import SEMITIC
from indexes.name_fits import PreparedReading, best_rank, fits_fast, is_excluded_fast, place_of
from indexes.name_rules import (
    READINGS,
    VERSION,
    Form,
    NameMatch,
    NameSettings,
    SubjectNames,
    forms_of_name,
    keep_better,
    match_at,
    phrase_of,
    seen_as,
    skeleton_of,
    spans_of_words,
)
from indexes.name_text import (
    KINDS,
    LETTERS,
    PIECES,
    WORDS_ALONE,
    WORDS_AND_FIGURES,
    end_as_written,
    read_text,
)
from indexes.name_views import as_meant, has_spellings, other_views

if TYPE_CHECKING:
    import ahocorasick

_JOINTS = re.compile(r"'|a(?=A)|A(?=Aa)|x(?=[aA])|[aA](?=x)")
"""The places in a word's letter kinds (:data:`indexes.name_text.KINDS`) where the word falls into pieces."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """A form of a name and whose it is."""

    subject: int
    form: Form


_Found = tuple[tuple[bool, bool], int, list[_Entry]]
"""A reading, the last letter in it of what may be a name, and whose it may be."""


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
            for position, name in enumerate(subject.names):
                self._add(number, name, primary=position == 0)
        self._with_prefixes = any(SEMITIC.match(letters) for letters in self._mononyms)
        self._automaton = _automaton(self._patterns)

    def __len__(self) -> int:
        return len(self._subject_ids)

    def find(self, text: str) -> tuple[NameMatch, ...]:
        """Return the best match of each subject that the text names, ordered by subject id."""
        meant = as_meant(text)
        best = self._find(meant)
        for view in other_views(meant):
            for match in self._find(view.text).values():
                keep_better(best, seen_as(view, match))
        if not best:
            return ()
        return tuple(replace(match, end=end_as_written(text, match.end)) for _, match in sorted(best.items()))

    def _find(self, text: str) -> dict[str, NameMatch]:
        """Return the best match of each subject in one view."""
        spellings = READINGS if has_spellings(text) else READINGS[:2]
        found: list[_Found] = []
        if self._automaton is not None:
            before = None
            for reading in spellings:
                stream = text.translate(LETTERS[reading])
                if stream != before:
                    found += [(reading, end, entries) for end, entries in self._automaton.iter(stream)]
                before = stream
        named = bool(self._mononyms) and (len(spellings) > 2 or self._has_mononym(text))
        return self._decide(text, found, spellings, named=named) if found or named else {}

    def _add(self, number: int, name: str, *, primary: bool) -> None:
        forms = forms_of_name(name, primary=primary, settings=self.settings)
        self.unusable += not forms
        for form in forms:
            entry, letters = _Entry(number, form), skeleton_of(form)
            if form.is_mononym:
                self._mononyms.setdefault(letters, []).append(entry)
            if not form.is_mononym or form.seams:
                self._patterns.setdefault(letters, []).append(entry)

    def _has_mononym(self, text: str) -> bool:
        """Whether a name of one word may stand in a text. What is no name may be let pass, but no name be missed."""
        names = self._mononyms.keys()
        if self._with_prefixes and not text.isascii() and SEMITIC.search(text.translate(LETTERS[False, False])):
            return True
        for table in (WORDS_ALONE, WORDS_AND_FIGURES):
            words = text.translate(table)
            if not names.isdisjoint(words.split()):  # splits at pictures too
                return True
            if "\x1f" in words and not names.isdisjoint(words.replace("\x1f", "").split()):
                return True
        joints = [joint.end() for joint in _JOINTS.finditer(text.translate(KINDS))]
        if not joints:
            return False
        pieces = text.translate(PIECES)
        cut = " ".join(pieces[start:end] for start, end in zip([0, *joints], [*joints, len(pieces)], strict=True))
        return not names.isdisjoint(cut.split())

    def _decide(
        self, text: str, found: Sequence[_Found], spellings: Sequence[tuple[bool, bool]], *, named: bool
    ) -> dict[str, NameMatch]:
        """Decide by the rules which of the places are matches."""
        places = {
            (figures, spelled): place_of(read_text(text, figures=figures, spelled=spelled))
            for figures, spelled in spellings
        }
        best: dict[str, NameMatch] = {}
        for reading, end, entries in found:
            for entry in entries:
                start = end + 1 - len(entry.form.letters)
                self._try(best, places[reading], entry, start)
        for place in places.values() if named else ():
            for entry, start in self._mononyms_in(place):
                self._try(best, place, entry, start)
        return best

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
