"""The raw texts of a picture file, and what is read out of them: the types that the readers of this folder share.

Everything here is an attacker's. So a :class:`Budget` bounds the bytes that are taken from one file, inflated or not,
and :class:`InfotextBuilder` bounds what is kept of them. Knows no file format and no generator.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from embeddings.infotext.negatives import asked_for

PROMPT: Final = "infotext:prompt"
"""What the picture was asked to show."""
LORA: Final = "infotext:lora"
"""Names of LoRAs and of embeddings."""
MODEL: Final = "infotext:model"
"""Names of checkpoints and of other model files."""
WORKFLOW: Final = "infotext:workflow"
"""Every other text of a generator's settings or of a graph's nodes."""
CAPTION: Final = "infotext:caption"
"""Titles, captions and keywords as photographs have them: XMP, IPTC, Exif, comments."""
PLACES: Final = (PROMPT, LORA, MODEL, WORKFLOW, CAPTION)

_HEX: Final = re.compile(r"(?:0x|sha256:)?([0-9a-f]{10,64})", re.ASCII | re.IGNORECASE)
_AIR: Final = re.compile(r"urn:air:[\w.-]{1,40}:[\w.-]{1,40}:[\w.-]{1,40}:\d{1,18}@(\d{1,18})", re.ASCII)
_LETTERS: Final = re.compile(r"[^\W\d_]{2}")
"""Two letters on end: most settings are numbers, in which no name can be."""
_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")
MOST_NAMED: Final = 128
"""Hashes that are kept of one picture, and versions; of one with more the reading says ``too_complex``."""


PROBLEMS: Final = frozenset(("corrupt", "empty", "too_complex", "too_large"))
"""All that may be said of what could not be read. The words are stored and counted in clear."""


@dataclass(frozen=True, slots=True)
class InfotextLimits:
    """Limits on what is read of one picture's texts."""

    max_bytes: int
    """Bytes of texts, after inflating; what is beyond is not read, and the picture's reading says ``too_large``."""
    max_chars: int
    """Characters from one place; what is beyond is cut off, and the reading says ``too_large``."""
    max_parts: int
    """Commas and brackets in one JSON text (:mod:`embeddings.strict_json`)."""
    max_pixels: int
    """Pixels that are decoded for a text hidden in them: of all pictures of one content together."""


@dataclass(frozen=True, slots=True, repr=False)
class RawField:
    """One text of a file under the key that it has there, lower case. ``repr`` does not show it."""

    key: str
    text: str


class Budget:
    """The bytes of texts that may still be taken from one file, or from several pictures that are one content."""

    def __init__(self, limits: InfotextLimits) -> None:
        self.limits = limits
        self.left = limits.max_bytes
        self.pixels = limits.max_pixels
        """Pixels that may still be decoded."""
        self.exceeded = False

    def take(self, data: bytes | memoryview) -> bytes:
        """Return as much of ``data`` as is left to take."""
        self.exceeded |= len(data) > self.left
        taken = bytes(data[: self.left])
        self.left -= len(taken)
        return taken

    def walk_over(self, count: int) -> bool:
        """Charge ``count`` bytes that are looked at and not taken; return whether there were as many left."""
        if count > self.left:
            self.exceeded = True
            return False
        self.left -= count
        return True


@dataclass(slots=True, repr=False)
class InfotextBuilder:
    """What has been read so far. Problems: some of :data:`PROBLEMS`."""

    limits: InfotextLimits
    texts: dict[str, dict[str, None]] = field(default_factory=dict)
    hashes: set[str] = field(default_factory=set)
    versions: set[str] = field(default_factory=set)
    problems: set[str] = field(default_factory=set)
    _used: dict[str, int] = field(default_factory=dict)

    def add(self, place: str, text: str) -> None:
        """Keep a text at a place, once, without what it excludes; and any AIR in it as the version that it names."""
        text = (text if place in (LORA, MODEL) else asked_for(text)).strip()
        used = self._used.get(place, 0)
        if not text or text in self.texts.get(place, ()) or (place == WORKFLOW and not _LETTERS.search(text)):
            return
        if "urn:air:" in text:
            for found in _AIR.finditer(text[: self.limits.max_chars]):
                self._keep(self.versions, found[1])
        if used + len(text) > self.limits.max_chars:
            self.problems.add("too_large")
            text = text[: self.limits.max_chars - used]
        if text:
            self.texts.setdefault(place, {})[_UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", text)] = None
            self._used[place] = used + len(text)

    def add_hash(self, value: object) -> None:
        """Keep a hash of a model file, cut to the 12 or 10 hex digits that generators write; ignore anything else.

        12 digits are what A1111 and Forge write of a LoRA, 10 what they write of a checkpoint.
        """
        match = _HEX.fullmatch(value.strip()) if isinstance(value, str) and len(value) <= 80 else None
        if match is not None:
            digits = match[1].lower()
            self._keep(self.hashes, digits[:12] if len(digits) >= 12 else digits[:10])

    def add_version(self, value: object) -> None:
        """Keep a platform's number of a model version; ignore anything else."""
        digits = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
        if 0 < len(digits) <= 18 and digits.isascii() and digits.isdigit():
            self._keep(self.versions, digits)

    def _keep(self, kept: set[str], name: str) -> None:
        if name in kept or len(kept) < MOST_NAMED:
            kept.add(name)
        else:
            self.problems.add("too_complex")
