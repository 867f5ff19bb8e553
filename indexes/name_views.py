"""The ways in which a text is looked at before it is read: as it is meant, without initials, and as it is shown.

Each view has as many characters as the text, so that what is found in it has a place in the text. HTML entities become
the characters that they stand for (``o&#39;brien``); between two words an initial is passed over (``Jane A. Doe``); and
what stands behind a right-to-left override is read in the order in which it is shown. Most texts have one view.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from indexes.look_alikes import DIGRAPHS

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
    if _MAY_BE_INITIAL.search(meant) is not None:
        without = _INITIALS.sub(lambda found: " " * len(found[0]), meant)
        views += [TextView(without, skips=True)] if without != meant else []
    if _OVERRIDE in meant:
        order = list(range(len(meant)))
        for found in _OVERRIDDEN.finditer(meant):
            order[found.start(1) : found.end(1)] = order[found.start(1) : found.end(1)][::-1]
        views.append(TextView("".join(meant[at] for at in order), order))
    return views


def _resolved(entity: re.Match[str]) -> str:
    meant = html.unescape(f"&{entity[1]};")
    return meant + _UNSEEN * (len(entity[0]) - len(meant)) if len(meant) <= 2 else entity[0]
