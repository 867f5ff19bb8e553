"""How long does a removal request take, beside a bare vector search? And what does keeping nothing cost?

    python -m benchmarks.rescan [--faces 200000] [--dimension 512] [--repeats 3] [--images 200] [--seed 0] [--json]

Work "small shards" and "compacted": ``--faces`` generated faces in a home of their own (sealed, listed, an item each,
256 to a shard), of which each request's person has about 50. A request is accepted, and the clock runs until the rescan
has completed it: reading, opening, comparing, hits, verdicts, coverage. ``outside`` is what of that is not reading and
comparing. Then the home is compacted and further requests meet few large shards.
Peer: ``faiss.IndexFlatIP.range_search`` over the same vectors, in memory already: no reading, no opening, no record.
It has its turn after each request; ``ratio`` is the median over the turns of the peer's seconds by ours.
``identical``: the hits are those of a float32 brute force, with the same scores, and the request is completed.

Work "merged": one pass of the compacted shards for 1 to 1024 people at once: what ``corpus.merged_subjects`` is set by.
Work "none": ``--images`` generated variants of the packaged photographs in a home with ``mode = "none"``; a rescan
fetches and embeds them again. Its seconds per image are also given for as many images as there are ``--faces``.

The system's cache holds the files, as after a first request. A run whose hits are not identical exits with 1.
"""

from __future__ import annotations

import argparse
import hashlib
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pyarrow as pa
import sqlalchemy as sa
from rich.console import Console

from benchmarks.finish import finish
from benchmarks.inputs.search_data import Population
from benchmarks.inputs.synthetic import make_home, synthetic_references, write_variants
from benchmarks.machine import peak_mb
from embeddings.models.load import FaceModels
from embeddings.types import Float32, vector_column
from indexes.corpus import corpus_schema
from indexes.gallery import Gallery
from indexes.join import brute_force
from pipelines.cases.requests import accept_request, get_request, open_request
from pipelines.corpus.manifest import insert_shard, list_shards
from pipelines.database.tables import hits, items
from pipelines.home.canary import Canary
from pipelines.home.sealing import KeyFileWarning
from pipelines.home.workspace import Workspace, create_workspace, open_workspace
from pipelines.intake.ledger import text_digest
from pipelines.matching import faces
from pipelines.registry.references import Reference
from pipelines.runs.compaction import compact
from pipelines.runs.rescan import rescan
from pipelines.runs.sweep import sweep
from pipelines.settings.environment import read_environment
from pipelines.sources import Item

Row = dict[str, Any]
Say = Callable[[str], None]
SHARD_ITEMS = 256
MERGED = (1, 4, 16, 64, 256, 1024)
MATES = 50
COLUMNS = ("work", "faces", "shards", "seconds", "outside", "peer_seconds", "ratio", "hits", "identical")


