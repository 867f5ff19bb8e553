"""Reads what an uploader or a platform says about an item: fields in, checked, converted and capped.

All fields are an attacker's (I9). A bad field is named and dropped; the others are kept, because one odd tag must not
rid an item of its title, its id or its deletion. Knows no files and no network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from pipelines.sources.item import Kind
from pipelines.sources.json_rows import Every, merged, read_objects
from pipelines.sources.moments import is_plausible, read_moment
from pipelines.sources.values import Value, read_flag, read_identifier, read_kind, read_text, read_words

MAX_METADATA_BYTES: Final = 16 << 20
"""Largest side-car, and as much as is read of a line of a manifest."""
MAX_TITLE: Final = 1_000
MAX_PROMPT: Final = 64_000
MAX_LOCATOR: Final = 4_096

FIELDS: Final = (
    *("id", "kind", "parent_model", "uploader", "received_at", "updated_at", "generation", "title", "prompt"),
    *("tags", "trigger_words", "nsfw_level", "deleted"),
)
"""What a side-car may say. A manifest adds path, url and the revision fields."""
REVISION_FIELDS: Final = ("sha256", "etag", "revision")
MODEL_SUFFIXES: Final = (".safetensors", ".ckpt", ".pt", ".pth", ".bin", ".gguf", ".onnx")
_MOST_GENERATION: Final = 10**8
"""Numbers below this are plain generations; from here on a number is a time."""


@dataclass(frozen=True, slots=True, repr=False)
class Metadata:
    """The fields that could be read; ``bad`` names those that were given and could not."""

    item_id: str | None = None
    kind: Kind | None = None
    received_at: datetime | None = None
    updated_at: datetime | None = None
    generation: int | None = None
    parent_model: str | None = None
    uploader: str | None = None
    title: str | None = None
    prompt: str | None = None
    tags: tuple[str, ...] = ()
    trigger_words: tuple[str, ...] = ()
    nsfw_level: str | None = None
    revision: str | None = None
    deleted: bool = False
    undeleted: bool = False
    """Whether the fields say that the item is not deleted, instead of saying nothing of deletion."""
    bad: tuple[str, ...] = ()
    damaged: tuple[str, ...] = ()
    """Texts of which only a part could be read."""
    adapted: tuple[str, ...] = ()
    """Fields that were read from another form than the documented one."""
    date_form: str = "missing"
    """How ``received_at`` was written (:data:`pipelines.sources.moments.FORMS`), ``missing`` or ``unreadable``."""

    @property
    def valid(self) -> bool:
        """Whether every field that was given could be read."""
        return not self.bad


UNREADABLE_OBJECT: Final = Metadata(bad=("object",))
"""The metadata of a side-car or row that is no JSON object at all."""


_READERS: Final[Mapping[str, Callable[[object], Value[Any]]]] = {
    "id": read_identifier,
    "parent_model": read_identifier,
    "uploader": read_identifier,
    "title": lambda value: read_text(value, MAX_TITLE),
    "prompt": lambda value: read_text(value, MAX_PROMPT),
    "tags": read_words,
    "trigger_words": read_words,
    "nsfw_level": read_identifier,
}
"""Readers of the fields that need nothing else, by field; all but ``id`` have the name of their attribute."""


class Reader:
    """Reads fields. ``kinds``: a platform's names for kinds, beside those that are known, by ``kind_key``."""

    def __init__(self, kinds: Mapping[str, Kind]) -> None:
        self._readers = {
            **_READERS,
            "kind": lambda value: read_kind(value, kinds),
            "generation": read_generation,
            "updated_at": _read_time,
            "deleted": _read_deleted,
        }

    def read(self, fields: Mapping[str, object], *, bad: tuple[str, ...] = ()) -> Metadata:
        """Check, convert and cap ``fields``. Never raises. ``bad``: fields already known to be bad."""
        notes: dict[str, str] = dict.fromkeys(bad, "bad")
        values: dict[str, Any] = {}
        for name, given in fields.items():
            reader = self._readers.get(name)
            if reader is None or given is None:
                continue
            value, how = reader(given)
            values["item_id" if name == "id" else name] = value
            if how not in ("plain", "missing"):
                notes.setdefault(name, how)
        if fields.get("id") == "":
            notes.setdefault("id", "bad")
        deleted = values.pop("deleted", None)
        date_form, received_at = _dated(fields.get("received_at"), notes)
        return Metadata(
            **values,
            received_at=received_at,
            revision=_revision(fields, notes),
            deleted=deleted is True,
            undeleted=deleted is False,
            bad=_those(notes, "bad"),
            damaged=_those(notes, "damaged"),
            adapted=_those(notes, "adapted"),
            date_form=date_form,
        )

    def read_sidecar(self, data: bytes) -> Metadata:
        """Return the metadata in a side-car's bytes; :data:`UNREADABLE_OBJECT` where they do not begin a JSON
        object."""
        objects = read_objects(data, FIELDS)
        if not objects or (not objects[0].pairs and not objects[0].whole):
            return UNREADABLE_OBJECT
        fields, repeated = merged(objects[0].pairs)
        return self.read(fields, bad=repeated if objects[0].sound else (*repeated, "object"))


def default_kind(path: str) -> Kind:
    """Return the kind of a file that states none: a model by its extension, else an image."""
    return "model" if path.lower().endswith(MODEL_SUFFIXES) else "image"


def read_generation(value: object) -> Value[int | None]:
    """Read a manifest's ``generation``: a time as microseconds since 1970, or a smaller number as it is."""
    if value is None or value == "":
        return Value(None, "missing")
    if (found := read_moment(value)) is not None and is_plausible(found[0]):
        return Value(round(found[0].timestamp() * 10**6), "plain")
    number = read_identifier(value).read
    if (
        found is None
        and number is not None
        and number.isascii()
        and number.isdigit()
        and int(number) < _MOST_GENERATION
    ):
        return Value(int(number), "plain")
    return Value(None, "bad")


def _those(notes: Mapping[str, str], how: str) -> tuple[str, ...]:
    return tuple(sorted([name for name, noted in notes.items() if noted == how])) if notes else ()


def _dated(value: object, notes: dict[str, str]) -> tuple[str, datetime | None]:
    """The name of the form of ``received_at``, and the moment."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return "missing", None
    found = read_moment(value)
    if found is None:
        notes.setdefault("received_at", "bad")
        return "unreadable", None
    return found[1], found[0]


def _read_time(value: object) -> Value[datetime | None]:
    if isinstance(value, str) and not value.strip():
        return Value(None, "missing")
    found = read_moment(value)
    # A time in 9999 would make every later row of the item an older one.
    return Value(found[0], "plain") if found is not None and is_plausible(found[0]) else Value(None, "bad")


def _read_deleted(value: object) -> Value[bool | None]:
    """Read ``deleted``; among several values any deletion counts, so that a repeated key does not lose it."""
    if not isinstance(value, Every):
        return read_flag(value)
    read = [read_flag(one) for one in value]
    if any(one.read for one in read):
        return Value(True, "bad")
    return Value(None if any(one.how == "bad" for one in read) else read[-1].read, "bad")


def _revision(fields: Mapping[str, object], notes: dict[str, str]) -> str | None:
    """Return the first field that tells one content from another."""
    for name in REVISION_FIELDS:
        value = fields.get(name)
        if value is None:
            continue
        read = read_identifier(value.hex() if isinstance(value, bytes) else value)
        if read.how == "bad":
            notes.setdefault(name, "bad")
        elif read.read is not None:
            return read.read
    return None
