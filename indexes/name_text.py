"""How a text is read before names are looked for in it: folded characters, and where a word may begin or end.

Upper and lower case, accents, full width, ligatures, invisible characters, the kashida and letters that look like Latin
ones make no difference. Figures and ``@ $ !`` stand for letters or between them (``j4ne_d0e``, ``jane2doe``), and a
letter such as ``ü`` for ``u`` or for ``ue``, so a text has two or four readings. Knows no names; work is linear in the
text, whatever it holds. What is looked up of letters that look alike is in :mod:`indexes.look_alikes`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from indexes.look_alikes import DIGRAPHS, LOOK_ALIKES, PREFIXES, SEMITIC, latin_for

WALL: Final = "\x1e"
"""The character between texts that are searched as one: no name goes across it."""
NONE, SOFT, PICTURE, HARD, LINE, STOP, EDGE = range(7)
"""What lies between two letters: nothing; a change of case, kind or script, an apostrophe, or the end of an Arabic or
Hebrew prefix; a picture character, which may stand for nothing; white space, a middle dot, a hyphen, an underscore, a
slash or an equals sign; a line's end, behind which a name in a script without spaces goes on only where it is long; any
other separator, behind which it never does; a wall or the text's end."""
SEPARATORS: Final = {"\x1f": PICTURE, " ": HARD, "\n": LINE, ",": STOP, WALL: EDGE}
"""What characters that are no letters are folded to, beside ``'`` for an apostrophe."""
LEET: Final = {"0": "o", "1": "il", "3": "e", "4": "a", "5": "s", "7": "t", "@": "a", "$": "s", "!": "i"}
"""What a figure or sign may stand for in a word that has a letter."""
FIGURES: Final = frozenset("0123456789@$!")
_TAIL: Final = re.compile(
    "(?:sdxl|pdxl|xl|lora|locon|loha|lokr|lycoris|embedding|flux|pony|illustrious|noobai|hunyuan|qwen)++"
)
_NUMBERED: Final = re.compile("(?:(?:sdxl|pdxl|xl|lora|locon|loha|lokr|lycoris|flux|pony)*+)(?:v|ver|version|sd|wan)")
_LONGEST_TAIL: Final = 24
_APOSTROPHES: Final = frozenset(
    "'`\u2019\u2018\u201b\u02b9\u02bb\u02bc\u02bd\u02be\u02bf\u00b4\uff07\u2032\u2035\ua78b\ua78c"
)
_IGNORED: Final = frozenset("\u115f\u1160\u3164\uffa0\u034f\u0640") | {chr(point) for point in range(0x180B, 0x1810)}
_GAPS: Final = frozenset("_-/=\u30a0\u00b7\u2010\u2011\u2012\u2013\u2027\u2022\u2219\u22c5\u30fb")
_LINES: Final = frozenset("\n\r\x0b\x0c\x85\u2028\u2029")
_MEMORY: Final = 1 << 16  # code points a table remembers: all that texts use, and no more than an attacker may fill

_LETTERED: Final = (0x1F150, 0x1F170, 0x1F1E6)  # letters on black circles, on black squares, and of flags
_WITHOUT_SPACES: Final = (
    (0x0E00, 0x0FFF),  # Thai, Lao, Tibetan
    (0x1000, 0x109F),  # Myanmar
    (0x1100, 0x11FF),  # Hangul, decomposed
    (0x1780, 0x17FF),  # Khmer
    (0x3005, 0x3007),
    (0x3040, 0x30FF),  # kana
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0x20000, 0x3FFFF),
)


_Made = TypeVar("_Made")


class Table(dict[int, _Made]):
    """A table by code point, such as ``str.translate`` takes, that is worked out as characters turn up."""

    def __init__(self, rule: Callable[[str], _Made]) -> None:
        super().__init__({point: rule(chr(point)) for point in range(128)})
        self._rule = rule

    def __missing__(self, point: int) -> _Made:
        made: _Made = self._rule(chr(point))
        if len(self) < _MEMORY:
            self[point] = made
        return made


def _fold(character: str) -> str:
    """Letters and figures; one of ``SEPARATORS``, ``'`` for an apostrophe, nothing for what cannot be seen."""
    if character == WALL or character in _APOSTROPHES:
        return WALL if character == WALL else "'"
    point = ord(character)
    for first in _LETTERED:
        if first <= point < first + 26:
            return chr(ord("a") + point - first)
    if latin := latin_for(character):
        return latin
    # Twice, because what a ligature or a styled letter decomposes to may itself have a case.
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", character).casefold())
    return "".join(map(_fold_decomposed, folded))


