"""How somebody likes the pages: blur, grey, which key does what. What is not chosen is the organisation's default."""

from __future__ import annotations

import json
import re
import string
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from embeddings.errors import InputError
from pipelines.database.tables import preferences
from pipelines.home.workspace import Workspace
from pipelines.settings.config_review import ReviewConfig

KEYS: Final[Mapping[str, tuple[str, str]]] = {
    "confirm": ("y", "same person"),
    "reject": ("n", "not them"),
    "unsure": ("u", "unsure"),
    "skip": ("s", "skip: later, or somebody else"),
    "decide": ("Enter", "decide, and go to the next case"),
    "undo": ("z", "undo the last decision"),
    "next": ("j", "next picture or sentence"),
    "previous": ("k", "the one before"),
    "select": ("x", "mark: the answer is then for the marked alone"),
    "reveal": ("r", "reveal what is shown"),
    "blur": ("b", "blur it again"),
    "whole": ("w", "the whole picture, with the face framed"),
    "later_reference": ("]", "next reference"),
    "earlier_reference": ("[", "the reference before"),
    "others": ("o", "the model's other pictures"),
    "note": ("c", "write a note for colleagues"),
    "escalate": ("e", "ask a lead to decide"),
    "map": ("?", "this map of keys"),
}
"""What a key does -> the key as delivered, and words for it."""
MOST_SAVED: Final = 50
"""Addresses that a person may have names for."""
_SAVED: Final = re.compile(r"/explore/[a-z]+\?[!-~]{1,2000}")
_LONGEST_NAME: Final = 60


@dataclass(frozen=True, slots=True)
class Preferences:
    """``blur`` and ``grey``: how pictures come; ``keys_on``: whether single keys do anything (WCAG 2.1.4); ``keys``:
    what each does -> the key; ``saved``: what the person calls a filtered list -> its address."""

    blur: bool
    grey: bool
    keys_on: bool = True
    keys: Mapping[str, str] = field(default_factory=lambda: {name: key for name, (key, _) in KEYS.items()})
    saved: Mapping[str, str] = field(default_factory=dict)


def read_preferences(connection: Connection, actor: str, config: ReviewConfig) -> Preferences:
    """What this person chose, and the organisation's default for the rest."""
    text = connection.execute(sa.select(preferences.c.chosen).where(preferences.c.actor == actor)).scalar()
    chosen: dict[str, Any] = json.loads(text) if text else {}
    default = Preferences(blur=config.blur, grey=config.grey)
    keys = _completed({name: key for name, key in chosen.pop("keys", {}).items() if name in KEYS})
    return Preferences(**{**asdict(default), **chosen, "keys": keys})


def _completed(chosen: Mapping[str, str]) -> dict[str, str]:
    """Keys for everything: as chosen, else as delivered, or the next letter where the person uses that key for
    something else."""
    found = dict(chosen)
    for name, (delivered, _) in KEYS.items():
        free = (key for key in (delivered, *string.ascii_letters) if key not in found.values())
        found.setdefault(name, next(free))
    return {name: found[name] for name in KEYS}


def write_preferences(workspace: Workspace, actor: str, chosen: Preferences) -> None:
    """Keep what this person chose. Raises :class:`InputError` for a key that is none, or that has two meanings."""
    for key in chosen.keys.values():
        if key != "Enter" and (len(key) != 1 or not key.isprintable() or key == " "):
            raise InputError("a key is a single character, or Enter")
    if set(chosen.keys) != set(KEYS) or len(set(chosen.keys.values())) != len(KEYS):
        raise InputError("each key has one meaning, and each meaning a key")
    if len(chosen.saved) > MOST_SAVED:
        raise InputError(f"at most {MOST_SAVED} lists can have names: forget one first")
    for name, address in chosen.saved.items():
        if not 1 <= len(name) <= _LONGEST_NAME or not name.isprintable() or not _SAVED.fullmatch(address):
            raise InputError(f"a list is called by 1 to {_LONGEST_NAME} printable characters")
    text = json.dumps(asdict(chosen), sort_keys=True)
    with workspace.database.write() as tx:
        own = preferences.c.actor == actor
        if not tx.execute(sa.update(preferences).where(own).values(chosen=text)).rowcount:
            tx.execute(sa.insert(preferences).values(actor=actor, chosen=text))
