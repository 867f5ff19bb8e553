"""Recognition and graph preparation: equal to the published network, and vectors that tell people apart."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from embeddings.errors import VectorError, WeightsError
from embeddings.faces.alignment import align, no_crops
from embeddings.faces.find import find_faces
from embeddings.faces.recognition import SessionRecognizer, normalise
from embeddings.models.load import FaceModels
from embeddings.models.packs import OPENCV_ZOO
from embeddings.models.preparation import STRIDES, dequantise
from embeddings.models.runtime import OnnxSession
from embeddings.models.weights import ModelFile, prepared_graph
from embeddings.types import Float32, ImageLimits, UInt8
from tests.embeddings.conftest import encode

REVIEW = 0.363
"""OpenCV's published threshold for SFace on LFW."""


def dequantised(file: ModelFile) -> onnxruntime.InferenceSession:
    """The published graph with float32 weights and nothing else changed."""
    model = onnx.load_from_string(file.read())
    nodes, weights = dequantise(model)
    used = {name for node in nodes for name in node.input} & set(weights)
    graph = helper.make_graph(
        nodes,
        "plain",
        [value for value in model.graph.input if value.name in ("data", "input")],
        list(model.graph.output),
        [numpy_helper.from_array(np.ascontiguousarray(weights[name]), name) for name in used],
    )
    plain = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    return onnxruntime.InferenceSession(plain.SerializeToString(), providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def crops(models: FaceModels, photographs: dict[str, UInt8]) -> UInt8:
    """Nine aligned crops of eight people."""
    names = ("astronaut.png", "t1.jpg", "Tom_Hanks_54745.png", "camera.png")
    return np.concatenate([align(photographs[n], models.detector.detect(photographs[n]).landmarks) for n in names])


def test_the_prepared_recogniser_equals_the_dequantised_one(models: FaceModels, crops: UInt8) -> None:
    original = dequantised(OPENCV_ZOO.recognizer)
    ours = models.recognizer.embed(crops)
    for crop, vector in zip(crops, ours, strict=True):
        (raw,) = original.run(None, {"data": crop.transpose(2, 0, 1)[None].astype(np.float32)})
        assert np.abs(normalise(raw, dimension=128)[0] - vector).max() < 1e-5


def test_the_prepared_detector_equals_the_dequantised_one(cache_dir: Path, photographs: dict[str, UInt8]) -> None:
    original = dequantised(OPENCV_ZOO.detector)
    image = cv2.resize(photographs["t1.jpg"], (640, 640))
    names = [output.name for output in original.get_outputs()]
    pixels = image[:, :, ::-1].transpose(2, 0, 1)[None].astype(np.float32)
    expected = dict(zip(names, original.run(None, {"input": pixels}), strict=True))
    heads = OnnxSession(prepared_graph(OPENCV_ZOO.detector, cache_dir=cache_dir)).run({"image": image[None]})
    for head, stride in zip(heads, STRIDES, strict=True):
        cells = head.reshape(16, -1).T
        assert np.abs(1 / (1 + np.exp(-cells[:, 0])) - expected[f"cls_{stride}"][0, :, 0]).max() < 1e-5
        assert np.abs(1 / (1 + np.exp(-cells[:, 1])) - expected[f"obj_{stride}"][0, :, 0]).max() < 1e-5
        assert np.abs(cells[:, 2:6] - expected[f"bbox_{stride}"][0]).max() < 1e-4
        assert np.abs(cells[:, 6:] - expected[f"kps_{stride}"][0]).max() < 1e-4


def test_vectors_equal_opencvs_on_the_published_file(models: FaceModels, crops: UInt8, opencv: SimpleNamespace) -> None:
    for crop, vector in zip(crops, models.recognizer.embed(crops), strict=True):
        assert opencv.feature(crop) @ vector > 0.99999


def test_the_batch_size_moves_a_vector_by_rounding_only(models: FaceModels, crops: UInt8) -> None:
    together = models.recognizer.embed(crops)
    for size in (1, 2, 4, 7):
        parts = [models.recognizer.embed(crops[at : at + size]) for at in range(0, len(crops), size)]
        assert np.abs(np.concatenate(parts) - together).max() < 1e-6


def test_vectors_are_of_unit_length_and_float32(models: FaceModels, crops: UInt8) -> None:
    vectors = models.recognizer.embed(crops)
    assert vectors.shape == (len(crops), 128)
    assert vectors.dtype == np.float32
    assert np.abs(np.linalg.norm(vectors, axis=1) - 1).max() < 1e-6
    assert models.recognizer.embed(no_crops()).shape == (0, 128)


def test_different_people_do_not_match(models: FaceModels, crops: UInt8) -> None:
    vectors = models.recognizer.embed(crops)
    similarity = vectors @ vectors.T - 2 * np.eye(len(vectors), dtype=np.float32)
    assert similarity.max() < REVIEW


def variants(image: UInt8) -> dict[str, bytes]:
    height, width = image.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), 15, 1.0)
    return {
        "mirrored": encode(image[:, ::-1], "PNG"),
        "jpeg quality 10": encode(image, "JPEG", quality=10),
        "webp": encode(image, "WEBP", quality=60),
        "grey": encode(image[:, :, 1], "PNG"),
        "tight crop": encode(image[50:190, 160:290], "JPEG", quality=90),
        "enlarged": encode(cv2.resize(image, None, fx=4, fy=4), "JPEG", quality=85),
        "face of 40 pixels": encode(cv2.resize(image, None, fx=0.45, fy=0.45, interpolation=cv2.INTER_AREA), "PNG"),
        "small in a large frame": encode(cv2.copyMakeBorder(image, 600, 300, 900, 100, cv2.BORDER_REFLECT), "JPEG"),
        "turned by 15 degrees": encode(cv2.warpAffine(image, turn, (width, height)), "JPEG"),
        "darkened": encode((image * 0.4).astype(np.uint8), "PNG"),
    }


