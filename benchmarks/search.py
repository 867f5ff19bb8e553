"""How fast is the exact search, beside FAISS on the same vectors?

    python -m benchmarks.search [--corpus 500000 2000000] [--queries 1 4 16 64] [--dimension 512]
        [--templates 1000 100000] [--faces 10000] [--approximate 100000] [--folder DIR] [--json]

Work "rescan": ``--queries`` templates against ``--corpus`` stored faces, with the codes in memory ("warm"), from sealed
files that the system has cached ("sealed"), and from sealed files it has not ("cold"). Peers, in float32 in memory:
``faiss.IndexFlatIP`` by range search and by search(k=100), in parts of 2 million faces whose times are added. For
"sealed" there is also the peer that has to open its float32 vectors from sealed Parquet first, from the system's cache:
one shard is read in each turn, and counted for all. That reading is not in the other rows.
Work "gallery": ``--faces`` new faces against ``--templates``, by :class:`indexes.gallery.Gallery` and by IndexFlatIP's
range search.
Work "approximate": FAISS HNSW and IVF-PQ at their usual settings, with what of the exact hits they find and their time
to build.
``limit_share``, in the warm rescans: the time that reading the codes or multiplying them must take, whichever is
longer, as a share of ours. Both limits are measured in the same run.

Method: each side is a process and they take turns (:mod:`benchmarks.workers.turns`); ``seconds`` are medians over
``--repeats`` turns, ``ratio`` is the median over the turns of the peer's seconds by ours. ``peak_mb`` is the highest
resident memory of our process, ``peer_peak_mb`` of the peer's. ``identical`` says that pairs and scores are the same,
FAISS's candidates held to the defined score; a run in which they are not exits with 1. Speed never fails a run.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks.finish import finish
from benchmarks.inputs.search_data import Population, stored_shards
from benchmarks.workers.turns import Worker
from indexes.first_pass import Scratch, available_cores, choose_kernel

Row = dict[str, Any]
Say = Callable[[str], None]
COLUMNS = ("work", "corpus", "queries", "mode", "seconds", "peer", "peer_seconds", "ratio", "identical", "hits")
MODES = {"warm": ("range", "top"), "sealed": ("from-sealed", "range"), "cold": ("from-sealed",)}
"""Our modes of search, each with its peers."""
PEERS = {
    "range": "IndexFlatIP range_search",
    "top": "IndexFlatIP search(k=100)",
    "from-sealed": "sealed Parquet, IndexFlatIP range_search",
}
MEMORY = ("peak_mb", "peer_peak_mb", "recall", "build_seconds", "limit_share")


def measure(arguments: argparse.Namespace, folder: Path, say: Say) -> list[Row]:
    """All rows of a run."""
    rows: list[Row] = []
    limits = machine_limits(arguments.dimension)
    say(f"limits: {limits[0] / 1e9:.1f} GB/s read, {limits[1] / 1e9:.0f} Gop/s int8")
    for corpus in arguments.corpus:
        say(f"{corpus:,} stored faces: sealing")
        stored_shards(folder, Population(arguments.seed, arguments.dimension), corpus)
        rows += rescans(arguments, folder, corpus, limits, say)
    for corpus in arguments.approximate:
        say(f"{corpus:,} stored faces: approximate indexes")
        rows += approximations(arguments, folder, corpus)
    for templates in arguments.templates:
        say(f"{templates:,} templates x {arguments.faces:,} faces")
        rows.append(gallery(arguments, folder, templates))
    return rows


def rescans(
    arguments: argparse.Namespace, folder: Path, corpus: int, limits: tuple[float, float], say: Say
) -> list[Row]:
    """Each mode beside each peer, for one size of corpus."""
    rows = []
    with (
        worker("warm", corpus, arguments, folder) as warm,
        worker("sealed", corpus, arguments, folder) as sealed,
        worker("flat", corpus, arguments, folder) as flat,
        worker("parquet", corpus, arguments, folder) as parquet,
    ):
        for side in (warm, sealed, flat):
            side.turn(queries=1, peer="range")  # not counted: the first search of a process loads and allocates
        for queries in arguments.queries:
            turns: dict[str, list[Row]] = {name: [] for name in (*MODES, *PEERS)}
            for _ in range(arguments.repeats):
                turns["warm"].append(warm.turn(queries=queries))
                turns["range"].append(flat.turn(queries=queries, peer="range"))
                turns["sealed"].append(sealed.turn(queries=queries))
                opened = parquet.turn()["seconds"] + turns["range"][-1]["seconds"]
                turns["from-sealed"].append(turns["range"][-1] | {"seconds": opened})
                turns["cold"].append(sealed.turn(queries=queries, cold=True))
                turns["top"].append(flat.turn(queries=queries, peer="top"))
            for mode, peers in MODES.items():
                for peer in peers:
                    row = beside(turns[mode], turns[peer])
                    row |= {"work": "rescan", "corpus": corpus, "queries": queries, "mode": mode, "peer": PEERS[peer]}
                    if peer == "top":  # a probe may have more than 100 hits: the rest is cut off
                        row["identical"] = None
                    if mode == "warm":
                        row["limit_share"] = round(
                            least_seconds(corpus, queries, arguments, limits) / row["seconds"], 2
                        )
                    rows.append(row)
            say(f"{corpus:,} x {queries}: {rows[-5]['ratio']}x warm, {rows[-3]['ratio']}x sealed")
    return rows


def least_seconds(corpus: int, queries: int, arguments: argparse.Namespace, limits: tuple[float, float]) -> float:
    """What reading the codes or multiplying them takes at the machine's limits, whichever is longer."""
    read = corpus * (arguments.dimension + 8) / limits[0]
    return max(read, 2.0 * corpus * arguments.dimension * queries / limits[1])