def _spell_out(character: str) -> str:
    """As :func:`_fold`, but a letter that is also written as two becomes two: ``ue`` for ``ü``."""
    return DIGRAPHS.get(character.lower()) or _fold(character)


def _fold_decomposed(character: str) -> str:
    if character in FIGURES or ("a" <= character <= "z"):
        return character
    if character in _IGNORED or character in _APOSTROPHES:
        return "'" if character in _APOSTROPHES else ""
    category = unicodedata.category(character)
    if category[0] == "L" or category == "Mc":
        return LOOK_ALIKES.get(character) or latin_for(character) or character
    if category == "Mn":
        return character if _is_letterlike(character) else ""
    if category == "Nd":
        return str(unicodedata.digit(character))
    if character in _LINES:
        return "\n"
    if character in _GAPS or character.isspace():
        return " "
    if category == "So" or "\U0001f3fb" <= character <= "\U0001f3ff":
        return "\x1f"
    return "" if category in ("Cc", "Cf", "Me") else ","


def _is_letterlike(mark: str) -> bool:
    """Marks that spell (vowel signs, the voicing of kana), unlike accents, points and selectors of variants."""
    selector = 0xFE00 <= ord(mark) <= 0xFE0F or ord(mark) >= 0xE0000
    return not selector and unicodedata.combining(mark) in (0, 7, 8, 9)


def is_without_spaces(letter: str) -> bool:
    """Whether a folded letter is of a script that is written without spaces, or with endings at the word."""
    point = ord(letter)
    return point >= _WITHOUT_SPACES[0][0] and any(first <= point <= last for first, last in _WITHOUT_SPACES)


def is_east_asian(letter: str) -> bool:
    """Whether a folded letter is Chinese, Japanese or Korean."""
    return "\u1100" <= letter <= "\u11ff" or (letter >= "\u3005" and is_without_spaces(letter))


def continues_letter(letter: str) -> bool:
    """Whether a folded letter belongs to the one before it: a vowel or final of Hangul, a voicing mark of kana."""
    return "\u1160" <= letter <= "\u11ff" or letter in "\u3099\u309a"


FOLDED: Final = Table(_fold)
SPELLED_OUT: Final = Table(_spell_out)
_SKELETON: Final = str.maketrans("l013457@$!", "ioieastasi")


def skeleton(letters: str) -> str:
    """Letters with all that a figure could stand for made one: what matches has equal skeletons, not the reverse."""
    return letters.translate(_SKELETON)


def _skeleton_table(
    folded: Table[str], *, figures: bool, separator: str, apostrophe: str, picture: str
) -> Table[str | None]:
    """Characters to the skeletons of their letters, and what becomes of all others."""

    def rule(character: str) -> str | None:
        kept = []
        for letter in folded[ord(character)]:
            if letter == "\x1f":
                kept.append(picture)
            elif letter in SEPARATORS or (letter in FIGURES and not figures):
                kept.append(separator)
            else:
                kept.append(apostrophe if letter == "'" else skeleton(letter))
        return "".join(kept) or None  # an empty text would do, and take three times as long

    return Table(rule)


def has_tail(reading: TextReading, end: int) -> bool:
    """Whether what goes on behind a name up to the word's end is what files of models end in: a kind of model, or the
    number of a version (``collinsxl``, ``collinsv2``)."""
    stop = end
    while reading.boundaries[stop] < SOFT or stop == end:
        stop += 1
        if stop - end > _LONGEST_TAIL or stop >= len(reading.boundaries):
            return False
    tail = reading.letters[end:stop]
    numbered = reading.boundaries[stop] == SOFT and reading.letters[stop].isdigit()
    return _TAIL.fullmatch(tail) is not None or (numbered and _NUMBERED.fullmatch(tail) is not None)


def _letters_table(*, figures: bool, spelled: bool) -> Table[str | None]:
    folded = SPELLED_OUT if spelled else FOLDED
    return _skeleton_table(folded, figures=figures, separator="", apostrophe="", picture="")


