"""Alignment: the closed form equals insightface's fit, and large faces are shrunk without aliasing."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from types import SimpleNamespace

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embeddings.faces.alignment import align, fit, no_crops, scales, shrink, template
from embeddings.models.load import FaceModels
from embeddings.types import Float32, UInt8


@pytest.fixture(scope="module")
def oracle() -> SimpleNamespace:
    """insightface's own alignment; scikit-image deprecated the call it makes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from insightface.utils import face_align

    def quietly(function: Callable[..., npt.NDArray[np.generic]]) -> Callable[..., npt.NDArray[np.generic]]:
        def call(*arguments: object) -> npt.NDArray[np.generic]:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)
                return function(*arguments)

        return call

    return SimpleNamespace(norm_crop=quietly(face_align.norm_crop), fit=quietly(face_align.estimate_norm))


def posed(scale: float, angle: float, shift: tuple[float, float], jitter: float, seed: int) -> Float32:
    """The template scaled, turned (radians) and moved, with ``jitter`` pixels of noise: five landmarks."""
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    noise = np.random.default_rng(seed).normal(0, jitter, (5, 2))
    return ((template() @ turn.T) * scale + shift + noise).astype(np.float32)


@given(
    scale=st.floats(0.1, 12),
    angle=st.floats(-3.1, 3.1),
    x=st.floats(-500, 3000),
    jitter=st.floats(0, 4),
    seed=st.integers(0, 99),
)
def test_the_fit_is_insightfaces(oracle, scale: float, angle: float, x: float, jitter: float, seed: int) -> None:  # type: ignore[no-untyped-def]
    landmarks = posed(scale, angle, (x, 100.0), jitter * scale, seed)
    (ours,) = fit(landmarks[None])
    moved = landmarks @ ours[:, :2].T + ours[:, 2]
    expected = oracle.fit(landmarks)
    assert np.abs(moved - (landmarks @ expected[:, :2].T + expected[:, 2])).max() < 0.02


@given(scale=st.floats(0.05, 20), angle=st.floats(-3.1, 3.1))
def test_a_pose_of_the_template_itself_is_undone_exactly(scale: float, angle: float) -> None:
    landmarks = posed(scale, angle, (300.0, 200.0), 0.0, 0)
    (matrix,) = fit(landmarks[None])
    assert np.abs(landmarks @ matrix[:, :2].T + matrix[:, 2] - template()).max() < 0.02
    assert abs(scales(matrix[None])[0] * scale - 1) < 1e-3


def test_many_faces_are_fitted_as_one_by_one() -> None:
    landmarks = np.stack([posed(1 + at / 3, at / 5, (90.0 * at, 50.0), 2.0, at) for at in range(9)])
    assert np.array_equal(fit(landmarks), np.concatenate([fit(one[None]) for one in landmarks]))


def test_a_mirrored_face_is_never_reflected_into_place() -> None:
    (matrix,) = fit(posed(1.0, 0.0, (0.0, 0.0), 0.0, 0)[None, ::-1])
    assert np.linalg.det(matrix[:, :2]) >= 0


def test_crops_of_real_faces_equal_insightfaces(
    models: FaceModels, photographs: dict[str, UInt8], oracle: SimpleNamespace
) -> None:
    for name in ("astronaut.png", "t1.jpg", "Tom_Hanks_54745.png"):
        image = photographs[name]
        landmarks = models.detector.detect(image).landmarks
        crops = align(image, landmarks)
        assert (crops.shape, crops.dtype) == ((len(landmarks), 112, 112, 3), np.uint8)
        for crop, points in zip(crops, landmarks, strict=True):
            (matrix,) = fit(points[None])
            blur = 0.5 * np.sqrt(max(float(scales(matrix[None])[0]) ** -2 - 1, 1e-6))
            seen = cv2.GaussianBlur(image, (0, 0), blur)  # what a reduced crop has no pixels for is taken out first
            difference = np.abs(crop.astype(int) - oracle.norm_crop(seen, points))
            # The matrices differ in the last bits of float32, OpenCV rounds coordinates to 1/32 pixel.
            assert difference.mean() < 0.15


