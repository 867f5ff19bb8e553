"""The thorough pass: what other views find, where it lies, what they are called, and that the budget holds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from embeddings.faces import FoundFace, find_faces
from embeddings.models import FaceModels, load_models
from embeddings.shard import embed_shard
from embeddings.types import Content, Detections, FaceSettings, ImageLimits, UInt8, ViewSettings
from embeddings.views import Face, merged, overlap, taken_back, tiles, turned, whole_views
from tests.embeddings.conftest import encode

VIEWS = ViewSettings(
    always=False,
    certain_score=0.9,
    candidate_score=0.5,
    promising_score=0.7,
    search_score=0.85,
    tiny_pixels=20,
    max_lean=20,
    sides=(320, 640),
    megapixels=4.0,
)
HEAD = (slice(0, 300), slice(100, 370))


@pytest.fixture(scope="module")
def thorough(cache_dir: Path, settings: FaceSettings) -> FaceModels:
    return load_models("opencv-zoo", cache_dir=cache_dir, settings=replace(settings, views=VIEWS))


@pytest.fixture(scope="module")
def head(photographs: dict[str, UInt8]) -> UInt8:
    return np.ascontiguousarray(photographs["astronaut.png"][HEAD])


@pytest.fixture(scope="module")
def reference(head: UInt8, models: FaceModels, limits: ImageLimits) -> FoundFace:
    (face,) = find_faces(encode(head, "PNG"), models, limits=limits)
    return face


def rotated(image: UInt8, degrees: float) -> tuple[UInt8, np.ndarray]:
    """Turned on a larger canvas, and the matrix that did it."""
    height, width = image.shape[:2]
    side = int(np.hypot(height, width)) + 1
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
    matrix[:, 2] += [(side - width) / 2, (side - height) / 2]
    return cv2.warpAffine(image, matrix, (side, side), borderValue=(128, 128, 128)), matrix


@pytest.mark.parametrize("degrees", [37, 90, 135, 180, 270, 301])
def test_a_face_turned_by_any_angle_is_found_recognised_and_located(
    degrees: float, head: UInt8, reference: FoundFace, thorough: FaceModels, limits: ImageLimits
) -> None:
    picture, matrix = rotated(head, degrees)
    best = max(
        find_faces(encode(picture, "PNG"), thorough, limits=limits), key=lambda face: face.vector @ reference.vector
    )
    assert best.vector @ reference.vector > 0.4
    x1, y1, x2, y2 = reference.box
    centre = matrix @ [(x1 + x2) / 2, (y1 + y2) / 2, 1]
    found = (best.box[0] + best.box[2]) / 2, (best.box[1] + best.box[3]) / 2
    assert np.linalg.norm(centre - found) < 0.3 * (x2 - x1)


@pytest.mark.parametrize("quarters", [0, 1])
def test_a_negative_is_found_recognised_and_named_so(
    quarters: int, head: UInt8, reference: FoundFace, thorough: FaceModels, limits: ImageLimits
) -> None:
    faces = find_faces(encode(np.rot90(255 - head, quarters), "PNG"), thorough, limits=limits)
    best = max(faces, key=lambda face: face.vector @ reference.vector)
    assert best.vector @ reference.vector > 0.6
    assert best.view.endswith("negative")


def test_a_clear_face_is_found_as_before_and_says_fast(
    head: UInt8, reference: FoundFace, thorough: FaceModels, limits: ImageLimits
) -> None:
    (face,) = find_faces(encode(head, "PNG"), thorough, limits=limits)
    assert (face.box, face.score, face.view) == (reference.box, reference.score, "fast")
    assert np.array_equal(face.vector, reference.vector)


def test_the_face_table_says_by_which_view_a_face_was_found(
    head: UInt8, thorough: FaceModels, limits: ImageLimits
) -> None:
    pictures = [encode(head, "PNG"), encode(np.rot90(head), "PNG")]
    contents = [Content(bytes([at]) * 32, data) for at, data in enumerate(pictures)]
    views = embed_shard(contents, thorough, limits=limits, workers=2).faces["view"].to_pylist()
    assert views[0] == "fast"
    assert views[1] != "fast"


def test_every_view_takes_a_point_back_to_where_it_was() -> None:
    for view in whole_views((700, 500), VIEWS):
        point = np.array([400.0, 200.0, 1.0])
        seen = (view.matrix @ point).astype(np.float32)
        marks = np.repeat(seen[None, None], 5, axis=1)
        box = np.concatenate([seen - 5, seen + 5])[None]
        (face,) = taken_back(Detections(box, marks, np.array([0.9], dtype=np.float32)), view)
        assert np.abs(face.landmarks - point[:2]).max() < 0.05
        assert np.abs((face.box[:2] + face.box[2:]) / 2 - point[:2]).max() < 0.05


def test_a_turned_view_holds_the_whole_frame() -> None:
    view = turned((640, 480), 90, False, long_side=320)
    assert (view.width, view.height, view.name) == (240, 320, "whole 90")
    corners = np.array([[0, 0, 1], [639, 479, 1], [639, 0, 1], [0, 479, 1]]) @ view.matrix.T
    assert (corners > -1).all()
    assert (corners < [241, 321]).all()


def test_tiles_cover_the_frame_and_overlap() -> None:
    seen = np.zeros((900, 1600), dtype=int)
    for tile in tiles((1600, 900), side=640):
        factor, left, top = tile.matrix[0, 0], -tile.matrix[0, 2], -tile.matrix[1, 2]
        x, y = int(left / factor), int(top / factor)
        seen[y : int(np.ceil((top + tile.height) / factor)), x : int(np.ceil((left + tile.width) / factor))] += 1
    assert seen.min() >= 1
    assert seen.max() > 1


def test_one_face_seen_in_several_views_is_kept_once_and_best() -> None:
    def face(x: float, score: float, view: str) -> Face:
        box = np.array([x, 0, x + 10, 10], dtype=np.float32)
        return Face(box, np.zeros((5, 2), dtype=np.float32), score, pixels=10, turn=0.0, view=view)

    kept = merged([face(0, 0.7, "fast"), face(1, 0.95, "whole 90"), face(40, 0.8, "tile")], nms_iou=0.3)
    assert [one.view for one in kept] == ["whole 90", "tile"]
    assert overlap(kept[0].box, kept[1].box) == 0


class CountingDetector:
    """Sees nothing, and adds up what it was shown."""

    def __init__(self) -> None:
        self.megapixels = 0.0

    def detect(self, image: UInt8) -> Detections:
        self.megapixels += image.shape[0] * image.shape[1] / 1e6
        none = np.empty((0, 4), dtype=np.float32)
        return Detections(none, np.empty((0, 5, 2), dtype=np.float32), np.empty(0, dtype=np.float32))


@pytest.mark.parametrize("budget", [0.5, 2.0, 100.0])
def test_the_budget_of_a_frame_holds(
    budget: float, head: UInt8, thorough: FaceModels, limits: ImageLimits, settings: FaceSettings
) -> None:
    detector = CountingDetector()
    views = replace(VIEWS, megapixels=budget, always=True)
    models = replace(thorough, detector=detector, settings=replace(settings, views=views))
    assert find_faces(encode(head, "PNG"), models, limits=limits) == ()
    fast = head.shape[0] * head.shape[1] / 1e6
    assert 0.3 < detector.megapixels - fast <= budget


def test_faces_of_a_faceless_picture_are_not_invented(
    photographs: dict[str, UInt8], thorough: FaceModels, limits: ImageLimits
) -> None:
    for name in ("coffee.png", "rocket.jpg", "coins.png"):
        assert find_faces(encode(photographs[name], "PNG"), thorough, limits=limits) == ()
