"""Reads single fields of a row or side-car, each in the forms that exports write it in. Knows no rows and no files.

Every reader returns a :class:`Value`: what was read, and how. An unreadable value is ``bad`` and affects no other
field.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, Generic, Literal, NamedTuple, TypeVar, cast

from pipelines.sources.item import KINDS, Kind
from pipelines.sources.moments import read_moment

MAX_ID: Final = 512
MAX_WORDS: Final = 1_000
MAX_WORD: Final = 256
MOST_WHOLE: Final = 2**53
"""From here on a float cannot tell a whole number from its neighbours."""
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_UNREADABLE_CHARACTER: Final = "\N{REPLACEMENT CHARACTER}"

How = Literal["missing", "plain", "adapted", "damaged", "bad"]
"""``adapted``: read from another form than the documented one, a number written as a float for instance; ``damaged``:
a text of which only a part could be read; ``bad``: nothing, or not all of a list."""
T = TypeVar("T")


class Value(NamedTuple, Generic[T]):
    """What was read of one field, and how. A tuple, because there are a dozen of them for each row."""

    read: T
    how: How


class Unreadable:
    """Stands for a value that cannot be had: NaN, a cell beyond the calendar, an endless number. No reader accepts
    it."""

    def __repr__(self) -> str:
        return "UNREADABLE"


UNREADABLE: Final = Unreadable()

PLATFORM_KINDS: Final[Mapping[str, Kind]] = {
    **dict.fromkeys(("image", "images", "picture", "photo", "video"), "image"),
    **dict.fromkeys(("model", "models", "modelversion", "checkpoint", "lora", "locon", "lycoris", "dora"), "model"),
    **dict.fromkeys(("textualinversion", "embedding", "hypernetwork", "aestheticgradient", "controlnet"), "model"),
    **dict.fromkeys(("upscaler", "motionmodule", "vae", "poses", "wildcards", "workflows", "detection"), "model"),
    **dict.fromkeys(("bounty", "bounties"), "bounty"),
    **dict.fromkeys(("bountyentry", "bountyentries"), "bounty_entry"),
}
"""What platforms call their uploads, by :func:`kind_key`; ``[sources] kinds`` adds to it."""

_NOTHING: Final[Value[Any]] = Value(None, "missing")
_BAD: Final[Value[Any]] = Value(None, "bad")
_TRUE: Final = ("true", "t", "yes", "y", "on", "1", "1.0")
_FALSE: Final = ("false", "f", "no", "n", "off", "0", "0.0")


def is_storable(text: str) -> bool:
    """Whether any database stores ``text`` unchanged: no NUL, no lone surrogate."""
    return _UNSTORABLE.search(text) is None


def kind_key(name: str) -> str:
    """Return the key under which a kind's name is looked up."""
    return re.sub(r"[\s_-]+", "", name).casefold()


def read_identifier(value: object) -> Value[str | None]:
    """Read an id: a string, or a whole number of any type. It is never cut: a cut id names another thing."""
    if value is None or value == "":
        return _NOTHING
    if isinstance(value, str):
        sound = value.strip() and len(value) <= MAX_ID and is_storable(value)
        return Value(value, "plain") if sound else _BAD
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return _BAD
    if isinstance(value, int):
        return Value(str(value), "plain") if abs(value) < 10**MAX_ID else _BAD
    whole = _whole(value)
    return _BAD if whole is None else Value(str(whole), "adapted")


def read_text(value: object, limit: int) -> Value[str | None]:
    """Read a text, cut to ``limit`` characters. Characters that cannot be stored are replaced: the field is damaged."""
    if value is None:
        return _NOTHING
    if isinstance(value, bytes):
        value = value.decode("utf-8", "surrogateescape")
    if isinstance(value, str):
        if is_storable(value):
            return Value(value[:limit], "plain")
        text = _UNSTORABLE.sub(_UNREADABLE_CHARACTER, value)[:limit]
        return Value(text, "damaged") if text.strip(_UNREADABLE_CHARACTER) else _BAD
    number = read_identifier(value)  # a title such as 1984, which an export took for a number
    return Value(number.read, "adapted" if number.read is not None else "bad")


def read_words(value: object) -> Value[tuple[str, ...]]:
    """Read a list of words, each a string or an object with a ``name``; or one string of words between commas."""
    if value is None or value == "":
        return Value((), "missing")
    if isinstance(value, str):
        return Value(_cut(_split(value)).read, "adapted" if is_storable(value) else "damaged")
    if not isinstance(value, list | tuple):
        return Value((), "bad")
    return _cut([word for word in value if word is not None], missing=any(word is None for word in value))


def read_kind(value: object, kinds: Mapping[str, Kind]) -> Value[Kind | None]:
    """Read one of :data:`KINDS`, or a platform's own name for one. ``kinds``: further names, by :func:`kind_key`."""
    if value is None or value == "":
        return _NOTHING
    if not isinstance(value, str):
        return _BAD
    if value in KINDS:
        return Value(cast(Kind, value), "plain")
    key = kind_key(value)
    found = kinds.get(key) or PLATFORM_KINDS.get(key)
    return Value(found, "adapted" if found else "bad")


def read_flag(value: object) -> Value[bool | None]:
    """Read True or False, also as 1 and 0, as the usual words, or as the time at which it became true; None where
    nothing is said."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return _NOTHING
    if isinstance(value, bool):
        return Value(value, "plain")
    if isinstance(value, int | float | Decimal) and value in (0, 1):
        return Value(value == 1, "adapted")
    if isinstance(value, str) and (word := value.strip().casefold()) in (*_TRUE, *_FALSE):
        return Value(word in _TRUE, "adapted")
    if read_moment(value) is not None:
        return Value(True, "adapted")
    return _BAD


def _whole(value: float | Decimal) -> int | None:
    if isinstance(value, Decimal):
        return int(value) if value.is_finite() and abs(value) < 10**30 and value == int(value) else None
    return int(value) if math.isfinite(value) and value.is_integer() and abs(value) < MOST_WHOLE else None


def _split(text: str) -> Sequence[object]:
    """The words of a text: of a JSON list if it is one, else those between commas and line breaks."""
    if text.lstrip().startswith("["):
        try:
            listed = json.loads(text)
        except (ValueError, RecursionError):
            listed = None
        if isinstance(listed, list):
            return listed
    return [word.strip() for word in re.split(r"[,\n]", text) if word.strip()]


def _cut(words: Sequence[Any], *, missing: bool = False) -> Value[tuple[str, ...]]:
    if all(type(word) is str and len(word) <= MAX_WORD and is_storable(word) for word in words):  # the usual case
        return Value(tuple(words[:MAX_WORDS]), "bad" if missing else "plain")
    read = [
        read_text(word["name"] if isinstance(word, Mapping) and "name" in word else word, MAX_WORD) for word in words
    ]
    kept = tuple(word.read for word in read if word.read is not None)[:MAX_WORDS]
    if missing or any(word.how == "bad" for word in read):
        return Value(kept, "bad")
    if any(word.how == "damaged" for word in read):
        return Value(kept, "damaged")
    plain = all(word.how == "plain" for word in read) and not any(isinstance(word, Mapping) for word in words)
    return Value(kept, "plain" if plain else "adapted")
