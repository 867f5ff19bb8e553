"""The ways in which a text is looked at before it is read: as it is meant, without initials, and as it is shown.

Each view has as many characters as the text, so that what is found in it has a place in the text. HTML entities become
the characters that they stand for (``o&#39;brien``); tags of HTML are left out (``<b>Jane</b> Doe``); between two words
an initial is passed over (``Jane A. Doe``); Greek capitals are read as the Latin ones that they look like; and what
stands behind a right-to-left override is read in the order in which it is shown. Most texts have one view.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from indexes.look_alikes import CAPITALS, DIGRAPHS

_UNSEEN: Final = "\N{WORD JOINER}"
_ENTITY: Final = re.compile(r"&(?:amp;){0,3}(#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_MARKED: Final = re.compile("[aouAOU]\u0308|[aA]\u030a")
_OVERRIDE: Final = "\N{RIGHT-TO-LEFT OVERRIDE}"
_OVERRIDDEN: Final = re.compile("\u202e([^\n\r\u2029\u202a-\u202e\u2066-\u2069]+)")
_LETTER: Final = r"[^\W\d_]"
_INITIALS: Final = re.compile(
    rf"(?<={_LETTER}{{2}}[ _\-])"
    rf"(?:(?:{_LETTER}\.|[A-Z](?!{_LETTER}))(?:[ _\-]?{_LETTER}\.){{0,3}}(?=[ _\-]{{1,2}}{_LETTER}{{2}})"
    rf"|(?<=[_\-]){_LETTER}(?=[_\-]{_LETTER}{{2}}))"
)
_MAY_BE_INITIAL: Final = re.compile(
    rf"[._\-A-Z](?:(?<=[ _\-]{_LETTER}\.)|(?<=[ _\-][A-Z])(?=[ ._\-])|(?<=[_\-]{_LETTER}[_\-]))"
)
"""What every initial has, sought from the rarest character on: most texts end here."""
_LINE_TAGS: Final = frozenset(("br", "p", "div", "h1", "h2", "h3", "h4", "h5", "h6"))
_TAG: Final = re.compile(
    rf"<{_UNSEEN}{{0,12}}/?"
    r"(b|i|u|s|em|strong|span|a|font|mark|small|big|sub|sup|code|tt|del|ins|strike|wbr|br|p|div|h[1-6])"
    r"(?:[\s/][^<>]{0,500})?>",
    re.IGNORECASE,
)
"""Tags of HTML between which a text goes on as it is shown; no items of lists, nor cells of tables."""
_GREEK: Final = re.compile("[" + "".join(CAPITALS) + "]")
_AS_LATIN: Final = str.maketrans(CAPITALS)
_SPELLED: Final = re.compile("[" + "".join(sorted({*DIGRAPHS, *"".join(DIGRAPHS).upper()})) + "]")


@dataclass(frozen=True, slots=True)
class TextView:
    """A text as it is looked at. ``places``: for each character the index in the text; None: they are the same.

    ``skips``: whether something was passed over, so that a name found there is a guess.
    """

    text: str = field(repr=False)
    places: Sequence[int] | None = None
    skips: bool = False

    def place(self, start: int, end: int) -> tuple[int, int]:
        """Return where ``text[start:end]`` of this view lies in the text."""
        if self.places is None:
            return start, end
        return min(self.places[start:end]), max(self.places[start:end]) + 1


def as_meant(text: str) -> str:
    """Return a text of the same length with entities resolved, and with letters and their diaereses as one."""
    if "&" in text:
        text = _ENTITY.sub(_resolved, text)
    if "\u0308" in text or "\u030a" in text:
        text = _MARKED.sub(lambda found: unicodedata.normalize("NFC", found[0]) + _UNSEEN, text)
    return text


def has_spellings(text: str) -> bool:
    """Whether a text has letters that are also written as two."""
    return not text.isascii() and _SPELLED.search(text) is not None


def views_of(text: str) -> list[TextView]:
    """Return the views of a text, the first as it is meant."""
    meant = as_meant(text)
    return [TextView(meant), *other_views(meant)]


def other_views(meant: str) -> list[TextView]:
    """Return the views of a text beside the one as it is meant: none for most texts."""
    views: list[TextView] = []
    bases = [meant]
    if "<" in meant and (shown := _TAG.sub(_passed_over, meant)) != meant:
        views.append(TextView(shown))
        bases.append(shown)
    for base in bases:
        views += _views_of_shown(base)
    return views


def _views_of_shown(shown: str) -> list[TextView]:
    """A text without initials, with Greek capitals as Latin ones, and in the order of its overrides."""
    views: list[TextView] = []
    if _MAY_BE_INITIAL.search(shown) is not None:
        without = _INITIALS.sub(lambda found: " " * len(found[0]), shown)
        views += [TextView(without, skips=True)] if without != shown else []
    if not shown.isascii() and _GREEK.search(shown) is not None:
        views.append(TextView(shown.translate(_AS_LATIN)))
    if _OVERRIDE in shown:
        order = list(range(len(shown)))
        for found in _OVERRIDDEN.finditer(shown):
            order[found.start(1) : found.end(1)] = order[found.start(1) : found.end(1)][::-1]
        views.append(TextView("".join(shown[at] for at in order), order))
    return views


def _passed_over(tag: re.Match[str]) -> str:
    return ("\n" if tag[1].lower() in _LINE_TAGS else _UNSEEN) + _UNSEEN * (len(tag[0]) - 1)


def _resolved(entity: re.Match[str]) -> str:
    meant = html.unescape(f"&{entity[1]};")
    return meant + _UNSEEN * (len(entity[0]) - len(meant)) if len(meant) <= 2 else entity[0]
