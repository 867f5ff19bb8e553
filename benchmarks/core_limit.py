"""How far is the running pipeline from the bare time of its models?

    python -m benchmarks.core_limit [--images 160] [--seed 0] [--rounds 3] [--json]

Pipeline: :func:`embeddings.shard.embed_shard` on encoded bytes of generated variants of the packaged photographs, all
cores. Peer, the physical limit of these models: the very tensors that the pipeline gave to its two networks, recorded
beforehand (decoded, letterboxed, aligned, batched), run again by the same sessions on as many threads, with nothing in
between. Both take turns in one process. ``ratio`` is the median over the rounds of the pipeline's seconds by the
peer's: 1.25 means a quarter more than the models alone. ``views`` is the thorough pass, on or off.

Correct means: the peer ran every tensor that the pipeline ran, every image was scanned, and all rounds of the pipeline
give the same table. The exit status is 1 when that fails; speed never fails a run.
"""

from __future__ import annotations

import argparse
import hashlib
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.finish import finish
from embeddings.faces.detection import YuNetDetector
from embeddings.faces.recognition import SessionRecognizer
from embeddings.models.load import FaceModels, load_models
from embeddings.shard import embed_shard
from embeddings.types import Content, Float32, ImageLimits, ModelSession, ShardEmbeddings
from pipelines.sample.variants import generate_variants
from pipelines.settings.config import EmbeddingConfig, ImagesConfig, ViewsConfig

Inputs = Mapping[str, npt.NDArray[np.generic]]


class Recorder:
    """A session that can keep what it is given."""

    def __init__(self, session: ModelSession) -> None:
        self.session = session
        self.kept: list[Inputs] | None = None
        self._lock = threading.Lock()

    def run(self, inputs: Inputs) -> list[Float32]:
        """Run the session, and keep a copy of the inputs while ``kept`` is a list."""
        if self.kept is not None:
            with self._lock:
                self.kept.append({name: value.copy() for name, value in inputs.items()})
        return self.session.run(inputs)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark, print its table, and return the exit status."""
    parser = argparse.ArgumentParser(prog="benchmarks.core_limit", description="The pipeline beside its bare models.")
    parser.add_argument("--images", type=int, default=160)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print the rows as one JSON object on the last line")
    options = parser.parse_args(arguments)
    contents = [
        Content(hashlib.sha256(data).digest(), data) for _, data in generate_variants(options.images, seed=options.seed)
    ]
    with tempfile.TemporaryDirectory(prefix="likeness-limit-") as cache:
        rows = [measure(contents, views, Path(cache), options.rounds) for views in (False, True)]
    columns = ("views", "images_per_second", "bare_per_second", "ratio", "correct")
    return finish(rows, as_json=options.json, columns=columns)


def measure(contents: Sequence[Content], views: bool, cache: Path, rounds: int) -> dict[str, Any]:
    """One row: record the tensors once, then let pipeline and bare models take turns."""
    config = EmbeddingConfig(views=ViewsConfig(mode="uncertain" if views else "off"))
    models, detector, recognizer = recorded(config, cache)
    workers, limits = config.worker_count(), ImagesConfig()
    detector.kept, recognizer.kept = [], []
    expected = embed_shard(contents, models, limits=limits, workers=workers)
    tensors = [(detector.session, one) for one in detector.kept] + [
        (recognizer.session, one) for one in recognizer.kept
    ]
    detector.kept = recognizer.kept = None
    ours, bare, same = [], [], complete(expected, contents)
    for _ in range(rounds):
        seconds, result = timed_pipeline(contents, models, limits, workers)
        ours.append(seconds)
        same = same and result.statuses.equals(expected.statuses) and result.faces.equals(expected.faces)
        bare.append(timed_bare(tensors, workers))
    return {
        "views": views,
        "images": len(contents),
        "faces": len(expected.faces),
        "detector_calls": sum(session is detector.session for session, _ in tensors),
        "workers": workers,
        "images_per_second": round(len(contents) / statistics.median(ours), 1),
        "bare_per_second": round(len(contents) / statistics.median(bare), 1),
        "ratio": round(statistics.median(own / limit for own, limit in zip(ours, bare, strict=True)), 3),
        "correct": same,
    }


def recorded(config: EmbeddingConfig, cache: Path) -> tuple[FaceModels, Recorder, Recorder]:
    """The models of ``config`` with their sessions inside recorders."""
    models = load_models(config.pack, cache_dir=cache, settings=config.faces())
    if not isinstance(models.detector, YuNetDetector) or not isinstance(models.recognizer, SessionRecognizer):
        raise TypeError("core_limit knows how to look inside YuNetDetector and SessionRecognizer only")
    detector, recognizer = Recorder(models.detector._session), Recorder(models.recognizer._session)
    wrapped = replace(
        models,
        detector=YuNetDetector(detector, settings=models.settings),
        recognizer=SessionRecognizer(recognizer, dimension=models.dimension),
    )
    return wrapped, detector, recognizer


def complete(result: ShardEmbeddings, contents: Sequence[Content]) -> bool:
    """Whether every image was scanned."""
    statuses = result.statuses["status"].to_pylist()
    return len(statuses) == len(contents) and all(status in ("faces", "no_face") for status in statuses)


def timed_pipeline(
    contents: Sequence[Content], models: FaceModels, limits: ImageLimits, workers: int
) -> tuple[float, ShardEmbeddings]:
    """Seconds of the pipeline, and its tables."""
    started = time.perf_counter()
    result = embed_shard(contents, models, limits=limits, workers=workers)
    return time.perf_counter() - started, result


def timed_bare(tensors: Sequence[tuple[ModelSession, Inputs]], workers: int) -> float:
    """Seconds that the networks alone take for ``tensors`` on ``workers`` threads."""
    with ThreadPoolExecutor(workers) as pool:
        started = time.perf_counter()
        for done in [pool.submit(session.run, inputs) for session, inputs in tensors]:
            done.result()
        return time.perf_counter() - started


if __name__ == "__main__":
    sys.exit(main())
