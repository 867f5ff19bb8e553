"""For the same files we compute what insightface computes: SCRFD, norm_crop, ArcFaceONNX."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.inputs.insightface_networks import SMALL_DETECTOR, SMALL_RECOGNISER, arcface_like, scrfd_like
from embeddings.errors import WeightsError
from embeddings.faces.alignment import align, fit, scales
from embeddings.faces.recognition import SessionRecognizer
from embeddings.faces.scrfd import ScrfdDetector, decode_scrfd
from embeddings.models.preparation_insightface import prepare_arcface, prepare_scrfd
from embeddings.models.runtimes import MIN_COSINE, Runtime, open_session
from embeddings.types import FaceSettings, Float32, UInt8

FP32 = Runtime("onnxruntime", "fp32")
SETTINGS = FaceSettings(scales=(640,), min_score=0.5, nms_iou=0.4, max_faces=200)
SIZES = {"t1.jpg": (640, 448), "astronaut.png": (512, 512), "coffee.png": (576, 384)}
openvino = pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="needs the extra `openvino`")


@pytest.fixture(scope="module")
def detector_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scrfd") / "detector.onnx"
    path.write_bytes(scrfd_like(SMALL_DETECTOR, seed=1, score_bias=-7.0))
    return path


@pytest.fixture
def images(photographs: dict[str, UInt8]) -> dict[str, UInt8]:
    """Photographs whose sides are multiples of 32, so that neither side resizes or pads."""
    return {name: cv2.resize(photographs[name], size) for name, size in SIZES.items()}


def insightface_scrfd(path: Path, image: UInt8) -> tuple[Float32, Float32]:
    from insightface.model_zoo.scrfd import SCRFD

    detector = SCRFD(str(path))
    detector.prepare(-1, input_size=image.shape[1::-1], det_thresh=SETTINGS.min_score, nms_thresh=SETTINGS.nms_iou)
    boxes, landmarks = detector.detect(np.ascontiguousarray(image[:, :, ::-1]))
    return boxes, landmarks


@pytest.mark.parametrize("name", SIZES)
def test_boxes_and_landmarks_are_those_of_insightface(name: str, images: dict[str, UInt8], detector_file: Path) -> None:
    session = open_session(prepare_scrfd(detector_file.read_bytes()), FP32)
    found = ScrfdDetector(session, settings=SETTINGS).detect(images[name])
    boxes, landmarks = insightface_scrfd(detector_file, images[name])
    assert len(boxes) > 3
    np.testing.assert_allclose(found.boxes, boxes[:, :4], atol=1e-3)
    np.testing.assert_allclose(found.landmarks, landmarks, atol=1e-3)
    np.testing.assert_allclose(found.scores, boxes[:, 4], atol=1e-5)


def test_a_prepared_scrfd_takes_a_batch_and_gives_each_image_its_own_answer(
    images: dict[str, UInt8], detector_file: Path
) -> None:
    session = open_session(prepare_scrfd(detector_file.read_bytes()), FP32)
    first = images["t1.jpg"]
    batch = np.stack([first, np.ascontiguousarray(first[:, ::-1])])
    together = session.run({"image": batch})
    for number, image in enumerate(batch):
        alone = session.run({"image": image[None]})
        rows = decode_scrfd([head[number : number + 1] for head in together], min_score=0.5)
        assert len(rows) > 3
        np.testing.assert_allclose(rows, decode_scrfd(alone, min_score=0.5), atol=1e-3)


@pytest.mark.filterwarnings("ignore:`estimate` is deprecated:FutureWarning")  # insightface calls scikit-image's
def test_crops_are_those_of_norm_crop(images: dict[str, UInt8], detector_file: Path) -> None:
    from insightface.utils.face_align import norm_crop

    image = images["t1.jpg"]
    landmarks = insightface_scrfd(detector_file, image)[1]
    landmarks = landmarks[scales(fit(landmarks)) > 0.5]  # larger faces are averaged first, see `align`
    assert len(landmarks) > 3
    ours = align(image, landmarks)
    theirs = np.stack([norm_crop(image, face) for face in landmarks])
    different = ours != theirs
    assert different.mean() < 1e-3  # the warp rounds coordinates to 1/32 pixel; a tie falls either way
    assert np.abs(ours.astype(int) - theirs.astype(int)).max() <= 8


@pytest.fixture(scope="module")
def crops(photographs: dict[str, UInt8]) -> UInt8:
    """Cuts of photographs in crop size: what a recogniser makes of them is the question, not what they show."""
    return np.stack([cv2.resize(photographs[name], (112, 112)) for name in sorted(photographs)])


@pytest.fixture(scope="module")
def recogniser_file(tmp_path_factory: pytest.TempPathFactory, crops: UInt8) -> Path:
    path = tmp_path_factory.mktemp("arcface") / "recogniser.onnx"
    path.write_bytes(arcface_like(SMALL_RECOGNISER, seed=2))
    path.write_bytes(arcface_like(SMALL_RECOGNISER, seed=2, centre=insightface_features(path, crops).mean(axis=0)))
    return path


def insightface_features(path: Path, crops: UInt8) -> Float32:
    from insightface.model_zoo.arcface_onnx import ArcFaceONNX

    recogniser = ArcFaceONNX(str(path))
    return np.stack([recogniser.get_feat(np.ascontiguousarray(crop[:, :, ::-1]))[0] for crop in crops])


RUNTIMES = [
    pytest.param(FP32, 0.9999, id="onnxruntime fp32"),
    pytest.param(Runtime("openvino", "fp32"), 0.9999, id="openvino fp32", marks=openvino),
    pytest.param(Runtime("openvino", "bf16"), MIN_COSINE, id="openvino bf16", marks=openvino),
]


@pytest.mark.parametrize(("runtime", "least"), RUNTIMES)
def test_embeddings_are_those_of_arcface_onnx(
    runtime: Runtime, least: float, recogniser_file: Path, crops: UInt8
) -> None:
    theirs = insightface_features(recogniser_file, crops)
    theirs /= np.linalg.norm(theirs, axis=1, keepdims=True)
    assert np.triu(theirs @ theirs.T, 1).max() < 0.98  # otherwise equality would say nothing
    session = open_session(prepare_arcface(recogniser_file.read_bytes()), runtime)
    ours = SessionRecognizer(session, dimension=512).embed(crops)
    assert (ours * theirs).sum(axis=1).min() >= least
    session.close()


def test_a_graph_of_another_architecture_is_refused(detector_file: Path, recogniser_file: Path) -> None:
    with pytest.raises(WeightsError, match="not the one"):
        prepare_scrfd(recogniser_file.read_bytes())
    with pytest.raises(WeightsError, match="not the one"):
        prepare_arcface(detector_file.read_bytes())
    with pytest.raises(WeightsError, match="not the one"):
        prepare_arcface(b"not a graph")