@dataclass(frozen=True, slots=True)
class Store:
    """A filled home, the vectors in it in the order of their items, and who is going to be asked for."""

    workspace: Workspace
    vectors: Float32
    targets: Float32
    index: Any


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark, print its table, and return the exit status."""
    parser = argparse.ArgumentParser(prog="benchmarks.rescan", description="A removal request, from accept to done.")
    parser.add_argument("--faces", type=int, default=200_000)
    parser.add_argument("--dimension", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=3, help="requests before and after the compaction")
    parser.add_argument("--images", type=int, default=200, help='images in the home with mode "none"; 0: leave it out')
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print the rows as one JSON object on the last line")
    options = parser.parse_args(arguments)
    say: Say = partial(Console(stderr=True).print, highlight=False)
    with tempfile.TemporaryDirectory(prefix="likeness-rescan-") as folder:
        rows = list(measure_store(Path(folder), options, say))
        if options.images:
            rows.append(measure_none(Path(folder), options, say))
    return finish(rows, as_json=options.json, columns=(*COLUMNS, "times_one"), peak_mb=peak_mb())


def measure_store(folder: Path, options: argparse.Namespace, say: Say) -> Iterator[Row]:
    """Rows for the home that keeps vectors."""
    with filled_home(folder / "stored", options) as store:
        say(f"{options.faces:,} faces sealed")
        yield requests_row(store, "small shards", 0, options.repeats)
        summary = compact(store.workspace)
        say(f"compacted in {summary.seconds:.1f} s")
        row = requests_row(store, "compacted", options.repeats, 2 * options.repeats)
        yield row | {
            "compaction_seconds": summary.seconds,
            "bytes_before": summary.bytes_before,
            "bytes": summary.bytes_after,
        }
        yield from merged_rows(store)


@contextmanager
def filled_home(home: Path, options: argparse.Namespace) -> Iterator[Store]:
    """A home full of generated faces, closed at the end."""
    population = Population(options.seed, options.dimension)
    targets = population.people(2 * options.repeats, stream=1)
    vectors = population.people(options.faces, stream=2)
    vectors = population.with_mates(vectors, targets, stream=2, share=MATES / options.faces)
    index = faiss.IndexFlatIP(options.dimension)
    index.add(vectors)
    home.mkdir(mode=0o700)
    (home / "likeness.toml").write_text("[content]\nrating = false\n", encoding="utf-8")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", KeyFileWarning)
        workspace = create_workspace(read_environment({}, home=home))
    give_models(workspace, population)
    fill(workspace, vectors)
    try:
        yield Store(workspace, vectors, targets, index)
    finally:
        del workspace.__dict__["models"]  # they have nothing to close
        workspace.close()


def give_models(workspace: Workspace, population: Population) -> None:
    """Give the workspace models without networks: only an id, a dimension and a canary, since vectors are made here."""
    settings, dimension = workspace.config.embedding.faces(), population.dimension
    workspace.models = FaceModels("opencv-zoo", "benchmark", dimension, settings, None, None, 1)  # type: ignore
    planted, strangers = population.people(1, stream=3), population.people(3, stream=4)
    workspace.canary = Canary(template=planted, probe=planted, strangers=strangers, model_id="benchmark")  # type: ignore


def fill(workspace: Workspace, vectors: Float32) -> None:
    """Write and list the shards that sweeps would have left, compared with an empty registry."""
    dimension, now = vectors.shape[1], workspace.now()
    for number, start in enumerate(range(0, len(vectors), SHARD_ITEMS)):
        part, shard_id = vectors[start : start + SHARD_ITEMS], hashlib.sha256(str(number).encode()).hexdigest()[:32]
        ids = [f"item-{start + at:09}" for at in range(len(part))]
        digests = [hashlib.sha256(name.encode()).digest() for name in ids]
        size = len(part)
        columns = [pa.array(ids), pa.array(digests, type=pa.binary(32))]
        columns += [pa.array([0] * size, type=pa.int32())] * 2 + [pa.array([9.0] * size, type=pa.float32())] * 5
        columns += [pa.nulls(size, pa.string()), vector_column(part)]
        entry = workspace.corpus.write(
            pa.Table.from_arrays(columns, schema=corpus_schema(dimension)),
            shard_id=shard_id,
            model_id="benchmark",
            dimension=dimension,
            key=workspace.sealer.shard_key(shard_id),
            before_rename=lambda: None,
        )
        rows = [item(workspace, name, digest.hex(), shard_id) for name, digest in zip(ids, digests, strict=True)]
        with workspace.database.write() as tx:
            review = workspace.thresholds.review
            insert_shard(tx, workspace.sealer, entry, now=now, covered_version=0, covered_threshold=review)
            tx.execute(sa.insert(items), rows)


PROMPT = "portrait of a woman in a red coat, (soft light:1.2), 85mm, film grain, detailed skin, <lora:style_v2:0.6>"


def item(workspace: Workspace, name: str, digest: str, shard_id: str) -> Row:
    """A clean item with one face and a prompt, in which nobody is named."""
    now = workspace.now()
    listed = Item(item_id=name, kind="image", received_at=now, locator=name, title=f"No. {name}", prompt=PROMPT)
    times = dict.fromkeys(("received_at", "live_since", "first_seen", "scanned_at"), now)
    return times | {
        "item_id": name,
        "kind": "image",
        "day": now.date().isoformat(),
        "live": True,
        "source_id": "benchmark",
        "source_digest": digest,
        "content_digest": digest,
        "sealed_record": workspace.sealer.seal_record({"source": "benchmark", "item": listed.to_record()}, name),
        "text_digest": text_digest(workspace.sealer, listed),
        "status": "clean",
        "attempts": 1,
        "content_sha256": digest,
        "faces": 1,
        "model_id": "benchmark",
        "shard_id": shard_id,
    }


def requests_row(store: Store, work: str, first: int, last: int) -> Row:
    """Requests one after another, the peer between them."""
    workspace, threshold = store.workspace, store.workspace.thresholds.review
    ours, theirs, reading, found, identical = [], [], [], 0, True
    for number in range(first, last):
        compared = timed(faces, "compare_shard")
        subject_id, seconds = one_request(workspace, store.targets[number])
        ours.append(seconds)
        reading.append(sum(compared()))
        started = time.perf_counter()
        store.index.range_search(store.targets[number : number + 1], threshold)
        theirs.append(time.perf_counter() - started)
        wanted = brute_force(store.vectors, store.targets[number : number + 1], threshold=threshold, block=8192)
        expected = {(f"item-{row:09}", float(score)) for row, score in zip(wanted.left, wanted.scores, strict=True)}
        with workspace.database.read() as connection:
            query = sa.select(hits.c.item_id, hits.c.score).where(hits.c.subject_id == subject_id)
            got = {(row.item_id, row.score) for row in connection.execute(query)}
        identical, found = identical and got == expected, found + len(got)
    with workspace.database.read() as connection:
        shards = len(list_shards(connection, workspace.sealer))
    return {
        "work": work,
        "faces": len(store.vectors),
        "shards": shards,
        "seconds": round(statistics.median(ours), 4),
        "seconds_each": [round(value, 4) for value in ours],
        "reading_and_comparing": round(statistics.median(reading), 4),
        "outside": round(statistics.median(1 - part / whole for part, whole in zip(reading, ours, strict=True)), 3),
        "peer": "faiss IndexFlatIP range_search in memory",
        "peer_seconds": round(statistics.median(theirs), 4),
        "ratio": round(statistics.median(peer / own for peer, own in zip(theirs, ours, strict=True)), 3),
        "hits": found,
        "identical": identical,
    }


def one_request(workspace: Workspace, vector: Float32) -> tuple[str, float]:
    """Serve a request for the person of this vector; return the subject and the seconds from acceptance to
    completion."""
    crop = np.random.default_rng(0).integers(0, 256, (112, 112, 3), dtype=np.uint8)
    reference = Reference(vector=vector, crop=crop, detector_score=1.0)
    request = open_request(
        workspace, names=["somebody"], references=[reference], contact="none", consent=None, actor="benchmark"
    )
    accept_request(workspace, request.request_id, actor="benchmark")
    started = time.perf_counter()
    rescan(workspace)
    seconds = time.perf_counter() - started
    with workspace.database.read() as connection:
        if get_request(connection, request.request_id).state != "completed":
            raise RuntimeError("the request is not completed")
    return request.subject_id, seconds


def timed(module: Any, name: str) -> Callable[[], list[float]]:
    """Time the calls of a function of a module; the answer gives their seconds and undoes the wrapping."""
    original, spent = getattr(module, name), []

    def wrapped(*arguments: Any, **options: Any) -> Any:
        started = time.perf_counter()
        try:
            return original(*arguments, **options)
        finally:
            spent.append(time.perf_counter() - started)

    setattr(module, name, wrapped)

    def result() -> list[float]:
        setattr(module, name, original)
        return spent

    return result


def merged_rows(store: Store) -> Iterator[Row]:
    """One pass of all shards for more and more people."""
    workspace, people = store.workspace, Population(1, store.vectors.shape[1]).people(max(MERGED), stream=9)
    with workspace.database.read() as connection:
        entries = [shard.entry for shard in list_shards(connection, workspace.sealer)]
    alone = 0.0
    for count in MERGED:
        names = [str(number) for number in range(count)]
        gallery = Gallery(
            people[:count], template_ids=names, subject_ids=names, model_id="benchmark", registry_version=1
        )
        times = []
        for _ in range(4):
            started = time.perf_counter()
            for entry in entries:
                with workspace.corpus.open_vectors(entry, key=workspace.sealer.shard_key(entry.shard_id)) as stored:
                    gallery.match_stored(stored, model_id="benchmark", threshold=workspace.thresholds.review)
            times.append(time.perf_counter() - started)
        seconds = statistics.median(times[1:])
        alone = alone or seconds
        each = {"times_one": round(seconds / alone, 2), "seconds_per_person": round(seconds / count, 5)}
        yield {"work": f"merged: {count} people", "faces": len(store.vectors), "seconds": round(seconds, 4), **each}


def measure_none(folder: Path, options: argparse.Namespace, say: Say) -> Row:
    """A rescan that embeds everything again."""
    write_variants(folder / "images", options.images, seed=options.seed)
    home = folder / "none"
    make_home(home, subjects=1, seed=options.seed)
    with (home / "likeness.toml").open("a", encoding="utf-8") as file:
        file.write('[corpus]\nmode = "none"\n')
    with open_workspace(read_environment({}, home=home)) as workspace:
        swept = sweep(workspace, f"directory:{folder / 'images'}", day=None)
        say(f"{swept.items} images swept, nothing kept: {len(list(workspace.corpus.folder.iterdir()))} files")
        (reference,) = synthetic_references(1, workspace, seed=options.seed + 1)
        started = time.perf_counter()
        _, seconds = one_request(workspace, reference.vector)
        say(f"rescan in {seconds:.1f} s, with its enrolment {time.perf_counter() - started:.1f} s")
    each = seconds / options.images
    return {
        "work": f"none: {options.images} images embedded again ({options.images / seconds:.1f}/s)",
        "faces": swept.faces,
        "seconds": round(seconds, 3),
        "seconds_per_image": round(each, 5),
        "hours_for_as_many_images_as_faces": round(each * options.faces / 3600, 3),
    }


if __name__ == "__main__":
    sys.exit(main())
