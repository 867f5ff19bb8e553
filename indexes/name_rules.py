"""When a text holds a name: the forms a name is looked for in, and the rule by which one fits at a place.

The rules are the whole definition; :func:`brute_force_names` applies them to every name at every letter, and the index
in :mod:`indexes.names` must find exactly the same. A name of several words is found as a whole only: with a separator
between its words, in another order, joined (``janedoe``), or spelled out letter by letter; never by one word of it. The
last may be joined to what models are called by (``jane_doexl``, ``jane_doev2``). Within a word it may be parted where
the name has an apostrophe or a capital (``o-brien``, ``mc gregor``). Middle names may be missing or initials, in the
name or in the text. A name of one word is found as a whole word. Names in scripts without spaces are found anywhere,
and with one gap if they were registered without, East Asian ones then also with the given name before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise, product
from typing import Final, Literal

from embeddings.errors import EnrolmentError
from indexes.name_text import (
    EDGE,
    FIGURES,
    HARD,
    LEET,
    LINE,
    NONE,
    SOFT,
    TextReading,
    continues_letter,
    end_as_written,
    has_tail,
    is_east_asian,
    is_without_spaces,
    read_text,
    skeleton,
)
from indexes.name_views import TextView, as_meant, has_spellings, views_of

Rule = Literal["full_name", "alias", "reordered", "joined", "middle", "token"]
RULES: Final[tuple[Rule, ...]] = ("full_name", "alias", "reordered", "joined", "middle", "token")
"""The strongest first: where a text holds a person's names several times, that is the one reported."""
MOST_TURNED = 5  # words up to which a name is looked for in other orders
MOST_SURNAME = 3  # signs of a Chinese, Japanese or Korean surname
MOST_SPELLED = 3  # words with a letter that is also written as two, up to which each may be written either way
PARTICLES: Final = (
    *("abu", "and", "bin", "das", "del", "dem", "den", "der", "des", "die", "dos", "ibn", "las", "les", "los", "mac"),
    *("san", "sur", "the", "ten", "ter", "van", "von", "vom", "zum", "zur"),
)
"""Words within a name that are no middle names: without them it is another one."""
VERSION = "names-2"
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
    seams: frozenset[int] = field(repr=False)
    """Between which letters of a word it may be parted: where the name has an apostrophe, or a capital."""
    apart: bytes = field(repr=False)
    """``cuts`` as a flag for each place between two letters."""
    may_part: bytes = field(repr=False)
    """``cuts`` and ``seams``, likewise."""
    signs: int
    """Letters, a syllable of Hangul counted as one."""
    alone: bool = False
    """Whether it is found only with one gap, where ``cuts`` says, and with nothing joined to it."""

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


def read_name(name: str, *, spelled: bool = False) -> TextReading:
    """Read a name as it is looked for: without the ``@`` before a handle, figures as letters, ``spelled``: ``ü`` as
    ``ue``."""
    return read_text(as_meant(name).strip().lstrip("@").rstrip("!"), figures=True, spelled=spelled)


def is_usable(name: TextReading, *, settings: NameSettings) -> bool:
    """Whether a name has letters enough to be looked for."""
    letters = [letter for letter in name.letters if not continues_letter(letter)]
    spelled = sum(letter not in FIGURES for letter in letters)
    without_spaces = bool(letters) and all(map(is_without_spaces, letters))
    return len(letters) >= (2 if without_spaces else settings.least_letters) and spelled > 0


def forms_of_name(name: str, *, primary: bool, settings: NameSettings) -> list[Form]:
    """Return the forms of a name as it is given, in all its spellings; none if it has too few letters."""
    plain = read_name(name)
    if not is_usable(plain, settings=settings):
        return []
    spellings = _spellings(plain, read_name(name, spelled=True)) if has_spellings(as_meant(name)) else [_words(plain)]
    forms = [form for words in spellings for form in _forms_of_words(words, primary=primary)]
    return list({(form.letters, form.cuts): form for form in reversed(forms)}.values())[::-1]


def forms_of(name: TextReading, *, primary: bool) -> list[Form]:
    """Return the forms of one name: as given, with its words turned round or reversed, and without middle names."""
    return _forms_of_words(_words(name), primary=primary) if name.letters else []


