"""What the text under a key is: asked for, excluded, a LoRA's name, a model's, a hash, or anything else.

Generators and their extensions have hundreds of keys and get new ones, so a key is judged by the words in it.
"""

from __future__ import annotations

import functools
import re
from typing import Final, Literal

from embeddings.errors import UnscannableError
from embeddings.infotext.fields import LORA, MODEL, PROMPT, WORKFLOW, InfotextBuilder
from embeddings.infotext.negatives import without_brackets
from embeddings.strict_json import pairs_of, parse_leniently

Role = Literal["negative", "prompt", "lora", "model", "hash", "version", "other"]
PLACES: Final[dict[Role, str]] = {"prompt": PROMPT, "lora": LORA, "model": MODEL, "other": WORKFLOW}
_REMEMBERED: Final = 4096
"""Keys whose role is remembered: those of all generators, and no more than an attacker may fill."""
_NOT_LETTERS: Final = re.compile(r"[^a-z]")
_NEGATIVE: Final = re.compile(r"negativ|ngatif|^neg(?!o)|neg$|^uc$|^uncond|undesired")
_NEGATIVE_ELSEWHERE: Final = re.compile("ネガティブ|负面|負面|负向|負向|反向|негатив|부정|네거티브")
"""What titles of nodes say for it in other scripts."""
_LORA: Final = re.compile(r"lora|lyco|locon|embedding|hypernet|textualinversion|^ti$")
_MODEL: Final = re.compile(r"model|checkpoint|ckpt|unet|refiner|^vae|^clipname")
_PROMPT: Final = re.compile(
    r"prompt|^positive|positive$|caption|wildcard|^c$|^text|text$|^clip[lg]$|^t5xxl$|^string|^template$"
)
_VERSION: Final = re.compile(r"^(model)?versionid$")
_INHERITING: Final = frozenset(("", "name", "value", "title", "filename", "file", "path", "content"))
_FILE: Final = re.compile(r"\.(?:safetensors|sft|ckpt|pth?|bin|gguf)$", re.IGNORECASE)
_KEY_OF_NEGATIVE: Final = re.compile(r'"[^"]{0,40}neg', re.IGNORECASE)
_MOST_NESTED: Final = 50
_HASH: Final = re.compile(r"(?:0x|sha256:)?[0-9a-f]{10,64}", re.IGNORECASE | re.ASCII)


def role_of(key: str, within: Role | None = None) -> Role | None:
    """Return what a text under ``key`` is; None: what the thing around it is. ``within``: what that is."""
    return _role_of(key[:80], within)


@functools.lru_cache(maxsize=_REMEMBERED)
def _role_of(key: str, within: Role | None) -> Role | None:
    if _is_negative(key):
        return "negative"
    letters = _NOT_LETTERS.sub("", key.lower())
    if letters in _INHERITING:
        return None
    if _VERSION.search(letters):
        return "version"
    if letters.endswith(("hash", "hashes")):
        return "hash"
    if _LORA.search(letters):
        return "lora"
    if within == "lora" and _MODEL.search(letters):
        return None
    if _MODEL.search(letters):
        return "model"
    return "prompt" if _PROMPT.search(letters) else "other"


def is_negative(key: str) -> bool:
    """Whether a key, a title or a kind of node says that its text is excluded."""
    return _is_negative(key[:80])


@functools.lru_cache(maxsize=_REMEMBERED)
def _is_negative(key: str) -> bool:
    lower = key.lower()
    return bool(_NEGATIVE.search(_NOT_LETTERS.sub("", lower)) or _NEGATIVE_ELSEWHERE.search(lower))


def file_role(text: str, key: str) -> Role | None:
    """Return what a file's name names: a LoRA or a model, by the key and by its folders; None for no such name."""
    if len(text) > 500 or not _FILE.search(text):
        return None
    return "lora" if _LORA.search(_NOT_LETTERS.sub("", f"{key} {text}".lower())) else "model"


def enter(builder: InfotextBuilder, role: Role, key: str, text: str) -> None:
    """Keep a text in its role. Hashes and numbers of versions are kept as such, what is excluded is not kept."""
    if role == "negative":
        return
    if role == "version":
        builder.add_version(text)
    elif role == "hash" or (role in ("lora", "model") and _HASH.fullmatch(text)):
        builder.add_hash(text)
    else:
        found = file_role(text, key) if role in ("other", "prompt", "model") else None
        builder.add(PLACES[found if found and role != "model" else role], text)


def walk(builder: InfotextBuilder, value: object, role: Role, *, bracketed: bool = False) -> None:
    """Keep every text of a parsed value, each in the role that its key gives it, else in that of what is around it.

    Of a key that occurs several times all values are kept, because a reader may take any of them. A text that is JSON
    itself is read as that, up to :data:`_MOST_NESTED` of them. A prompt with a weight below zero beside it is excluded;
    ``bracketed``: so is what stands in square brackets.
    """
    nested = _MOST_NESTED
    waiting: list[tuple[object, str, Role]] = [(value, "", role)]
    while waiting:
        one, key, role = waiting.pop()
        if role == "negative":
            continue
        if isinstance(one, str):
            inner = parsed_text(builder, one) if nested else None
            if inner is None:
                enter(builder, role, key, without_brackets(one) if bracketed else one)
            elif inner is not UNREADABLE:
                nested -= 1
                waiting.append((inner, key, role))
        elif role == "version":
            builder.add_version(one)
        elif isinstance(one, dict) and role == "hash":
            _enter_hashes(builder, one)
        elif isinstance(one, dict):
            pairs = [(inner, name, role_of(name, role) or role) for name, inner in reversed(pairs_of(one))]
            below_zero = any(name == "weight" and str(inner).startswith("-") for inner, name, _ in pairs)
            waiting += [one for one in pairs if not (below_zero and one[2] == "prompt")]
        elif isinstance(one, list):
            waiting += [(inner, key, role) for inner in reversed(one)]


UNREADABLE: Final = object()
"""Stands for a text that is meant as JSON and cannot be read."""


def parsed_text(builder: InfotextBuilder, text: str) -> object:
    """Return the value of a text that is JSON; None for any other; :data:`UNREADABLE`, and a problem, for what seems to
    be meant as JSON: nothing of it is taken, because it is unknown which of it was excluded."""
    if text[:1] not in ("{", "["):
        return None
    try:
        return parse_leniently(text, max_parts=builder.limits.max_parts)
    except UnscannableError as error:
        meant = text[1:64].lstrip()[:1] == '"' or _KEY_OF_NEGATIVE.search(text)
        if error.reason == "corrupt" and not meant:
            return None  # a prompt may begin with a bracket
        builder.problems.add(error.reason)
        return UNREADABLE


def _enter_hashes(builder: InfotextBuilder, hashes: dict[str, object]) -> None:
    """A1111's ``Hashes``: ``model`` or ``lora:name`` to a hash."""
    for name, value in pairs_of(hashes):
        kind, found, rest = name.partition(":")
        if found and is_negative(kind):
            continue
        builder.add_hash(value)
        if found:
            builder.add(MODEL if kind == "model" else LORA, rest)
