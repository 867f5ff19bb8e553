"""Squeezed and degraded faces: which get other crops, that these are recognised, that ordinary faces keep theirs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.inputs.degradations import noisy, posterised, resized, scan_lines
from embeddings.faces.alignment import align, cut, fit
from embeddings.faces.find import FrameFaces, faces_of_frame, vectors_of_crops, vectors_of_frame
from embeddings.faces.proportions import LEANING, SIDE, STRETCHES, TAKEN, fitted, is_doubtful, is_unusual, stretched
from embeddings.faces.recognition import mean_of_crops
from embeddings.faces.restoration import flatness, lines, noise, remedy, restored
from embeddings.faces.views import SMOOTHED, Face
from embeddings.images.decode import Frame
from embeddings.models.load import FaceModels, load_models
from embeddings.models.packs import OPENCV_ZOO
from embeddings.models.weights import model_id
from embeddings.shard import embed_shard
from embeddings.types import Content, Detections, FaceSettings, Float32, ImageLimits, UInt8, vectors_of
from pipelines.settings.config import ViewsConfig
from tests.embeddings.conftest import encode

VIEWS = ViewsConfig(mode="uncertain").settings()


@pytest.fixture(scope="module")
def thorough(cache_dir: Path, settings: FaceSettings) -> FaceModels:
    return load_models("opencv-zoo", cache_dir=cache_dir, settings=replace(settings, views=VIEWS))


@pytest.fixture(scope="module")
def head(photographs: dict[str, UInt8]) -> UInt8:
    return np.ascontiguousarray(photographs["astronaut.png"][:300, 100:350])


@pytest.fixture(scope="module")
def reference(head: UInt8, thorough: FaceModels) -> Float32:
    vector: Float32 = vectors_of_frame(seen(head, thorough), thorough)[0]
    return vector


def seen(picture: UInt8, models: FaceModels) -> FrameFaces:
    """The faces of a picture."""
    height, width = picture.shape[:2]
    return faces_of_frame(Frame(0, np.ascontiguousarray(picture), 1.0, (0.0, 0.0)), (width, height), models)


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_a_flattened_face_is_recognised_better_than_from_one_crop_however_it_lies(
    quarters: int, head: UInt8, reference: Float32, thorough: FaceModels, models: FaceModels
) -> None:
    flat = resized(head, down=0.5)
    (plain,) = vectors_of_frame(seen(flat, models), models)
    faces = seen(np.rot90(flat, quarters), thorough)
    (vector,) = vectors_of_frame(faces, thorough)
    assert faces.counts == (TAKEN,)
    assert vector @ reference > plain @ reference + 0.1
    assert vector @ reference > 0.8


@pytest.mark.parametrize("name", ["astronaut.png", "t1.jpg"])  # the cameraman leans, and is levelled
def test_ordinary_faces_have_one_crop_each_and_the_vector_that_they_had(
    name: str, photographs: dict[str, UInt8], models: FaceModels, thorough: FaceModels
) -> None:
    plain, faces = seen(photographs[name], models), seen(photographs[name], thorough)
    kept = [at for at, count in enumerate(faces.counts) if count == 1 and faces.views[at] == "fast"]
    starts = np.cumsum((0, *faces.counts))[:-1]
    assert kept  # others lean a little, and are levelled
    for at in kept:
        boxes = np.abs(plain.boxes - faces.boxes[at]).max(axis=1)
        if boxes.min() < 1e-3:
            difference = faces.crops[starts[at]].astype(int) - plain.crops[boxes.argmin()]
            assert np.abs(difference).max() <= 1


def test_a_squeezed_face_has_one_row_in_a_shard(
    head: UInt8, thorough: FaceModels, limits: ImageLimits, reference: Float32
) -> None:
    pictures = [head, resized(head, down=0.5), head, resized(head, across=0.6)]
    contents = [Content(bytes([at]) * 32, encode(picture, "PNG")) for at, picture in enumerate(pictures)]
    faces = embed_shard(contents, thorough, limits=limits, workers=1).faces
    vectors = vectors_of(faces["vector"], thorough.dimension)
    assert faces["content_sha256"].to_pylist() == [content.sha256 for content in contents]
    assert (vectors @ reference > 0.8).all()
    assert np.abs(vectors[0] - vectors[2]).max() < 1e-6
    for vector, picture in zip(vectors, pictures, strict=True):
        (alone,) = vectors_of_frame(seen(picture, thorough), thorough)
        assert np.abs(vector - alone).max() < 1e-5


def test_only_boxes_of_unusual_proportions_near_a_quarter_turn_are_asked_about() -> None:
    upright = np.array([[35, 50], [65, 50], [50, 68], [38, 84], [62, 84]], dtype=np.float32)

    def face(width: float, height: float, degrees: float) -> Face:
        matrix = cv2.getRotationMatrix2D((50.0, 65.0), degrees, 1.0)
        marks = (upright @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)
        box = np.array([50 - width / 2, 65 - height / 2, 50 + width / 2, 65 + height / 2], dtype=np.float32)
        return Face(box, marks, 0.9, pixels=width, side=height, turn=0.0)

    assert not is_unusual(face(76, 100, 0))
    assert is_unusual(face(55, 100, 0))
    assert is_unusual(face(100, 100, 0))
    assert not is_unusual(face(100, 76, 90))
    assert is_unusual(face(76, 100, 90))
    assert not is_unusual(face(100, 100, 45))


def test_a_face_that_was_seen_turned_is_looked_at_level_before_its_box_is_believed() -> None:
    marks = np.array([[35, 50], [65, 50], [50, 68], [38, 84], [62, 84]], dtype=np.float32)
    box = np.array([0, 15, 100, 115], dtype=np.float32)
    level = Face(box, marks, 0.9, pixels=100, side=100, turn=0.0)
    assert is_unusual(level)
    assert not is_doubtful(level)
    turned = replace(level, turn=22.5)
    assert not is_unusual(turned)
    assert is_doubtful(turned)


@pytest.mark.parametrize(("lean", "share"), [(0.0, 0.5), (LEANING - 0.1, 0.5), (LEANING, 0.0)])
def test_a_leaning_face_is_cut_out_once_by_the_mean_of_its_landmarks_unless_it_leans_far(
    lean: float, share: float
) -> None:
    marks = np.array([[38, 52], [74, 51], [56, 72], [42, 92], [71, 92]], dtype=np.float32)
    box = np.array([10, 0, 90, 105], dtype=np.float32)
    level = Face(box, marks, 0.9, pixels=80, side=105, turn=0.0)
    leaning = marks @ np.array([[0.98, 0.2], [-0.2, 0.98]], dtype=np.float32)
    turned = Face(box, leaning, 0.92, pixels=80, side=105, turn=22.5, level=level, lean=lean)
    frame = Frame(0, np.zeros((120, 120, 3), dtype=np.uint8), 1.0, (0.0, 0.0))
    (maps,) = fitted([turned], frame, Sightless())
    assert np.allclose(maps, fit((share * marks + (1 - share) * leaning)[None].astype(np.float32)), atol=1e-4)


class Sightless:
    """A detector that must not be asked."""

    def detect(self, image: UInt8, *, as_is: bool = False) -> Detections:
        raise AssertionError("no view is needed")


def test_a_stretched_view_keeps_the_centre_and_changes_proportions_as_it_says() -> None:
    box = np.array([10, 20, 70, 100], dtype=np.float32)
    marks = np.array([[30, 50], [52, 50], [41, 65], [32, 80], [50, 80]], dtype=np.float32)
    face = Face(box, marks, 0.9, pixels=60, side=80, turn=0.0)
    for by in STRETCHES:
        matrix = stretched(face, by).matrix
        assert np.allclose(matrix[:, :2] @ [40, 60] + matrix[:, 2], SIDE / 2, atol=1e-3)
        assert np.log(matrix[0, 0] / matrix[1, 1]) == pytest.approx(by, abs=1e-4)


def test_pooling_averages_the_crops_of_a_face_and_leaves_single_ones_alone() -> None:
    random = np.random.default_rng(3)
    vectors = random.normal(size=(6, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[5] = -vectors[4]
    both = mean_of_crops(vectors, np.array([1, 3, 2]))
    mean = vectors[1:4].mean(axis=0)
    assert np.array_equal(both[0], vectors[0])
    assert np.allclose(both[1], mean / np.linalg.norm(mean), atol=1e-6)
    assert np.array_equal(both[2], vectors[4])
    assert mean_of_crops(vectors[:0], np.array([], dtype=np.int64)).shape == (0, 8)


def test_a_map_of_the_full_frame_cuts_the_same_crop_from_a_reduced_one(head: UInt8, models: FaceModels) -> None:
    large = cv2.resize(head, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    landmarks = models.detector.detect(large).landmarks
    half = Frame(0, cv2.resize(large, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), 0.5, (0.5, 0.5))
    (ours,) = cut(half.image, half.maps_from_full(fit(landmarks)))
    (points,) = align(half.image, half.from_full(landmarks))
    assert np.abs(ours.astype(int) - points).max() <= 1


def test_noise_lines_and_flatness_measure_what_was_put_in() -> None:
    ramp = np.add.outer(np.arange(112.0), np.arange(112.0)).astype(np.float32)
    added = np.random.default_rng(0).normal(0, 7, ramp.shape).astype(np.float32)
    assert noise(ramp) < 0.01
    assert noise(ramp + added) == pytest.approx(7, rel=0.1)
    stripes = ramp.copy()
    stripes[::2] += 40
    assert abs(lines(ramp)) < 0.01
    assert lines(stripes) == pytest.approx(-lines(stripes.T))
    assert lines(stripes) > 2
    assert flatness(ramp) == 0
    assert flatness(np.full((10, 10), 5, dtype=np.float32)) == 1


@pytest.mark.parametrize("degradation", ["noise", "lines", "levels"])
def test_degraded_crops_are_smoothed_and_come_nearer_to_what_they_were(
    degradation: str, head: UInt8, models: FaceModels
) -> None:
    (crop,) = align(head, models.detector.detect(head).landmarks)
    spoilt = {
        "noise": noisy(crop, sigma=30),
        "lines": scan_lines(crop),
        "levels": posterised(crop, levels=3),
    }[degradation]
    before, after, plain = models.recognizer.embed(np.stack([spoilt, restored(spoilt[None])[0], crop]))
    assert remedy(crop) is None
    assert remedy(spoilt) is not None
    assert after @ plain > before @ plain


def test_ordinary_crops_come_back_untouched(photographs: dict[str, UInt8], models: FaceModels) -> None:
    crops = align(photographs["t1.jpg"], models.detector.detect(photographs["t1.jpg"]).landmarks)
    assert restored(crops) is crops


def test_a_template_made_of_its_crop_alone_is_restored_as_a_face_is(
    head: UInt8, thorough: FaceModels, models: FaceModels
) -> None:
    (crop,) = align(head, models.detector.detect(head).landmarks)
    spoilt = noisy(crop, sigma=30)[None]
    assert np.allclose(vectors_of_crops(spoilt, thorough), thorough.recognizer.embed(restored(spoilt)), atol=1e-6)
    assert np.allclose(vectors_of_crops(spoilt, models), models.recognizer.embed(spoilt), atol=1e-6)


def test_a_face_behind_scan_lines_is_found_in_a_smoothed_picture(
    head: UInt8, reference: Float32, thorough: FaceModels, models: FaceModels
) -> None:
    lined = scan_lines(resized(head, across=0.5, down=0.5))
    faces = seen(lined, thorough)
    assert len(seen(lined, models).scores) == 0
    assert faces.views == (SMOOTHED,)
    assert vectors_of_frame(faces, thorough)[0] @ reference > 0.363


def test_i4_the_model_id_changes_with_how_crops_are_made(
    settings: FaceSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [model_id(OPENCV_ZOO, replace(settings, views=views)) for views in (None, VIEWS)]
    monkeypatch.setattr("embeddings.models.weights.CROPS_VERSION", 99)
    later = [model_id(OPENCV_ZOO, replace(settings, views=views)) for views in (None, VIEWS)]
    assert later[0] != ids[0]
    assert later[1] != ids[1]
