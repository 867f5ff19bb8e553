"""Uploads of a creator whose model shows one face: harmless, until somebody has that face registered as their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from embeddings.types import UInt8
from pipelines.sample.case import GAMMA_HEAD, SHOWS_GAMMA, STYLE, Case
from pipelines.sample.encoding import jpeg
from pipelines.sample.variants import crop, flip, paste, resize, scale

PICTURES: Final = 27
"""Number of pictures: more than ``[breakers] subject`` of the sample's policy allows."""
_BACKGROUNDS: Final = ("coffee", "rocket", "brick", "gravel", "hubble", "moon", "chelsea", "page", "coins")


def third_subject_cases(pictures: Mapping[str, UInt8]) -> Iterator[Case]:
    """Yield the pictures of one model by one uploader."""
    head = scale(crop(pictures["group"], GAMMA_HEAD), factor=0.7)
    for number in range(PICTURES):
        place, background = divmod(number, len(_BACKGROUNDS))
        scene = resize(pictures[_BACKGROUNDS[background]], width=420, height=300)
        scene = paste(scene, flip(head) if number % 2 else head, x=20 + 110 * place, y=30 + 5 * background)
        data = jpeg(flip(scene) if place == 1 else scene, quality=80)
        name = f"style-{number + 1:02d}"
        yield Case(name, ".jpg", data, number % 2, SHOWS_GAMMA, faces=1, model=STYLE)
