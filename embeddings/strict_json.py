"""JSON from a file that an attacker wrote, read strictly and within bounds of memory.

What a parser builds can be far larger than its text: an empty list takes two bytes of JSON and sixty of memory. So the
parts of the text are counted before anything is built. Knows nothing of what the JSON means.
"""

from __future__ import annotations

import json
import re
from typing import Final, NoReturn

from embeddings.errors import UnscannableError

_STRING: Final = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
"""Possessive, and content without a closing quote: in time linear in the text, whatever it is."""
_SEPARATORS: Final = (",", "[", "{")
_MAX_DIGITS: Final = 20
"""As many as a 64-bit number has. Python's own limit is a setting of the process."""


def parse_strictly(text: str, *, max_parts: int, naturals: bool = False) -> object:
    """The value of ``text``: no key twice in one object, no NaN or infinities, no integer of more than 20 digits.

    ``max_parts``: most commas and opening brackets outside strings; a parsed value takes at most some 300 bytes each,
    beyond its strings. ``naturals``: no other numbers than integers from 0 on. Raises :class:`UnscannableError`
    ``corrupt``, or ``too_complex`` for more parts or deeper nesting than the interpreter's recursion limit.
    """
    if _count(text) > max_parts and _count(_STRING.sub("", text)) > max_parts:
        raise UnscannableError("too_complex")
    try:
        return json.loads(
            text,
            object_pairs_hook=_without_repeats,
            parse_int=_natural if naturals else _integer,
            parse_float=_refuse if naturals else float,
            parse_constant=_refuse,
        )
    except RecursionError:
        raise UnscannableError("too_complex") from None
    except ValueError:
        raise UnscannableError("corrupt") from None


def _count(text: str) -> int:
    return sum(text.count(separator) for separator in _SEPARATORS)


def _without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a key occurs twice")
    return fields


def _integer(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise ValueError("not a 64-bit number")
    return int(digits)


def _natural(digits: str) -> int:
    if digits[0] == "-":
        raise ValueError("a sign")
    return _integer(digits)


def _refuse(text: str) -> NoReturn:
    raise ValueError("a number that may not be here")
