"""Tiles: which frames are cut, that all of them is shown within the budget, and the small faces they are for."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as bounded
from hypothesis import strategies as st
from PIL import Image

from embeddings.faces.detection import CELL, resize_to
from embeddings.faces.find import FoundFace, find_faces
from embeddings.faces.tiling import (
    LEAST_SIDE,
    OVERLAP,
    SIDE,
    is_long,
    near_squares,
    places,
    shown_size,
    smallest_seen,
    tile_scale,
)
from embeddings.models.load import FaceModels, load_models
from embeddings.types import Detections, ImageLimits, TileSettings, UInt8
from pipelines.settings.config import EmbeddingConfig
from tests.embeddings.conftest import encode
from tests.examples import examples

SETTINGS = EmbeddingConfig().faces()
HEAD = (slice(0, 300), slice(100, 370))
"""Of the astronaut's picture; the box of the face in it is 114 pixels high."""
FACE = 114


@pytest.fixture(scope="module")
def tiling(cache_dir: Path) -> FaceModels:
    return load_models("opencv-zoo", cache_dir=cache_dir, settings=SETTINGS)


@pytest.fixture(scope="module")
def head(photographs: dict[str, UInt8]) -> UInt8:
    return np.ascontiguousarray(photographs["astronaut.png"][HEAD])


@pytest.fixture(scope="module")
def reference(head: UInt8, tiling: FaceModels, limits: ImageLimits) -> FoundFace:
    (face,) = find_faces(encode(head, "PNG"), tiling, limits=limits)
    return face


def scene(photographs: dict[str, UInt8], width: int, height: int) -> UInt8:
    return np.array(Image.fromarray(photographs["coffee.png"]).resize((width, height)))


def paste(ground: UInt8, picture: UInt8, x: int, y: int, *, side: int) -> None:
    """Lay a picture of a head upon another one, so that its face is so many pixels high."""
    factor = side / FACE
    small = Image.fromarray(picture).resize((round(picture.shape[1] * factor), round(picture.shape[0] * factor)))
    ground[y : y + small.height, x : x + small.width] = np.asarray(small)


def likenesses(picture: UInt8, models: FaceModels, reference: FoundFace, limits: ImageLimits) -> list[FoundFace]:
    found = find_faces(encode(picture, "JPEG", quality=92), models, limits=limits)
    return [face for face in found if float(face.vector @ reference.vector) >= 0.363]


sides = st.integers(1, 20_000)


@given(sides, sides, st.floats(0.1, 20), st.integers(10, 200))
@bounded(max_examples=examples(300))
def test_tiles_show_all_of_a_frame_within_the_budget_and_larger_than_the_fast_pass(
    width: int, height: int, megapixels: float, smallest: int
) -> None:
    settings = replace(SETTINGS, tiles=TileSettings(smallest, megapixels))
    scale = tile_scale((width, height), settings)
    if scale is None:
        return
    assert scale >= 1.3 * min(1, 640 / max(width, height))
    tiles = places((width, height), scale)
    across, down = shown_size((width, height), scale)
    assert sum(part * length for *_, part, length in tiles) <= 1e6 * megapixels
    assert max(max(part, length) for *_, part, length in tiles) <= SIDE
    columns, rows = sorted({(x, part) for x, _, part, _ in tiles}), sorted({(y, part) for _, y, _, part in tiles})
    for parts, length in ((columns, across), (rows, down)):
        assert parts[0][0] == 0
        assert parts[-1][0] + parts[-1][1] == length
        assert all(one + part - other >= OVERLAP - 1 for (one, part), (other, _) in pairwise(parts))
    assert len(tiles) == len(columns) * len(rows)


@pytest.mark.parametrize(
    "size", [(1024, 1024), (1216, 832), (1024, 1536), (1536, 1024), (512, 512), (900, 360), (1, 1)]
)
def test_ordinary_pictures_are_not_cut(size: tuple[int, int]) -> None:
    assert tile_scale(size, SETTINGS) is None


@pytest.mark.parametrize("size", [(1920, 1080), (3000, 2000), (6000, 4000), (768, 15_360), (12_000, 1000)])
def test_the_smallest_face_that_settings_name_is_seen_in_large_and_long_frames(size: tuple[int, int]) -> None:
    assert smallest_seen(size, SETTINGS) <= 70  # tiles overlap, which the budget pays for in the largest
    assert smallest_seen(size, replace(SETTINGS, tiles=None)) >= 90


