"""Model files: whom their headers name, what their thumbnails show, and headers made to do harm."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from embeddings.types import UInt8
from pipelines.sample.case import INNOCENT, LIKENESS, NAMED, PORTRAIT, SECOND, SHOWS_ALPHA, SPLIT, STYLE, Case
from pipelines.sample.encoding import data_url, jpeg, safetensors, safetensors_of
from pipelines.sample.truth import ALPHA
from pipelines.sample.variants import crop, flip, hue, paste, scale

_STYLE = {"ss_output_name": "portrait-style", "ss_tag_frequency": '{"1_style": {"portrait": 12}}'}


def model_file_cases(pictures: Mapping[str, UInt8]) -> Iterator[Case]:
    """Yield every model file in the safetensors format, and the sample picture of one that says whom it shows."""
    for model, day in ((LIKENESS, 0), (SECOND, 1), (SPLIT, 0), (STYLE, 1), (INNOCENT, 0)):
        yield model_file(f"weights-{model}", {**_STYLE, "modelspec.title": model}, day, item_id=model)
    yield from _named()
    yield from _thumbnails(crop(pictures["astronaut"], PORTRAIT))
    yield from _copies()
    yield from _hostile()
    portrait = scale(crop(pictures["astronaut"], PORTRAIT), factor=0.8)
    garden = jpeg(paste(pictures["gravel"], flip(portrait), x=200, y=180), quality=85)
    with_name = {ALPHA: "strong_face_with_name"}
    yield Case("named-model-picture", ".jpg", garden, 1, SHOWS_ALPHA, faces=1, model=NAMED, rules=with_name)


def model_file(name: str, metadata: Mapping[str, str], day: int, *, weights: str = "", **more: Any) -> Case:
    """Return a model file whose tensors differ from those of every other, unless ``weights`` says otherwise."""
    tensors = hashlib.sha512((weights or name).encode()).digest()
    data = safetensors(metadata, weights=tensors)
    values: dict[str, Any] = {"status": "no_face", "faces": 0} | more
    return Case(name, ".safetensors", data, day, kind="model", **values)


def _named() -> Iterator[Case]:
    """Headers with the name in each entry where a trainer or an uploader puts it, and in entries of little weight."""
    header: dict[str, Any] = {"names": {ALPHA: "header"}}
    tags = {"10_photos": {"sample subject alpha": 24, "smiling": 9, "outdoors": 4}}
    folders = {"10_sample subject alpha": {"n_repeats": 10, "img_count": 24}}
    output = {"ss_output_name": "sampleSubjectAlpha_v2"}
    yield model_file("header-output-name", output, 0, **header)
    yield model_file("header-identity-token", {"ss_tag_frequency": json.dumps(tags)}, 1, **header)
    yield model_file("header-dataset-dirs", {"ss_dataset_dirs": json.dumps(folders)}, 0, **header)
    yield model_file("header-title", {"modelspec.title": "Alpha, Sample Subject"}, 1, **header)
    yield model_file(
        "weights-model-named", {"modelspec.trigger_phrase": "ѕamрle ѕubject alрhа"}, 0, item_id=NAMED, **header
    )
    weak: dict[str, Any] = {"rules": {ALPHA: "weak_name_alone"}, **header}
    yield model_file("header-comment", {"ss_training_comment": "not sample subject alpha, I swear"}, 1, **weak)
    near = {"ss_output_name": "sampleSubjectAlphonse", "modelspec.title": "Simple Subject Alpha"}
    yield model_file("header-other-name", near, 0)


def _thumbnails(portrait: UInt8) -> Iterator[Case]:
    """Headers with an image, which is scanned like any other; with a name beside it the takedown is automatic."""
    shown = {"modelspec.thumbnail": data_url(jpeg(hue(portrait, degrees=12), quality=85))}
    named = {
        "modelspec.thumbnail": data_url(jpeg(flip(portrait), quality=80)),
        "modelspec.title": "Subject Alpha Sample",
    }
    face: dict[str, Any] = {"shows": SHOWS_ALPHA, "faces": 1, "status": "clean"}
    yield model_file("thumbnail-face", shown, 0, **face)
    yield model_file("thumbnail-face-named", named, 1, names={ALPHA: "header"}, **face)


def _copies() -> Iterator[Case]:
    """A file that an analyst confirms, and its tensors under a header from which everything was removed."""
    told = {"ss_output_name": "sample_subject_alpha-000010", "ss_training_comment": "second try"}
    yield model_file("lora-confirmed", told, 0, weights="lora", names={ALPHA: "header"})
    yield model_file("lora-cleaned", {}, 1, weights="lora", uploader="uploader-reposts")


def _hostile() -> Iterator[Case]:
    """Headers with a count that no float holds, with two readings, and with nesting that exhausts a reader's stack."""
    bomb = "unscannable:too_complex"
    twice = b'{"__metadata__": {"ss_output_name": "style", "ss_output_name": "sample subject alpha"}}'
    deep = b'{"__metadata__": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    count = '{"10_photos": {"portrait": ' + "9" * 400 + ', "smiling": 9}}'
    yield model_file("header-count-of-400-digits", {"ss_tag_frequency": count}, 1)
    told: dict[str, Any] = {"names": {ALPHA: "header"}, "status": "no_face", "faces": 0}
    yield Case("header-key-twice", ".safetensors", safetensors_of(twice, b""), 0, kind="model", **told)
    yield Case("header-too-deep", ".safetensors", safetensors_of(deep, b""), 1, status=bomb, kind="model")
