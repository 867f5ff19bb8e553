"""What each name of somebody would bring by itself, and what could be done about it, before anybody is looked for.

A name of one word that is also a word of the language is the flood: it stands in thousands of texts that are about
nobody. So every text and header is searched for each name alone; where a name of one word is found, the words beside it
are counted, and those that stand there most often are proposed as exclusions. A name in another script can be proposed
in Latin letters. Nothing that is proposed is used unless somebody says so. Reads only.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from indexes.look_alikes import SEMITIC
from indexes.name_rules import NameMatch, SubjectNames
from indexes.name_text import WALL
from indexes.names import NameMatcher
from pipelines.cases.impact import NamedItem, items_with_texts
from pipelines.home import audit
from pipelines.home.progress import Progress, silent
from pipelines.home.workspace import Workspace

MOST_PROPOSED: Final = 8
LEAST_UPLOADERS: Final = 2
"""Uploaders in whose items a phrase stands before it is proposed: what one alone writes may be meant as a name."""
_WORD: Final = re.compile(r"[^\W\d_]{2,}")
_NEAR: Final = 40
"""Characters on either side of a name in which the word beside it is looked for."""
_SYLLABLE: Final = re.compile(r"[A-Z][a-z']*")


@dataclass(frozen=True, slots=True)
class ProposedExclusion:
    """A phrase around a name of one word, and in how many items and of how many uploaders it stands."""

    phrase: str = field(repr=False)
    items: int
    uploaders: int


@dataclass(frozen=True, slots=True)
class NameBringing:
    """What one name would bring. ``position``: from 1, the full name first; ``items``: found by it, ``alone``: by no
    other name; ``one_word``: whether it was found as a word of its own, so that it may mean something else."""

    position: int
    items: int
    alone: int
    one_word: bool
    exclusions: tuple[ProposedExclusion, ...] = field(repr=False)
    latin: str | None = field(default=None, repr=False)
    """The name in Latin letters as a proposal; None where it is in them, or where nobody can tell."""


def weigh_names(
    workspace: Workspace, names: SubjectNames, *, actor: str, latin: bool, progress: Progress = silent
) -> list[NameBringing]:
    """Search all texts and headers for each name by itself. Leaves an audit row with the counts.

    ``latin``: propose names of other scripts in Latin letters as well.
    """
    each = [SubjectNames(str(at), (name,), names.exclusions) for at, name in enumerate(names.names)]
    matcher = NameMatcher(each, settings=workspace.config.names)
    tally = _Tally(names.names)
    for item in items_with_texts(workspace, progress):
        tally.count(item, {place: matcher.find(text) for place, text in item.texts.items()})
    weighed = [
        NameBringing(
            at + 1,
            tally.found[at],
            tally.alone[at],
            at in tally.of_one_word,
            tally.proposed(at),
            in_latin_letters(name) if latin else None,
        )
        for at, name in enumerate(names.names)
    ]
    with workspace.database.write() as tx:
        counts = ",".join(str(one.items) for one in weighed)
        now = workspace.now()
        audit.append(tx, workspace.sealer, actor=actor, action="subject.weigh_names", now=now, items_by_name=counts)
    return weighed


def in_latin_letters(name: str) -> str | None:
    """Return a name of another script in Latin letters, as its letters are mostly read; None for a Latin name.

    Chinese signs are read as in Mandarin, also in a Japanese name, for which it is wrong. Arabic and Hebrew do not
    write their vowels, so nothing is proposed.
    """
    if not re.search(r"[^\W\d_\x00-\u024f\u1e00-\u1eff]", name) or SEMITIC.search(name):
        return None
    from anyascii import anyascii

    read = " ".join(anyascii(name.replace("\u30fb", " ").replace("\u00b7", " ")).split())
    syllables = _SYLLABLE.findall(read)
    if " " in read or len(syllables) < 2:
        return (read if read != read.lower() else read.title()) or None
    return f"{syllables[0]} {''.join(syllables[1:]).capitalize()}"


class _Tally:
    """What was found of each name so far."""

    def __init__(self, names: Sequence[str]) -> None:
        self.found: Counter[int] = Counter()
        self.alone: Counter[int] = Counter()
        self.of_one_word: set[int] = set()
        self._phrases: dict[int, dict[str, list[str | None]]] = {}
        self._own = {word.casefold() for name in names for word in _WORD.findall(name)}

    def count(self, item: NamedItem, found: Mapping[str, Sequence[NameMatch]]) -> None:
        named = {int(match.subject_id) for matches in found.values() for match in matches}
        self.found.update(named)
        self.alone.update(named if len(named) == 1 else ())
        phrases: dict[int, set[str]] = {}
        for place, matches in found.items():
            for match in matches:
                if match.rule == "token":
                    beside = self._beside(item.texts[place], match)
                    phrases.setdefault(int(match.subject_id), set()).update(beside)
        self.of_one_word |= phrases.keys()
        for at, some in phrases.items():
            for phrase in some:
                self._phrases.setdefault(at, {}).setdefault(phrase, []).append(item.uploader)

    def proposed(self, at: int) -> tuple[ProposedExclusion, ...]:
        """The phrases in which a name stands most often, of several uploaders."""
        counted = [
            ProposedExclusion(phrase, len(uploaders), len(set(uploaders)))
            for phrase, uploaders in self._phrases.get(at, {}).items()
        ]
        several = [one for one in counted if one.uploaders >= LEAST_UPLOADERS]
        return tuple(sorted(several, key=lambda one: (-one.items, one.phrase))[:MOST_PROPOSED])

    def _beside(self, text: str, match: NameMatch) -> list[str]:
        """The name with the word before it, and with the word behind it, unless that is a name of the person too."""
        word = text[match.start : match.end].casefold()
        before = _WORD.findall(text[max(0, match.start - _NEAR) : match.start].rpartition(WALL)[2])
        after = _WORD.findall(text[match.end : match.end + _NEAR].partition(WALL)[0])
        phrases = [(one.casefold(), f"{one.casefold()} {word}") for one in before[-1:]]
        phrases += [(one.casefold(), f"{word} {one.casefold()}") for one in after[:1]]
        return [phrase for one, phrase in phrases if one not in self._own]
