"""Detection: the same faces as OpenCV's own YuNet, at several scales, and faces that fill the frame."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from embeddings.faces.detection import YuNetDetector, letterbox, resize_to, suppress
from embeddings.models.load import FaceModels
from embeddings.models.packs import OPENCV_ZOO
from embeddings.models.runtime import OnnxSession
from embeddings.models.weights import prepared_graph
from embeddings.types import Detections, FaceSettings, UInt8
from tests.embeddings.conftest import NO_FACE


@pytest.fixture(scope="module")
def session(models: FaceModels, cache_dir) -> OnnxSession:  # type: ignore[no-untyped-def]
    return OnnxSession(prepared_graph(OPENCV_ZOO.detector, cache_dir=cache_dir))


def iou(one: npt.NDArray[np.float32], two: npt.NDArray[np.float32]) -> float:
    sides = np.clip(np.minimum(one[2:], two[2:]) - np.maximum(one[:2], two[:2]), 0, None)
    areas = [float(np.prod(box[2:] - box[:2])) for box in (one, two)]
    return float(sides.prod() / (sum(areas) - sides.prod()))


def at_full_size(session: OnnxSession, settings: FaceSettings, image: UInt8) -> Detections:
    return YuNetDetector(session, settings=replace(settings, scales=(max(image.shape[:2]),))).detect(image)


@pytest.mark.parametrize("name", ["astronaut.png", "t1.jpg", "camera.png", "Tom_Hanks_54745.png", *NO_FACE])
def test_opencv_finds_the_same_faces(
    name: str, session: OnnxSession, settings: FaceSettings, photographs: dict[str, UInt8], opencv: SimpleNamespace
) -> None:
    image = photographs[name]
    found, expected = at_full_size(session, settings, image), opencv.detect(image)
    assert len(found) == len(expected)
    for row in expected:
        box = np.array([row[0], row[1], row[0] + row[2], row[1] + row[3]], dtype=np.float32)
        at = int(np.argmax([iou(box, other) for other in found.boxes]))
        assert iou(box, found.boxes[at]) > 0.999
        assert np.abs(found.landmarks[at].ravel() - row[4:14]).max() < 0.05
        assert abs(found.scores[at] - row[14]) < 1e-4


def test_two_scales_find_the_six_people_of_the_group(models: FaceModels, photographs: dict[str, UInt8]) -> None:
    found = models.detector.detect(photographs["t1.jpg"])
    assert len(found) == 6
    assert list(found.scores) == sorted(found.scores, reverse=True)
    assert found.boxes.dtype == found.landmarks.dtype == found.scores.dtype == np.float32


@pytest.mark.parametrize("name", NO_FACE)
def test_no_face_is_found_where_there_is_none(name: str, models: FaceModels, photographs: dict[str, UInt8]) -> None:
    found = models.detector.detect(photographs[name])
    assert len(found) == 0
    assert (found.boxes.shape, found.landmarks.shape) == ((0, 4), (0, 5, 2))


@pytest.mark.parametrize("side", [150, 640, 1500])
def test_a_face_that_fills_the_frame_is_found(side: int, models: FaceModels, photographs: dict[str, UInt8]) -> None:
    tight = cv2.resize(photographs["astronaut.png"][60:180, 170:280], (side, side), interpolation=cv2.INTER_CUBIC)
    found = models.detector.detect(tight)
    assert len(found) == 1
    assert iou(found.boxes[0], np.array([0, 0, side, side], dtype=np.float32)) > 0.4


def test_one_large_scale_alone_would_miss_a_face_that_fills_the_frame(
    session: OnnxSession, settings: FaceSettings, photographs: dict[str, UInt8]
) -> None:
    tight = cv2.resize(photographs["astronaut.png"][60:180, 170:280], (1500, 1500), interpolation=cv2.INTER_CUBIC)
    assert len(at_full_size(session, settings, tight)) == 0


@pytest.mark.parametrize("factor", [0.35, 0.77, 1.9, 4.1])
def test_boxes_and_landmarks_are_in_the_images_own_pixels(
    factor: float, models: FaceModels, photographs: dict[str, UInt8]
) -> None:
    image = photographs["astronaut.png"]
    found = models.detector.detect(cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA))
    reference = models.detector.detect(image)
    assert len(found) == 1
    assert iou(found.boxes[0] / np.float32(factor), reference.boxes[0]) > 0.85
    assert np.abs(found.landmarks[0] / factor - reference.landmarks[0]).max() < 9


def test_landmarks_go_eyes_nose_mouth_and_left_first(models: FaceModels, photographs: dict[str, UInt8]) -> None:
    for points in models.detector.detect(photographs["t1.jpg"]).landmarks:
        eyes, nose, mouth = points[:2], points[2], points[3:]
        assert eyes[0, 0] < eyes[1, 0]
        assert mouth[0, 0] < mouth[1, 0]
        assert eyes[:, 1].max() < nose[1] < mouth[:, 1].min()


@pytest.mark.parametrize("shape", [(1, 1), (1, 900), (900, 1), (31, 33), (640, 641), (17, 5000)])
def test_images_of_any_shape_are_looked_at(shape: tuple[int, int], models: FaceModels) -> None:
    assert len(models.detector.detect(np.full((*shape, 3), 90, dtype=np.uint8))) == 0


def test_noise_at_the_lowest_threshold_stays_finite_and_bounded(session: OnnxSession, settings: FaceSettings) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (640, 640, 3)).astype(np.uint8)
    found = YuNetDetector(session, settings=replace(settings, min_score=0.0, nms_iou=1.0)).detect(noise)
    assert len(found) == 2048
    assert np.isfinite(found.boxes).all()


def test_the_image_given_is_not_changed(models: FaceModels, photographs: dict[str, UInt8]) -> None:
    image = photographs["astronaut.png"].copy()
    models.detector.detect(image)
    assert np.array_equal(image, photographs["astronaut.png"])


@given(st.integers(1, 400), st.integers(1, 400), st.integers(1, 300))
def test_shrinking_keeps_proportions_and_letterboxing_keeps_pixels(height: int, width: int, side: int) -> None:
    image = np.full((height, width, 3), 77, dtype=np.uint8)
    small, scale_x, scale_y = resize_to(image, long_side=side)
    assert max(small.shape[:2]) == min(side, max(height, width))
    assert abs(scale_x * width - small.shape[1]) < 1 + 0.1 * small.shape[1]
    assert abs(scale_y * height - small.shape[0]) < 1 + 0.1 * small.shape[0]
    boxed = letterbox(small)
    assert (boxed.shape[0] % 32, boxed.shape[1] % 32) == (0, 0)
    assert np.array_equal(boxed[: small.shape[0], : small.shape[1]], small)
    assert boxed.sum(dtype=np.int64) == small.sum(dtype=np.int64)


def rows_of(boxes: npt.NDArray[np.float32], scores: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    rows = np.zeros((len(boxes), 15), dtype=np.float32)
    rows[:, :2], rows[:, 2:4], rows[:, 14] = boxes[:, :2], boxes[:, :2] + boxes[:, 2:], scores
    return rows


@given(
    hnp.arrays(np.float32, (12, 4), elements=st.integers(1, 30).map(float)),
    hnp.arrays(np.float32, 12, elements=st.integers(1, 5).map(lambda n: n / 5)),
    st.randoms(use_true_random=False),
)
def test_suppression_is_greedy_and_does_not_depend_on_order(boxes, scores, random) -> None:  # type: ignore[no-untyped-def]
    rows = rows_of(boxes, scores)
    kept = suppress(rows, nms_iou=0.3)
    for at, row in enumerate(kept):
        assert all(iou(row[:4], better[:4]) <= 0.3 + 1e-6 for better in kept[:at])
    for row in rows:  # whatever is missing is covered by something at least as good
        assert any(iou(row[:4], other[:4]) > 0.3 - 1e-6 and other[14] >= row[14] for other in kept)
    shuffled = rows[random.sample(range(12), 12)]
    again = suppress(shuffled, nms_iou=0.3)
    assert np.array_equal(kept, again)
