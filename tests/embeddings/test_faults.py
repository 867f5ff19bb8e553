"""Whatever one image makes the scanner raise is that image's status, and nobody else's affair (I9)."""

from __future__ import annotations

import io
import json
import logging
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from embeddings.content.describe import Describer, describe_contents
from embeddings.errors import LikenessError, UnscannableError, VectorError
from embeddings.faults import bisected, guarded
from embeddings.headers.evidence import TextLimits, evident_texts
from embeddings.headers.pictures import thumbnail
from embeddings.headers.safetensors import HeaderLimits, parse_header
from embeddings.images.decode import decode
from embeddings.images.warping import warped
from embeddings.models.load import FaceModels
from embeddings.shard import embed_shard
from embeddings.types import Content, Float32, ImageLimits, UInt8
from tests.embeddings.conftest import chunk
from tests.embeddings.test_shard import faked, picture
from tests.examples import examples
from tests.fakes import MeanRater, content_of, fake_models

UNFORESEEN = [
    RuntimeError("jane doe"),
    SystemError("jane doe"),
    RecursionError("jane doe"),
    cv2.error("jane doe"),
    struct.error("jane doe"),
    OverflowError("jane doe"),
    VectorError("jane doe"),
    AssertionError("jane doe"),
]
POISON = 5
SEEDS = range(1, 12)


def when_poisoned(error: Exception) -> Callable[[UInt8], None]:
    def hook(image: UInt8) -> None:
        if image[1, 1, 0] == POISON:
            raise error

    return hook


@pytest.mark.parametrize("error", UNFORESEEN, ids=lambda error: type(error).__name__)
def test_i9_an_image_that_the_detector_chokes_on_costs_only_itself(
    error: Exception, models: FaceModels, limits: ImageLimits, caplog: pytest.LogCaptureFixture
) -> None:
    contents = [picture(1, seed) for seed in SEEDS]
    good = embed_shard(contents, faked(models), limits=limits, workers=2)
    with caplog.at_level(logging.WARNING):
        found = embed_shard(contents, faked(models, when_poisoned(error)), limits=limits, workers=2)
    statuses = dict(zip(SEEDS, found.statuses["status"].to_pylist(), strict=True))
    assert statuses == {seed: "unscannable:scanner_error" if seed == POISON else "faces" for seed in SEEDS}
    rest = [content.sha256 != contents[POISON - 1].sha256 for content in contents]
    assert found.faces.drop_columns(["vector"]).equals(good.faces.filter(rest).drop_columns(["vector"]))
    assert type(error).__name__ in caplog.text
    assert "jane doe" not in caplog.text


def test_i9_too_little_memory_for_one_image_costs_only_itself(models: FaceModels, limits: ImageLimits) -> None:
    poisoned = faked(models, when_poisoned(MemoryError()))
    found = embed_shard([picture(1, seed) for seed in SEEDS], poisoned, limits=limits, workers=2)
    assert found.statuses["status"].to_pylist().count("unscannable:scanner_memory") == 1
    assert found.faces.num_rows == len(SEEDS) - 1


def test_i9_a_face_that_the_recogniser_chokes_on_costs_its_image_and_not_its_batch(
    models: FaceModels, limits: ImageLimits
) -> None:
    class Choking:
        dimension = 4

        def embed(self, crops: UInt8) -> Float32:
            if (crops.max(axis=(1, 2, 3)) == POISON).any():
                raise OverflowError
            return np.tile(np.float32([1, 0, 0, 0]), (len(crops), 1))

    choking = replace(faked(models, batch=4), recognizer=Choking())
    found = embed_shard([picture(1, seed) for seed in SEEDS], choking, limits=limits, workers=2)
    assert found.statuses["status"].to_pylist().count("unscannable:scanner_error") == 1
    assert found.faces.num_rows == len(SEEDS) - 1


def test_i9_an_image_that_cannot_be_rated_costs_only_itself(limits: ImageLimits) -> None:
    class Choking(MeanRater):
        def rate(self, image: UInt8) -> float:
            if image[1, 1, 0] == POISON:
                raise ZeroDivisionError
            return super().rate(image)

    contents = [picture(1, seed) for seed in SEEDS]
    described = describe_contents(contents, Describer(Choking(), None, 4), limits=limits, long_side=64, workers=2)
    assert [one.sha256 for one in described] == [one.sha256 for one in contents]
    assert [one.status for one in described].count("described") == len(SEEDS) - 1
    assert described[POISON - 1].status == "unscannable:scanner_error"


