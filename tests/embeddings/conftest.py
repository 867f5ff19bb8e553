"""Real photographs that installed packages carry, the loaded models, and OpenCV's own networks as oracles."""

from __future__ import annotations

import importlib.metadata
import io
import struct
import zlib
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from PIL import Image

from embeddings.models.load import FaceModels, load_models
from embeddings.models.packs import OPENCV_ZOO
from embeddings.models.weights import WheelFile
from embeddings.types import FaceSettings, ImageLimits, UInt8


def package_file(package: str, name: str) -> Path:
    """A file of an installed package, which is not imported."""
    spec = find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / name


def encode(image: UInt8, kind: str, **options: object) -> bytes:
    """RGB (or any array Pillow takes) as a file."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format=kind, **options)
    return buffer.getvalue()


def wheel_path(file: WheelFile) -> str:
    return str(importlib.metadata.distribution(file.distribution).locate_file(file.path))


@pytest.fixture(scope="session")
def limits() -> ImageLimits:
    return ImageLimits(
        max_bytes=2**25,
        max_pixels=40_000_000,
        max_frames=8,
        max_animation_pixels=100_000_000,
        max_video_seconds=60.0,
        max_video_pixels=2**28,
        max_decode_bytes=1280 * 2**20,
    )


@pytest.fixture(scope="session")
def settings() -> FaceSettings:
    return FaceSettings(scales=(640, 160), min_score=0.7, nms_iou=0.3, max_faces=64)


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("graphs")


@pytest.fixture(scope="session")
def models(cache_dir: Path, settings: FaceSettings) -> FaceModels:
    return load_models("opencv-zoo", cache_dir=cache_dir, settings=settings)


@pytest.fixture(scope="session")
def files() -> dict[str, bytes]:
    """The photographs as files, by name."""
    paths = {name: package_file("skimage", f"data/{name}") for name in SKIMAGE}
    paths |= {name: package_file("insightface", f"data/images/{name}") for name in INSIGHTFACE}
    return {name: path.read_bytes() for name, path in paths.items()}


@pytest.fixture(scope="session")
def photographs(files: dict[str, bytes]) -> dict[str, UInt8]:
    """The photographs as RGB arrays, decoded by Pillow."""
    return {name: np.asarray(Image.open(io.BytesIO(data)).convert("RGB")) for name, data in files.items()}


@pytest.fixture(scope="session")
def opencv() -> SimpleNamespace:
    """OpenCV's detector and recogniser on the files as published: an independent reading of the quantisation."""
    detector = cv2.FaceDetectorYN.create(wheel_path(OPENCV_ZOO.detector.source), "", (320, 320), 0.7, 0.3, 5000)
    recognizer = cv2.FaceRecognizerSF.create(wheel_path(OPENCV_ZOO.recognizer.source), "")

    def detect(image: UInt8) -> np.ndarray:
        detector.setInputSize((image.shape[1], image.shape[0]))
        _, rows = detector.detect(np.ascontiguousarray(image[:, :, ::-1]))
        return np.empty((0, 15), dtype=np.float32) if rows is None else rows

    def feature(crop: UInt8) -> np.ndarray:
        raw = recognizer.feature(np.ascontiguousarray(crop[:, :, ::-1]))[0]
        return raw / np.linalg.norm(raw)

    return SimpleNamespace(detect=detect, feature=feature)


SKIMAGE = ("astronaut.png", "coffee.png", "chelsea.png", "rocket.jpg", "coins.png", "camera.png")
INSIGHTFACE = ("t1.jpg", "Tom_Hanks_54745.png", "mask_blue.jpg", "mask_white.jpg")
NO_FACE = ("coffee.png", "chelsea.png", "rocket.jpg", "coins.png")


def chunk(kind: bytes, body: bytes) -> bytes:
    """A chunk of a PNG, with its length before it and its checksum behind."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
