"""Portraits for :mod:`benchmarks.robustness` and :mod:`benchmarks.impostors`: faces cut out with room."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from embeddings.models.load import FaceModels
from embeddings.types import UInt8
from pipelines.sample.photographs import GROUP_FACES, Box, load_photographs
from pipelines.sample.variants import around, crop


@dataclass(frozen=True, slots=True)
class Portrait:
    """A picture, the box of its face, whose it is, and what part it had in choosing the settings."""

    person: str
    picture: UInt8
    box: Box
    role: str
    """``tuned``: chosen on it; ``held out``: misses on it were looked into; ``fresh``: none."""


def portraits(models: FaceModels) -> Iterator[Portrait]:
    """Everybody in the packaged photographs and in the folder of ``LIKENESS_PHOTOGRAPHS``."""
    pictures = load_photographs(("astronaut", "stranger", "group"))
    heads = [("astronaut", pictures["astronaut"]), ("stranger", pictures["stranger"])]
    heads += [(f"group {at}", crop(pictures["group"], around(box, margin=0.5))) for at, box in enumerate(GROUP_FACES)]
    folder = os.environ.get("LIKENESS_PHOTOGRAPHS")
    for file in sorted(Path(folder).glob("?/*.jpg")) if folder else []:
        heads.append((f"photographs {file.parent.name}", np.array(Image.open(file).convert("RGB"))))
    for person, picture in heads:
        head = crop(picture, around(largest_face(picture, models), margin=1.0))
        yield Portrait(person, head, largest_face(head, models), "tuned" if person.startswith("group") else "held out")


def fresh(models: FaceModels) -> Iterator[Portrait]:
    """Faces on which nothing was chosen: the cameraman, and those in pictures of several people in that folder."""
    folder = os.environ.get("LIKENESS_PHOTOGRAPHS")
    shared = (
        [np.array(Image.open(file).convert("RGB")) for file in sorted(Path(folder).glob("??/*.jpg"))] if folder else []
    )
    for picture in (*load_photographs(("camera",)).values(), *shared):
        for x1, y1, x2, y2 in models.detector.detect(picture).boxes.tolist():
            head = crop(picture, around((int(x1), int(y1), int(x2), int(y2)), margin=1.0))
            yield Portrait("fresh", head, largest_face(head, models), "fresh")


def largest_face(picture: UInt8, models: FaceModels) -> Box:
    """The box of the largest face. Raises :class:`ValueError` when there is none."""
    boxes = models.detector.detect(picture).boxes
    x1, y1, x2, y2 = max(boxes.tolist(), key=lambda box: (box[2] - box[0]) * (box[3] - box[1]))
    return int(x1), int(y1), int(x2), int(y2)
