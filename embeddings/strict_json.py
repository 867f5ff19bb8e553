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
