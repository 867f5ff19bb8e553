"""Uploads whose texts name the first subject, in many disguises; texts that only seem to; bounties; mature content."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from embeddings.types import UInt8
from pipelines.sample.case import PORTRAIT, SHOWS_ALPHA, Case
from pipelines.sample.encoding import jpeg
from pipelines.sample.photographs import ASTRONAUT_FACE, GROUP_FACES
from pipelines.sample.truth import ALPHA, Tier
from pipelines.sample.variants import around, blend, crop, flip, mosaic, paste, resize, scale

_TEXT: Final[Mapping[str, Tier]] = {ALPHA: "text"}
_WEAK: Final[Mapping[str, str]] = {ALPHA: "weak_name_alone"}
ALIAS: Final = "Alphina"
EXCLUSION: Final = "Sample Subject Alpha Street"

_NAMED: Final[tuple[tuple[str, dict[str, Any]], ...]] = (
    ("prompt-plain", {"prompt": "photo of Sample Subject Alpha, 35mm film"}),
    ("prompt-leet", {"prompt": "s4mple subj3ct @lph4 at the opera"}),
    ("prompt-joined", {"prompt": "portrait, <lora:samplesubjectalpha:0.8>, soft light"}),
    ("prompt-reordered", {"prompt": "alpha, sample subject, standing in the rain"}),
    ("prompt-weighted", {"prompt": "((Sample:1.2) (Subject:1.1) (Alpha)), masterpiece"}),
    ("prompt-look-alikes", {"prompt": "ѕаmрlе ѕubject аlphа on a horse"}),
    ("prompt-spelled", {"prompt": "s a m p l e s u b j e c t a l p h a"}),
    ("title-names", {"title": "SAMPLE SUBJECT ALPHA (fan art)"}),
    ("tag-names", {"tags": ("watercolour", "sample-subject-alpha")}),
    ("trigger-names", {"trigger_words": ("SampleSubjectAlpha",)}),
)
_NOT_NAMED: Final[tuple[tuple[str, dict[str, Any]], ...]] = (
    ("prompt-excluded", {"prompt": f"view of {EXCLUSION} at night"}),
    ("prompt-near-name", {"prompt": "Sample Subject Alphonse meets Simple Subject Alpha"}),
    ("prompt-part-of-name", {"prompt": "sample subjects, alphabet soup, subject alpha"}),
    ("tags-across", {"tags": ("sample subject", "alpha")}),
)


def named_cases(pictures: Mapping[str, UInt8]) -> Iterator[Case]:
    """Yield every case that is about a name in a text."""
    scenes = _scenes(pictures)
    for number, (name, texts) in enumerate(_NAMED):
        yield _faceless(name, next(scenes), number % 2, names=_TEXT, **texts)
    for number, (name, texts) in enumerate(_NOT_NAMED):
        yield _faceless(name, next(scenes), number % 2, **texts)
    yield _faceless("alias-alone", next(scenes), 1, names=_TEXT, rules=_WEAK, prompt=f"{ALIAS} dancing")
    yield from _with_faces(pictures)
    yield from _bounties(pictures, scenes)


def face_cases(pictures: Mapping[str, UInt8]) -> Iterator[Case]:
    """Faces that an analyst decides upon, copies of them, one that is hardly the same person, and mature content."""
    portrait = crop(pictures["astronaut"], PORTRAIT)
    wide = scale(pictures["hubble"], factor=1.2)
    scene = paste(wide, scale(portrait, factor=0.7), x=120, y=260)
    hidden = mosaic(scene, (160, 290, 265, 405), cell=24)
    confirmed = jpeg(scene, quality=90)
    yield Case("confirmed-face", ".jpg", confirmed, 0, SHOWS_ALPHA, faces=1)
    yield Case("confirmed-same-bytes", ".jpg", confirmed, 1, SHOWS_ALPHA, faces=1, uploader="uploader-reposts")
    again = jpeg(scale(scene, factor=0.8), quality=60)
    yield Case("confirmed-reencoded", ".jpg", again, 1, SHOWS_ALPHA, faces=1)
    yield Case("confirmed-hidden", ".jpg", jpeg(hidden, quality=85), 1, status="no_face", faces=0)
    garden = paste(pictures["chelsea"], scale(portrait, factor=0.8), x=200, y=20)
    yield Case("reversed-face", ".jpg", jpeg(garden, quality=85), 0, SHOWS_ALPHA, faces=1)
    second = paste(pictures["coins"], scale(flip(portrait), factor=0.9), x=20, y=20)
    yield Case("second-thoughts", ".jpg", jpeg(second, quality=85), 1, SHOWS_ALPHA, faces=1)
    head = crop(pictures["astronaut"], around(ASTRONAUT_FACE, margin=0.5))
    mixed = blend(head, flip(crop(pictures["group"], around(GROUP_FACES[3], margin=0.5))), share=0.425)
    faint = {ALPHA: "face_above_review_threshold"}
    yield Case("faint-face", ".jpg", jpeg(mixed, quality=90), 0, SHOWS_ALPHA, faces=1, rules=faint)
    wall = paste(flip(pictures["brick"]), scale(portrait, factor=0.9), x=180, y=200)
    yield Case("mature-face", ".jpg", jpeg(wall, quality=85), 1, SHOWS_ALPHA, faces=1, nsfw_level="X")


def _with_faces(pictures: Mapping[str, UInt8]) -> Iterator[Case]:
    """Strong faces with the name beside them; neither alone would be enough."""
    portrait = crop(pictures["astronaut"], PORTRAIT)
    cafe = jpeg(paste(flip(pictures["coffee"]), scale(portrait, factor=0.8), x=340, y=120), quality=85)
    moon = jpeg(paste(pictures["moon"], portrait, x=30, y=30), quality=85)
    street = jpeg(paste(pictures["rocket"], scale(portrait, factor=0.8), x=20, y=90), quality=85)
    named: dict[str, Any] = {"names": _TEXT, "faces": 1}
    yield Case("face-named", ".jpg", cafe, 0, SHOWS_ALPHA, prompt="sample subject alpha in a café", **named)
    mature: dict[str, Any] = {"nsfw_level": "16", "tags": ("sample subject alpha",)}
    yield Case("mature-named", ".jpg", moon, 1, SHOWS_ALPHA, **mature, **named)
    alias: dict[str, Any] = {"rules": {ALPHA: "strong_face_uncorroborated"}, "prompt": f"{ALIAS}, award-winning photo"}
    yield Case("face-alias", ".jpg", street, 0, SHOWS_ALPHA, **alias, **named)


def _bounties(pictures: Mapping[str, UInt8], scenes: Iterator[UInt8]) -> Iterator[Case]:
    """Requests for a model of her, with and without a picture."""
    asks = "Wanted: a LoRA of Sample Subject Alpha"
    text = b"20 coins for the best one\n"
    form = "unscannable:format"
    yield Case("bounty-text", ".txt", text, 0, status=form, kind="bounty", title=asks, names=_TEXT)
    yield _faceless("bounty-picture", next(scenes), 1, kind="bounty", title=asks, names=_TEXT)
    reply = "trained on samplesubjectalpha"
    yield _faceless("bounty-reply", next(scenes), 1, kind="bounty_entry", prompt=reply, names=_TEXT)
    portrait = crop(pictures["astronaut"], PORTRAIT)
    seen = jpeg(paste(flip(pictures["motorcycle"]), portrait, x=200, y=60), quality=85)
    yield Case("bounty-face", ".jpg", seen, 0, SHOWS_ALPHA, faces=1, kind="bounty", title=asks, names=_TEXT)


def _faceless(name: str, scene: UInt8, day: int, **more: Any) -> Case:
    return Case(name, ".jpg", jpeg(scene, quality=80), day, status="no_face", faces=0, **more)


def _scenes(pictures: Mapping[str, UInt8]) -> Iterator[UInt8]:
    """Parts of faceless photographs, no two alike."""
    for name in ("coffee", "rocket", "chelsea", "motorcycle", "hubble", "gravel", "moon", "coins"):
        picture = pictures[name]
        height, width = picture.shape[:2]
        for x, y in ((0, 0), (width // 3, height // 3), (0, height // 3)):
            part = crop(picture, (x, y, x + width * 2 // 3, y + height * 2 // 3))
            yield resize(part, width=360, height=270)
