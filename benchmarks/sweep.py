"""How fast is a nightly sweep, beside the OpenCV loop that one would write instead?

    python -m benchmarks.sweep [--images 2000] [--subjects 10000] [--seed 0] [--json] [--skip-peer]

Work: a sweep of ``--images`` generated variants of the packaged photographs (a folder of files) against ``--subjects``
synthetic subjects and three real ones: list, read, embed, store sealed, match, judge. A quarter of the images is swept
too, to show that memory does not grow with their number. Each sweep has a fresh home. Half of the images are hits, far
more than on a real day, so judging weighs more here than there. Dagster is not in the path.

Peers, on the same files in the same run: :mod:`benchmarks.workers.opencv_loop` at full size, and with images shrunk to
640 first. A peer only reads, decodes, detects and recognises; what a sweep does beyond that is the sweep's own cost.

Method: each side is a process of its own, and they take turns, shard by shard (256 images): while one runs the others
are stopped, so noise of the machine meets all alike. ``ratio`` is the median over the shards of the peer's seconds by
ours, with what we spend outside of shards (listing, matching, judging) spread over them evenly. ``ratio_of_totals``
compares the sums; ``cpu_ratio`` compares processor seconds, which a busy machine stretches less. Models are loaded
before the clock starts, on all sides; ``peak_mb`` includes them, and ours the processes that decode.

Correct means: every item is settled; at least 0.99 of the faces that the peer finds at our detector's size are among
ours, and ours are no fewer; those that we see as the peer sees them, neither turned nor closer, have a median cosine of
at least 0.95 to the peer's; and the hits are exactly those of brute force. The exit status is 1 when that fails. Speed
and memory never fail a run.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
from rich.console import Console

from benchmarks.agreement import Agreement, agreement, found_by_name, hits_are_exact, stored_faces
from benchmarks.finish import finish
from benchmarks.inputs.synthetic import make_home, write_variants
from benchmarks.workers.opencv_loop import FoundFaces, load_found
from benchmarks.workers.turns import Message, Worker
from embeddings.faces.views import FAST
from pipelines.home.workspace import Workspace, open_workspace
from pipelines.settings.environment import read_environment

PEERS: Mapping[str, int | None] = {"OpenCV loop": None, "OpenCV loop at 640": 640}
"""Name of each peer, and the long side to which it shrinks images."""
MIN_RECALL = 0.99
MIN_COSINE = 0.95

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Measured:
    """What a sweep and its peers did in turns: the sweep's last answer, and seconds and images of each turn."""

    final: Message
    images: list[int]
    ours: list[float]
    peers: dict[str, list[float]]
    found: dict[str, dict[str, FoundFaces]]
    peer_ends: dict[str, Message]
    """Each peer's last answer: processor seconds and peak memory."""

    def ratios(self, peer: str) -> list[float]:
        """The peer's seconds by ours for each turn, with our work outside of turns spread evenly over the images."""
        beside = (self.final["seconds"] - sum(self.ours)) / sum(self.images)
        turns = zip(self.peers[peer], self.ours, self.images, strict=True)
        return [theirs / (own + beside * images) for theirs, own, images in turns]


