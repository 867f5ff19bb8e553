"""What do fetching and decoding under every bound cost, beside httpx and Pillow as one would use them?

    python -m benchmarks.ingest [--images 256] [--rounds 8] [--seed 0] [--json] [--skip-embedding]

Work: ``--images`` generated variants of the packaged photographs behind a server on the loopback, which is a process of
its own. One thread, so that every millisecond of processor time is seen. Four ways to pixels take turns on the same
files, round by round in a changing order:

- ``confined``: :class:`pipelines.sources.download.Downloader`, then the decoder in confined processes, the default;
- ``in process``: the same with ``decode.sandbox = "off"``;
- ``plain``: ``httpx.Client`` and ``Image.open(...).convert("RGB")`` at full size, as loops do;
- ``plain reduced``: the same with ``Image.draft``, which decodes a JPEG at a reduced scale as ours does.

``cost``: of confinement, processor time of ``confined`` by that of ``in process`` less one, for fetch and decode, and
for all the way from bytes to vectors in one thread (``embed_shard`` with the default pack), which is what a sweep does
most of the time; the aim is 0.10 of a sweep. Processor time counts the decoding processes. Median over the rounds.

Correct means: both of our ways give the same pixels and vectors to the bit, and at full size no picture of ours differs
from Pillow's by more than 2 grey levels on average.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
from PIL import Image

from benchmarks.finish import finish
from benchmarks.inputs.synthetic import write_variants
from benchmarks.machine import processor_seconds
from benchmarks.workers.files import serving
from embeddings.images.decode import decode
from embeddings.images.decoder import Decoder
from embeddings.models.load import load_models
from embeddings.sandbox.decoding import SandboxedDecoder
from embeddings.shard import embed_shard
from embeddings.types import Content, UInt8
from pipelines.exchange.limits import HeadLimits
from pipelines.home.sandbox import decoder_for, sandbox_status
from pipelines.settings.config import Config, ImagesConfig
from pipelines.sources import FetchSettings
from pipelines.sources.download import Downloader

LIMITS: Final = ImagesConfig()
LONG_SIDE: Final = 640
"""What pictures are decoded for when faces are sought."""
MOST_DIFFERENCE: Final = 2.0
COLUMNS: Final = ("work", "items_per_second", "peer", "peer_items_per_second", "ratio", "cpu_ratio", "cost", "correct")

Way = Callable[[Sequence[str]], object]


@dataclass(frozen=True, slots=True)
class Taken:
    """Seconds of each round of one way, by the clock and of processor time."""

    wall: list[float]
    processor: list[float]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark, print its table, and return the exit status."""
    parser = argparse.ArgumentParser(prog="benchmarks.ingest", description="Fetch and decode, beside httpx and Pillow.")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print the rows as one JSON object on the last line")
    parser.add_argument("--skip-embedding", action="store_true", help="fetch and decode alone")
    options = parser.parse_args(arguments)
    if options.images < options.rounds:
        parser.error("--images must be at least --rounds")
    with tempfile.TemporaryDirectory(prefix="likeness-ingest-") as folder:
        rows = run(Path(folder), options)
    held = sandbox_status(Config())
    return finish(rows, as_json=options.json, columns=COLUMNS, confined_by=held.active, not_confined_by=held.missing)


