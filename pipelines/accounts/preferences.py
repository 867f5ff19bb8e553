"""How somebody likes the pages: blur, grey, which key does what. What is not chosen is the organisation's default."""

from __future__ import annotations

import json
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
    "map": ("?", "this map of keys"),
}
"""What a key does -> the key as delivered, and words for it."""


@dataclass(frozen=True, slots=True)
class Preferences:
    """``blur`` and ``grey``: how pictures come; ``keys_on``: whether single keys do anything (WCAG 2.1.4); ``keys``:
    what each does -> the key."""

    blur: bool
    grey: bool
    keys_on: bool = True
    keys: Mapping[str, str] = field(default_factory=lambda: {name: key for name, (key, _) in KEYS.items()})


def read_preferences(connection: Connection, actor: str, config: ReviewConfig) -> Preferences:
    """What this person chose, and the organisation's default for the rest."""
    text = connection.execute(sa.select(preferences.c.chosen).where(preferences.c.actor == actor)).scalar()
    chosen: dict[str, Any] = json.loads(text) if text else {}
    default = Preferences(blur=config.blur, grey=config.grey)
    keys = {**default.keys, **{name: key for name, key in chosen.pop("keys", {}).items() if name in KEYS}}
    return Preferences(**{**asdict(default), **chosen, "keys": keys})


def write_preferences(workspace: Workspace, actor: str, chosen: Preferences) -> None:
    """Keep what this person chose. Raises :class:`InputError` for a key that is none, or that has two meanings."""
    for key in chosen.keys.values():
        if key != "Enter" and (len(key) != 1 or not key.isprintable() or key == " "):
            raise InputError("a key is a single character, or Enter")
    if set(chosen.keys) != set(KEYS) or len(set(chosen.keys.values())) != len(KEYS):
        raise InputError("each key has one meaning, and each meaning a key")
    text = json.dumps(asdict(chosen), sort_keys=True)
    with workspace.database.write() as tx:
        own = preferences.c.actor == actor
        if not tx.execute(sa.update(preferences).where(own).values(chosen=text)).rowcount:
            tx.execute(sa.insert(preferences).values(actor=actor, chosen=text))
