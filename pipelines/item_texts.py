"""The texts of items in which a name may stand, by place: what the platform lists, and what a model file's header says.

Opened from sealed records for as long as they are searched; nothing here is stored, logged or shown.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from indexes.name_text import join_texts
from pipelines.database.evidence import model_files
from pipelines.sealing import Sealer
from pipelines.sources import Item


@dataclass(frozen=True, slots=True)
class HeaderText:
    """A text of a model file's header: ``place`` such as ``header:ss_output_name``."""

    place: str
    text: str = field(repr=False)


def texts_of(item: Item) -> dict[str, str]:
    """Place -> text of an item as listed. Tags are one text that no name goes across; places without one are left out.

    The places are those that ``items.text_digest`` is made of.
    """
    texts = {
        "title": item.title or "",
        "prompt": item.prompt or "",
        "tags": join_texts(item.tags),
        "trigger_words": join_texts(item.trigger_words),
    }
    return {place: text for place, text in texts.items() if text}


def header_texts(
    connection: Connection, sealer: Sealer, contents: Collection[str]
) -> dict[str, tuple[HeaderText, ...]]:
    """Content digest -> texts of its header, of those contents that are model files with a readable one."""
    query = sa.select(model_files.c.content_sha256, model_files.c.sealed_header).where(
        model_files.c.content_sha256.in_(list(contents)), model_files.c.sealed_header.is_not(None)
    )
    found = {}
    for content, sealed in connection.execute(query):
        record = sealer.unseal_record(sealed, content)
        found[str(content)] = tuple(HeaderText(place, text) for place, text in record["texts"])
    return found


def by_place(texts: Iterable[HeaderText]) -> Mapping[str, str]:
    """Place -> its texts as one that no name goes across."""
    places: dict[str, list[str]] = {}
    for one in texts:
        places.setdefault(one.place, []).append(one.text)
    return {place: join_texts(parts) for place, parts in places.items()}
