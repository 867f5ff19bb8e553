"""Generation parameters as A1111, Forge and those that copied them write them: one text of three parts.

    a prompt, in any number of lines, with <lora:name:weight>
    Negative prompt: any number of lines
    Steps: 20, Sampler: Euler a, ..., Lora hashes: "name: hash, ...", Hashes: {...}, Civitai resources: [...]

AUTOMATIC1111/stable-diffusion-webui, ``modules/infotext_utils.py``. The text after ``Negative prompt:`` is what the
picture was to be kept free of, and so is every setting that is called negative: never evidence. Copies have it all on
one line, or with other ends of lines: there the settings begin where a count of steps is followed by a further setting.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from embeddings.infotext.fields import LORA, MODEL, PROMPT, WORKFLOW, InfotextBuilder
from embeddings.infotext.negatives import NEGATIVE_PROMPT, asked_for
from embeddings.infotext.roles import PLACES, file_role, role_of, walk

_SETTINGS: Final = re.compile(r"(?:^|(?<=[\n\r\v\f\x85\u2028\u2029]))[ \t]{0,20}Steps {0,3}: *\d")
_SETTINGS_WITHIN: Final = re.compile(r"(?<!\w)Steps: ?\d{1,5}, ?[A-Z][\w \-/.()]{0,60}: ")
_NETWORK: Final = re.compile(r"<(\w{2,12}):([^:<>]{1,200}+)(?::[^<>]{0,200}+)?>")
_KEY: Final = re.compile(r"\s*([\w][\w \-/.()]{0,60}):\s*")
_MOST_SETTINGS: Final = 500
_OPENING: Final = {"{": "}", "[": "]"}


def is_a1111(text: str) -> bool:
    """Whether a text has the part that no caption has: settings or a negative prompt."""
    return bool(_SETTINGS.search(text) or NEGATIVE_PROMPT.search(text) or _SETTINGS_WITHIN.search(text))


def read_a1111(builder: InfotextBuilder, text: str) -> None:
    """Read one text of parameters."""
    wanted, settings = _apart(text)
    read_prompt(builder, wanted)
    for key, value in _pairs(builder, settings):
        _enter(builder, key, value)


def _apart(text: str) -> tuple[str, str]:
    """Return the prompts, and the settings if there are any: from the last line that begins with them."""
    for pattern in (_SETTINGS, _SETTINGS_WITHIN):
        starts = [found.start() for found in pattern.finditer(text)]
        if starts:
            return text[: starts[-1]], text[starts[-1] :]
    return text, ""


def prompt_of(text: str) -> str:
    """Return the prompt of a text that may have all three parts, with the calls of LoRAs in it."""
    return asked_for(_apart(text)[0]).strip()


def read_prompt(builder: InfotextBuilder, text: str) -> None:
    """Read a prompt: the LoRAs that it calls by name apart from what it says. What it excludes is left out."""
    text = asked_for(text)
    for kind, name in _NETWORK.findall(text):
        builder.add(LORA if kind.lower() != "model" else MODEL, name)
    builder.add(PROMPT, prompt_alone(text))


def prompt_alone(text: str) -> str:
    """Return a prompt without the calls of LoRAs in it."""
    return _NETWORK.sub(" ", text)


def _pairs(builder: InfotextBuilder, settings: str) -> Iterator[tuple[str, str]]:
    """Yield the settings and their values. A value is quoted, or JSON, or ends at a comma; work is linear. Settings
    beyond :data:`_MOST_SETTINGS` are a problem."""
    at = 0
    for _ in range(_MOST_SETTINGS):
        key = _KEY.match(settings, at)
        if key is None:
            comma = settings.find(",", at)
            if comma < 0:
                return
            at = comma + 1
            continue
        start = key.end()
        end = _end_of_value(settings, start)
        value = settings[start:end]
        yield key[1], _unquoted(value) if value.startswith('"') else value
        comma = settings.find(",", end)
        at = len(settings) if comma < 0 else comma + 1
    if settings[at : at + 1]:
        builder.problems.add("too_complex")


_TO_QUOTE: Final = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_TOKEN: Final = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[\]{}]', re.DOTALL)


def _end_of_value(text: str, start: int) -> int:
    if text[start : start + 1] == '"':
        quoted = _TO_QUOTE.match(text, start)
        return quoted.end() if quoted else len(text)
    if text[start : start + 1] in _OPENING:
        depth = 0
        for token in _TOKEN.finditer(text, start):
            if token[0] in "{[":
                depth += 1
            elif token[0] in "}]":
                depth -= 1
                if depth == 0:
                    return token.end()
        return len(text)
    comma = text.find(",", start)
    return len(text) if comma < 0 else comma


def _unquoted(value: str) -> str:
    return value.strip('"').replace('\\"', '"').replace("\\n", "\n").replace("\\\\", "\\")


def _enter(builder: InfotextBuilder, key: str, value: str) -> None:
    """Keep one setting by its key: ``Lora hashes`` and its like are lists of ``name: hash``."""
    role = role_of(key) or "other"
    if role == "negative":
        return
    if value.startswith(("{", "[")):
        walk(builder, value, "lora" if role == "other" else role)
        return
    if role == "hash" and ":" in value:
        for pair in value.split(","):
            name, _, digits = pair.rpartition(":")
            builder.add(LORA, name)
            builder.add_hash(digits)
    elif role == "hash":
        builder.add_hash(value)
    elif role == "prompt":
        read_prompt(builder, value)
    elif role in ("lora", "model"):
        builder.add(PLACES[role], value)
    else:
        builder.add(PLACES[file_role(value, key) or "other"] if value else WORKFLOW, value)
