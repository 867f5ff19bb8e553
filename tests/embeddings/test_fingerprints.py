"""PDQ: re-encodings are near, other pictures are far, plain ones have no hash."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage

from embeddings.images.pdq import PDQ_MODEL_ID, pdq
from embeddings.types import UInt8


def photograph(name: str) -> UInt8:
    image = cv2.imread(str(Path(skimage.data_dir) / name))
    return np.ascontiguousarray(image[..., ::-1])


def distance(left: UInt8, right: UInt8) -> int:
    first, second = pdq(left), pdq(right)
    assert first is not None
    assert second is not None
    return (int.from_bytes(first) ^ int.from_bytes(second)).bit_count()


@pytest.mark.parametrize("quality", [95, 50, 20])
@pytest.mark.parametrize("size", [512, 300, 150])
def test_a_picture_re_encoded_and_resized_is_the_same_picture(quality: int, size: int) -> None:
    original = photograph("astronaut.png")
    small = cv2.resize(original, (size, size), interpolation=cv2.INTER_AREA)
    _, encoded = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert distance(original, np.ascontiguousarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR)[..., ::-1])) <= 31


def test_different_pictures_are_far_apart() -> None:
    assert distance(photograph("astronaut.png"), photograph("coffee.png")) > 80


@pytest.mark.parametrize("shape", [(1, 1, 3), (3, 500, 3), (64, 64, 3)])
def test_a_plain_picture_has_no_hash(shape: tuple[int, int, int]) -> None:
    assert pdq(np.full(shape, 130, dtype=np.uint8)) is None


def test_i4_another_preparation_needs_another_model_id() -> None:
    """A processor's own rounding may turn a bit of this hash; a long side of 320, 448, 512 or 256 turns 2 to 18."""
    expected = bytes.fromhex("2d2f1af3a856c529e79ca3d2526fa834d4196c81cedd04de0a26f855fc99b724")
    found = pdq(photograph("astronaut.png"))
    assert found is not None
    assert (int.from_bytes(found) ^ int.from_bytes(expected)).bit_count() <= 1
    assert PDQ_MODEL_ID == "pdq-384-1"