def _spellings(plain: TextReading, spelled: TextReading) -> list[list[_Word]]:
    """The words of a name with ``ü`` as ``u`` and as ``ue``, word by word up to ``MOST_SPELLED`` such words, and in
    longer names all alike."""
    words, others = _words(plain), _words(spelled)
    apart = sum(word != other for word, other in zip(words, others, strict=True))
    if apart > MOST_SPELLED:
        return [words, others]
    either = [(word,) if word == other else (word, other) for word, other in zip(words, others, strict=True)]
    return [list(chosen) for chosen in product(*either)]


def _forms_of_words(words: list[_Word], *, primary: bool) -> list[Form]:
    orders = [words]
    if 1 < len(words) <= MOST_TURNED:
        orders += [words[turn:] + words[:turn] for turn in range(1, len(words))] + [words[::-1]]
    anywhere = all(is_without_spaces(letter) for letters, _, _ in words for letter in letters)
    forms: dict[tuple[str, frozenset[int]], Form] = {}
    for number, order in enumerate(orders):
        given: Rule = "full_name" if primary else "alias"
        rule: Rule = "reordered" if number else given if len(words) > 1 or anywhere else "token"
        form = _form(order, rule, anywhere)
        forms.setdefault((form.letters, form.cuts), form)
    for order in [] if anywhere else _without_middle(words):
        form = _form(order, "middle", anywhere)
        forms.setdefault((form.letters, form.cuts), form)
    for order in _turned(words) if anywhere else []:
        form = replace(_form(order, "reordered", anywhere), alone=True)
        forms.setdefault((form.letters, form.cuts), form)
    return list(forms.values())


def _turned(words: list[_Word]) -> list[list[_Word]]:
    """A Chinese, Japanese or Korean name registered without a space with the given name first: a surname may be as long
    as ``MOST_SURNAME`` signs."""
    if len(words) != 1 or not all(map(is_east_asian, words[0][0])):
        return []
    letters, flags, _ = words[0]
    signs = [at for at, letter in enumerate(letters) if not continues_letter(letter)]
    if not MOST_SURNAME <= len(signs) <= 2 * MOST_SURNAME:
        return []
    return [
        [(letters[at:], flags[at:], bytes(len(letters) - at - 1)), (letters[:at], flags[:at], bytes(at - 1))]
        for at in signs[1 : MOST_SURNAME + 1]
    ]


def _without_middle(words: Sequence[_Word]) -> list[list[_Word]]:
    """The words without what stands between first and last, and with initials there, if these are middle names."""
    if not 2 < len(words) <= MOST_TURNED:
        return []
    first, *middle, last = words
    if any(letters in PARTICLES or len(letters) == 2 or letters[0] in FIGURES for letters, _, _ in middle):
        return []
    initials = [(letters[:1], flags[:1], b"") for letters, flags, _ in middle]
    return [[first, last], [first, *initials, last]]


def phrase_of(text: str) -> Form:
    """Return the form of an excluded phrase, as written."""
    reading = read_text(as_meant(text), figures=True)
    anywhere = all(is_without_spaces(letter) for letter in reading.letters)
    return _form(_words(reading), "full_name", anywhere)


_Word = tuple[str, bytes, bytes]
"""Letters, whether a figure among them may stand for a letter, and the boundaries between them."""


def _words(reading: TextReading) -> list[_Word]:
    edges = [at for at, boundary in enumerate(reading.boundaries) if boundary >= HARD]
    return [
        (reading.letters[start:end], reading.worded[start:end], reading.boundaries[start + 1 : end])
        for start, end in pairwise(edges)
    ]


def _form(words: Sequence[_Word], rule: Rule, anywhere: bool) -> Form:
    cuts, seams, length = set[int](), set[int](), 0
    for letters, _, inside in words:
        cuts |= {length} - {0}
        seams |= {length + at for at, boundary in enumerate(inside, start=1) if boundary != NONE}
        length += len(letters)
    worded = b"".join(flags for _, flags, _ in words)
    letters = "".join(letters for letters, _, _ in words)
    apart = bytes(at in cuts for at in range(1, len(letters)))
    may_part = bytes(at in cuts or at in seams for at in range(1, len(letters)))
    signs = sum(not continues_letter(letter) for letter in letters)
    return Form(letters, worded, frozenset(cuts), rule, anywhere, frozenset(seams), apart, may_part, signs)