def test_i9_an_image_that_only_the_rater_chokes_on_keeps_its_faces(models: FaceModels, limits: ImageLimits) -> None:
    class Choking(MeanRater):
        def rate(self, image: UInt8) -> float:
            if image[1, 1, 0] == POISON:
                raise ZeroDivisionError
            return super().rate(image)

    contents = [picture(1, seed) for seed in SEEDS]
    found = embed_shard(contents, faked(models), limits=limits, workers=2, describer=Describer(Choking(), None, 4))
    assert found.statuses["status"].to_pylist() == ["faces"] * len(SEEDS)
    described = {one.sha256 for one in found.descriptions}
    assert [one.sha256 in described for one in contents] == [seed != POISON for seed in SEEDS]


def test_work_is_halved_around_each_thing_that_raises_and_keeps_its_order() -> None:
    calls: list[int] = []

    def work(some: list[int]) -> list[str]:
        calls.append(len(some))
        if {3, 200} & set(some):
            raise KeyError
        return [str(one) for one in some]

    things = list(range(256))
    parts = bisected(things, work, faulty=lambda thing, error: [error.status], control=lambda: None)
    flat = [one for part in parts for one in part]
    assert flat == ["unscannable:scanner_error" if one in (3, 200) else str(one) for one in things]
    assert len(calls) <= 4 * 8


def test_no_work_that_raises_is_nobodys_fault() -> None:
    def work(some: object) -> None:
        raise KeyError

    with pytest.raises(KeyError):
        bisected([], work, faulty=lambda thing, error: None, control=lambda: None)


def test_what_a_guarded_work_raises_is_an_items_fault_unless_it_was_raised_on_purpose() -> None:
    def raising(error: BaseException) -> Callable[[], None]:
        def work() -> None:
            raise error

        return work

    with pytest.raises(UnscannableError, match="scanner_error"):
        guarded(raising(RecursionError()))
    for error in (LikenessError("x"), UnscannableError("corrupt"), KeyboardInterrupt()):
        with pytest.raises(type(error)):
            guarded(raising(error))


