"""Near pairs among PDQ hashes: stored hashes against probes at Hamming distance 31, beside counting and beside FAISS.

    python -m benchmarks.fingerprints [--stored 1000000] [--probes 1000 10000] [--repeats 3] [--json]

One thread. Half of the probes are random; the others are stored hashes with 0 to 40 bits flipped. Peers: numpy counting
every pair's bits (`brute_force_near`; of the larger sets of probes its first 1,000, scaled), one `IndexBinaryFlat` over
everything with ``search(k)``, as near-duplicates are usually looked up, and with ``range_search``. ``ratio`` is the
peer's time divided by ours, median of interleaved repeats. Checked in the run: our pairs are those that counting gives.

`IndexBinaryMultiHash` (16 words of 16 bits) is measured for what it is: with no flips it loses pairs, with one flip per
word it finds all within 31 bits, because 31 flips in 16 words leave a word with one at most; ``recall`` says so for
probes 24 to 31 bits away. HNSW answers by rank only; its recall is that of the nearest hash.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import faiss
import numpy as np

from benchmarks.finish import finish
from embeddings.images.pdq import PDQ_MODEL_ID
from embeddings.types import UInt8
from indexes.fingerprints import Fingerprints, NearPairs, brute_force_near

DISTANCE = 31
NEIGHBOURS = 10
COUNTED = 1000
"""Probes whose every pair numpy counts: 4 ms each at a million."""
BLOCK = 1 << 14


def draw(stored: int, probes: int, seed: int) -> tuple[UInt8, UInt8]:
    """Random stored hashes, and probes of which every other one is a stored hash with 0 to 40 bits flipped."""
    random = np.random.default_rng(seed)
    right = random.integers(0, 256, (stored, 32), dtype=np.uint8)
    left = random.integers(0, 256, (probes, 32), dtype=np.uint8)
    for row in range(0, probes, 2):
        left[row] = flip(right[random.integers(stored)], int(random.integers(0, 41)), random)
    return right, left


def flip(value: UInt8, bits: int, random: np.random.Generator) -> UInt8:
    """``value`` (32,) with ``bits`` of its 256 bits flipped."""
    unpacked = np.unpackbits(value)
    unpacked[random.choice(256, bits, replace=False)] ^= 1
    return np.packbits(unpacked)


def equal(ours: NearPairs, theirs: NearPairs) -> bool:
    """The same pairs in the same order with the same distances."""
    return all(np.array_equal(getattr(ours, name), getattr(theirs, name)) for name in ("probe", "row", "distances"))


def seconds(work: Callable[[], Any]) -> float:
    """Wall time of one call."""
    before = time.perf_counter()
    work()
    return time.perf_counter() - before


def measure(stored: int, probes: int, repeats: int) -> dict[str, Any]:
    """Time ours and the peers in turns; check ours against counting."""
    right, left = draw(stored, probes, seed=1)
    ours = Fingerprints(right, ids=[str(row) for row in range(stored)], model_id=PDQ_MODEL_ID)
    whole = faiss.IndexBinaryFlat(256)
    whole.add(right)
    counted = left[:COUNTED]
    work: dict[str, Callable[[], Any]] = {
        "ours": lambda: ours.pairs(left, model_id=PDQ_MODEL_ID, distance=DISTANCE),
        "faiss_range_search": lambda: whole.range_search(left, DISTANCE + 1),
        f"faiss_search_k{NEIGHBOURS}": lambda: whole.search(left, NEIGHBOURS),
        "numpy": lambda: brute_force_near(counted, right, distance=DISTANCE, block=BLOCK),
    }
    spent: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(repeats):
        for name, call in work.items():
            spent[name].append(seconds(call) * (len(left) / len(counted) if name == "numpy" else 1))
    found = ours.pairs(counted, model_id=PDQ_MODEL_ID, distance=DISTANCE)
    row: dict[str, Any] = {"stored": stored, "probes": probes, "pairs": len(work["ours"]())}
    row["correct"] = equal(found, work["numpy"]()) and len(found) > 0
    row |= {f"{name}_s": round(statistics.median(times), 3) for name, times in spent.items()}
    for name in list(work)[1:]:
        row[f"ratio_{name}"] = round(statistics.median(np.divide(spent[name], spent["ours"]).tolist()), 2)
    return row


def approximate(stored: int, probes: int) -> list[dict[str, Any]]:
    """Recall and time of FAISS's hashed and graph indexes, for probes 24 to 31 bits from a stored hash."""
    random = np.random.default_rng(2)
    right, _ = draw(stored, 0, seed=1)
    rows = random.integers(0, stored, probes)
    left = np.stack([flip(right[row], int(random.integers(24, DISTANCE + 1)), random) for row in rows])
    ours = Fingerprints(right, ids=[str(row) for row in range(stored)], model_id=PDQ_MODEL_ID)
    exact = seconds(lambda: ours.pairs(left, model_id=PDQ_MODEL_ID, distance=DISTANCE))
    hashed = faiss.IndexBinaryMultiHash(256, 16, 16)
    building = {"hashed": seconds(lambda: hashed.add(right))}
    answers = []
    for flips in (0, 1):
        hashed.nflip = flips
        name = f"IndexBinaryMultiHash, {flips} flips"
        answers.append(one_peer(name, lambda: hashed.range_search(left, DISTANCE + 1), rows, building["hashed"], exact))
    graph = faiss.IndexBinaryHNSW(256, 16)
    part = min(stored, 100_000)  # building it for a million takes minutes
    built = seconds(lambda: graph.add(right[:part]))
    inside = rows < part
    graph.hnsw.efSearch = 64
    nearest = graph.search(left[inside], 1)[1][:, 0]
    recall = round(float((nearest == rows[inside]).mean()), 4)
    return [*answers, {"peer": f"IndexBinaryHNSW of {part}", "recall": recall, "build_s": round(built, 1)}]


def one_peer(name: str, search: Callable[[], Any], rows: Any, built: float, exact: float) -> dict[str, Any]:
    """One range search: how many probes find the hash that they were made of, and the time beside ours."""
    spent = seconds(search)
    limits, _, labels = search()
    owner = np.repeat(np.arange(len(rows)), np.diff(limits).astype(np.int64))
    found = len(np.unique(owner[labels == rows[owner]]))
    recall = round(found / len(rows), 4)
    return {"peer": name, "recall": recall, "ratio": round(spent / exact, 2), "build_s": round(built, 1)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(prog="benchmarks.fingerprints")
    parser.add_argument("--stored", type=int, default=1_000_000)
    parser.add_argument("--probes", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    faiss.omp_set_num_threads(1)
    rows = [measure(options.stored, probes, options.repeats) for probes in options.probes]
    return finish([*rows, *approximate(options.stored, min(options.probes))], as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
