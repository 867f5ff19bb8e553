"""Uploads that show the subject who is registered from the start."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from embeddings.types import UInt8
from pipelines.sample.case import LIKENESS, MIXED, PORTRAIT, REENCODED, SHOWS_ALL, SHOWS_ALPHA, SPLIT, Case, Sidecar
from pipelines.sample.encoding import gif, jpeg, jpeg_cmyk, jpeg_grey, jpeg_turned, png, png_transparent, webp
from pipelines.sample.photographs import ASTRONAUT_FACE
from pipelines.sample.variants import (
    around,
    brightness,
    collage,
    crop,
    flip,
    hue,
    paste,
    resize,
    rotate,
    scale,
    stripes,
)


def first_subject_cases(pictures: Mapping[str, UInt8]) -> Iterator[Case]:
    """Yield every case that shows the first subject."""
    yield from _framings(pictures)
    yield from _encodings(pictures)
    yield from _orders(pictures)
    yield from _colours(pictures)
    yield from _scenes(pictures)
    yield from _models(pictures)


def _framings(pictures: Mapping[str, UInt8]) -> Iterator[Case]:
    whole = pictures["astronaut"]
    tight = resize(crop(whole, around(ASTRONAUT_FACE, margin=0.06)), width=600, height=760)
    half, double = scale(whole, factor=0.5), scale(whole, factor=2)
    yield Case("flip", ".jpg", jpeg(flip(whole), quality=90), 0, SHOWS_ALPHA, faces=1)
    yield Case("crop", ".jpg", jpeg(crop(whole, PORTRAIT), quality=88), 0, SHOWS_ALPHA, faces=1)
    yield Case("face-fills-frame", ".jpg", jpeg(tight, quality=90), 1, SHOWS_ALPHA, faces=1)
    yield Case("half-size", ".jpg", jpeg(half, quality=85), 0, SHOWS_ALPHA, faces=1)
    yield Case("double-size", ".jpg", jpeg(double, quality=85), 1, SHOWS_ALPHA, faces=1)
    yield Case("turned-ten-degrees", ".jpg", jpeg(rotate(whole, degrees=10), quality=88), 1, SHOWS_ALPHA, faces=1)


def _encodings(pictures: Mapping[str, UInt8]) -> Iterator[Case]:
    whole = pictures["astronaut"]
    original = jpeg(whole, quality=92)
    cat = resize(pictures["chelsea"], width=300, height=200)
    portrait = resize(crop(whole, (100, 0, 400, 200)), width=300, height=200)
    yield Case("original", ".jpg", original, 0, SHOWS_ALPHA, faces=1)
    yield Case("duplicate-bytes", ".jpg", original, 0, SHOWS_ALPHA, faces=1, uploader="uploader-reposts")
    yield Case("duplicate-bytes-later", ".jpg", original, 1, SHOWS_ALPHA, faces=1, uploader="uploader-reposts")
    yield Case("jpeg-q30", ".jpg", jpeg(whole, quality=30), 1, SHOWS_ALPHA, faces=1)
    yield Case("jpeg-q10", ".jpg", jpeg(whole, quality=10), 0, SHOWS_ALPHA, faces=1)
    yield Case("png", ".png", png(whole), 1, SHOWS_ALPHA, faces=1)
    yield Case("webp", ".webp", webp(whole, quality=70), 0, SHOWS_ALPHA, faces=1)
    yield Case("gif", ".gif", gif([scale(whole, factor=0.8)]), 1, SHOWS_ALPHA, faces=1)
    yield Case("gif-one-frame-of-five", ".gif", gif([cat, cat, cat, portrait, cat]), 0, SHOWS_ALPHA, faces=1)
    yield Case("jpeg-named-png", ".png", jpeg(flip(crop(whole, PORTRAIT)), quality=75), 1, SHOWS_ALPHA, faces=1)
    yield Case("transparent-png", ".png", png_transparent(whole, margin=40), 0, SHOWS_ALPHA, faces=1)


def _orders(pictures: Mapping[str, UInt8]) -> Iterator[Case]:
    """Orientation by EXIF, and side-cars that are broken or missing: neither may hide a picture."""
    whole = pictures["astronaut"]
    for orientation, day in ((3, 0), (6, 1), (8, 1)):
        data = jpeg_turned(whole, orientation=orientation, quality=86)
        yield Case(f"exif-{orientation}", ".jpg", data, day, SHOWS_ALPHA, faces=1)
    portrait = crop(whole, PORTRAIT)
    sidecars: tuple[tuple[Sidecar, int, int], ...] = (
        ("not_json", 81, 0),
        ("bad_field", 82, 1),
        ("none", 83, 1),
        ("offset", 84, 0),
    )
    for sidecar, quality, day in sidecars:
        data = jpeg(portrait, quality=quality)
        yield Case(f"sidecar-{sidecar}".replace("_", "-"), ".jpg", data, day, SHOWS_ALPHA, faces=1, sidecar=sidecar)


def _colours(pictures: Mapping[str, UInt8]) -> Iterator[Case]:
    whole = pictures["astronaut"]
    yield Case("greyscale", ".jpg", jpeg_grey(whole, quality=85), 1, SHOWS_ALPHA, faces=1)
    yield Case("dark", ".jpg", jpeg(brightness(whole, factor=0.3), quality=85), 0, SHOWS_ALPHA, faces=1)
    yield Case("cmyk", ".jpg", jpeg_cmyk(whole, quality=88), 1, SHOWS_ALPHA, faces=1)
    marked = stripes(whole, every=48, thickness=4)
    yield Case("watermark", ".jpg", jpeg(marked, quality=85), 0, SHOWS_ALPHA, faces=1)


def _scenes(pictures: Mapping[str, UInt8]) -> Iterator[Case]:
    whole, portrait = pictures["astronaut"], crop(pictures["astronaut"], PORTRAIT)
    grid = collage([pictures["coffee"], pictures["rocket"], portrait, pictures["chelsea"]], columns=2, cell=280)
    scene = scale(pictures["rocket"], factor=2.2)
    far = paste(scene, scale(whole, factor=0.5), x=180, y=560)
    joined = paste(pictures["group"], scale(portrait, factor=0.75), x=560, y=10)
    yield Case("collage", ".jpg", jpeg(grid, quality=85), 1, SHOWS_ALPHA, faces=1)
    yield Case("small-face", ".jpg", jpeg(far, quality=88), 0, SHOWS_ALPHA, faces=1)
    yield Case("both-subjects", ".jpg", jpeg(joined, quality=85), 1, SHOWS_ALL, faces=7)
    entry = jpeg(hue(portrait, degrees=20), quality=85)
    yield Case("bounty-entry", ".jpg", entry, 1, SHOWS_ALPHA, faces=1, kind="bounty_entry")


def _models(pictures: Mapping[str, UInt8]) -> Iterator[Case]:
    """Sample images of models: distinct pictures, pictures that come on different days, and one picture twice."""
    whole, portrait = pictures["astronaut"], crop(pictures["astronaut"], PORTRAIT)
    cafe = paste(pictures["coffee"], scale(portrait, factor=0.9), x=40, y=90)
    grid = collage([portrait, pictures["rocket"], pictures["chelsea"], pictures["brick"]], columns=2, cell=256)
    street = paste(pictures["motorcycle"], flip(portrait), x=420, y=100)
    yield Case("likeness-cafe", ".jpg", jpeg(cafe, quality=88), 0, SHOWS_ALPHA, faces=1, model=LIKENESS)
    yield Case("likeness-collage", ".png", png(grid), 0, SHOWS_ALPHA, faces=1, model=LIKENESS)
    yield Case("likeness-street", ".webp", webp(street, quality=80), 1, SHOWS_ALPHA, faces=1, model=LIKENESS)
    stars = paste(pictures["hubble"], scale(portrait, factor=1.2), x=60, y=80)
    moon = paste(pictures["moon"], scale(flip(portrait), factor=0.9), x=250, y=220)
    yield Case("split-first-day", ".jpg", jpeg(stars, quality=85), 0, SHOWS_ALPHA, faces=1, model=SPLIT)
    yield Case("split-second-day", ".jpg", jpeg(moon, quality=85), 1, SHOWS_ALPHA, faces=1, model=SPLIT)
    smaller = webp(scale(whole, factor=0.8), quality=65)
    yield Case("same-picture-jpeg", ".jpg", jpeg(whole, quality=80), 0, SHOWS_ALPHA, faces=1, model=REENCODED)
    yield Case("same-picture-webp", ".webp", smaller, 1, SHOWS_ALPHA, faces=1, model=REENCODED)
    wall = paste(pictures["brick"], scale(portrait, factor=1.1), x=100, y=120)
    yield Case("mixed-face", ".jpg", jpeg(wall, quality=85), 1, SHOWS_ALPHA, faces=1, model=MIXED)
