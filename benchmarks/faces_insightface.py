"""SCRFD and ArcFace on the same ONNX files: our batched code beside ``insightface.app.FaceAnalysis``.

    python -m benchmarks.faces_insightface [--images 24] [--repeats 3] [--json]

Work: decoded photographs of 640x480 to embeddings, detection and recognition only. The files have the architecture of
``det_10g`` and ``w600k_r50`` with random weights (:mod:`benchmarks.inputs.insightface_networks`), the detector's score
set so that a handful of boxes an image pass. The peer is used as its documentation shows, one image a call, with ONNX
Runtime's default threads on all cores, at a detection size of the image's own, so that both look at the same pixels;
its default pads to a square, which costs it more. Ours runs one thread a core.

Checked in the run: in float32 the faces are the peer's, all of them, with cosine at least 0.9999. In bfloat16 the
peer's faces that score at least ``MARGIN`` above the threshold are all found, and embeddings of the same crops have
cosine at least 0.998; faces nearer the threshold fall either way, and ``recall`` says how many did.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime

from benchmarks.finish import finish
from benchmarks.inputs.insightface_networks import DET_10G, R50, arcface_like, scrfd_like
from embeddings.faces.alignment import align
from embeddings.faces.recognition import CPU_BATCH, SessionRecognizer
from embeddings.faces.scrfd import ScrfdDetector
from embeddings.models.preparation_insightface import prepare_arcface, prepare_scrfd
from embeddings.models.runtimes import MIN_COSINE, Runtime, inspect_machine, open_session
from embeddings.types import Detections, FaceSettings, Float32, UInt8

SIZE = (640, 480)
SETTINGS = FaceSettings(scales=(640,), min_score=0.5, nms_iou=0.4, max_faces=200)
PASSING_ANCHORS = 4
"""Anchors above the threshold in a mean image: suppression leaves about two boxes of them."""
FP32_COSINE = 0.9999
MARGIN = 0.1
SAME_FACE = 0.5


@dataclass(frozen=True, slots=True)
class Faces:
    """The faces of one image: boxes (n, 4), unit vectors (n, d), scores (n,)."""

    boxes: Float32
    vectors: Float32
    scores: Float32


class Ours:
    """Detection on one thread a core; crops of many images in one recogniser call."""

    def __init__(self, detector: bytes, recogniser: bytes, runtime: Runtime, workers: int) -> None:
        self.name = str(runtime)
        self._detector = ScrfdDetector(open_session(prepare_scrfd(detector), runtime), settings=SETTINGS)
        self.recognizer = SessionRecognizer(open_session(prepare_arcface(recogniser), runtime), dimension=512)
        self._pool = ThreadPoolExecutor(workers)

    def faces(self, images: Sequence[UInt8]) -> list[Faces]:
        """The faces of all images."""
        found = list(self._pool.map(self._look, images))
        crops = np.concatenate([part for _, part in found])
        batches = [crops[at : at + CPU_BATCH] for at in range(0, len(crops), CPU_BATCH)]
        vectors = np.concatenate([np.empty((0, 512), np.float32), *self._pool.map(self.recognizer.embed, batches)])
        ends = np.cumsum([len(part) for _, part in found])[:-1]
        return [
            Faces(seen.boxes, part, seen.scores) for (seen, _), part in zip(found, np.split(vectors, ends), strict=True)
        ]

    def _look(self, image: UInt8) -> tuple[Detections, UInt8]:
        seen = self._detector.detect(image)
        return seen, align(image, seen.landmarks)


def peer_of(folder: Path) -> Callable[[Sequence[UInt8]], list[Faces]]:
    """``FaceAnalysis`` on the files in ``folder``, as its documentation uses it."""
    from insightface.app import FaceAnalysis

    app = FaceAnalysis(name=str(folder), allowed_modules=["detection", "recognition"])
    app.prepare(ctx_id=-1, det_thresh=SETTINGS.min_score, det_size=SIZE)

    def faces(images: Sequence[UInt8]) -> list[Faces]:
        answers = []
        for image in images:
            found = app.get(np.ascontiguousarray(image[:, :, ::-1]))
            boxes = np.array([face.bbox for face in found], dtype=np.float32).reshape(-1, 4)
            vectors = np.array([face.normed_embedding for face in found], dtype=np.float32).reshape(-1, 512)
            scores = np.array([face.det_score for face in found], dtype=np.float32)
            answers.append(Faces(boxes, vectors, scores))
        return answers

    return faces


def photographs(count: int) -> list[UInt8]:
    """Crops of packaged photographs, each another part of them, 640x480."""
    import insightface
    import skimage

    rng = np.random.default_rng(0)
    folder = Path(str(insightface.__file__)).parent / "data/images"
    paths = [
        folder / "t1.jpg",
        *(Path(skimage.__file__).parent / f"data/{name}" for name in ("astronaut.png", "coffee.png")),
    ]
    originals = [cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB) for path in paths]
    made = []
    for number in range(count):
        image = originals[number % len(originals)]
        height, width = (int(side * rng.uniform(0.6, 1.0)) for side in image.shape[:2])
        top, left = (
            int(rng.integers(0, whole - part + 1)) for whole, part in zip(image.shape, (height, width), strict=False)
        )
        made.append(cv2.resize(image[top : top + height, left : left + width], SIZE, interpolation=cv2.INTER_AREA))
    return made


def calibrated_detector(images: Sequence[UInt8]) -> bytes:
    """A detector of which ``PASSING_ANCHORS`` anchors of a mean image reach a score of 0.5."""
    gain = 1e-3
    probe = onnxruntime.InferenceSession(scrfd_like(DET_10G, seed=1, score_bias=0.0, score_gain=gain))
    logits = []
    for image in images:
        blob = cv2.dnn.blobFromImage(image, 1 / 128.0, SIZE, (127.5, 127.5, 127.5))
        scores = np.concatenate([part.ravel() for part in probe.run(None, {"input.1": blob})[:3]]).astype(np.float64)
        logits.append(np.log(scores / (1 - scores)) / gain)
    spread = np.concatenate(logits)
    scale = 3.0 / spread.std()
    bias = -scale * np.partition(spread, -PASSING_ANCHORS * len(images))[-PASSING_ANCHORS * len(images)]
    return scrfd_like(DET_10G, seed=1, score_bias=float(bias), score_gain=scale)


def centred_recogniser(images: Sequence[UInt8]) -> bytes:
    """A recogniser whose embeddings of ``images`` are centred, so that different faces differ."""
    features = onnxruntime.InferenceSession(arcface_like(R50, seed=2))
    blobs = cv2.dnn.blobFromImages(list(images[:8]), 1 / 127.5, (112, 112), (127.5, 127.5, 127.5))
    centre = features.run(None, {"input.1": blobs})[0].mean(axis=0)
    return arcface_like(R50, seed=2, centre=centre)


def giga_macs(file: bytes, shape: Sequence[int]) -> float:
    """Multiply-accumulates of the convolutions and products of a network for one input, in 10**9."""
    model = onnx.load_from_string(file)
    for dimension, size in zip(model.graph.input[0].type.tensor_type.shape.dim, shape, strict=True):
        dimension.dim_value = size
    graph = onnx.shape_inference.infer_shapes(model).graph
    sizes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in (*graph.value_info, *graph.output)}
    weights = {weight.name: list(weight.dims) for weight in graph.initializer}
    total = 0
    for node in graph.node:
        if node.op_type == "Conv":
            total += int(np.prod(weights[node.input[1]]) * np.prod(sizes[node.output[0]][2:]))
        elif node.op_type == "Gemm":
            total += int(np.prod(weights[node.input[1]]))
    return round(total / 1e9, 2)


@dataclass(frozen=True, slots=True)
class Agreement:
    """How one side's faces compare with the peer's."""

    recall: float
    """Share of the peer's faces that are found."""
    clear_recall: float
    """The same of those at least ``MARGIN`` above the threshold."""
    extra: int
    """Faces that the peer does not have."""
    lowest_cosine: float


