"""What pictures say of their making, read in a confined process: the same as in this one, checked before it is used."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any, Final

from embeddings.infotext.fields import MOST_NAMED, PLACES, PROBLEMS, InfotextLimits
from embeddings.infotext.read import Infotext
from embeddings.sandbox.infotext_work import READ_INFOTEXT
from embeddings.sandbox.pool import DecodingPool, unbelievable

_ESCAPED: Final = 12
"""Characters of JSON that one of a text may take: two escapes of six."""
_NAMED: Final = 1 << 16
"""Bytes that hashes, numbers and the rest may take."""


class SandboxedInfotextReader:
    """An :class:`embeddings.infotext.read.InfotextReader` on a pool of confined processes."""

    def __init__(self, pool: DecodingPool) -> None:
        self.pool = pool

    def __call__(self, data: bytes, *, limits: InfotextLimits) -> Infotext:
        """Read a picture file. Raises :class:`UnscannableError` where the process does not answer."""
        room = len(PLACES) * (_ESCAPED + 1) * limits.max_chars + _NAMED
        answer = next(self.pool.results(READ_INFOTEXT, {"limits": asdict(limits)}, data, room=room), None)
        if answer is None:
            raise unbelievable()
        try:
            said: Any = json.loads(answer.payload.tobytes())
            problem = said["problem"]
            if problem is not None and problem not in PROBLEMS:
                raise unbelievable()
            if max(len(said["hashes"]), len(said["versions"])) > MOST_NAMED:
                raise unbelievable()
            return Infotext(
                texts=tuple(_text(place, text, limits) for place, text in said["texts"]),
                hashes=tuple(_digits(one, "0123456789abcdef") for one in said["hashes"]),
                versions=tuple(_digits(one, "0123456789") for one in said["versions"]),
                problem=problem,
            )
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise unbelievable() from error


def _text(place: object, text: object, limits: InfotextLimits) -> tuple[str, str]:
    if place not in PLACES or not isinstance(place, str) or not isinstance(text, str) or len(text) > limits.max_chars:
        raise unbelievable()
    return place, text


def _digits(value: object, known: str) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= 18 or not set(value) <= set(known):
        raise unbelievable()
    return value