@pytest.mark.parametrize("size", [1280, 1536, 2048, 3072])
@pytest.mark.parametrize("every", [2, 3, 4])
def test_black_lines_too_fine_for_a_crop_leave_a_face_what_it_is(
    size: int, every: int, models: FaceModels, photographs: dict[str, UInt8]
) -> None:
    image = photographs["astronaut.png"]
    landmarks = models.detector.detect(image).landmarks
    large = cv2.resize(image, (size, size), interpolation=cv2.INTER_CUBIC)
    placed = (landmarks * (size / 512) + (size / 512 - 1) / 2).astype(np.float32)
    large[::every] = 0
    (reference,) = models.recognizer.embed(align(image, landmarks))
    (lined,) = models.recognizer.embed(align(large, placed))
    assert lined @ reference > 0.85


def test_a_face_that_is_reduced_hardly_at_all_comes_out_as_it_did(
    models: FaceModels, photographs: dict[str, UInt8]
) -> None:
    image = photographs["astronaut.png"]
    landmarks = models.detector.detect(image).landmarks
    plain = cv2.warpAffine(image, fit(landmarks)[0], (112, 112), borderValue=0)
    (one, other) = models.recognizer.embed(np.stack([align(image, landmarks)[0], plain]))
    assert one @ other > 0.99


def test_large_faces_match_better_when_shrunk_by_averaging(models: FaceModels, photographs: dict[str, UInt8]) -> None:
    image = photographs["astronaut.png"]
    found = models.detector.detect(image)
    rng = np.random.default_rng(1)
    large = cv2.resize(image, None, fx=8, fy=8, interpolation=cv2.INTER_CUBIC)
    large = np.clip(large + rng.normal(0, 40, large.shape), 0, 255).astype(np.uint8)
    landmarks = found.landmarks * 8
    (reference,) = models.recognizer.embed(align(image, found.landmarks))
    (averaged,) = models.recognizer.embed(align(large, landmarks))
    plain = cv2.warpAffine(large, fit(landmarks)[0], (112, 112), borderValue=0)
    (aliased,) = models.recognizer.embed(plain[None])
    assert averaged @ reference > 0.97
    assert averaged @ reference > aliased @ reference + 0.05


@pytest.mark.parametrize("factor", [2, 3, 5, 8])
def test_shrinking_first_moves_nothing(factor: int) -> None:
    side = 300 * factor + 600
    rows, columns = np.mgrid[:side, :side].astype(np.float32)
    ramp = np.stack([columns, rows, rows], axis=2) * (250 / side)
    image = ramp.astype(np.uint8)
    landmarks = posed(factor + 0.4, 0.2, (400.0, 100.0), 0.0, 0)
    (crop,) = align(image, landmarks[None])
    plain = cv2.warpAffine(image, fit(landmarks[None])[0], (112, 112), borderValue=0)
    assert np.abs(crop.astype(int) - plain).max() <= 2


@pytest.mark.parametrize("where", [(-4000.0, 0.0), (4000.0, 4000.0), (-60.0, -60.0), (380.0, 200.0)])
def test_faces_beyond_the_edge_give_black_and_no_error(where: tuple[float, float]) -> None:
    image = np.full((300, 400, 3), 255, dtype=np.uint8)
    for scale in (0.5, 1.0, 3.3, 9.0):
        (crop,) = align(image, posed(scale, 0.1, where, 0.0, 0)[None])
        assert crop.shape == (112, 112, 3)
        if abs(where[0]) == 4000.0:
            assert crop.max() == 0


def test_the_shrunk_part_is_no_larger_than_the_face_needs() -> None:
    image = np.zeros((3000, 3000, 3), dtype=np.uint8)
    (matrix,) = fit(posed(4.0, 0.0, (1000.0, 1000.0), 0.0, 0)[None])
    small, _ = shrink(image, matrix, factors=(4, 4))
    assert max(small.shape) <= 112 + 4


def test_landmarks_in_one_point_give_a_flat_crop() -> None:
    (crop,) = align(np.full((50, 50, 3), 200, dtype=np.uint8), np.full((1, 5, 2), 25, dtype=np.float32))
    assert np.unique(crop).size == 1


def test_no_faces_give_no_crops() -> None:
    empty = align(np.zeros((5, 5, 3), dtype=np.uint8), np.empty((0, 5, 2), dtype=np.float32))
    assert empty.shape == no_crops().shape == (0, 112, 112, 3)
