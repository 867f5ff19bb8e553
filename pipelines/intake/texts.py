"""The texts of items in which a name may stand, by place: what the platform lists, and what a model file's header says.

Texts are opened from their sealed records only while they are searched; none is stored, logged or shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from embeddings.headers.evidence import HeaderText
from indexes.name_text import join_texts
from pipelines.sources import Item


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


def by_place(texts: Iterable[HeaderText]) -> Mapping[str, str]:
    """Join the texts of each place, so that no name goes across two of them."""
    places: dict[str, list[str]] = {}
    for one in texts:
        places.setdefault(one.place, []).append(one.text)
    return {place: join_texts(parts) for place, parts in places.items()}
