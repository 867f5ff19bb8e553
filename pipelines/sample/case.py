"""One planted case: a file to upload and its truth; and the models, people and frames that the cases share.

Cases that the plain pipeline cannot be expected to get right (strong rotation, drawings) are not planted: when any case
comes out wrong, ``make sweep`` fails.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from pipelines.sample.photographs import Box
from pipelines.sample.truth import ALPHA, BETA, GAMMA, Tier
from pipelines.sources import Kind

Sidecar = Literal["sound", "offset", "not_json", "bad_field", "none"]
"""``offset``: sound, with a time that is on the next day where the uploader lives."""

NOBODY: Final[frozenset[str]] = frozenset()
SHOWS_ALPHA: Final = frozenset({ALPHA})
SHOWS_BETA: Final = frozenset({BETA})
SHOWS_GAMMA: Final = frozenset({GAMMA})
SHOWS_GROUP: Final = frozenset({BETA, GAMMA})
SHOWS_ALL: Final = frozenset({ALPHA, BETA, GAMMA})

PORTRAIT: Final[Box] = (100, 0, 370, 300)
"""Head and shoulders in the astronaut photograph."""
BETA_PORTRAIT: Final[Box] = (1060, 225, 1280, 530)
"""Head and shoulders of the second subject in the group photograph, and no other face."""
BETA_REFERENCE: Final[Box] = (1040, 200, 1280, 540)
"""The frame of the second subject's reference photograph."""
GAMMA_HEAD: Final[Box] = (5, 212, 217, 454)
"""Head and shoulders of the third subject in the group photograph, and no other face: also the reference."""

LIKENESS: Final = "model-likeness"
SPLIT: Final = "model-split"
REENCODED: Final = "model-reencoded"
MIXED: Final = "model-mixed"
SCENERY: Final = "model-scenery"
SECOND: Final = "model-second"
SECOND_REENCODED: Final = "model-second-reencoded"
NAMED: Final = "model-named"
STYLE: Final = "model-style"
INNOCENT: Final = "model-innocent"
"""A style to which strangers post portraits."""

CORROBORATED: Final[Mapping[str, str]] = {LIKENESS: ALPHA, SPLIT: ALPHA, SECOND: BETA, STYLE: GAMMA}
"""Models that show one subject strongly in distinct pictures: the default policy takes them down by itself."""


@dataclass(frozen=True, slots=True)
class Case:
    """One file to upload. ``day`` is 0 or 1."""

    name: str
    suffix: str
    data: bytes
    day: int
    shows: frozenset[str] = NOBODY
    """Labels of the subjects in it."""
    status: str = "clean"
    """Its status as long as nobody whom it shows is registered."""
    faces: int | None = None
    kind: Kind = "image"
    model: str | None = None
    uploader: str | None = None
    """None: the uploader of its model, or one of the ordinary uploaders."""
    sidecar: Sidecar = "sound"
    item_id: str | None = None
    """None: made from the name."""
    title: str | None = None
    """None: made from the name."""
    prompt: str | None = None
    tags: tuple[str, ...] = ()
    trigger_words: tuple[str, ...] = ()
    nsfw_level: str | None = None
    names: Mapping[str, Tier] = field(default_factory=dict)
    """Where a subject's name stands, by label: ``header`` or ``text``."""
    rules: Mapping[str, str] = field(default_factory=dict)
    """The rule that gives the verdict, by label, where it is not the one that the case's face or name alone gives."""
