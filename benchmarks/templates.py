"""Subjects with many references: what centroids in front save, and what they lose.

    python -m benchmarks.templates [--subjects 10000] [--faces 2048] [--repeats 3] [--json]

One core. Subjects have 1 to 40 references, evenly: photographs of 1 to 4 looks, whose similarities are those
of one person's photographs (5th, 50th and 95th percentile are printed). ``repeated`` is the share of references that
are another subject reference once more (re-encoded, cropped, the next frame of a video: `REPEATED` degrees away).
Faces, half and half mated and strangers: *photographs* of a look, from clear to hardly recognisable, and *altered
copies* of one reference. Work: `Gallery.match` at the threshold over everything, the peer, and the same with

- ``exact``: tight clusters and the proven bound (`indexes.clusters.tight_clusters`), the default;
- ``margin m``: four centroids a subject and that margin (`indexes.clusters.subject_centroids`), off by default.

``compared``: share of the vectors that every face is compared with first. ``ratio``: the peer's time divided by this,
median of interleaved repeats. ``recall``: of the peer's matches of mated faces with their own subject, for both kinds
of face; ``near``: of those at most 0.05 above the threshold. ``used``: whether `make_gallery` finds it worthwhile.
Checked in the run: exact gives the peer's matches, those by chance included, and no work gives a match beyond them.
``proven_bound``: what a centroid's score would have to be lowered to, median over four centroids of all references.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np

from benchmarks.finish import finish
from embeddings.types import Float32
from indexes.clustered import WORTHWHILE, ClusteredGallery
from indexes.clusters import MOST_CENTROIDS, lowered_threshold, spherical_kmeans, subject_centroids, tight_clusters
from indexes.gallery import Gallery, GalleryMatches
from indexes.join import pair_scores

MODELS = ((128, 0.363), (512, 0.4))
"""Dimension and threshold: SFace's published one, and one usual for ArcFace."""
LOOK, PHOTOGRAPH = 0.72, 0.62
"""Squared cosine of a look with its person and of a photograph with its look: similarities of 0.35 to 0.65."""
REPEATED, REPEATED_SHARES = 6.0, (0.0, 0.5, 0.9)
MARGINS = (0.0, 0.05, 0.1)


@dataclass(frozen=True, slots=True)
class Population:
    """References with their owners; faces of the two kinds, mated ones first; the subjects of the mated ones."""

    vectors: Float32
    owners: list[str]
    photographs: Float32
    copies: Float32
    truth: list[str]


