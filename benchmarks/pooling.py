"""What several pictures of one person tell together, and what pooling costs.

    python -m benchmarks.pooling --people FOLDER      # a subfolder of photographs for each person
    python -m benchmarks.pooling --items 100000

With people: of each, groups of k photographs are drawn and pooled as a model's pictures are, and each pool is compared
with single photographs as references: those of its person that are not in the group (genuine) and those of everybody
else (impostor). ``missed at`` counts genuine scores below the review threshold, and below the threshold that one in a
thousand impostor scores of single photographs reaches. Groups of one person overlap, so intervals are of persons: a
bootstrap over them. ``even``: the same with equal weights.

With items: vectors drawn at random, five pictures to a model, half alike. Processor time of pooling them, of sealing
and of opening the pools, and of comparing them with a gallery, beside comparing the faces themselves with it. Medians
of several runs, and ratios within each run.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.finish import finish
from embeddings.types import Float32
from indexes.gallery import Gallery
from indexes.join import pair_scores
from indexes.pooling import pool_faces
from indexes.thresholds import published_thresholds
from pipelines.calibration.faces import embed_photographs
from pipelines.calibration.labels import read_folder
from pipelines.calibration.pooling import rows_by_person
from pipelines.home.progress import silent
from pipelines.home.sealing import KeyFileWarning, Sealer, associated_data, seal, unseal
from pipelines.home.workspace import create_workspace
from pipelines.settings.environment import read_environment

PACK = "opencv-zoo"
PER_MODEL = 5
ALIKE = 0.5
TEMPLATES = 1000
DIMENSION = 128
RUNS = 5
MOST_GROUPS = 20
"""Drawn of each person and size."""

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Person:
    """Faces of one person, one for each photograph: vectors (n, d), weights (n,), and a number for each picture."""

    vectors: Float32
    weights: Float64
    pictures: list[int]


def read_people(folder: Path) -> list[Person]:
    """The largest face of each photograph of each subfolder, read as a calibration reads it."""
    labels = read_folder(folder)
    with tempfile.TemporaryDirectory() as place, warnings.catch_warnings():
        warnings.simplefilter("ignore", KeyFileWarning)
        with create_workspace(read_environment({}, home=Path(place) / "home")) as workspace:
            faces = embed_photographs(workspace, labels.paths, progress=silent)
    own = rows_by_person(labels, faces).values()
    return [Person(faces.vectors[rows], faces.weights[rows], faces.pictures[rows].tolist()) for rows in own]


def measure_people(people: list[Person], *, even: bool, seed: int = 0) -> list[dict[str, Any]]:
    """A row for each number of photographs that somebody has one more of."""
    threshold = published_thresholds(PACK).review
    rows, strict = [], None
    for size in range(1, max(len(one.vectors) for one in people)):
        genuine, impostors, pooled = _scores(people, size, even=even, threshold=threshold, seed=seed)
        if sum(len(own) > 0 for own in genuine) < 2:
            break
        every, strangers = np.concatenate(genuine), np.concatenate(impostors)
        strict = float(np.quantile(strangers, 0.999)) if strict is None else strict
        rows.append(
            {
                "photographs": size,
                "weights": "even" if even else "quality",
                "persons": sum(len(own) > 0 for own in genuine),
                "pooled": round(float(np.mean(pooled)), 2),
                "genuine": _mean_and_spread(every),
                "impostor": _mean_and_spread(strangers),
                f"missed at {threshold}": _share(genuine, threshold),
                f"missed at {strict:.3f}": _share(genuine, strict),
                f"impostors at {threshold}": f"{(strangers >= threshold).mean():.2e} of {len(strangers)}",
                f"impostors at {strict:.3f}": f"{(strangers >= strict).mean():.2e}",
            }
        )
    return rows


def _scores(
    people: list[Person], size: int, *, even: bool, threshold: float, seed: int
) -> tuple[list[Float32], list[Float32], list[int]]:
    random = np.random.default_rng(seed)
    genuine: list[Float32] = []
    impostors: list[Float32] = []
    pooled: list[int] = []
    others = [np.concatenate([two.vectors for two in people if two is not one]) for one in people]
    for person, strangers in zip(people, others, strict=True):
        own: list[Float32] = [np.empty(0, dtype=np.float32)]
        foreign: list[Float32] = [np.empty(0, dtype=np.float32)]
        if len(person.vectors) > size:
            for _ in range(MOST_GROUPS):
                group = random.permutation(len(person.vectors))
                chosen, left = group[:size], group[size:]
                weights = np.ones(size) if even else person.weights[chosen]
                pools = pool_faces(
                    person.vectors[chosen], weights, [person.pictures[row] for row in chosen], threshold=threshold
                )
                best = max(pools, key=lambda pool: len(pool.rows))
                pooled.append(len(best.rows))
                own.append(pair_scores(person.vectors[left], np.tile(best.vector, (len(left), 1))))
                foreign.append(pair_scores(strangers, np.tile(best.vector, (len(strangers), 1))))
        genuine.append(np.concatenate(own))
        impostors.append(np.concatenate(foreign))
    return genuine, impostors, pooled


def _mean_and_spread(scores: Float32) -> str:
    return f"{scores.mean():.3f} +- {scores.std():.3f}"


def _share(genuine: list[Float32], threshold: float) -> str:
    """The share below a threshold, each person counting alike, with a 95 % interval over persons."""
    shares = np.array([(own < threshold).mean() for own in genuine if len(own)])
    drawn = np.random.default_rng(1).choice(shares, size=(2000, len(shares))).mean(axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return f"{shares.mean():.3f} ({low:.3f} to {high:.3f})"


def measure_cost(items: int) -> dict[str, Any]:
    """Processor seconds of each step, and pooling beside comparing the faces alone."""
    random = np.random.default_rng(0)
    models = items // PER_MODEL
    shared = random.normal(size=(models, 1, DIMENSION))
    apart = random.normal(size=(models, PER_MODEL, DIMENSION))
    vectors = (np.sqrt(ALIKE) * shared + np.sqrt(1 - ALIKE) * apart).reshape(-1, DIMENSION)
    faces = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    templates = random.normal(size=(TEMPLATES, DIMENSION))
    gallery = Gallery(
        (templates / np.linalg.norm(templates, axis=1, keepdims=True)).astype(np.float32),
        template_ids=[str(number) for number in range(TEMPLATES)],
        subject_ids=[str(number) for number in range(TEMPLATES)],
        model_id="drawn",
        registry_version=1,
    )
    threshold = published_thresholds(PACK).review
    gallery.match(faces[:5000], model_id="drawn", threshold=threshold)  # packs the templates
    runs = [_cost_once(faces, gallery, threshold) for _ in range(RUNS)]
    times = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    more = sum(times[name] for name in ("pool", "seal", "compare_pools"))
    ratios = [sum(run[name] for name in ("pool", "seal", "compare_pools")) / run["compare_faces"] for run in runs]
    return {
        "items": items,
        "models": models,
        "templates": TEMPLATES,
        **{f"{name}_seconds": round(value, 3) for name, value in times.items()},
        "pooling_per_100_000_items": round(more * 100_000 / items, 3),
        "pooling_over_comparing_faces": round(statistics.median(ratios), 2),
    }


def _cost_once(faces: Float32, gallery: Gallery, threshold: float) -> dict[str, float]:
    sealer, took = Sealer(bytes(32)), dict[str, float]()
    key, pools, sealed = sealer.shard_key("pools"), [], list[bytes]()
    weights, pictures = np.full(PER_MODEL, 0.9), list(range(PER_MODEL))

    def timed(name: str, step: Callable[[], Any]) -> Any:
        began = time.process_time()
        result = step()
        took[name] = time.process_time() - began
        return result

    pools = timed(
        "pool",
        lambda: [
            pool
            for start in range(0, len(faces), PER_MODEL)
            for pool in pool_faces(faces[start : start + PER_MODEL], weights, pictures, threshold=threshold)
            if len(pool.rows) > 1
        ],
    )
    aads = [associated_data("pool", number) for number in range(len(pools))]
    sealed = timed("seal", lambda: [seal(key, p.vector.tobytes(), aad) for p, aad in zip(pools, aads, strict=True)])
    opened = timed("open", lambda: [unseal(key, data, aad) for data, aad in zip(sealed, aads, strict=True)])
    probes = np.stack([np.frombuffer(data, dtype=np.float32) for data in opened])
    timed("compare_pools", lambda: gallery.match(probes, model_id="drawn", threshold=threshold))
    timed("compare_faces", lambda: gallery.match(faces, model_id="drawn", threshold=threshold))
    return took


def main() -> int:
    """Measure what is asked for; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=Path)
    parser.add_argument("--items", type=int)
    parser.add_argument("--json", action="store_true")
    given: SimpleNamespace = parser.parse_args(namespace=SimpleNamespace())
    rows: list[dict[str, Any]] = []
    if given.people:
        people = read_people(given.people)
        rows += [row for even in (False, True) for row in measure_people(people, even=even)]
    if given.items:
        rows.append(measure_cost(given.items))
    return finish(rows, as_json=given.json)


if __name__ == "__main__":
    sys.exit(main())