COLUMNS = (
    *("work", "images_per_second", "peer", "peer_images_per_second", "ratio", "faces", "peer_faces", "face_recall"),
    *("median_cosine", "identical", "peak_mb", "outside_embedding_share"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark, print its table, and return the exit status."""
    parser = argparse.ArgumentParser(prog="benchmarks.sweep", description="A sweep beside the plain OpenCV loop.")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--subjects", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print the rows as one JSON object on the last line")
    parser.add_argument("--skip-peer", action="store_true", help="measure the sweep alone")
    options = parser.parse_args(arguments)
    if options.images < 4:
        parser.error("--images must be at least 4")
    errors = Console(stderr=True)
    say: Say = partial(errors.print, highlight=False)
    with tempfile.TemporaryDirectory(prefix="likeness-sweep-") as folder:
        rows = run(Path(folder), options, say)
    status = finish(rows, as_json=options.json, columns=COLUMNS)
    say("seconds: " + ", ".join(f"{stage} {spent:.2f}" for stage, spent in rows[-1]["stages"].items()))
    return status


def run(folder: Path, options: argparse.Namespace, say: Say) -> list[dict[str, Any]]:
    """Make the work, measure both sizes, and return one row for each size and peer."""
    started = time.perf_counter()
    names = write_variants(folder / "all", options.images, seed=options.seed)
    say(f"{len(names)} images in {time.perf_counter() - started:.1f} s")
    started = time.perf_counter()
    subjects = make_home(folder / "home", subjects=options.subjects, seed=options.seed)
    say(f"{subjects} subjects in {time.perf_counter() - started:.1f} s")
    few = options.images // 4
    (folder / "few").mkdir()
    for name in names[:few]:
        (folder / "few" / name).hardlink_to(folder / "all" / name)
    rows = measure_size(folder, "few", names[:few], subjects, peers={}, say=say)
    return rows + measure_size(folder, "all", names, subjects, peers={} if options.skip_peer else PEERS, say=say)


def measure_size(
    folder: Path, images: str, names: Sequence[str], subjects: int, *, peers: Mapping[str, int | None], say: Say
) -> list[dict[str, Any]]:
    """Sweep ``folder / images`` in a copy of the home and compare; one row for each peer, or one without."""
    home = folder / f"home-{images}"
    shutil.copytree(folder / "home", home)
    with open_workspace(read_environment({}, home=home)) as workspace:
        measured = take_turns(folder / images, names, workspace, peers=peers, say=say)
        work = f"sweep of {len(names):,} images x {subjects:,} subjects"
        return rows_of(work, folder / images, names, workspace, measured)


def take_turns(
    images: Path, names: Sequence[str], workspace: Workspace, *, peers: Mapping[str, int | None], say: Say
) -> Measured:
    """Let the sweep and the peers do the same images in turns, a shard at a time."""
    faces = workspace.config.embedding.faces()
    ours: list[float] = []
    counts: list[int] = []
    seconds: dict[str, list[float]] = {peer: [] for peer in peers}
    with ExitStack() as stack:
        workers = {}
        for peer, long_side in peers.items():
            settings = ["--min-score", str(faces.min_score), "--nms-iou", str(faces.nms_iou)]
            settings += ["--long-side", str(long_side)] if long_side else []
            workers[peer] = stack.enter_context(Worker("benchmarks.workers.opencv_loop", str(images), *settings))
        sweep = stack.enter_context(Worker("benchmarks.workers.sweep", str(workspace.home), f"directory:{images}"))
        while (answer := sweep.turn())["done"] is not None:
            part = names[sum(counts) : answer["done"]]
            ours.append(answer["seconds"])
            counts.append(len(part))
            for peer, worker in workers.items():
                seconds[peer].append(worker.turn(files=part)["seconds"])
            speeds = [f"{peer} {len(part) / spent[-1]:.1f}" for peer, spent in seconds.items()]
            say(f"{sum(counts)} of {len(names)}: images/s {', '.join([f'sweep {len(part) / ours[-1]:.1f}', *speeds])}")
        found, ends = {}, {}
        for number, (peer, worker) in enumerate(workers.items()):
            saved = workspace.home / f"peer-{number}.npz"
            ends[peer] = worker.turn(save=str(saved))
            found[peer] = load_found(saved)
    return Measured(answer, counts, ours, seconds, found, ends)


def rows_of(
    work: str, images: Path, names: Sequence[str], workspace: Workspace, measured: Measured
) -> list[dict[str, Any]]:
    """Check what was found and describe it."""
    stored = stored_faces(workspace)
    identical, hits = hits_are_exact(workspace, stored)
    summary, seconds, stages = (measured.final[name] for name in ("summary", "seconds", "stages"))
    settled = summary["coverage"] == 1.0 and summary["items"] == summary["embedded"] == len(names)
    row = {
        "work": work,
        "images": len(names),
        "faces": len(stored),
        "hits": hits,
        "seconds": round(seconds, 2),
        "cpu_seconds": round(measured.final["cpu_seconds"], 2),
        "images_per_second": round(len(names) / seconds, 2),
        "identical": identical,
        "peak_mb": measured.final["peak_mb"],
        "outside_embedding_share": round(1 - stages["embed"] / seconds, 4),
        "stages": {stage: round(spent, 3) for stage, spent in stages.items()},
    }
    own = found_by_name(stored, images, names, dimension=workspace.models.dimension)
    as_peers = stored.filter(pc.equal(stored["view"], FAST))
    cut_alike = found_by_name(as_peers, images, names, dimension=workspace.models.dimension)
    compared = {
        peer: replace(agreement(own, found), median_cosine=agreement(cut_alike, found).median_cosine)
        for peer, found in measured.found.items()
    }
    fair = compared.get("OpenCV loop at 640")
    row["correct"] = identical and settled and (fair is None or good(fair, len(stored)))
    return [row | peer_columns(measured, peer, compared[peer]) for peer in measured.peers] or [row | {"peer": None}]


def good(fair: Agreement, faces: int) -> bool:
    """Whether we found what the peer found that looks at images of the size that our detector looks at."""
    return fair.recall >= MIN_RECALL and fair.median_cosine >= MIN_COSINE and faces >= fair.peer_faces


def peer_columns(measured: Measured, peer: str, compared: Agreement) -> dict[str, Any]:
    """The part of a row that is about one peer."""
    seconds = sum(measured.peers[peer])
    ratios = measured.ratios(peer)
    return {
        "peer": peer,
        "peer_seconds": round(seconds, 2),
        "peer_images_per_second": round(sum(measured.images) / seconds, 2),
        "peer_cpu_seconds": round(measured.peer_ends[peer]["cpu_seconds"], 2),
        "peer_peak_mb": measured.peer_ends[peer]["peak_mb"],
        "peer_faces": compared.peer_faces,
        "ratio": round(statistics.median(ratios), 2),
        "ratio_of_totals": round(seconds / measured.final["seconds"], 2),
        "cpu_ratio": round(measured.peer_ends[peer]["cpu_seconds"] / measured.final["cpu_seconds"], 2),
        "ratio_by_shard": [round(ratio, 2) for ratio in ratios],
        "face_recall": round(compared.recall, 4),
        "median_cosine": round(compared.median_cosine, 4),
    }


if __name__ == "__main__":
    sys.exit(main())
