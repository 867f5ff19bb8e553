"""Uploads that show the subject whose removal request comes late: clean at first, hits after the rescan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from embeddings.types import UInt8
from pipelines.sample.case import BETA_PORTRAIT, SECOND, SECOND_REENCODED, SHOWS_BETA, SHOWS_GROUP, Case
from pipelines.sample.encoding import gif, jpeg, jpeg_grey, jpeg_turned, png, webp
from pipelines.sample.photographs import GROUP_FACES, photograph_path
from pipelines.sample.truth import BETA
from pipelines.sample.variants import around, brightness, collage, crop, flip, hue, paste, resize, scale


def second_subject_cases(pictures: Mapping[str, UInt8]) -> Iterator[Case]:
    """Yield every case that shows the second subject alone or among strangers."""
    group = pictures["group"]
    portrait = crop(group, BETA_PORTRAIT)
    packaged = photograph_path("group").read_bytes()
    yield Case("group-photo", ".jpg", packaged, 0, SHOWS_GROUP, faces=6)
    yield Case("group-photo-again", ".jpg", jpeg(scale(group, factor=0.7), quality=70), 1, SHOWS_GROUP, faces=6)
    yield from _alone(pictures, portrait)
    yield from _models(pictures, portrait)
    wall = jpeg(crop(pictures["brick"], (0, 0, 400, 300)), quality=85)
    prompt = "portrait of sample subject beta, oil on canvas"
    yield Case("second-named", ".jpg", wall, 1, status="no_face", faces=0, prompt=prompt, names={BETA: "text"})


def _alone(pictures: Mapping[str, UInt8], portrait: UInt8) -> Iterator[Case]:
    tight = resize(crop(pictures["group"], around(GROUP_FACES[0], margin=0.06)), width=560, height=720)
    far = paste(pictures["hubble"], scale(portrait, factor=0.45), x=620, y=480)
    mosaic = collage([pictures["gravel"], pictures["coins"], pictures["page"], portrait], columns=2, cell=300)
    frame = resize(portrait, width=250, height=340)
    blank = resize(pictures["moon"], width=250, height=340)
    bright = brightness(portrait, factor=1.3)
    yield Case("second-flip", ".jpg", jpeg(flip(portrait), quality=85), 1, SHOWS_BETA, faces=1)
    yield Case("second-fills-frame", ".jpg", jpeg(tight, quality=88), 0, SHOWS_BETA, faces=1)
    yield Case("second-greyscale", ".jpg", jpeg_grey(portrait, quality=60), 1, SHOWS_BETA, faces=1)
    yield Case("second-bright", ".png", png(bright), 0, SHOWS_BETA, faces=1)
    yield Case("second-hue", ".webp", webp(hue(portrait, degrees=-20), quality=75), 0, SHOWS_BETA, faces=1)
    yield Case("second-exif-6", ".jpg", jpeg_turned(portrait, orientation=6, quality=80), 1, SHOWS_BETA, faces=1)
    yield Case("second-small", ".jpg", jpeg(far, quality=88), 1, SHOWS_BETA, faces=1)
    yield Case("second-collage", ".jpg", jpeg(mosaic, quality=85), 0, SHOWS_BETA, faces=1)
    yield Case("second-gif-last-frame", ".gif", gif([blank, blank, frame]), 1, SHOWS_BETA, faces=1)


def _models(pictures: Mapping[str, UInt8], portrait: UInt8) -> Iterator[Case]:
    couple = brightness(crop(pictures["group"], (860, 0, 1280, 560)), factor=1.1)
    street = paste(pictures["motorcycle"], flip(portrait), x=60, y=120)
    cafe = paste(pictures["coffee"], scale(portrait, factor=1.1), x=310, y=10)
    yield Case("second-model-pair", ".jpg", jpeg(couple, quality=85), 0, SHOWS_BETA, faces=2, model=SECOND)
    yield Case("second-model-street", ".jpg", jpeg(street, quality=85), 0, SHOWS_BETA, faces=1, model=SECOND)
    yield Case("second-model-cafe", ".jpg", jpeg(cafe, quality=85), 1, SHOWS_BETA, faces=1, model=SECOND)
    again = webp(scale(portrait, factor=0.9), quality=70)
    yield Case("second-same-jpeg", ".jpg", jpeg(portrait, quality=80), 0, SHOWS_BETA, faces=1, model=SECOND_REENCODED)
    yield Case("second-same-webp", ".webp", again, 1, SHOWS_BETA, faces=1, model=SECOND_REENCODED)
