"""One side of benchmarks.search, in its own process: it prepares once, then answers turn by turn.

Every answer has ``seconds`` of the search alone, the number of ``hits``, a ``digest`` of them (rows, probes and scores,
in one order), and ``peak_mb`` of the process.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe

from benchmarks.inputs.search_data import KEY, MODEL, Population, stored_shards, stored_vectors
from benchmarks.machine import peak_mb
from benchmarks.workers.turns import Seat
from embeddings.types import Float32, vector_column, vectors_of
from indexes.first_pass import choose_kernel, pack_probes
from indexes.gallery import Gallery
from indexes.join import Pairs, candidate_slack, join_pairs, recheck
from indexes.sealed import SealedVectors
from indexes.stored import ResidentCodes

PART_ROWS = 2_000_000
"""Faces that FAISS holds at once: 4 GB. Larger corpora are searched in parts, their times added."""
TOP = 100
Search = Callable[[Any], tuple[float, Pairs]]


def ours(arguments: argparse.Namespace, shards: list[SealedVectors], probes: Float32) -> Search:
    """The join, over codes in memory or straight from the sealed files."""
    if arguments.side == "warm":
        stored: Any = [ResidentCodes(shard.codes(), fetch=shard.vectors) for shard in shards]
    else:
        stored = shards

    def search(message: Any) -> tuple[float, Pairs]:
        if message.get("cold"):
            for shard in shards:
                forget(arguments.folder / shard.entry.path)
        started = time.perf_counter()
        packed = pack_probes(probes[: message["queries"]])
        found = join_pairs(stored, packed, threshold=arguments.threshold)
        return time.perf_counter() - started, found

    return search


def flat(arguments: argparse.Namespace, shards: list[SealedVectors], probes: Float32) -> Search:
    """IndexFlatIP, range search or search(k): what it finds is held to the defined score outside of the clock."""
    kept: dict[int, Any] = {}
    starts = range(0, arguments.rows, PART_ROWS)

    def index_of(start: int) -> Any:
        if start not in kept:
            kept.clear()
            index = kept[start] = faiss.IndexFlatIP(arguments.dimension)
            stop = min(start + PART_ROWS, arguments.rows)
            codes = index.codes
            codes.resize((stop - start) * 4 * arguments.dimension)  # else doubling would count against FAISS's memory
            codes.resize(0)
            for block in stored_vectors(shards, start=start, stop=stop):
                index.add(block)
        return kept[start]

    def search(message: Any) -> tuple[float, Pairs]:
        asked, seconds, found = probes[: message["queries"]], 0.0, []
        floor = arguments.threshold - candidate_slack(arguments.dimension)
        for start in starts:
            index = index_of(start)
            started = time.perf_counter()
            if message["peer"] == "top":
                values, labels = index.search(asked, TOP)
                seconds += time.perf_counter() - started
                columns, places = np.nonzero(values >= floor)
                found.append((labels[columns, places] + start, columns))
                continue
            limits, _, labels = index.range_search(asked, floor)
            seconds += time.perf_counter() - started
            found.append((labels + start, np.repeat(np.arange(len(asked)), np.diff(limits).astype(np.int64))))
        rows, columns = (np.concatenate([pair[side] for pair in found]) for side in (0, 1))
        distinct, place = np.unique(rows, return_inverse=True)
        vectors = np.empty((len(distinct), arguments.dimension), dtype=np.float32)
        offset = 0
        for shard in shards:
            inside = (distinct >= offset) & (distinct < offset + shard.rows)
            vectors[inside] = shard.vectors(distinct[inside] - offset)
            offset += shard.rows
        checked = recheck(vectors, asked, [(place, columns)], threshold=arguments.threshold)
        return seconds, Pairs(distinct[checked.left], checked.right, checked.scores)

    return search


def parquet(arguments: argparse.Namespace, shards: list[SealedVectors], _: Float32) -> Search:
    """What opening float32 vectors from Parquet Modular Encryption takes: one shard, counted for all of them."""
    shard = shards[0]
    path = arguments.folder / f"{shard.entry.shard_id}.parquet"
    if not path.exists():
        vectors = np.concatenate(list(stored_vectors([shard], start=0, stop=shard.rows)))
        properties = pe.create_encryption_properties(footer_key=KEY)
        table = pa.table({"vector": vector_column(vectors)})
        pq.write_table(table, path, compression="none", use_dictionary=False, encryption_properties=properties)

    def search(_: Any) -> tuple[float, Pairs]:
        started = time.perf_counter()
        properties = pe.create_decryption_properties(KEY)
        vectors_of(pq.read_table(path, decryption_properties=properties)["vector"], shard.dimension)
        seconds = (time.perf_counter() - started) * arguments.rows / shard.rows
        return seconds, recheck(shard.vectors(np.arange(0)), shard.vectors(np.arange(0)), [], threshold=1.0)

    return search


def approximate(arguments: argparse.Namespace, shards: list[SealedVectors], probes: Float32) -> Search:
    """FAISS HNSW and IVF-PQ at their usual settings; ``build_seconds`` is in their first answer."""
    vectors = np.concatenate(list(stored_vectors(shards, start=0, stop=arguments.rows)))
    built: dict[str, tuple[Any, float]] = {}

    def search(message: Any) -> tuple[float, Pairs]:
        name = message["peer"]
        if name not in built:
            started = time.perf_counter()
            if name == "hnsw":
                index = faiss.IndexHNSWFlat(arguments.dimension, 32, faiss.METRIC_INNER_PRODUCT)
                index.hnsw.efSearch = 128
            else:
                lists = int(4 * len(vectors) ** 0.5)
                index = faiss.index_factory(arguments.dimension, f"IVF{lists},PQ64", faiss.METRIC_INNER_PRODUCT)
                index.train(vectors[:: max(1, len(vectors) // (lists * 64))])
                index.nprobe = 32
            index.add(vectors)
            built[name] = (index, time.perf_counter() - started)
        message["build_seconds"] = round(built[name][1], 1)
        asked = probes[: message["queries"]]
        started = time.perf_counter()
        _, labels = built[name][0].search(asked, TOP)
        seconds = time.perf_counter() - started
        columns, places = np.nonzero(labels >= 0)
        return seconds, recheck(vectors, asked, [(labels[columns, places], columns)], threshold=arguments.threshold)

    return search


def gallery(arguments: argparse.Namespace, population: Population) -> Search:
    """``--rows`` templates that ``--faces`` new faces are compared with, by the gallery or by IndexFlatIP."""
    faces = population.people(arguments.faces, stream=2)
    blocks = [(k, min(16384, arguments.rows - k)) for k in range(0, arguments.rows, 16384)]
    faces = population.with_mates(faces, population.people(blocks[0][1], stream=3), stream=2, share=1e-4)
    if arguments.side == "gallery":
        templates = np.empty((arguments.rows, arguments.dimension), dtype=np.float32)
        for number, (start, count) in enumerate(blocks):
            templates[start : start + count] = population.people(count, stream=3 + number)
        names = [str(row) for row in range(arguments.rows)]
        made = Gallery(templates, template_ids=names, subject_ids=names, model_id=MODEL, registry_version=1)
    else:
        index = faiss.IndexFlatIP(arguments.dimension)
        for number, (_, count) in enumerate(blocks):
            index.add(population.people(count, stream=3 + number))

    def search(_: Any) -> tuple[float, Pairs]:
        started = time.perf_counter()
        if arguments.side == "gallery":
            found = made.pairs(faces, model_id=MODEL, threshold=arguments.threshold)
            return time.perf_counter() - started, found
        floor = arguments.threshold - candidate_slack(arguments.dimension)
        limits, _, labels = index.range_search(faces, floor)
        seconds = time.perf_counter() - started
        rows = np.repeat(np.arange(len(faces)), np.diff(limits).astype(np.int64))
        distinct, place = np.unique(labels, return_inverse=True)
        vectors = np.stack([index.reconstruct(int(k)) for k in distinct]) if len(distinct) else faces[:0]
        checked = recheck(faces, vectors, [(rows, place)], threshold=arguments.threshold)
        return seconds, Pairs(checked.left, distinct[checked.right], checked.scores)

    return search


def forget(path: Path) -> None:
    """Have the system drop what it cached of a file."""
    descriptor = os.open(path, os.O_RDONLY)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


def digest(pairs: Pairs) -> str:
    """Digest of rows, probes and scores in (row, probe) order."""
    order = np.lexsort((pairs.right, pairs.left))
    parts = (pairs.left[order].astype("<i8"), pairs.right[order].astype("<i8"), pairs.scores[order].astype("<f4"))
    return hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()


def main() -> None:
    """Prepare, then answer until the parent is gone."""
    parser = argparse.ArgumentParser()
    parser.add_argument("side", choices=("warm", "sealed", "flat", "parquet", "approximate", "gallery", "gallery-flat"))
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--dimension", type=int, required=True)
    parser.add_argument("--threshold", type=float, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--faces", type=int, default=0)
    arguments = parser.parse_args()
    seat = Seat()
    choose_kernel()
    population = Population(arguments.seed, arguments.dimension)
    if arguments.side.startswith("gallery"):
        search = gallery(arguments, population)
    else:
        entries = stored_shards(arguments.folder, population, arguments.rows)
        shards = [SealedVectors(arguments.folder, entry, key=KEY) for entry in entries]
        sides: Mapping[str, Callable[..., Search]] = {"warm": ours, "sealed": ours, "flat": flat, "parquet": parquet}
        search = sides.get(arguments.side, approximate)(arguments, shards, population.probes())
    message = seat.answer(ready=True)
    while True:
        seconds, found = search(message)
        message = seat.answer(
            seconds=seconds,
            hits=len(found),
            digest=digest(found),
            peak_mb=peak_mb(),
            build_seconds=message.get("build_seconds"),
        )


if __name__ == "__main__":
    main()
