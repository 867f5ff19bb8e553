"""Which runtime and precision is fastest on this machine, one thread: what ``runtime = "auto"`` is decided by.

    python -m benchmarks.runtimes [--repeats 15] [--json]

Milliseconds a face (SFace, batches of 1, 4 and 8) and an image (YuNet at 640x480 and 160x128), each runtime in turn on
the same photographs; ``ratio`` is against ONNX Runtime in float32, the peer. Checked in the run: SFace's vectors have
cosine at least ``MIN_COSINE`` to the peer's; YuNet's outputs differ by no more than ``MAX_DIFFERENCE``, absolute, in
logits and cells.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.faces_insightface import photographs
from benchmarks.finish import finish
from embeddings.faces.recognition import normalise
from embeddings.models.packs import OPENCV_ZOO
from embeddings.models.runtimes import MIN_COSINE, Runtime, inspect_machine, open_session
from embeddings.models.weights import ModelFile, prepared_graph
from embeddings.types import ModelSession, UInt8

PEER = Runtime("onnxruntime", "fp32")
MAX_DIFFERENCE = 1.0


def runtimes() -> list[Runtime]:
    """The runtimes of this machine, the peer first."""
    machine = inspect_machine()
    found = [PEER]
    if machine.openvino:
        found += [Runtime("openvino", "fp32")] + ([Runtime("openvino", "bf16")] if machine.bf16 else [])
    return found + ([Runtime("onnxruntime-cuda", "fp32")] if machine.cuda else [])


def inputs() -> list[tuple[str, ModelFile, UInt8]]:
    """Name of the work, the network and what it is given."""
    images = photographs(8)
    crops = np.stack([cv2.resize(image, (112, 112), interpolation=cv2.INTER_AREA) for image in images])
    work = [(f"SFace, batch {count}", OPENCV_ZOO.recognizer, crops[:count]) for count in (1, 4, 8)]
    sizes = ((640, 480), (160, 128))
    detection = [cv2.resize(images[0], size, interpolation=cv2.INTER_AREA)[None] for size in sizes]
    return work + [
        (f"YuNet {width}x{height}", OPENCV_ZOO.detector, image)
        for (width, height), image in zip(sizes, detection, strict=True)
    ]


def measure(repeats: int, cache: Path) -> list[dict[str, Any]]:
    """Time every runtime on every work, in turns."""
    rows = []
    for work, file, data in inputs():
        graph = prepared_graph(file, cache_dir=cache)
        sessions = {runtime: open_session(graph, runtime) for runtime in runtimes()}
        spent: dict[Runtime, list[float]] = {runtime: [] for runtime in sessions}
        for turn in range(repeats + 2):
            for runtime, session in sessions.items():
                before = time.perf_counter()
                session.run({"image": data})
                if turn >= 2:
                    spent[runtime].append((time.perf_counter() - before) * 1000 / len(data))
        for runtime, session in sessions.items():
            difference = compare(sessions[PEER], session, data, is_recogniser=file is OPENCV_ZOO.recognizer)
            rows.append(
                {
                    "work": work,
                    "runtime": str(runtime),
                    "ms": round(statistics.median(spent[runtime]), 3),
                    "ratio": round(statistics.median(np.divide(spent[PEER], spent[runtime]).tolist()), 2),
                    **difference,
                }
            )
        for session in sessions.values():
            session.close()
    return rows


def compare(peer: ModelSession, session: ModelSession, data: UInt8, *, is_recogniser: bool) -> dict[str, Any]:
    """Lowest cosine of vectors, or largest difference of a detector's outputs, and whether it is tolerated."""
    theirs, ours = peer.run({"image": data}), session.run({"image": data})
    if is_recogniser:
        vectors = [normalise(raw, dimension=OPENCV_ZOO.dimension) for (raw,) in (theirs, ours)]
        cosine = float((vectors[0] * vectors[1]).sum(axis=1).min())
        return {"cosine": round(cosine, 5), "correct": cosine >= MIN_COSINE}
    largest = max(float(np.abs(a - b).max()) for a, b in zip(theirs, ours, strict=True))
    return {"difference": round(largest, 4), "correct": largest <= MAX_DIFFERENCE}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(prog="benchmarks.runtimes")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as cache:
        rows = measure(options.repeats, Path(cache))
    return finish(rows, as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
