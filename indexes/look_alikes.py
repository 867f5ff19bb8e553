"""Letters that stand for others: what looks like a Latin letter, what is also written as two, what is joined to a word.

Which letters look alike is Unicode's knowledge (TR39, confusables). For the scripts whose letters are met in names we
keep a selection of our own, with letters in both cases; of scripts in which hardly anybody is called anything, such as
Lisu and Cherokee, all is taken that Unicode lists, from the data file of the package ``confusable_homoglyphs``. Letters
of scripts that are written from right to left, and of India, are never taken for Latin ones: names stand in them.
"""

from __future__ import annotations

import json
import re
import unicodedata
from functools import cache
from importlib import resources
from typing import Final

_PAIRS: Final = (
    # Cyrillic, Greek, Armenian
    "аa вb еe һh нh іi јj кk мm оo рp сc ѕs тt уy хx ԁd ԛq ԝw ӏl ғf αa βb γy εe ζz ηn ιi κk μu νv οo ρp τt υu χx ωw "
    "օo սu հh ոn ցg "
    # Latin that does not decompose, and small capitals
    "ıi łl øo đd ðd ħh ŧt ɑa ɡg ɩi ƒf ɨi ƚl ᴀa ʙb ᴄc ᴅd ᴇe ꜰf ɢg ʜh ɪi ᴊj ᴋk ʟl ᴍm ɴn ᴏo ᴘp ʀr ꜱs ᴛt ᴜu ᴠv ᴡw ʏy ᴢz "
    # Arabic letters that are written one for another: yeh, kaf, heh and teh marbuta, alef
    "ىي یي ېي ےي کك ڪك ةه ہه ھه ۃه ەه ٱا"
)
LOOK_ALIKES: Final = {pair[0]: pair[1] for pair in _PAIRS.split()} | {"æ": "ae", "œ": "oe", "þ": "th"}
"""A folded letter, and the letters that stand for it and all that look like it."""
CAPITALS: Final = {"Ν": "N", "Μ": "M", "Η": "H", "Υ": "Y"}
"""Greek capitals that look like another Latin letter than their small ones do."""
DIGRAPHS: Final = {"ä": "ae", "ö": "oe", "ü": "ue", "ø": "oe", "å": "aa"}
"""Letters that are also written as two, where the keyboard has no such letter. ``æ``, ``œ``, ``ß`` and ``þ`` are
always."""
_SCRIPTS: Final = (
    *("CANADIAN", "CARIAN", "CHEROKEE", "COPTIC", "DESERET", "ELBASAN", "LISU", "LYCIAN"),
    *("LYDIAN", "MIAO", "OLD", "OSAGE", "RUNIC", "TIFINAGH", "WARANG"),
)
_FIRST: Final = "\u13a0"  # the first letter of any of them
_JOINED: Final = "و ف ب ل ك ال وال فال بال كال لل ول وب وك ولل ו ה ב ל מ ש כ וה וב ול ומ וש וכ שה כש של"
PREFIXES: Final = {
    length: frozenset(prefix for prefix in _JOINED.split() if len(prefix) == length) for length in (1, 2, 3)
}
"""What Arabic and Hebrew join to the beginning of a word, by its letters: and, so, by, for, like, the."""
SEMITIC: Final = re.compile("[\u05d0-\u05ea\u0620-\u064a\u066e-\u06d3]+")
"""A run of letters of these scripts."""


def latin_for(character: str) -> str | None:
    """Return the Latin letter that a letter of these scripts looks like, ``1`` where that may be an ``l`` or an ``i``,
    or None."""
    return _foreign().get(character) if character >= _FIRST else None


@cache  # read when such a letter may have turned up: it takes some 20 ms
def _foreign() -> dict[str, str]:
    data = resources.files("confusable_homoglyphs").joinpath("confusables.json").read_text("utf-8")
    found = {}
    for character, alike in json.loads(data).items():
        if len(character) == 1 and unicodedata.name(character, "").partition(" ")[0] in _SCRIPTS:
            latin = sorted(
                one["c"] for one in alike if one["c"].isascii() and one["c"].isalpha() and len(one["c"]) == 1
            )
            if latin:
                found[character] = "1" if latin[0] == "l" else latin[0].lower()
    return found
