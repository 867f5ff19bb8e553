"""Text in cells that no spreadsheet takes for a formula, and back."""

from __future__ import annotations

import re
from typing import Final

_BEGINNING: Final = r'(\A|[,;|"\t\r\n])'
"""Where some program, set to some separator, lets a cell begin."""
_UNSEEN: Final = (
    r"[ \x00-\x08\x0b\x0c\x0e-\x1f\x7f-\xa0\xad\u034f\u061c\u1680\u180e"
    r"\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ufeff]"
)
"""White space and invisible characters that do not end a cell. Disjoint from what does: the search is linear."""
_SIGNS: Final = r"[=+\-@\u2212\uff0b\uff0d\uff1d\uff20]"
_DANGEROUS: Final = re.compile(rf"{_BEGINNING}(?=['\t\r\n]|{_UNSEEN}*{_SIGNS})")
_MARKED: Final = re.compile(rf"{_BEGINNING}'")


def neutralised(text: str) -> str:
    """``text`` as a cell that no spreadsheet takes for a formula, nor any part of it, however it splits the line.

    An apostrophe is put wherever a cell can begin and something dangerous, or an apostrophe, follows. White space and
    invisible characters before the sign do not help an attacker, nor do the full-width forms that some programs accept.
    """
    return _DANGEROUS.sub(r"\1'", text)


def original(cell: str) -> str:
    """Return the very text that :func:`neutralised` made ``cell`` from."""
    return _MARKED.sub(r"\1", cell)
