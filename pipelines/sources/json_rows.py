"""Reads as much of a JSON object as can be read: a fault in one field leaves the other fields intact.

A sound object is read by the interpreter's own parser. Where the parser gives up, or would build much from little, the
object is walked from field to field and each known value parsed by itself, so that endless nesting, a broken value or a
line cut short cost only the fields that they are in. Knows no fields' meanings.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from pipelines.sources.values import UNREADABLE, Unreadable

Pair = tuple[str, object]
_SPACE: Final = re.compile(r"[ \t\r\n]*")
_STRING: Final = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
"""Possessive quantifiers keep the time linear in the text."""
_SCALAR: Final = re.compile(r'[^"\[\]{},:\s]+')
_PART: Final = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+("?)|([\[\]{}])', re.DOTALL)
_FIELD: Final = r',\s*"[a-z_0-9]{1,40}"\s*:\s*(?:"[^"\\]{0,4096}"|[^"\[\]{},:\s]{1,64})\s*'
_TAIL: Final = re.compile(rf"(?:{_FIELD}){{1,40}}\}}\s*,?\s*$")
_TAIL_SIZE: Final = 16_384
_OBJECT: Final = re.compile(r'\{\s*"')
_MOST_OBJECTS: Final = 16
_ID: Final = re.compile(r'"id"\s*:')
_LONGEST_NUMBER: Final = 64
_NUMERIC: Final = "-0123456789"
_MOST_PAIRS: Final = 10_000
MOST_VALUE: Final = 1 << 20
"""Characters of one value that are parsed; a longer string is cut, another longer value is not read."""


@dataclass(frozen=True, slots=True, repr=False)
class Fields:
    """The fields of one object in order, repeated ones included. ``whole``: the object was read to its end; ``sound``:
    and all of it is JSON, unknown fields included."""

    pairs: tuple[Pair, ...]
    whole: bool
    sound: bool = False


class Nested(dict[str, object]):
    """An object inside an object; of a key that occurs twice the last value counts."""


def read_objects(data: bytes, known: Collection[str] | None, *, cut: bool = False) -> list[Fields]:
    """Read the objects in ``data``: one, several where a line break between them is missing, or none.

    ``known``: the fields that are wanted; None: all those of a sound object. ``cut``: ``data`` is only the beginning.
    Bytes that are no UTF-8 become lone surrogates.
    """
    text = data.decode("utf-8", "surrogateescape").removeprefix("\ufeff")
    if not cut and len(data) <= MOST_VALUE:
        try:
            value = _DECODER.decode(text)
        except (ValueError, RecursionError):
            pass
        else:
            if not isinstance(value, _Pairs):
                return []
            sound = True
            for _, entry in value:
                sound = sound and entry is not UNREADABLE
            wanted = value if known is None else [pair for pair in value if pair[0] in known]
            return [Fields(tuple([(name, _plain(entry)) for name, entry in wanted]), True, sound)]
    return list(_walk(text, known or ()))


class _Pairs(list[Pair]):
    """An object as the parser met it."""


def _plain(value: object) -> object:
    """Turn nested objects into mappings, one level deep: deeper ones are of no accepted type anyway."""
    if isinstance(value, _Pairs):
        return Nested(value)
    if type(value) is list:
        return [Nested(entry) if isinstance(entry, _Pairs) else entry for entry in value]
    return value


def _whole_number(digits: str) -> int | Unreadable:
    return int(digits) if len(digits) <= _LONGEST_NUMBER else UNREADABLE


_DECODER: Final = json.JSONDecoder(
    strict=False, object_pairs_hook=_Pairs, parse_constant=lambda _: UNREADABLE, parse_int=_whole_number
)


def _walk(text: str, known: Collection[str]) -> Iterator[Fields]:
    """Yield the objects that follow one another in ``text``, each as far as it is unambiguous."""
    at = _skip(text, 0)
    while text.startswith("{", at):
        pairs, at, closed = _walk_object(text, at + 1, known)
        rest = _skip(text, at)
        if not closed:
            yield from _broken(text, at, pairs, known)
            return
        more = text.startswith("{", rest)
        yield Fields(pairs, whole=more or text[rest:].strip() in ("", ","))
        if not more:
            return
        at = rest


def _broken(text: str, at: int, pairs: tuple[Pair, ...], known: Collection[str]) -> Iterator[Fields]:
    """Yield an object that cannot be followed beyond ``at``, with the fields at its end: an unescaped quote in a prompt
    must not cost a deletion. Where a whole row follows, as after a line that was cut short, the end is that row's.

    Quotes that an export did escape end with a backslash before them, so that no text can forge either.
    """
    start = max(at, len(text) - _TAIL_SIZE)
    for begin in [match.start() for match in _OBJECT.finditer(text, start)][-_MOST_OBJECTS:]:
        own, end, closed = _walk_object(text, begin + 1, known)
        if closed and text[end:].strip() in ("", ",") and any(name == "id" for name, _ in own):
            yield Fields(pairs, whole=False)
            yield Fields(own, whole=True)
            return
    match = _TAIL.search(text, start)
    tail: tuple[Pair, ...] = ()
    if match is not None and not _ID.search(text, at, match.start()):
        tail, _, _ = _walk_object(match[0], 1, known)
    yield Fields((*pairs, *tail), whole=False)


def _walk_object(text: str, at: int, known: Collection[str]) -> tuple[tuple[Pair, ...], int, bool]:
    """Return the fields up to where the object ends or cannot be followed, that position, and whether it ended."""
    pairs: list[Pair] = []
    at = _skip(text, at)
    if text.startswith("}", at):
        return (), at + 1, True
    while len(pairs) < _MOST_PAIRS and (key := _STRING.match(text, at)):
        colon = _skip(text, key.end())
        if not text.startswith(":", colon):
            break
        begin = _skip(text, colon + 1)
        end = _end_of_value(text, begin)
        after = _skip(text, end) if end is not None else len(text)
        if end is None or text[after : after + 1] not in (",", "}", ""):
            break  # nobody can say where the value ends
        name = _parse(key[0])
        value = _parse(text[begin:end]) if name in known else None
        if after == len(text) and (text[begin] in _NUMERIC or value is UNREADABLE):
            break  # the value may go on where the line was cut off
        if isinstance(name, str) and name in known:
            pairs.append((name, value))
        if text.startswith("}", after):
            return tuple(pairs), after + 1, True
        at = _skip(text, after + 1)
    return tuple(pairs), at, False


def _end_of_value(text: str, begin: int) -> int | None:
    if begin >= len(text):
        return None
    if text[begin] == '"':
        match = _STRING.match(text, begin)
        return match.end() if match else None
    if text[begin] not in "[{":
        scalar = _SCALAR.match(text, begin)
        return scalar.end() if scalar else None
    depth = 0
    for part in _PART.finditer(text, begin):
        if not part[1] and not part[2]:
            return None  # a string without an end
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(part[2] or "", 0)
        if depth == 0:
            return part.end()
    return None


def _parse(text: str) -> object:
    """Parse one value by itself; of a string that is too long, its beginning."""
    if len(text) > MOST_VALUE and text.startswith('"'):
        text = re.sub(r"\\[^\\]{0,5}$", "", text[:MOST_VALUE]) + '"'
    elif len(text) > MOST_VALUE:
        return UNREADABLE
    try:
        return _plain(_DECODER.decode(text))
    except (ValueError, RecursionError):
        return UNREADABLE


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def merged(pairs: Sequence[Pair]) -> tuple[dict[str, object], tuple[str, ...]]:
    """Return the fields as a mapping, the last value of each, and the names that occur more than once.

    Several ``id`` that differ count as none. A repeated ``deleted`` becomes a list of all its values.
    """
    fields = dict(pairs)
    names = [name for name, _ in pairs]
    repeated = tuple(sorted({name for name in names if names.count(name) > 1})) if len(fields) != len(names) else ()
    if "id" in repeated and len({repr(value) for name, value in pairs if name == "id"}) > 1:
        fields["id"] = UNREADABLE
    if "deleted" in repeated:
        fields["deleted"] = Every(value for name, value in pairs if name == "deleted")
    return fields, repeated


class Every(list[object]):
    """All values of a field that occurs more than once."""
