"""Texts in values of any shape: every string of JSON, whatever it is called, but for what is no text."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Final

from embeddings.errors import UnscannableError
from embeddings.headers.places import FOLDERS, LAYERS, TELLING
from embeddings.infotext.negatives import asked_for
from embeddings.infotext.roles import is_negative
from embeddings.strict_json import pairs_of, parse_leniently

_MAX_PARTS: Final = 1_000_000
_DEPTH: Final = 4
"""How often JSON may stand in a string of JSON; deeper it is searched as it is written."""
_LETTERS: Final = re.compile(r"[^\W\d_]{2}|[^\W\d_\x00-\u024f]")
"""What a name has at least: two letters, or one of a script of signs."""
_NO_TEXT: Final = re.compile(r"(?:0x)?[0-9a-fA-F]{16,}|data:[a-z]+/[^,]{0,80},.*|[A-Za-z0-9+/=_-]{400,}", re.DOTALL)
_KEY: Final = re.compile(r"""["']([^"'\\]{1,60})\\{0,9}["']\s{0,3}:""")
_DIGITS: Final = re.compile(r"\d+")
_WORD: Final = re.compile(r"[a-z]+", re.ASCII)
_REPEATS: Final = re.compile(r"\d+_")


def value_of(text: str) -> object:
    """Return the JSON in a string, or the string itself where it holds none that can be read."""
    if text[:200].lstrip()[:1] not in ("{", "["):
        return text
    try:
        return parse_leniently(text, max_parts=_MAX_PARTS)
    except UnscannableError:
        return text


def strings_of(value: object, *, depth: int = _DEPTH) -> Iterator[str]:
    """Yield every text in a JSON value, keys too, and in JSON within its strings; in the order in which it stands.

    What is excluded is left out: what stands under a key that says negative, and within a text what follows such words.
    """
    waiting: list[tuple[object, int]] = [(value, depth)]
    while waiting:
        one, left = waiting.pop()
        if isinstance(one, str):
            inner = value_of(one) if left else one
            if isinstance(inner, str):
                wanted = wanted_of(one)
                yield from [wanted] if is_text(wanted) else []
            else:
                waiting.append((inner, left - 1))
        elif isinstance(one, dict):
            for key, inner in reversed(pairs_of(one)):
                waiting += [(key, left)] if is_negative(key) else [(inner, left), (key, left)]
        elif isinstance(one, list):
            waiting += [(part, left) for part in reversed(one)]


def wanted_of(text: str) -> str:
    """Return a text without what it excludes; one that is meant as JSON and cannot be read, up to the first key that
    says negative."""
    meant = text[:200].lstrip()[:1] in ("{", "[", '"', "'")
    cut = next((key.start() for key in _KEY.finditer(text) if is_negative(key[1])), None) if meant else None
    return asked_for(text[:cut])


def is_text(text: str) -> bool:
    """Whether a string may hold a name: it has letters, and is neither a digest nor encoded bytes."""
    return _LETTERS.search(text) is not None and _NO_TEXT.fullmatch(text) is None


def telling_texts(value: object) -> Iterator[str]:
    """Yield what a trainer's settings say of what it is trained on: words, and the own names of folders and files."""
    waiting: list[tuple[str, object]] = [("", value)]
    while waiting:
        key, one = waiting.pop()
        if isinstance(one, dict):
            pairs = [(name, part) for name, part in reversed(pairs_of(one)) if not is_negative(name)]
            waiting += [(name.rpartition(".")[2], part) for name, part in pairs]
        elif isinstance(one, list):
            waiting += [(key, part) for part in reversed(one)]
        elif isinstance(one, str) and key in FOLDERS:
            yield own_name(one)
        elif isinstance(one, str) and key in TELLING:
            yield asked_for(one)


def own_name(path: str) -> str:
    """Return what a folder of training images is called: its last part, without the repeats (``10_jane doe``)."""
    name = re.split(r"[/\\]", path.rstrip("/\\"))[-1]
    return _REPEATS.sub("", name, count=1) if _REPEATS.match(name) else name


def telling_names(names: Collection[str]) -> list[str]:
    """Return the names of tensors that are not made of words for layers, one for each way to number them."""
    kept: dict[str, str] = {}
    for name in names:
        pattern = _DIGITS.sub("0", name)
        if pattern not in kept:
            words = _WORD.findall(name.lower().replace("_", " "))
            kept[pattern] = (
                name if not name.isascii() or any(len(word) > 1 and word not in LAYERS for word in words) else ""
            )
    return [name for name in kept.values() if name and is_text(name)]