def agreement(peer: Sequence[Faces], own: Sequence[Faces]) -> Agreement:
    """Match faces by overlap and compare."""
    found, clear, cosines = [], [], []
    for theirs, ours in zip(peer, own, strict=True):
        for box, vector, score in zip(theirs.boxes, theirs.vectors, theirs.scores, strict=True):
            low, high = np.maximum(box[:2], ours.boxes[:, :2]), np.minimum(box[2:], ours.boxes[:, 2:])
            inside = np.prod(np.maximum(high - low, 0), axis=1)
            areas = np.prod(ours.boxes[:, 2:] - ours.boxes[:, :2], axis=1) + np.prod(box[2:] - box[:2])
            overlap = inside / (areas - inside)
            same = bool(len(overlap)) and bool(overlap.max() >= SAME_FACE)
            found.append(same)
            if score >= SETTINGS.min_score + MARGIN:
                clear.append(same)
            if same:
                cosines.append(float(ours.vectors[int(overlap.argmax())] @ vector))
    extra = sum(len(ours.boxes) for ours in own) - sum(found)
    return Agreement(float(np.mean(found)), float(np.mean(clear)), extra, min(cosines, default=0.0))


def recognition_cosine(ours: Ours, reference: Ours, images: Sequence[UInt8]) -> float:
    """Lowest cosine between two runtimes' embeddings of the same crops."""
    crops = np.concatenate([reference._look(image)[1] for image in images])[:32]
    return float((ours.recognizer.embed(crops) * reference.recognizer.embed(crops)).sum(axis=1).min())