def approximations(arguments: argparse.Namespace, folder: Path, corpus: int) -> list[Row]:
    """What HNSW and IVF-PQ find of the exact hits."""
    rows = []
    stored_shards(folder, Population(arguments.seed, arguments.dimension), corpus)
    with (
        worker("warm", corpus, arguments, folder) as warm,
        worker("approximate", corpus, arguments, folder) as indexes,
    ):
        for peer in ("hnsw", "ivf-pq"):
            for queries in arguments.queries:
                turns = [
                    (warm.turn(queries=queries), indexes.turn(queries=queries, peer=peer))
                    for _ in range(arguments.repeats)
                ]
                row = beside([own for own, _ in turns], [theirs for _, theirs in turns])
                row |= {"work": "approximate", "corpus": corpus, "queries": queries, "mode": "warm", "peer": peer}
                row["recall"] = round(turns[0][1]["hits"] / max(turns[0][0]["hits"], 1), 4)
                row |= {"identical": None, "build_seconds": turns[0][1]["build_seconds"]}
                rows.append(row)
    return rows


def gallery(arguments: argparse.Namespace, folder: Path, templates: int) -> Row:
    """New faces against one size of gallery."""
    # At a million templates a turn of the peer takes a minute.
    repeats = 1 if templates * arguments.faces > 5e9 else arguments.repeats
    with (
        worker("gallery", templates, arguments, folder) as ours,
        worker("gallery-flat", templates, arguments, folder) as flat,
    ):
        turns = [(ours.turn(), flat.turn()) for _ in range(repeats)]
    row = beside([own for own, _ in turns], [theirs for _, theirs in turns])
    return row | {
        "work": "gallery",
        "corpus": templates,
        "queries": arguments.faces,
        "mode": "memory",
        "peer": "IndexFlatIP range_search",
    }


def beside(ours: Sequence[Row], peer: Sequence[Row]) -> Row:
    """Seconds, ratio, memory and agreement of turns taken together."""
    ratios = [theirs["seconds"] / own["seconds"] for own, theirs in zip(ours, peer, strict=True)]
    return {
        "seconds": round(statistics.median(turn["seconds"] for turn in ours), 5),
        "peer_seconds": round(statistics.median(turn["seconds"] for turn in peer), 5),
        "ratio": round(statistics.median(ratios), 2),
        "ratio_least": round(min(ratios), 2),
        "identical": all(turn["digest"] == ours[0]["digest"] for turn in (*ours, *peer)),
        "hits": ours[0]["hits"],
        "peak_mb": ours[-1]["peak_mb"],
        "peer_peak_mb": peer[-1]["peak_mb"],
    }


def worker(side: str, rows: int, arguments: argparse.Namespace, folder: Path) -> Worker:
    """One side as a process."""
    values = {"rows": rows, "folder": folder}
    values |= {name: getattr(arguments, name) for name in ("dimension", "threshold", "seed", "faces")}
    flags = [text for name, value in values.items() for text in (f"--{name}", str(value))]
    return Worker("benchmarks.workers.search", side, *flags)


def machine_limits(dimension: int) -> tuple[float, float]:
    """Bytes per second that all cores read from memory, and int8 operations per second that they do from cache."""
    cores = available_cores()
    memory = np.ones(1 << 26, dtype=np.uint64)
    kernel = choose_kernel()
    codes = np.ones((2048, dimension), dtype=np.int8)
    packed = kernel.pack(codes[: kernel.probes_per_pack])
    with ThreadPoolExecutor(cores) as pool:

        def read(core: int) -> None:
            np.bitwise_or.reduce(memory[core * len(memory) // cores : (core + 1) * len(memory) // cores])

        def multiply(_: int) -> None:
            scratch = Scratch()
            for _ in range(40):
                kernel.products(codes, packed, scratch)

        speeds = []
        for work, amount in ((read, memory.nbytes), (multiply, 80.0 * codes.size * kernel.probes_per_pack * cores)):
            seconds = []
            for _ in range(7):
                started = time.perf_counter()
                list(pool.map(work, range(cores)))
                seconds.append(time.perf_counter() - started)
            speeds.append(amount / min(seconds))
    return speeds[0], speeds[1]


def main() -> None:
    """Parse the options, measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=int, nargs="*", default=[500_000, 2_000_000])
    parser.add_argument("--queries", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--dimension", type=int, default=512)
    parser.add_argument("--threshold", type=float, default=0.4)
    parser.add_argument("--templates", type=int, nargs="*", default=[1000, 100_000])
    parser.add_argument("--faces", type=int, default=10_000)
    parser.add_argument("--approximate", type=int, nargs="*", default=[100_000])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="keep the sealed faces here and use them again")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    console = Console(stderr=arguments.json, width=None if sys.stdout.isatty() else 200)
    with tempfile.TemporaryDirectory() as temporary:
        rows = measure(arguments, arguments.folder or Path(temporary), console.print)
    columns = (*COLUMNS, *MEMORY)
    sys.exit(finish(rows, as_json=arguments.json, columns=columns, kernel=choose_kernel().name))


if __name__ == "__main__":
    main()