def fits(form: Form, reading: TextReading, start: int, *, settings: NameSettings) -> Rule | None:
    """Return the rule by which the letters from ``start`` on are this form of a name, or None."""
    end = start + len(form.letters)
    if start < 0 or end > len(reading.letters) or not _spells(form, reading, start):
        return None
    inside = reading.boundaries[start + 1 : end]
    first, last = ends = reading.boundaries[start], reading.boundaries[end]
    hard = {at for at, boundary in enumerate(inside, start=1) if boundary >= HARD}
    if form.is_mononym:
        whole = hard <= form.seams and EDGE not in inside and min(first, last) >= HARD
        piece = max(inside, default=NONE) == NONE and min(first, last) >= SOFT
        return form.rule if whole or piece else None
    if form.alone:
        gaps = hard == form.cuts and all(inside[at - 1] == HARD for at in hard)
        return form.rule if gaps and min(first, last) >= SOFT else None
    parted = form.cuts | form.seams
    spelled = len(hard) == len(inside) and not (form.anywhere and len(hard) == 1)
    if EDGE in inside or not (hard <= parted or spelled or _has_one_gap(form, hard, inside, ends)):
        return None
    if form.anywhere:
        return None if end < len(reading.letters) and continues_letter(reading.letters[end]) else form.rule
    within = not hard and len(form.letters) >= settings.inside_letters
    tailed = last < SOFT <= first and has_tail(reading, end)
    if min(first, last) < SOFT and not within and not tailed:
        return None
    if form.cuts <= hard <= parted and not tailed:
        return form.rule
    visible = all(inside[cut - 1] >= SOFT for cut in form.cuts)
    if not visible and len(form.letters) < settings.joined_letters:
        return None
    return form.rule if form.rule == "middle" else "joined"


def _has_one_gap(form: Form, hard: set[int], inside: bytes, ends: tuple[int, int]) -> bool:
    """Whether a name without spaces is written with one, as ``山田 太郎``.

    A name of two or three signs only where nothing stands before it, and one of two where nothing follows either;
    over two lines only one of more signs with nothing on either side.
    """
    if not form.anywhere or form.cuts or len(hard) != 1:
        return False
    (gap,) = hard
    alone = (form.signs > 3 or ends[0] >= SOFT) and (form.signs > 2 or ends[1] >= SOFT)
    over_lines = inside[gap - 1] == LINE and form.signs > 3 and min(ends) >= SOFT
    return (inside[gap - 1] == HARD or over_lines) and not continues_letter(form.letters[gap]) and alone


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
    return (edges >= SOFT or phrase.anywhere) and apart <= phrase.cuts | phrase.seams and EDGE not in inside


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
    """The definition: every form of every name at every letter of all readings of each view of the text. The oracle of
    the tests.

    The best match of each subject, ordered by subject id.
    """
    best: dict[str, NameMatch] = {}
    for view in views_of(text):
        readings = [read_text(view.text, figures=figures, spelled=spelled) for figures, spelled in READINGS]
        for subject in subjects:
            phrases = [phrase_of(phrase) for phrase in subject.exclusions]
            for position, name in enumerate(subject.names):
                for form in forms_of_name(name, primary=position == 0, settings=settings):
                    for match in _every_match(subject.subject_id, form, phrases, readings, settings):
                        keep_better(best, seen_as(view, match))
    return tuple(replace(best[key], end=end_as_written(text, best[key].end)) for key in sorted(best))


READINGS: Final = ((True, False), (False, False), (True, True), (False, True))
"""The ways to read a text: figures as letters or not, and ``ü`` as ``ue`` or not."""


def _every_match(
    subject_id: str, form: Form, phrases: Sequence[Form], readings: Sequence[TextReading], settings: NameSettings
) -> Iterator[NameMatch]:
    for reading in readings:
        for start in range(len(reading.letters)):
            end = start + len(form.letters)
            rule = fits(form, reading, start, settings=settings)
            if rule is not None and not is_excluded(phrases, reading, start, end):
                yield match_at(reading, subject_id, rule, start, end)


def seen_as(view: TextView, match: NameMatch) -> NameMatch | None:
    """Return a match in a view as one in the text; None for a name of one word where the view passes something over."""
    if view.skips and match.rule == "token":
        return None
    start, end = view.place(match.start, match.end)
    return NameMatch(match.subject_id, "middle" if view.skips else match.rule, start, end)


def keep_better(best: dict[str, NameMatch], match: NameMatch | None) -> None:
    """Enter a match where none that is as good is known of the subject."""
    known = best.get(match.subject_id) if match is not None else None
    if match is not None and (known is None or match.order < known.order):
        best[match.subject_id] = match


def skeleton_of(form: Form) -> str:
    """Return the skeleton by which a form is looked up."""
    return skeleton(form.letters)
