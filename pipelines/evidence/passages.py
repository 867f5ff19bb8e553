"""The sentence around a name, cut out of a text, with at most :data:`MOST` characters on either side of the name.

A passage is personal: it is shown to one person at a time, and stored only under the subject's key.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy.engine import Connection

from embeddings.infotext.a1111 import prompt_alone, prompt_of
from embeddings.infotext.fields import PROMPT
from indexes.name_text import WALL
from pipelines.home.sealing import Sealer
from pipelines.intake.file_texts import file_texts
from pipelines.intake.picture_texts import infotexts
from pipelines.intake.texts import by_place, is_in_file, texts_of
from pipelines.sources import Item

MOST: Final = 240
_END: Final = re.compile(rf"[.!?\u2026\u3002\uff01\uff1f\n\r{re.escape(WALL)}]")
"""Where a sentence ends, or a text that was joined with others."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A term as written, with the text before and after it."""

    before: str = field(repr=False)
    term: str = field(repr=False)
    after: str = field(repr=False)

    @property
    def marked(self) -> str:
        """The sentence with the term in double brackets."""
        return f"{self.before}[[{self.term}]]{self.after}"

    def to_bytes(self) -> bytes:
        """Encode the passage for sealing; :meth:`from_bytes` reads it back."""
        return json.dumps([self.before, self.term, self.after]).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Passage:
        """Read a passage that :meth:`to_bytes` encoded."""
        return cls(*json.loads(data))


def passage_around(text: str, term: str) -> Passage | None:
    """Return the sentence around the first ``term`` in ``text``; None if the text does not have it."""
    start = text.find(term) if term else -1
    if start < 0:
        return None
    end = start + len(term)
    before, after = text[max(0, start - MOST) : start], text[end : end + MOST]
    ends = [found.end() for found in _END.finditer(before)]
    before = before[ends[-1] :] if ends else before
    stop = _END.search(after)
    after = after[: stop.start() if stop and stop[0] in f"\n\r{WALL}" else stop.end()] if stop else after
    return Passage(before.lstrip(), term, after.rstrip())


def find_passage(connection: Connection, sealer: Sealer, row: Any, term: str) -> Passage | None:
    """Find the sentence of a name in the sealed texts of its item or in its file.

    ``row``: ``tier``, ``place`` and ``content_key`` of the hit, ``item_id`` and ``sealed_record`` of the item. None
    where the text has changed since, or is not kept.
    """
    if is_in_file(row.place):
        texts = by_place(file_texts(connection, sealer, [row.content_key]).get(row.content_key, ()))
    elif row.sealed_record is not None:
        texts = texts_of(Item.from_record(sealer.unseal_record(row.sealed_record, row.item_id)["item"]))
    else:
        return None
    return passage_around(texts.get(row.place or "", ""), term)


def do_prompts_differ(connection: Connection, sealer: Sealer, row: Any) -> bool | None:
    """Whether the prompt that is listed of a hit's item is none of those in its file; None where only one of them has
    a prompt, or the name stands in neither.

    ``row``: as of :func:`find_passage`, with ``content_now`` of the item. Spaces, upper case and the calls of LoRAs
    make no difference.
    """
    if row.place not in ("prompt", PROMPT) or row.sealed_record is None or row.content_now is None:
        return None
    listed = Item.from_record(sealer.unseal_record(row.sealed_record, row.item_id)["item"]).prompt
    in_file = [
        one.text
        for one in infotexts(connection, sealer, [row.content_now]).get(row.content_now, ())
        if one.place == PROMPT
    ]
    if not listed or not in_file:
        return None
    return _bare(listed) not in {_bare(text) for text in in_file}


def _bare(prompt: str) -> str:
    return " ".join(prompt_alone(prompt_of(prompt)).casefold().split())
