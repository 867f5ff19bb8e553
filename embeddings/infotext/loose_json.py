"""JSON as generators write it, read within bounds of memory: NaN and infinities, and keys that occur twice, are taken.

ComfyUI writes NaN into its prompts, which strict JSON does not have. Of a key that occurs twice all values are kept,
because a reader may take either. Knows nothing of what the JSON means.
"""

from __future__ import annotations

import json

from embeddings.errors import UnscannableError
from embeddings.strict_json import parse_strictly

__all__ = ["parse_loosely"]


def parse_loosely(text: str, *, max_parts: int) -> object:
    """Return the value of ``text``; NaN and infinities as None, further values of a key under the key and spaces.

    Raises :class:`UnscannableError` as :func:`parse_strictly` does, for anything but that.
    """
    try:
        return parse_strictly(text, max_parts=max_parts)
    except UnscannableError as error:
        if error.reason != "corrupt":
            raise
    try:
        return json.loads(text, object_pairs_hook=_with_repeats, parse_constant=_nothing)
    except RecursionError:
        raise UnscannableError("too_complex") from None
    except ValueError:
        raise UnscannableError("corrupt") from None


def _with_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields: dict[str, object] = {}
    repeats: dict[str, int] = {}
    for key, value in pairs:
        if key in fields:
            repeats[key] = repeats.get(key, 0) + 1
            key += " " * repeats[key]
        fields[key] = value
    return fields


def _nothing(constant: str) -> None:
    """Stand for a number that JSON does not have."""