def extreme(kind: str, size: tuple[int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.new("L" if kind != "GIF" else "P", size).save(buffer, format=kind)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("kind", "size"),
    [
        ("PNG", (32767, 1)),
        ("PNG", (1, 32767)),
        ("PNG", (32767, 150)),
        ("GIF", (65535, 1)),
        ("GIF", (1, 65535)),
        ("JPEG", (65500, 1)),
        ("PNG", (1, 1)),
    ],
)
def test_a_picture_of_any_shape_is_looked_at(
    kind: str, size: tuple[int, int], models: FaceModels, limits: ImageLimits
) -> None:
    found = embed_shard([content_of(extreme(kind, size))], models, limits=limits, workers=1)
    assert found.statuses["status"].to_pylist() == ["no_face"]


def test_a_picture_wider_than_opencv_warps_is_shown_as_a_narrow_one_is(photographs: dict[str, UInt8]) -> None:
    narrow = photographs["astronaut.png"][:200, :300]
    wide = np.concatenate([narrow, np.zeros((200, 33_000, 3), dtype=np.uint8)], axis=1)
    matrix = np.array([[0.4, 0.1, 3.0], [-0.1, 0.4, 20.0]], dtype=np.float32)
    shown = warped(wide, matrix, (100, 90), ground=0).astype(int)
    expected = warped(narrow, matrix, (100, 90), ground=0).astype(int)
    inside = cv2.warpAffine(np.full_like(narrow, 255), matrix, (100, 90)) == 255
    assert np.abs(shown - expected)[inside].mean() < 6


def png_of(width: int, height: int, depth: int, colour: int, interlaced: int, rows: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


FAKES = fake_models()
LIMITS = ImageLimits(
    max_bytes=2**22,
    max_pixels=2**20,
    max_frames=4,
    max_animation_pixels=2**22,
    max_video_seconds=60.0,
    max_video_pixels=2**28,
    max_decode_bytes=2**26,
)
SIDES = st.one_of(st.integers(0, 70), st.sampled_from([32766, 32767, 32768, 65535, 2**20, 2**31 - 1, 2**32 - 1]))


@settings(max_examples=examples(60))
@given(
    width=SIDES,
    height=SIDES,
    depth=st.sampled_from([0, 1, 2, 4, 8, 16, 32]),
    colour=st.integers(0, 7),
    interlaced=st.integers(0, 2),
    rows=st.binary(max_size=20_000),
)
@example(width=32767, height=1, depth=1, colour=0, interlaced=0, rows=bytes(4097))
def test_no_header_of_a_png_raises_anything_but_a_status(
    width: int, height: int, depth: int, colour: int, interlaced: int, rows: bytes
) -> None:
    file = png_of(width, height, depth, colour, interlaced, rows)
    with suppress(UnscannableError):
        for frame in decode(file, limits=LIMITS, long_side=64).frames:
            assert frame.image.shape == (height, width, 3)


@settings(max_examples=examples(60))
@given(st.integers(0, 255), st.integers(0, 2**16 - 1), st.integers(0, 2**16 - 1), st.data())
def test_no_sizes_in_a_gif_raise_anything_but_a_status(at: int, width: int, height: int, data: st.DataObject) -> None:
    good = bytearray(extreme("GIF", (9, 9)))
    place = data.draw(st.sampled_from([6, *(i + 5 for i in range(len(good) - 9) if good[i] == 0x2C)]))
    good[place : place + 4] = struct.pack("<HH", width, height)
    good[at % len(good)] ^= at
    with suppress(UnscannableError):
        list(decode(bytes(good), limits=LIMITS, long_side=64).frames)


NUMBERS = st.sampled_from(
    [
        "1e999999",
        "-1e999999",
        "1" + "0" * 400,
        "9" * 4299,
        "9" * 5000,
        "-" + "9" * 400,
        "0",
        "1.5",
        "true",
        "-0",
        "1E-999999",
    ]
)
NESTED = st.integers(1, 200_000).map(lambda depth: "[" * depth + "]" * depth)
VALUES = st.one_of(NUMBERS, NESTED, st.text(max_size=20).map(json.dumps))
KEYS = ("ss_tag_frequency", "ss_dataset_dirs", "ss_datasets", "ss_output_name", "modelspec.thumbnail")


@settings(max_examples=examples(80))
@given(st.sampled_from(KEYS), VALUES, VALUES)
@example("ss_tag_frequency", "1" + "0" * 400, "1")
@example("ss_dataset_dirs", "1" + "0" * 400, "1")
def test_no_metadata_of_a_model_raises_anything_but_a_status(key: str, value: str, other: str) -> None:
    shaped = {
        "ss_tag_frequency": f'{{"10_x": {{"a": {value}, "b": {other}}}}}',
        "ss_dataset_dirs": f'{{"10_x": {{"img_count": {value}}}}}',
        "ss_datasets": f'[{{"tag_frequency": {{"f": {{"t": {value}}}}}, "subsets": [{{"img_count": {other}}}]}}]',
    }
    metadata = {key: shaped.get(key, value), "ss_tag_frequency": shaped["ss_tag_frequency"]}
    evident_texts(metadata, limits=TextLimits(max_chars=500, top_tags=3, identity_share=0.9))
    with suppress(UnscannableError):
        thumbnail(metadata, max_bytes=1000)


@settings(max_examples=examples(80))
@given(VALUES, VALUES, st.booleans())
@example("9" * 4299, "9" * 4299, False)
def test_no_tensors_of_a_model_raise_anything_but_a_status(side: str, offset: str, sized: bool) -> None:
    tensor = f'{{"dtype": "U8", "shape": [{side}], "data_offsets": [0, {offset}]}}'
    data = f'{{"t": {tensor}}}'.encode()
    try:
        header = parse_header(data, file_bytes=100 if sized else None, limits=HeaderLimits(2**20, 10))
    except UnscannableError:
        return
    struct.pack("<Q", header.file_bytes)


def test_a_count_of_400_digits_costs_its_own_tag() -> None:
    frequency = {"10_x": {"ohwx": 10**400, "jane": 20, "tree": 3}}
    metadata = {"ss_tag_frequency": json.dumps(frequency), "ss_dataset_dirs": json.dumps({"10_x": {"img_count": 20}})}
    texts = evident_texts(metadata, limits=TextLimits(max_chars=500, top_tags=3, identity_share=0.9))
    assert [one.text for one in texts if one.place == "header:identity_token"] == ["jane"]


def test_a_small_file_that_takes_much_memory_is_refused_by_its_header(limits: ImageLimits) -> None:
    wide = png_of(3000, 3000, 16, 6, 0, bytes(3000 * (1 + 8 * 3000)))
    assert len(wide) < 100_000
    decode(wide, limits=limits, long_side=64)
    with pytest.raises(UnscannableError, match="too_much_memory"):
        decode(wide, limits=replace(limits, max_decode_bytes=200_000_000), long_side=64)


def test_an_unforeseen_fault_names_the_scanner_and_not_the_file(models: FaceModels, limits: ImageLimits) -> None:
    poisoned = faked(models, when_poisoned(RuntimeError("jane doe")))
    found = embed_shard([Content(b"1" * 32, picture(1, POISON).data)], poisoned, limits=limits, workers=1)
    assert "jane" not in str(found.statuses.to_pylist())
