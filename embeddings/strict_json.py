"""JSON from a file that an attacker wrote, read within bounds of memory: strictly, or so that no value is passed over.

What a parser builds can be far larger than its text: an empty list takes two bytes of JSON and sixty of memory. So the
parts of the text are counted before anything is built. Knows nothing of what the JSON means.
"""

from __future__ import annotations

import json
import re
from typing import Final, NoReturn

from embeddings.errors import UnscannableError

_STRING: Final = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
"""Possessive quantifiers, and an optional closing quote, keep the time linear in the text."""
_SEPARATORS: Final = (",", "[", "{")


def parse_strictly(text: str, *, max_parts: int) -> object:
    """Return the value of ``text``: no key twice in one object, no NaN or infinities, no integer of more digits than
    the interpreter allows (``sys.get_int_max_str_digits``).

    ``max_parts``: most commas and opening brackets outside strings; a parsed value takes at most some 300 bytes each,
    beyond its strings. Raises :class:`UnscannableError` ``corrupt``, or ``too_complex`` for more parts or deeper
    nesting than the interpreter's recursion limit.
    """
    if _count(text) > max_parts and _count(_STRING.sub("", text)) > max_parts:
        raise UnscannableError("too_complex")
    try:
        return json.loads(text, object_pairs_hook=without_repeats, parse_constant=refuse_constant)
    except RecursionError:
        raise UnscannableError("too_complex") from None
    except ValueError:
        raise UnscannableError("corrupt") from None


_MOST_DIGITS: Final = 300
"""Digits of an integer beyond which it is none: no size, offset or count has them, and reading them takes long."""


class Repeating(dict[str, object]):
    """An object in which keys occur several times. ``earlier``: the values that are not the last, with their keys."""

    def __init__(self, pairs: list[tuple[str, object]]) -> None:
        super().__init__(pairs)
        last = {key: at for at, (key, _) in enumerate(pairs)}
        self.earlier = [pair for at, pair in enumerate(pairs) if last[pair[0]] != at]


def pairs_of(fields: dict[str, object]) -> list[tuple[str, object]]:
    """Return all keys of an object with their values: of a key that occurs several times the one that counts last."""
    return [*(fields.earlier if isinstance(fields, Repeating) else ()), *fields.items()]


def values_at(fields: dict[str, object], key: str) -> list[object]:
    """Return all values under a key of an object, the one that counts last; none where it has no such key."""
    earlier = [value for name, value in fields.earlier if name == key] if isinstance(fields, Repeating) else []
    return [*earlier, fields[key]] if key in fields else earlier


def parse_leniently(text: str, *, max_parts: int) -> object:
    """Return the value of ``text`` as Python's own reader gives it, which trainers write with: with NaN and infinities.

    Of a key that occurs twice in one object the last value counts, as for that reader; such an object is a
    :class:`Repeating`, which keeps the earlier ones, so that whoever looks for names misses none. An integer of more
    digits than the interpreter allows is None. Raises :class:`UnscannableError` as :func:`parse_strictly` does.
    """
    if _count(text) > max_parts and _count(_STRING.sub("", text)) > max_parts:
        raise UnscannableError("too_complex")
    try:
        try:
            return json.loads(text, object_pairs_hook=_with_repeats)
        except json.JSONDecodeError:
            raise
        except ValueError:  # an integer; asking at each of them costs as much again as reading
            return json.loads(text, object_pairs_hook=_with_repeats, parse_int=_integer)
    except RecursionError:
        raise UnscannableError("too_complex") from None
    except ValueError:
        raise UnscannableError("corrupt") from None


def _with_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    return fields if len(fields) == len(pairs) else Repeating(pairs)


def _integer(digits: str) -> int | None:
    return int(digits) if len(digits) <= _MOST_DIGITS else None


def _count(text: str) -> int:
    return sum(text.count(separator) for separator in _SEPARATORS)


def without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Make a dict of ``pairs``, for ``json.loads(object_pairs_hook=...)``. Raises ``ValueError`` for a repeated key."""
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a key occurs twice")
    return fields


def refuse_constant(constant: str) -> NoReturn:
    """Raise ``ValueError`` for NaN and infinities, for ``json.loads(parse_constant=...)``."""
    raise ValueError("NaN and infinities are not JSON")