def run(folder: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Make the work, let the ways take turns on it, and return the rows."""
    names = write_variants(folder / "images", options.images, seed=options.seed)
    confined = decoder_for(Config())
    if not isinstance(confined, SandboxedDecoder):
        raise SystemExit("this system confines no process: there is nothing to compare")
    data = {name: (folder / "images" / name).read_bytes() for name in names}
    correct = all(agrees(one, confined) for one in data.values())
    with serving(folder / "images") as (host, server):
        settings = FetchSettings(timeout_seconds=600, allowed_hosts=(host,), allow_private_addresses=True)
        downloader = Downloader(settings, HeadLimits())
        with httpx.Client() as client:
            ways: dict[str, Way] = {
                "confined": lambda some: [ours(downloader, host, name, confined) for name in some],
                "in process": lambda some: [ours(downloader, host, name, decode) for name in some],
                "plain": lambda some: [plain(client, host, name, reduced=False) for name in some],
                "plain reduced": lambda some: [plain(client, host, name, reduced=True) for name in some],
            }
            taken = take_turns(ways, names, options.rounds, without={server})
        downloader.close()
    rows = [row_of("fetch and decode", taken, peer, len(names), correct) for peer in list(ways)[1:]]
    if not options.skip_embedding:
        rows.append(embedding_row(folder / "models", data, confined, options.rounds))
    confined.pool.close()
    return rows


def ours(downloader: Downloader, host: str, name: str, decoder: Decoder) -> list[UInt8]:
    """Fetch and decode as a sweep does."""
    data = downloader.fetch(f"http://{host}/{name}", max_bytes=LIMITS.max_bytes)
    return [frame.image for frame in decoder(data, limits=LIMITS, long_side=LONG_SIDE).frames]


def plain(client: httpx.Client, host: str, name: str, *, reduced: bool) -> UInt8:
    """Fetch and decode as one would otherwise."""
    image = Image.open(io.BytesIO(client.get(f"http://{host}/{name}").content))
    if reduced:
        image.draft("RGB", (LONG_SIDE, LONG_SIDE))
    return np.asarray(image.convert("RGB"))


def agrees(data: bytes, confined: Decoder) -> bool:
    """Whether both of our ways decode a file alike, and at full size as Pillow does."""
    (one,), (other,) = (list(how(data, limits=LIMITS, long_side=LONG_SIDE).frames) for how in (decode, confined))
    (full,) = confined(data, limits=LIMITS, long_side=100_000).frames
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    if full.image.shape != expected.shape or not np.array_equal(one.image, other.image):
        return False
    return float(np.abs(full.image.astype(np.int16) - expected).mean()) <= MOST_DIFFERENCE


def take_turns(
    ways: Mapping[str, Way], things: Sequence[str], rounds: int, *, without: set[int] | frozenset[int] = frozenset()
) -> dict[str, Taken]:
    """Let each way do a part of the things in each round, beginning with another one each time."""
    taken = {name: Taken([], []) for name in ways}
    for way in ways.values():
        way(things[:1])  # connections, processes, lazy imports
    for number in range(rounds):
        part = things[number::rounds]
        for at in range(len(ways)):
            name = list(ways)[(at + number) % len(ways)]
            wall, processor = time.perf_counter(), processor_seconds(without=without)
            ways[name](part)
            taken[name].processor.append(processor_seconds(without=without) - processor)
            taken[name].wall.append(time.perf_counter() - wall)
    return taken


def row_of(work: str, taken: Mapping[str, Taken], peer: str, items: int, correct: bool) -> dict[str, Any]:
    """Compare the confined way with another one."""
    own, other = taken["confined"], taken[peer]
    processor = statistics.median(theirs / mine for theirs, mine in zip(other.processor, own.processor, strict=True))
    return {
        "work": work,
        "items_per_second": round(items / sum(own.wall), 1),
        "peer": peer,
        "peer_items_per_second": round(items / sum(other.wall), 1),
        "ratio": round(statistics.median(theirs / mine for theirs, mine in zip(other.wall, own.wall, strict=True)), 2),
        "cpu_ratio": round(processor, 2),
        "cost": round(1 / processor - 1, 3) if peer == "in process" else None,
        "correct": correct,
    }


def embedding_row(cache: Path, data: Mapping[str, bytes], confined: Decoder, rounds: int) -> dict[str, Any]:
    """The same comparison for all the way to vectors, in one thread."""
    config = Config().embedding
    models = load_models(config.pack, cache_dir=cache, settings=config.faces(), runtime=config.runtime_settings())
    vectors: dict[str, list[bytes]] = {"confined": [], "in process": []}

    def embed(names: Sequence[str], how: str, decoder: Decoder) -> None:
        contents = [Content(hashlib.sha256(data[name]).digest(), data[name]) for name in names]
        result = embed_shard(contents, models, limits=LIMITS, workers=1, decoder=decoder)
        vectors[how] += result.faces["vector"].to_pylist()

    ways: dict[str, Way] = {
        "confined": lambda some: embed(some, "confined", confined),
        "in process": lambda some: embed(some, "in process", decode),
    }
    taken = take_turns(ways, list(data), rounds)
    same = vectors["confined"] == vectors["in process"]
    return row_of("bytes to vectors", taken, "in process", len(data), same)


if __name__ == "__main__":
    sys.exit(main())