def mixed(base: Float32, share: Any, random: np.random.Generator) -> Float32:
    """Unit vectors whose squared cosine with ``base`` (n, d) is about ``share``: the rest is noise."""
    noise = random.standard_normal(base.shape)
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    vectors = np.sqrt(share) * base + np.sqrt(1 - share) * noise
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def draw(subjects: int, faces: int, dimension: int, repeated: float, seed: int) -> Population:
    """A registry and the faces to match with it."""
    random = np.random.default_rng(seed)
    counts = random.integers(1, 41, subjects)
    owner = np.repeat(np.arange(subjects), counts)
    people = mixed(np.zeros((subjects, dimension), dtype=np.float32), 0.0, random)
    looks = mixed(np.repeat(people, 4, axis=0), LOOK, random)
    worn = 4 * owner + random.integers(0, random.integers(1, 5, subjects)[owner])
    vectors = mixed(looks[worn], PHOTOGRAPH, random)
    first = (np.cumsum(counts) - counts)[owner]
    again = (random.random(len(owner)) < repeated) & (first < np.arange(len(owner)))
    original = first + random.integers(0, np.maximum(np.arange(len(owner)) - first, 1))
    for _ in range(6):  # a repeat of a repeat repeats the same original
        original = np.where(again[original], original[original], original)
    vectors[again] = mixed(vectors[original[again]], np.cos(np.radians(REPEATED)) ** 2, random)
    mated = random.integers(0, len(owner), faces // 2)
    strangers = mixed(np.zeros((faces - faces // 2, dimension), dtype=np.float32), 0.0, random)
    photographs = mixed(looks[worn[mated]], random.uniform(0.05, 0.8, (len(mated), 1)), random)
    copies = mixed(vectors[mated], random.uniform(0.05, 0.95, (len(mated), 1)), random)
    owners = [f"subject{number:06}" for number in owner]
    kinds = (np.concatenate([faces, strangers]) for faces in (photographs, copies))
    return Population(vectors, owners, *kinds, truth=[owners[row] for row in mated])


def build(population: Population, threshold: float, work: str) -> Gallery:
    """The gallery of one work: ``all``, ``exact`` or ``margin m``."""
    names = [str(row) for row in range(len(population.vectors))]
    common: dict[str, Any] = {"template_ids": names, "subject_ids": population.owners}
    common |= {"model_id": "benchmark", "registry_version": 1}
    if work == "all":
        return Gallery(population.vectors, **common)
    centroids, options = tight_clusters, {"weights": np.ones(len(names)), "threshold": threshold}
    if work != "exact":
        centroids, options["margin"] = subject_centroids, float(work.split()[1])
    clusters = centroids(population.vectors, population.owners, **options)
    return (
        ClusteredGallery(population.vectors, **common, clusters=clusters) if clusters else build(population, 0, "all")
    )


def matches(found: GalleryMatches) -> dict[tuple[int, int], float]:
    """Scores by (face, reference)."""
    pairs = zip(found.probe.tolist(), found.template.tolist(), strict=True)
    return dict(zip(pairs, found.scores.tolist(), strict=True))


def measure(population: Population, threshold: float, repeats: int) -> list[dict[str, Any]]:
    """Time every work in turns, and compare what they find."""
    works = ["all", "exact", *(f"margin {margin}" for margin in MARGINS)]
    built, galleries = {}, {}
    for work in works:
        before = time.perf_counter()
        galleries[work] = build(population, threshold, work)
        built[work] = time.perf_counter() - before
    spent: dict[str, list[float]] = {work: [] for work in works}
    for _ in range(repeats):
        for work, gallery in galleries.items():
            before = time.perf_counter()
            gallery.match(population.photographs, model_id="benchmark", threshold=threshold)
            spent[work].append(time.perf_counter() - before)
    rows = []
    for work, gallery in galleries.items():
        first = gallery.compared_first if isinstance(gallery, ClusteredGallery) else len(gallery)
        row: dict[str, Any] = {"work": work, "compared": round(first / len(gallery), 3)}
        row |= {"used": first <= WORTHWHILE * len(gallery)}
        row |= {"ratio": round(statistics.median(np.divide(spent["all"], spent[work]).tolist()), 2)}
        row |= {"match_s": round(statistics.median(spent[work]), 3), "build_s": round(built[work], 2)}
        rows.append(row | compare(population, galleries["all"], gallery, threshold, exact=work in ("all", "exact")))
    return rows


def compare(
    population: Population, peer: Gallery, gallery: Gallery, threshold: float, *, exact: bool
) -> dict[str, Any]:
    """Recall of both kinds of face, and whether the matches are what they must be."""
    row: dict[str, Any] = {"correct": True}
    for kind in ("photographs", "copies"):
        probes = getattr(population, kind)
        wanted, found = (
            matches(side.match(probes, model_id="benchmark", threshold=threshold)) for side in (peer, gallery)
        )
        row["correct"] &= found == wanted if exact else found.items() <= wanted.items()
        truth = dict(enumerate(population.truth))
        mated = {pair: score for pair, score in wanted.items() if truth.get(pair[0]) == population.owners[pair[1]]}
        near = {pair for pair, score in mated.items() if score < threshold + 0.05}
        row[f"recall_{kind}"] = round(len(mated.keys() & found) / len(mated), 4)
        row[f"near_{kind}"] = round(len(near & found.keys()) / len(near), 4)
    return row


def describe(population: Population, threshold: float) -> dict[str, Any]:
    """How alike a subject's references are, and how low the proven bound of four clusters of all would have to go."""
    owners = np.array(population.owners)
    similar = pair_scores(population.vectors[1:], population.vectors[:-1])[owners[1:] == owners[:-1]]
    bounds = []
    for rows in np.split(np.arange(len(owners)), np.flatnonzero(owners[1:] != owners[:-1]) + 1)[:500]:
        own = population.vectors[rows]
        if len(rows) > MOST_CENTROIDS:
            centroids, labels = spherical_kmeans(own, np.ones(len(rows)), most=MOST_CENTROIDS)
            cosines = np.clip(pair_scores(own, centroids[labels]), -1, 1)
            bounds += [lowered_threshold(threshold, np.arccos(cosines[labels == n].min())) for n in set(labels)]
    return {
        "references": len(owners),
        "similarities": [round(float(value), 2) for value in np.percentile(similar, [5, 50, 95])],
        "proven_bound": round(float(np.median(bounds)), 2),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(prog="benchmarks.templates")
    parser.add_argument("--subjects", type=int, default=10_000)
    parser.add_argument("--faces", type=int, default=2048)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    faiss.omp_set_num_threads(1)
    results: list[dict[str, Any]] = []
    for (dimension, threshold), repeated in itertools.product(MODELS, REPEATED_SHARES):
        population = draw(options.subjects, options.faces, dimension, repeated, seed=1)
        registry = {"dimension": dimension, "repeated": repeated, **describe(population, threshold)}
        results += [registry | row for row in measure(population, threshold, options.repeats)]
    return finish(results, as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
