"""The texts of items in which a name may stand, by place: what the platform lists, and what its file says.

Texts are opened from their sealed records only while they are searched; none is stored, logged or shown.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final
from urllib.parse import unquote, urlsplit

from embeddings.headers.evidence import HeaderText
from embeddings.infotext.a1111 import prompt_of
from indexes.name_text import join_texts
from pipelines.sources import Item

FILE_NAME: Final = "file_name"
SIDE_BY_SIDE: Final = "title_and_tags"
RESIDUAL: Final = (SIDE_BY_SIDE, "header:other", "header:tensor_names")
"""Places that hold what other places hold too: a name there counts for whoever is named nowhere else."""
_SHORT: Final = 200
"""Characters of a title up to which its last word may be the first of a name that goes on in a tag."""
_PHRASES: Final = 5
_PHRASE_WORDS: Final = 3
"""Trigger words of several words that are looked at behind the title, and words of each: a name, and what it is of."""
_WORDS: Final = re.compile(r"[^\W\d_]{3}|[^\W\d_\x00-\u024f]{2}")
_DIGEST: Final = re.compile(r"(?:[0-9a-f]{4,}+-?)++", re.IGNORECASE)
_EXTENSION: Final = re.compile(r"(?:\.[A-Za-z0-9]{1,11}){1,2}$")
INFOTEXT: Final = "infotext:"
"""Where the places of what a picture says of its making begin. They are of tier ``text``, as what is listed beside a
picture is, and count while the item has the content, as what is in a header does."""
_NAMES: Final = {
    "infotext:prompt": "prompt in the picture's file",
    "infotext:lora": "name of a LoRA in the picture's file",
    "infotext:model": "name of a model in the picture's file",
    "infotext:workflow": "settings in the picture's file",
    "infotext:caption": "caption in the picture's file",
    "version": "number",
}
IN_FILES: Final = ("header:", INFOTEXT)


def texts_of(item: Item) -> dict[str, str]:
    """Return the listed texts of an item by place. No name goes across two tags; places without text are left out.

    ``title_and_tags`` is the exception: short texts that stand beside one another, in which a name may be split over
    title and tag, over two tags of one word, or over title and a trigger of a few words. Of a prompt that is a whole
    text of parameters, what it excludes and the settings are left out.
    """
    texts = {
        "title": item.title or "",
        "prompt": prompt_of(item.prompt or ""),
        "tags": join_texts(item.tags),
        "trigger_words": join_texts(item.trigger_words),
        FILE_NAME: file_name(item),
        SIDE_BY_SIDE: _side_by_side(item),
    }
    return {place: text for place, text in texts.items() if text}


def file_name(item: Item) -> str:
    """Return what an item's file is called, without its extension; empty if that has no words, as digests have not."""
    path = urlsplit(item.locator).path if item.remote else item.locator
    name = re.split(r"[/\\]", unquote(path).rstrip("/\\"))[-1]
    name = _EXTENSION.sub("", name)
    return name if _WORDS.search(name) and not _DIGEST.fullmatch(name) else ""


def is_in_file(place: str | None) -> bool:
    """Whether a place is in an item's content: a model file's header, or what a picture says of its making."""
    return place is not None and place.startswith(IN_FILES)


def name_of_place(place: str | None) -> str:
    """Return how people call a place: ``title``, ``prompt in the picture's file``, or the entry of a header."""
    place = place or "unknown place"
    return _NAMES.get(place, place.removeprefix("header:").replace("_", " "))


def by_place(texts: Iterable[HeaderText]) -> Mapping[str, str]:
    """Join the texts of each place, so that no name goes across two of them."""
    places: dict[str, list[str]] = {}
    for one in texts:
        places.setdefault(one.place, []).append(one.text)
    return {place: join_texts(parts) for place, parts in places.items()}


def _side_by_side(item: Item) -> str:
    """The title followed by the tags, and by the trigger words, with a wall for whatever has more than one word; and by
    each of the first trigger words of a few words."""
    title = item.title if item.title and len(item.title) <= _SHORT else None
    runs = [run for words in (item.tags, item.trigger_words) for run in _runs(title, words)]
    return join_texts(runs + [f"{title} {phrase}" for phrase in _phrases(item.trigger_words) if title])


def _phrases(words: Sequence[str]) -> list[str]:
    """The first trigger words that are a few words each, as ``doe woman``."""
    return [word for word in words if 1 < len(word.split()) <= _PHRASE_WORDS][:_PHRASES]


def _runs(title: str | None, words: Sequence[str]) -> list[str]:
    runs: list[list[str]] = [[title] if title else []]
    for word in words:
        if len(word.split()) == 1:
            runs[-1].append(word)
        else:
            runs.append([])
    return [" ".join(run) for run in runs if len(run) > 1]
