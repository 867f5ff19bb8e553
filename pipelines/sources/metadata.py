"""Reads what an uploader or a platform says about an item: strict JSON in, checked and capped fields out.

All of it is an attacker's (I9). A bad field costs itself and is reported (``valid`` is false); the others are kept,
because one odd tag must not rid an item of its title, its id or its deletion. Knows no files and no network.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Final, cast

from embeddings.strict_json import refuse_constant, without_repeats
from pipelines.sources.item import KINDS, Kind

MAX_METADATA_BYTES: Final = 1 << 20
"""Largest side-car, and largest line of a manifest."""
MAX_ID: Final = 512
MAX_TITLE: Final = 1_000
MAX_PROMPT: Final = 64_000
MAX_WORDS: Final = 1_000
MAX_WORD: Final = 256
MAX_LOCATOR: Final = 4_096

FIELDS: Final = (
    *("id", "kind", "parent_model", "uploader", "received_at", "title", "prompt"),
    *("tags", "trigger_words", "nsfw_level", "deleted"),
)
"""What a side-car may say. A manifest adds path, url and the revision fields."""
REVISION_FIELDS: Final = ("sha256", "etag", "revision")
MODEL_SUFFIXES: Final = (".safetensors", ".ckpt", ".pt", ".pth", ".bin", ".gguf", ".onnx")

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


@dataclass(frozen=True, slots=True, repr=False)
class Metadata:
    """The fields that could be read; ``valid`` is false when any that was given could not."""

    item_id: str | None = None
    kind: Kind | None = None
    received_at: datetime | None = None
    parent_model: str | None = None
    uploader: str | None = None
    title: str | None = None
    prompt: str | None = None
    tags: tuple[str, ...] = ()
    trigger_words: tuple[str, ...] = ()
    nsfw_level: str | None = None
    revision: str | None = None
    deleted: bool = False
    valid: bool = True


UNREADABLE: Final = Metadata(valid=False)
"""The metadata of a side-car or row that is no JSON object at all."""


def parse_object(data: bytes) -> dict[str, object]:
    """A JSON object, strictly: UTF-8, no repeated keys, no NaN or infinities. Raises :class:`ValueError`."""
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=without_repeats, parse_constant=refuse_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return value


def read_metadata(fields: Mapping[str, object]) -> Metadata:
    """Check, convert and cap ``fields``. Never raises: what cannot be read is left out and ``valid`` becomes false.

    Ids, uploaders and parents may be integers. ``received_at`` is ISO 8601 (or a date or datetime); naive means UTC,
    a date alone means its midnight. Long strings and lists are cut to the caps above.
    """
    item_id, id_ok = _identifier(fields.get("id"))
    kind, kind_ok = _kind(fields.get("kind"))
    received_at, received_ok = _moment(fields.get("received_at"))
    parent_model, parent_ok = _identifier(_unless_empty(fields.get("parent_model")))
    uploader, uploader_ok = _identifier(_unless_empty(fields.get("uploader")))
    title, title_ok = _text(fields.get("title"), MAX_TITLE)
    prompt, prompt_ok = _text(fields.get("prompt"), MAX_PROMPT)
    tags, tags_ok = _words(fields.get("tags"))
    trigger_words, triggers_ok = _words(fields.get("trigger_words"))
    nsfw_level, nsfw_ok = _identifier(_unless_empty(fields.get("nsfw_level")))
    revision, revision_ok = _revision(fields)
    deleted, deleted_ok = _flag(fields.get("deleted"))
    checks = (id_ok, kind_ok, received_ok, parent_ok, uploader_ok, title_ok, prompt_ok, tags_ok)
    return Metadata(
        item_id=item_id,
        kind=kind,
        received_at=received_at,
        parent_model=parent_model,
        uploader=uploader,
        title=title,
        prompt=prompt,
        tags=tags,
        trigger_words=trigger_words,
        nsfw_level=nsfw_level,
        revision=revision,
        deleted=deleted,
        valid=all((*checks, triggers_ok, nsfw_ok, revision_ok, deleted_ok)),
    )


def default_kind(path: str) -> Kind:
    """What an unlabelled file is taken for: a model by its extension, else an image."""
    return "model" if path.lower().endswith(MODEL_SUFFIXES) else "image"


def is_storable(text: str) -> bool:
    """Whether any database stores ``text`` unchanged: no NUL, no lone surrogate."""
    return _UNSTORABLE.search(text) is None


def _unless_empty(value: object) -> object:
    return None if value == "" else value


def _identifier(value: object) -> tuple[str | None, bool]:
    """An id is kept whole or not at all: a cut or altered id would name another thing."""
    if value is None:
        return None, True
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value.strip() or len(value) > MAX_ID or not is_storable(value):
        return None, False
    return value, True


def _text(value: object, limit: int) -> tuple[str | None, bool]:
    if value is None:
        return None, True
    if not isinstance(value, str):
        return None, False
    return _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", value[:limit]), True


def _words(value: object) -> tuple[tuple[str, ...], bool]:
    if value is None:
        return (), True
    if not isinstance(value, list | tuple):
        return (), False
    words = [_text(word, MAX_WORD)[0] for word in value]
    kept = [word for word in words if word is not None]
    return tuple(kept[:MAX_WORDS]), len(kept) == len(words)


def _kind(value: object) -> tuple[Kind | None, bool]:
    if value is None:
        return None, True
    if isinstance(value, str) and value in KINDS:
        return cast(Kind, value), True
    return None, False


def _flag(value: object) -> tuple[bool, bool]:
    if value is None:
        return False, True
    return (value, True) if isinstance(value, bool) else (False, False)


def _moment(value: object) -> tuple[datetime | None, bool]:
    if value is None:
        return None, True
    try:
        if isinstance(value, str):
            value = datetime.fromisoformat(value.strip())
        elif isinstance(value, date) and not isinstance(value, datetime):
            value = datetime(value.year, value.month, value.day)
        if not isinstance(value, datetime):
            return None, False
        aware = value.replace(tzinfo=UTC) if value.utcoffset() is None else value
        return aware.astimezone(UTC), True
    except (ValueError, OverflowError):
        return None, False


def _revision(fields: Mapping[str, object]) -> tuple[str | None, bool]:
    for name in REVISION_FIELDS:
        value = _unless_empty(fields.get(name))
        if value is not None:
            return _identifier(value.hex() if isinstance(value, bytes) else value)
    return None, True
