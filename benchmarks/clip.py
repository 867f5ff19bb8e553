"""How fast do encoded images become CLIP vectors, beside open_clip as its documentation shows it?

    python -m benchmarks.clip [--images 256] [--seed 0] [--device cpu] [--json]

Work: ``--images`` generated variants of the packaged photographs (mostly JPEG, 0.05 to 4 Mpx; a fifth of them enlarged
to sizes that people upload) through the image tower of ViT-B/32. The weights are random, seeded, in open_clip's own
architecture, the same file on both sides: speed does not depend on their values. How far trained weights agree is not
shown by them.

Peer: :mod:`benchmarks.workers.clip`, Pillow + ``preprocess`` + ``encode_image`` in fp32, batch 32, default threads.

Method: each side is a process of its own and they take turns, 64 images each, one stopped while the other runs; the
first turn of each warms up and is not counted. ``ratio`` is the median over the turns of the peer's seconds by ours.
Models are loaded before the clock starts. On a busy machine the peer's threads wait for each other at the end of every
layer, which ours do not; ``taskset -c 0`` in front of the command leaves that out on both sides.

Correct means that every image's two vectors have a cosine of at least 0.999. The exit status is 1 when that fails;
speed never fails a run.
"""

from __future__ import annotations

import argparse
import io
import statistics
import sys
import tempfile
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console

from benchmarks.finish import finish
from benchmarks.inputs.synthetic import write_variants
from benchmarks.workers.clip import MODEL
from benchmarks.workers.turns import Worker

TURN = 64
MIN_COSINE = 0.999
ENLARGED = 5
"""One image in so many is enlarged to ``LARGE`` pixels on its long side."""
LARGE = 2000

COLUMNS = (
    *("work", "images_per_second", "peer", "peer_images_per_second", "ratio", "cpu_ratio", "min_cosine", "peak_mb"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark, print its table, and return the exit status."""
    parser = argparse.ArgumentParser(prog="benchmarks.clip", description="CLIP vectors beside plain open_clip.")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", action="store_true", help="print the rows as one JSON object on the last line")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="likeness-clip-") as folder:
        row = run(Path(folder), options, partial(Console(stderr=True).print, highlight=False))
    return finish([row], as_json=options.json, columns=COLUMNS)


def run(folder: Path, options: argparse.Namespace, say: Any) -> dict[str, Any]:
    """Make weights and images, let both sides take turns, and compare what they found."""
    names = write_variants(folder / "images", options.images, seed=options.seed)
    pixels = sum(enlarge(folder / "images" / name) for name in names[::ENLARGED])
    checkpoint = make_checkpoint(folder / "clip.safetensors", seed=options.seed)
    arguments = [str(folder / "images"), str(checkpoint), "--device", options.device]
    seconds: dict[str, list[float]] = {"ours": [], "open_clip": []}
    with (
        Worker("benchmarks.workers.clip", "ours", *arguments) as ours,
        Worker("benchmarks.workers.clip", "open_clip", *arguments) as peer,
    ):
        sides = {"ours": ours, "open_clip": peer}
        for worker in sides.values():
            worker.turn(files=names[:TURN], keep=False)
        for start in range(0, len(names), TURN):
            part = names[start : start + TURN]
            for side, worker in sides.items():
                seconds[side].append(worker.turn(files=part)["seconds"])
            say(", ".join(f"{side} {len(part) / spent[-1]:.1f} images/s" for side, spent in seconds.items()))
        ends = {side: worker.turn(save=str(folder / f"{side}.npz")) for side, worker in sides.items()}
    cosines = compare(folder / "ours.npz", folder / "open_clip.npz", names)
    totals = {side: sum(spent) for side, spent in seconds.items()}
    ratios = [theirs / own for own, theirs in zip(seconds["ours"], seconds["open_clip"], strict=True)]
    return {
        "work": f"{len(names)} images to {MODEL} vectors",
        "device": options.device,
        "images": len(names),
        "enlarged_mpx": round(pixels / 1e6, 1),
        "precision": ours.ready["precision"],
        "batch": ours.ready["batch"],
        "workers": ours.ready["workers"],
        "images_per_second": round(len(names) / totals["ours"], 2),
        "cpu_seconds": round(ends["ours"]["cpu_seconds"], 2),
        "peak_mb": ends["ours"]["peak_mb"],
        "peer": "open_clip",
        "peer_images_per_second": round(len(names) / totals["open_clip"], 2),
        "peer_cpu_seconds": round(ends["open_clip"]["cpu_seconds"], 2),
        "peer_peak_mb": ends["open_clip"]["peak_mb"],
        "ratio": round(statistics.median(ratios), 2),
        "ratio_of_totals": round(totals["open_clip"] / totals["ours"], 2),
        "cpu_ratio": round(ends["open_clip"]["cpu_seconds"] / ends["ours"]["cpu_seconds"], 2),
        "ratio_by_turn": [round(ratio, 2) for ratio in ratios],
        "min_cosine": round(float(cosines.min()), 6),
        "median_cosine": round(float(np.median(cosines)), 6),
        "correct": bool(cosines.min() >= MIN_COSINE),
    }


def enlarge(file: Path) -> int:
    """Replace a file by a JPEG of the same picture at ``LARGE`` pixels; return its number of pixels."""
    with Image.open(file) as opened:
        image = opened.convert("RGB")
    factor = LARGE / max(image.size)
    image = image.resize((round(image.width * factor), round(image.height * factor)), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=90)
    file.write_bytes(buffer.getvalue())
    return image.width * image.height


def make_checkpoint(path: Path, *, seed: int) -> Path:
    """Seeded random weights in open_clip's architecture, as safetensors."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = open_clip.create_model(MODEL, load_weights=False)
    save_file({name: value.clone().contiguous() for name, value in model.state_dict().items()}, path)
    return path


def compare(ours: Path, theirs: Path, names: Sequence[str]) -> Any:
    """The cosine of both sides' vectors of each image."""
    with np.load(ours) as left, np.load(theirs) as right:
        return np.array([float(left[name] @ right[name]) for name in names])


if __name__ == "__main__":
    sys.exit(main())