LETTERS: Final = {
    (figures, spelled): _letters_table(figures=figures, spelled=spelled)
    for figures in (True, False)
    for spelled in (False, True)
}
"""Tables to the letters of a text alone, by its reading."""
WORDS_AND_FIGURES: Final = _skeleton_table(FOLDED, figures=True, separator=" ", apostrophe="", picture="\x1f")
WORDS_ALONE: Final = _skeleton_table(FOLDED, figures=False, separator=" ", apostrophe="", picture="\x1f")
PIECES: Final = _skeleton_table(FOLDED, figures=False, separator=" ", apostrophe=" ", picture=" ")


def _kinds(character: str) -> str | None:
    """As ``PIECES``, letter by letter: A upper case, a any other, x of a script without spaces; or ``'`` or a space."""
    cased = "A" if character.isupper() else "a"
    return (
        "".join(
            letter if letter == "'" else " " if letter in SEPARATORS or letter in FIGURES else _kind(letter, cased)
            for letter in FOLDED[ord(character)]
        )
        or None
    )


def _kind(letter: str, cased: str) -> str:
    return "x" if is_without_spaces(letter) else cased


KINDS: Final = Table(_kinds)


@dataclass(frozen=True, slots=True)
class TextReading:
    """One way to read a text: n letters, and n + 1 boundaries around them.

    ``sources``: for each letter the index in the text of the character it comes from. ``worded``: whether its word has
    a letter that is no figure, so that its figures may stand for letters.
    """

    letters: str
    boundaries: bytes
    sources: Sequence[int]
    worded: bytes


def read_text(text: str, *, figures: bool, spelled: bool = False) -> TextReading:
    """Read a text, ``figures`` as letters or else as separators. ``spelled``: ``ü`` as ``ue``, and so on."""
    folded = SPELLED_OUT if spelled else FOLDED
    letters: list[str] = []
    sources: list[int] = []
    kinds: list[str] = []
    boundaries = bytearray()
    between = EDGE
    for index, character in enumerate(text):
        cased = "A" if character.isupper() else "a"
        for letter in folded[ord(character)]:
            if letter == "'":
                between = max(between, SOFT)
            elif letter in SEPARATORS or (letter in FIGURES and not figures):
                between = max(between, SEPARATORS.get(letter, STOP))
            else:
                boundaries.append(between)
                letters.append(letter)
                sources.append(index)
                kinds.append("1" if letter in FIGURES else _kind(letter, cased))
                between = NONE
    boundaries.append(EDGE)
    _mark_soft("".join(kinds), boundaries)
    spelt = "".join(letters)
    _mark_prefixes(spelt, boundaries)
    return TextReading(spelt, bytes(boundaries), sources, _worded(letters, boundaries))


def _mark_soft(kinds: str, boundaries: bytearray) -> None:
    """Where kinds change within a word; but a capital belongs to what follows it (``AIJane``, ``Jane``)."""
    for here in range(1, len(kinds)):
        pair = kinds[here - 1 : here + 1]
        if pair in _ALIKE or boundaries[here] != NONE:
            continue
        if pair == "AA" and (boundaries[here + 1] != NONE or kinds[here + 1 : here + 2] != "a"):
            continue
        boundaries[here] = SOFT


def _mark_prefixes(letters: str, boundaries: bytearray) -> None:
    """Where an Arabic or Hebrew word may begin behind what is joined to it: ``and``, ``the``, ``by``, ``for``."""
    for word in SEMITIC.finditer(letters):
        for start in range(word.start(), word.end()):
            if boundaries[start] < HARD:
                continue
            for length, prefixes in PREFIXES.items():
                end = start + length
                joined = end < word.end() and letters[start:end] in prefixes
                if joined and max(boundaries[start + 1 : end + 1]) <= SOFT:
                    boundaries[end] = SOFT


_ALIKE: Final = frozenset(("aa", "Aa", "xx"))


def _worded(letters: Sequence[str], boundaries: Sequence[int]) -> bytes:
    flags = bytearray(len(letters))
    start, spelled = 0, False
    for here, letter in enumerate(letters):
        if boundaries[here] >= HARD:
            start, spelled = here, False
        spelled = spelled or letter not in FIGURES
        if boundaries[here + 1] >= HARD and spelled:
            flags[start : here + 1] = b"\x01" * (here + 1 - start)
    return bytes(flags)


def join_texts(texts: Sequence[str]) -> str:
    """Several texts as one, so that no name is found across two of them."""
    return WALL.join(text.replace(WALL, " ") for text in texts)


def end_as_written(text: str, end: int) -> int:
    """Return the end moved past what belongs to the last letter and is not seen by itself, such as its accent."""
    while end < len(text) and not FOLDED[ord(text[end])]:
        end += 1
    return end