@given(st.integers(LEAST_SIDE, 3000), st.integers(1, 3000))
@bounded(max_examples=examples(200))
def test_near_squares_of_a_long_frame_cover_it_and_share_a_third(short: int, more: int) -> None:
    size = (short, int(2.5 * short) + more)
    part, corners = near_squares(size, SETTINGS)
    assert is_long(size)
    assert part == (short, short)
    starts = [y for _, y in corners]
    assert (starts[0], starts[-1] + short) == (0, size[1])
    assert all(after - before <= short * 2 / 3 + 1 for before, after in pairwise(starts))
    assert near_squares((short, short), SETTINGS) == ((short, short), [(0, 0)])


class CountingDetector:
    """Finds nothing, and counts what it is shown: calls, and pixels of which each side is at least a cell's."""

    def __init__(self) -> None:
        self.calls = 0
        self.pixels = 0

    def detect(self, image: UInt8, *, as_is: bool = False) -> Detections:
        """Nothing."""
        self.calls += 1
        long_side = max(image.shape[:2] if as_is else SETTINGS.scales)
        height, width = resize_to(image, long_side=long_side)[0].shape[:2]
        self.pixels += max(height, CELL) * max(width, CELL)
        return Detections(np.empty((0, 4), np.float32), np.empty((0, 5, 2), np.float32), np.empty(0, np.float32))


@pytest.mark.parametrize("short", [1, LEAST_SIDE - 1, LEAST_SIDE, 40])
@pytest.mark.parametrize("down", [False, True])
def test_a_long_frame_costs_no_more_than_the_budgets_however_thin_it_is(
    short: int, down: bool, tiling: FaceModels, limits: ImageLimits
) -> None:
    """Those of its tiles and of its search, beside the fast pass over it as it is and smoothed."""
    detector = CountingDetector()
    picture = np.zeros((short, 40_000, 3), dtype=np.uint8)
    file = encode(picture.swapaxes(0, 1) if down else picture, "PNG")
    assert find_faces(file, replace(tiling, detector=detector), limits=limits) == ()
    assert SETTINGS.tiles is not None
    assert detector.pixels <= 2 * 1e6 * SETTINGS.tiles.megapixels + 2 * max(SETTINGS.scales) ** 2
    if short < LEAST_SIDE:
        assert detector.calls == 2


def test_the_length_of_a_frame_does_not_decide_how_many_near_squares_are_searched() -> None:
    part, corners = near_squares((2_000_000, LEAST_SIDE), SETTINGS)
    assert part == (LEAST_SIDE, LEAST_SIDE)
    assert 100 < len(corners) < 1000


@pytest.mark.parametrize("size", [(3000, 2000), (6000, 4000)])
@pytest.mark.parametrize("side", [60, 110])
def test_a_small_face_beside_a_large_one_is_found_once_where_it_is(
    size: tuple[int, int],
    side: int,
    head: UInt8,
    reference: FoundFace,
    tiling: FaceModels,
    photographs: dict[str, UInt8],
    limits: ImageLimits,
) -> None:
    picture = scene(photographs, *size)
    stranger = photographs["t1.jpg"][200:520, 400:640]
    paste(picture, stranger, size[0] // 2, size[1] // 4, side=500)
    paste(picture, head, size[0] // 5, size[1] // 2, side=side)
    (face,) = likenesses(picture, tiling, reference, limits)
    x, y = size[0] // 5 + (78 + 45) * side / FACE, size[1] // 2 + (63 + 57) * side / FACE
    assert abs((face.box[0] + face.box[2]) / 2 - x) < side / 3
    assert abs((face.box[1] + face.box[3]) / 2 - y) < side / 3


@pytest.mark.parametrize("at", range(2000, 2800, 200))
@pytest.mark.parametrize("side", [40, 240])
def test_a_face_in_a_long_strip_is_found_once_wherever_tiles_are_cut(
    at: int,
    side: int,
    head: UInt8,
    reference: FoundFace,
    tiling: FaceModels,
    photographs: dict[str, UInt8],
    limits: ImageLimits,
) -> None:
    down, across = (np.concatenate([scene(photographs, 768, 768)] * 8, axis=axis) for axis in (0, 1))
    paste(down, head, 20, at, side=side)
    paste(across, head, at, 20, side=side)
    assert len(likenesses(down, tiling, reference, limits)) == 1
    assert len(likenesses(across, tiling, reference, limits)) == 1


def test_a_face_on_its_head_in_a_strip_is_found(
    head: UInt8, reference: FoundFace, tiling: FaceModels, photographs: dict[str, UInt8], limits: ImageLimits
) -> None:
    picture = np.concatenate([scene(photographs, 600, 600)] * 12)
    paste(picture, np.rot90(head, 2), 100, 4300, side=170)
    assert len(likenesses(picture, tiling, reference, limits)) == 1


def test_a_large_picture_without_faces_has_none(
    tiling: FaceModels, photographs: dict[str, UInt8], limits: ImageLimits
) -> None:
    assert find_faces(encode(scene(photographs, 3000, 2000), "JPEG"), tiling, limits=limits) == ()
