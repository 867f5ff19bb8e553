"""Bytes of a picture file to what it says of its making: the texts by place, and which model files it names.

A pure function, whatever the bytes are: no network, no files, and time and memory within the limits. All of what it
returns was written by whoever made the file and can be forged; a negative prompt is left out, because it says what the
picture was to be kept free of.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Protocol

from embeddings.errors import UnscannableError
from embeddings.images.several import apart, are_several
from embeddings.infotext.a1111 import is_a1111, read_a1111, read_prompt
from embeddings.infotext.captions import DAMAGED, read_iptc, read_xmp
from embeddings.infotext.carriers import IPTC, XMP, raw_fields
from embeddings.infotext.comfyui import is_prompt, is_workflow, read_drawn, read_run
from embeddings.infotext.exif import decode_text
from embeddings.infotext.fields import (
    CAPTION,
    LORA,
    MODEL,
    PLACES,
    PROMPT,
    Budget,
    InfotextBuilder,
    InfotextLimits,
    RawField,
)
from embeddings.infotext.negatives import without_brackets
from embeddings.infotext.roles import UNREADABLE, is_negative, parsed_text, role_of, walk
from embeddings.infotext.stealth import stealth_text
from embeddings.strict_json import Repeating, pairs_of

READER: Final = 3
"""Version of this reader. A picture that another one read is read again."""
_IGNORED: Final = frozenset(
    ("software", "author", "copyright", "creation time", "date:create", "date:modify", "date:timestamp", "source")
)
_OF_PHOTOGRAPHS: Final = frozenset(("make", "model", "makernote"))
"""What a camera writes here is no caption."""
_GRAPHS_OF_OTHERS: Final = frozenset(("invokeai_graph", "invokeai_workflow"))
"""They repeat what ``invokeai_metadata`` says, without saying which text was excluded."""
_OF_INVOKEAI_2: Final = "sd-metadata"
_DREAM: Final = re.compile(r'^"(.*)" -', re.DOTALL)
_DASHED: Final = re.compile(r"(?:^|(?<=[\n\r]))-(?!-).*?(?=[\n\r]\s{0,20}Steps:|\Z)", re.DOTALL)
"""Draw Things' negative prompt in a description: the lines from one that begins with a dash to the settings."""
_COMFY: Final = re.compile(r"^(prompt|workflow):(?=\s*\{)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, repr=False)
class Infotext:
    """What a picture file says of its making. ``repr`` shows nothing of it."""

    texts: tuple[tuple[str, str], ...]
    """Place (:data:`embeddings.infotext.fields.PLACES`) and text, each text once per place."""
    hashes: tuple[str, ...]
    """First 12 or 10 hex digits of model files' SHA-256, or of what follows a safetensors header."""
    versions: tuple[str, ...]
    """A platform's numbers of model versions."""
    problem: str | None
    """Why not all of it could be read: a fixed word such as ``too_large``; None: all of it was."""


class InfotextReader(Protocol):
    """Reads a picture file, in this process (:func:`read_infotext`) or in a confined one."""

    def __call__(self, data: bytes, *, limits: InfotextLimits) -> Infotext:
        """Read ``data``. Raises :class:`embeddings.errors.UnscannableError` where whoever reads it does not answer."""
        ...


def read_infotext(data: bytes, *, limits: InfotextLimits) -> Infotext:
    """Read a picture file of any kind, or several as one content (:mod:`embeddings.images.several`). Never raises
    because of the bytes: a file without texts has none."""
    budget, builder = Budget(limits), InfotextBuilder(limits)
    for picture in _pictures(builder, data):
        _read_picture(builder, budget, picture)
    if budget.exceeded:
        builder.problems.add("too_large")
    return Infotext(
        texts=tuple((place, text) for place in PLACES for text in builder.texts.get(place, ())),
        hashes=tuple(sorted(builder.hashes)),
        versions=tuple(sorted(builder.versions)),
        problem=min(builder.problems, default=None),
    )


def texts_of_field(key: str, text: str, *, limits: InfotextLimits) -> tuple[str, ...]:
    """Return what a text says that a picture has under ``key``, as where a model file has it. Never raises."""
    builder, drawn = InfotextBuilder(limits), list[dict[str, object]]()
    run = _read_field(builder, RawField(key, text), drawn, by_novelai=False)
    for graph in drawn:
        read_drawn(builder, graph, run=run)
    return tuple(one for place in PLACES for one in builder.texts.get(place, ()))


def _pictures(builder: InfotextBuilder, data: bytes) -> list[bytes]:
    if not are_several(data):
        return [data]
    try:
        return apart(data)
    except UnscannableError as error:
        builder.problems.add(error.reason)
        return []


def _read_picture(builder: InfotextBuilder, budget: Budget, data: bytes) -> None:
    """Read one picture. What a field says of another holds within a picture alone."""
    fields = list(raw_fields(data, budget))
    hidden = stealth_text(data, budget)
    if hidden is not None:
        fields.append(RawField("parameters", decode_text(hidden)))
    run: frozenset[str] = frozenset()
    drawn: list[dict[str, object]] = []
    by_novelai = any(one.key in ("software", "source") and "novelai" in one.text.lower() for one in fields)
    for one in fields:
        run |= _read_field(builder, one, drawn, by_novelai=by_novelai)
    for graph in drawn:
        read_drawn(builder, graph, run=run)


def _read_field(
    builder: InfotextBuilder, one: RawField, drawn: list[dict[str, object]], *, by_novelai: bool
) -> frozenset[str]:
    """Read one field; return the numbers of the nodes that were run, if it is such a graph."""
    key, text = one.key, one.text.strip("\0 \r\n\t")
    if not text or key in _GRAPHS_OF_OTHERS or is_negative(key):
        return frozenset()
    if key in (XMP, IPTC):
        return _read_captions(builder, one, drawn)
    named = _COMFY.match(text)
    text = text[named.end() :].strip() if named else text
    value = parsed_text(builder, text)
    if value is UNREADABLE:
        return frozenset()
    if value is not None and key == _OF_INVOKEAI_2:
        walk(builder, value, "other", bracketed=True)
        return frozenset()
    if value is not None:
        return _read_value(builder, value, drawn)
    if key == "description" and by_novelai:
        read_prompt(builder, text)
    elif key == "source" and by_novelai:
        builder.add(MODEL, text)
    else:
        _read_text(builder, key, text)
    return frozenset()


def _read_captions(builder: InfotextBuilder, one: RawField, drawn: list[dict[str, object]]) -> frozenset[str]:
    """Read each text of a packet or block as a field of its own: generators write all they know into these too."""
    if one.key == IPTC:
        texts = [("description", found) for found in read_iptc(one.text.encode("latin-1"))]
    else:
        texts = list(read_xmp(one.text.strip()))
    run: frozenset[str] = frozenset()
    for place, found in texts:
        if place == DAMAGED:
            builder.problems.add("corrupt")
            continue
        key = "prompt" if place == PROMPT else place
        text = _DASHED.sub("", found) if is_a1111(found) else found
        run |= _read_field(builder, RawField(key, text), drawn, by_novelai=False)
    return run


def _read_value(builder: InfotextBuilder, value: object, drawn: list[dict[str, object]]) -> frozenset[str]:
    """Read a parsed text: a graph, an object that has graphs among other things, or anything else by its keys."""
    if not isinstance(value, dict):
        walk(builder, value, "other")
        return frozenset()
    if is_prompt(value):
        return read_run(builder, value)
    if is_workflow(value):
        drawn.append(value)
        return frozenset()
    run: frozenset[str] = frozenset()
    rest: list[tuple[str, object]] = []
    for key, inner in pairs_of(value):
        held = parsed_text(builder, inner) if isinstance(inner, str) else inner
        if isinstance(held, dict) and is_prompt(held):
            run |= read_run(builder, held)
        elif isinstance(held, dict) and is_workflow(held):
            drawn.append(held)
        elif held is not UNREADABLE:
            rest.append((key, inner))
    walk(builder, Repeating(rest), "other")
    return run


def _read_text(builder: InfotextBuilder, key: str, text: str) -> None:
    """Read a text that is no JSON, by what it looks like and then by the key that it stands under."""
    if is_a1111(text):
        read_a1111(builder, text)
    elif key == "dream":
        found = _DREAM.match(text)
        read_prompt(builder, without_brackets(found[1] if found else text))
    elif key in ("parameters", "prompt", "positive", "positive_prompt"):
        read_prompt(builder, text)
    elif role_of(key) == "lora":
        builder.add(LORA, text)
    elif key not in _IGNORED and key not in _OF_PHOTOGRAPHS:
        builder.add(CAPTION, text)
