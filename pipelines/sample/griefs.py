"""Uploads by which somebody tries to have another's removed: a pasted face, a forged header, strangers' portraits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from embeddings.types import UInt8
from pipelines.sample.case import INNOCENT, PORTRAIT, SHOWS_ALPHA, Case
from pipelines.sample.encoding import jpeg
from pipelines.sample.model_headers import model_file
from pipelines.sample.truth import ALPHA
from pipelines.sample.variants import crop, flip, paste, resize, scale

GRIEFER: Final = "uploader-griefs"


def grief_cases(pictures: Mapping[str, UInt8]) -> Iterator[Case]:
    """Cases that the griefer uploads, and cases that must stay up."""
    portrait = crop(pictures["astronaut"], PORTRAIT)
    original = scale(flip(crop(pictures["coffee"], (150, 60, 600, 400))), factor=4)
    pasted = paste(original, scale(portrait, factor=0.6), x=20, y=original.shape[0] - 200)
    rival: dict[str, Any] = {"status": "no_face", "faces": 0, "uploader": "uploader-rival"}
    yield Case("pasted-original", ".jpg", jpeg(original, quality=90), 0, **rival)
    griefs: dict[str, Any] = {"faces": 1, "uploader": GRIEFER}
    yield Case("pasted-face", ".jpg", jpeg(pasted, quality=90), 0, SHOWS_ALPHA, **griefs)
    yield Case("pasted-again", ".jpg", jpeg(scale(pasted, factor=0.9), quality=80), 1, SHOWS_ALPHA, **griefs)
    yield model_file("lora-of-rival", {"ss_output_name": "chrome-style"}, 0, weights="rival", uploader="uploader-rival")
    forged = {"ss_output_name": "sample subject alpha"}
    yield model_file("lora-forged", forged, 1, weights="rival", uploader=GRIEFER, names={ALPHA: "header"})
    yield from _strangers_portraits(pictures, portrait)


def _strangers_portraits(pictures: Mapping[str, UInt8], portrait: UInt8) -> Iterator[Case]:
    """Strangers' portraits posted to a style whose own pictures show nobody."""
    for number, name in enumerate(("coins", "chelsea")):
        own = resize(flip(pictures[name]), width=500, height=400)
        picture = jpeg(own, quality=85)
        yield Case(f"innocent-{number + 1}", ".jpg", picture, number, status="no_face", faces=0, model=INNOCENT)
    garden = jpeg(paste(flip(pictures["gravel"]), scale(portrait, factor=0.9), x=40, y=60), quality=85)
    wall = jpeg(paste(flip(pictures["hubble"]), flip(portrait), x=500, y=300), quality=85)
    texts: dict[str, Any] = {"prompt": "portrait of sample subject alpha", "names": {ALPHA: "text"}}
    posted: dict[str, Any] = {"faces": 1, "model": INNOCENT}
    yield Case("innocent-named", ".jpg", garden, 0, SHOWS_ALPHA, **posted, **texts, uploader=GRIEFER)
    yield Case("innocent-unnamed", ".jpg", wall, 1, SHOWS_ALPHA, **posted, uploader="uploader-visits")