def test_variants_of_one_portrait_match_it_and_not_the_group(
    models: FaceModels, limits: ImageLimits, files: dict[str, bytes], photographs: dict[str, UInt8]
) -> None:
    (portrait,) = find_faces(files["astronaut.png"], models, limits=limits)
    group = np.stack([face.vector for face in find_faces(files["t1.jpg"], models, limits=limits)])
    assert (group @ portrait.vector).max() < REVIEW
    for name, data in variants(photographs["astronaut.png"]).items():
        faces = find_faces(data, models, limits=limits)
        scores = [float(face.vector @ portrait.vector) for face in faces]
        assert max(scores, default=-1.0) > 0.5, name
        assert all((group @ face.vector).max() < REVIEW for face in faces), name


class FixedSession:
    """A :class:`embeddings.types.ModelSession` that gives the same rows whatever it is asked."""

    def __init__(self, rows: Float32) -> None:
        self.rows = rows

    def run(self, inputs: object) -> list[Float32]:
        return [self.rows]


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf, -np.inf, 1e-9])
def test_an_output_that_means_nothing_is_refused(value: float) -> None:
    rows = np.ones((2, 4), dtype=np.float32)
    rows[1] = value
    recognizer = SessionRecognizer(FixedSession(rows), dimension=4)
    with pytest.raises(VectorError, match="1 of 2"):
        recognizer.embed(np.zeros((2, 112, 112, 3), dtype=np.uint8))


def test_a_recogniser_of_another_dimension_is_refused() -> None:
    recognizer = SessionRecognizer(FixedSession(np.ones((1, 4), dtype=np.float32)), dimension=5)
    with pytest.raises(VectorError, match="dimension 5"):
        recognizer.embed(np.zeros((1, 112, 112, 3), dtype=np.uint8))


@pytest.mark.parametrize("shape", [(1, 111, 112, 3), (112, 112, 3), (1, 112, 112, 4)])
def test_crops_of_another_shape_are_refused(shape: tuple[int, ...], models: FaceModels) -> None:
    with pytest.raises(VectorError, match="crops"):
        models.recognizer.embed(np.zeros(shape, dtype=np.uint8))


def test_crops_of_another_dtype_are_refused(models: FaceModels) -> None:
    with pytest.raises(VectorError, match="float32"):
        models.recognizer.embed(np.zeros((1, 112, 112, 3), dtype=np.float32))  # type: ignore[arg-type]


def test_a_graph_that_the_runtime_does_not_take_is_a_weights_error() -> None:
    with pytest.raises(WeightsError, match="runtime"):
        OnnxSession(b"not a graph")
