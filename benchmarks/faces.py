"""How fast do encoded bytes become face embeddings, beside the OpenCV loop that one would write instead?

    python -m benchmarks.faces [--images 512] [--seed 0] [--runtime auto] [--json]

Work: files of 0.3 to 4 Mpx with 0 to 6 faces, mostly JPEG (``pipelines.sample.variants``), to boxes and unit vectors.
Ours: :func:`embeddings.shard.embed_shard` with one thread a core and the plain pass, which does what the peers do, once
on ONNX Runtime in float32 and once on what ``--runtime`` gives where that is something else; and, ``with views``, as it
runs by default, looking again for hidden faces, which no peer does. Peers: :mod:`benchmarks.workers.opencv_loop` with
the same weights and OpenCV's default threads, at full size, and with images shrunk to 640 first.

Method: each side is a process of its own, and they take turns, ``--turn`` images at a time, so that noise of the
machine meets all alike. ``ratio`` is the median over the turns of the peer's seconds by ours; ``cpu_ratio`` compares
processor seconds, which a busy machine stretches less.

Checked in the run, and the exit status is 1 when it fails: at least 0.99 of the faces that the peer finds at our
detector's size are among ours, and ours are no fewer (also with views); our recogniser gives the peer's own crops
vectors of cosine at least ``MIN_COSINE`` to the peer's; another runtime finds exactly the faces of ONNX Runtime in
float32, again at ``MIN_COSINE``. ``median_cosine`` is from end to end: there the two sides cut their crops at landmarks
that they found at different sizes, and views set a tilted face upright first. Speed never fails a run.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.agreement import Agreement, agreement
from benchmarks.finish import finish
from benchmarks.inputs.synthetic import write_variants
from benchmarks.sweep import MIN_RECALL, PEERS
from benchmarks.workers.opencv_loop import FoundFaces, OpenCvLoop, load_found
from benchmarks.workers.turns import Message, Worker
from embeddings.models.load import load_models
from embeddings.models.runtimes import MIN_COSINE, RuntimeSettings
from pipelines.settings.config import EmbeddingConfig

REFERENCE = "onnxruntime fp32"
WITH_VIEWS = ", with views"
OURS = (("onnxruntime", "fp32", "off"), ("", "auto", "off"), ("", "auto", "uncertain"))
"""Runtime ("": what ``--runtime`` says), precision and views of each of our sides."""
FAIR_PEER = "OpenCV loop at 640"
CROPS_CHECKED = 100


@dataclass(frozen=True, slots=True)
class Side:
    """What one process did: seconds of each turn, its faces by file, its last answer."""

    seconds: list[float]
    found: dict[str, FoundFaces]
    end: Message


COLUMNS = (
    *("runtime", "images_per_second", "peer", "peer_images_per_second", "ratio", "cpu_ratio", "faces", "peer_faces"),
    *("recall", "median_cosine", "cosine_same_crop", "cosine_to_fp32", "correct"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark, print its table, and return the exit status."""
    parser = argparse.ArgumentParser(prog="benchmarks.faces", description="Bytes to embeddings beside the OpenCV loop.")
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--turn", type=int, default=64, help="images a turn")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runtime", default="auto")
    parser.add_argument("--json", action="store_true", help="print the rows as one JSON object on the last line")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="likeness-faces-") as folder:
        names = write_variants(Path(folder) / "images", options.images, seed=options.seed)
        sides = take_turns(Path(folder), names, turn=options.turn, runtime=options.runtime)
        on_their_crops = crops_cosine(Path(folder), names, options.runtime)
    rows = rows_of(sides, len(names), on_their_crops)
    return finish(rows, as_json=options.json, columns=COLUMNS)


def take_turns(folder: Path, names: Sequence[str], *, turn: int, runtime: str) -> dict[str, Side]:
    """Let all sides do the same images in turns. Ours are named by the runtime that they got."""
    faces = EmbeddingConfig().faces()
    limits = ["--min-score", str(faces.min_score), "--nms-iou", str(faces.nms_iou)]
    with ExitStack() as stack:
        workers: dict[str, Worker] = {}
        for name, precision, views in OURS:
            own = ["benchmarks.workers.faces", str(folder / "images"), str(folder / "cache"), "--views", views]
            own += ["--runtime", name or runtime, "--precision", precision]
            worker = stack.enter_context(Worker(*own))
            workers.setdefault(worker.ready["runtime"] + (WITH_VIEWS if views != "off" else ""), worker)
        for peer, long_side in PEERS.items():
            more = ["--long-side", str(long_side)] if long_side else []
            workers[peer] = stack.enter_context(
                Worker("benchmarks.workers.opencv_loop", str(folder / "images"), *limits, *more)
            )
        seconds: dict[str, list[float]] = {name: [] for name in workers}
        for start in range(0, len(names), turn):
            part = list(names[start : start + turn])
            for name, worker in workers.items():
                seconds[name].append(worker.turn(files=part)["seconds"])
            speeds = ", ".join(f"{name} {len(part) / spent[-1]:.1f}" for name, spent in seconds.items())
            print(f"{start + len(part)} of {len(names)}: images/s {speeds}", file=sys.stderr, flush=True)
        sides = {}
        for number, (name, worker) in enumerate(workers.items()):
            saved = folder / f"found-{number}.npz"
            end = worker.turn(save=str(saved))
            sides[name] = Side(seconds[name], load_found(saved), end)
    return sides