def measure(images: Sequence[UInt8], repeats: int, folder: Path) -> list[dict[str, Any]]:
    """Write the files, let both sides take turns, check, and describe."""
    detector, recogniser = calibrated_detector(images), centred_recogniser(images)
    (folder / "det.onnx").write_bytes(detector)
    (folder / "rec.onnx").write_bytes(recogniser)
    machine, workers = inspect_machine(), len(os.sched_getaffinity(0))
    runtimes = [Runtime("onnxruntime", "fp32")]
    runtimes += [Runtime("openvino", "bf16")] if machine.openvino and machine.bf16 else []
    sides = [Ours(detector, recogniser, runtime, workers) for runtime in runtimes]
    peer = peer_of(folder)
    theirs, own = peer(images), [side.faces(images) for side in sides]  # warms up and is what is checked
    seconds: dict[str, list[float]] = {name: [] for name in ("peer", *(side.name for side in sides))}
    for _ in range(repeats):
        for name, work in [("peer", peer), *((side.name, side.faces) for side in sides)]:
            before = time.perf_counter()
            work(images)
            seconds[name].append(time.perf_counter() - before)
    sizes = {
        "detector_gmac": giga_macs(detector, (1, 3, *SIZE[::-1])),
        "recogniser_gmac": giga_macs(recogniser, (1, 3, 112, 112)),
    }
    rows = []
    for side, found in zip(sides, own, strict=True):
        compared = agreement(theirs, found)
        same_crops = recognition_cosine(side, sides[0], images)
        if side is sides[0]:
            correct = compared.recall == 1.0 and compared.extra == 0 and compared.lowest_cosine >= FP32_COSINE
        else:
            correct = compared.clear_recall == 1.0 and same_crops >= MIN_COSINE
        ratios = [theirs_ / ours_ for theirs_, ours_ in zip(seconds["peer"], seconds[side.name], strict=True)]
        rows.append(
            {
                "peer": "insightface FaceAnalysis",
                "runtime": side.name,
                "images": len(images),
                "faces": sum(len(faces.boxes) for faces in theirs),
                "images_per_second": round(len(images) / min(seconds[side.name]), 2),
                "peer_images_per_second": round(len(images) / min(seconds["peer"]), 2),
                "ratio": round(statistics.median(ratios), 2),
                "recall": round(compared.recall, 4),
                "clear_recall": round(compared.clear_recall, 4),
                "extra_faces": compared.extra,
                "lowest_cosine": round(compared.lowest_cosine, 5),
                "cosine_same_crops": round(same_crops, 5),
                "correct": bool(correct),
                **sizes,
            }
        )
    return rows


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(prog="benchmarks.faces_insightface")
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(photographs(options.images), options.repeats, Path(folder))
    return finish(rows, as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
