"""The texts of items in which a name may stand, by place: what the platform lists, and what its file says.

Texts are opened from their sealed records only while they are searched; none is stored, logged or shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from embeddings.headers.evidence import HeaderText
from indexes.name_text import join_texts
from pipelines.sources import Item

INFOTEXT: Final = "infotext:"
"""Where the places of what a picture says of its making begin. They are of tier ``text``, as what is listed beside a
picture is, and count while the item has the content, as what is in a header does."""
_WORDS: Final = {
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

    The places are those that ``items.text_digest`` is made of.
    """
    texts = {
        "title": item.title or "",
        "prompt": item.prompt or "",
        "tags": join_texts(item.tags),
        "trigger_words": join_texts(item.trigger_words),
    }
    return {place: text for place, text in texts.items() if text}


def is_in_file(place: str | None) -> bool:
    """Whether a place is in an item's content: a model file's header, or what a picture says of its making."""
    return place is not None and place.startswith(IN_FILES)


def name_of_place(place: str | None) -> str:
    """Return how people call a place: ``title``, ``prompt in the picture's file``, or the entry of a header."""
    place = place or "unknown place"
    return _WORDS.get(place, place.removeprefix("header:").replace("_", " "))


def by_place(texts: Iterable[HeaderText]) -> Mapping[str, str]:
    """Join the texts of each place, so that no name goes across two of them."""
    places: dict[str, list[str]] = {}
    for one in texts:
        places.setdefault(one.place, []).append(one.text)
    return {place: join_texts(parts) for place, parts in places.items()}