def crops_cosine(folder: Path, names: Sequence[str], runtime: str) -> dict[str, float]:
    """Lowest cosine between the peer's vectors and our recogniser's of the peer's own crops, by runtime."""
    settings = EmbeddingConfig().faces()
    loop = OpenCvLoop(min_score=settings.min_score, nms_iou=settings.nms_iou, long_side=640)
    crops, vectors = [], []
    for name in names:
        vectors.append(loop.faces((folder / "images" / name).read_bytes()).vectors)
        crops += loop.crops
        if len(crops) >= CROPS_CHECKED:
            break
    batch, theirs = np.stack(crops)[..., ::-1].copy(), np.concatenate(vectors)
    lowest = {}
    for wanted in (RuntimeSettings("onnxruntime", "fp32"), RuntimeSettings(runtime, "auto")):  # type: ignore[arg-type]
        models = load_models("opencv-zoo", cache_dir=folder / "cache", settings=settings, runtime=wanted)
        lowest[models.runtime] = float(np.einsum("ij,ij->i", models.recognizer.embed(batch), theirs).min())
        models.close()
    return lowest


def rows_of(sides: Mapping[str, Side], images: int, on_their_crops: Mapping[str, float]) -> list[dict[str, Any]]:
    """One row for each of our runtimes and each peer."""
    rows = []
    for runtime in (name for name in sides if name not in PEERS):
        own = sides[runtime]
        compared = {peer: agreement(own.found, sides[peer].found) for peer in PEERS}
        same = agreement(own.found, sides[REFERENCE].found)
        cosine = on_their_crops[runtime.removesuffix(WITH_VIEWS)]
        correct = good(own, compared[FAIR_PEER], None if runtime.endswith(WITH_VIEWS) else same)
        rows += [
            row_of(runtime, own, peer, sides[peer], images, compared[peer])
            | {
                "cosine_same_crop": round(cosine, 5),
                "cosine_to_fp32": None if runtime.endswith(WITH_VIEWS) else round(same.lowest_cosine, 5),
                "correct": correct and cosine >= MIN_COSINE,
            }
            for peer in PEERS
        ]
    return rows


def good(own: Side, fair: Agreement, reference: Agreement | None) -> bool:
    """Whether we found what the peer found at our detector's size, and exactly what our own ``reference`` finds."""
    faces, same = count(own), True
    if reference is not None:
        same = reference.recall == 1.0 and faces == reference.peer_faces and reference.lowest_cosine >= MIN_COSINE
    return same and fair.recall >= MIN_RECALL and faces >= fair.peer_faces


def row_of(runtime: str, own: Side, peer: str, side: Side, images: int, compared: Agreement) -> dict[str, Any]:
    """The figures of one of our runtimes beside one peer."""
    ratios = [theirs / ours for theirs, ours in zip(side.seconds, own.seconds, strict=True)]
    return {
        "runtime": runtime,
        "images": images,
        "faces": count(own),
        "images_per_second": round(images / sum(own.seconds), 2),
        "peak_mb": own.end["peak_mb"],
        "peer": peer,
        "peer_images_per_second": round(images / sum(side.seconds), 2),
        "peer_faces": compared.peer_faces,
        "peer_peak_mb": side.end["peak_mb"],
        "ratio": round(statistics.median(ratios), 2),
        "ratio_low": round(min(ratios), 2),
        "ratio_high": round(max(ratios), 2),
        "cpu_ratio": round(side.end["cpu_seconds"] / own.end["cpu_seconds"], 2),
        "recall": round(compared.recall, 4),
        "median_cosine": round(compared.median_cosine, 4),
    }


def count(side: Side) -> int:
    """Faces of all its images."""
    return sum(len(found.boxes) for found in side.found.values())


if __name__ == "__main__":
    sys.exit(main())
