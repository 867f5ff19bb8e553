"""How small a face may be, in how large a picture, and what looking for it costs.

    python -m benchmarks.small_faces [--people FOLDER] [--most 24] [--seed 0] [--only WxH ...] [--json]

A face is pasted, with its surroundings, at a drawn place into a picture without faces that is enlarged to the size in
question: alone, or beside a portrait of somebody else that takes up two thirds of the height. Each row is one size of
picture and has, for each longer side of the face's box in pixels, the share of faces that are found where they are
(and, in brackets, that reach the review threshold with their own large picture). ``before``: without tiles. ``smallest
found``: of the sides tried, the least from which at least nine in ten are found. ``ms``: processor time of detection
and alignment, the median, beside that of the same pictures without tiles (``ratio``). ``more false faces``: in all
pictures of the row together, less those without tiles.

Faces: those of the packaged photographs, or one picture of each person of ``FOLDER`` (a folder for each). ``--most``
faces are taken. The ordinary sizes show that they cost what they did.

Correct means: with tiles no face is lost that is found without them, and ordinary pictures are not cut. The exit status
is 1 when that fails. Recall and time fail nothing.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.finish import finish
from embeddings.faces.find import FrameFaces, faces_of_frame, vectors_of_frame
from embeddings.faces.tiling import smallest_seen, tile_scale
from embeddings.images.decode import Frame
from embeddings.models.load import FaceModels, load_models
from embeddings.types import Float32, UInt8
from indexes.thresholds import published_thresholds
from pipelines.sample.photographs import GROUP_FACES, load_photographs
from pipelines.sample.variants import around, crop, paste, resize
from pipelines.settings.scanning import EmbeddingConfig, TilesConfig

SIZES = (
    *((1024, 1024), (1216, 832), (1024, 1536)),  # ordinary
    *((1920, 1080), (2048, 2048), (3000, 2000), (4000, 3000), (6000, 4000), (7296, 5472)),
    *((768, 9216), (768, 15_360), (9600, 800), (300, 6000)),  # long
)
ORDINARY = 1_600_000
"""Pixels of a picture up to which it is ordinary."""
SIDES = (40, 50, 60, 80, 110)
BACKGROUNDS = ("coffee", "chelsea", "rocket", "motorcycle", "gravel", "hubble")
MARGIN = 0.6
"""Of a face's box, on each side: what is pasted with it."""
FOUND = 0.9
REVIEW = published_thresholds("opencv-zoo").review


@dataclass(frozen=True, slots=True)
class Head:
    """A face with its surroundings, the longer side of its box there, and its vector."""

    picture: UInt8
    side: float
    centre: tuple[float, float]
    vector: Float32


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark, print its table, and return the exit status."""
    parser = argparse.ArgumentParser(prog="benchmarks.small_faces", description="Smallest faces by size of picture.")
    parser.add_argument("--people", type=Path, help="a folder with a folder for each person")
    parser.add_argument("--most", type=int, default=24, help="faces")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", help="sizes of pictures, as 3000x2000")
    parser.add_argument("--json", action="store_true", help="print the rows as one JSON object on the last line")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="likeness-small-") as cache:
        kinds = {"tiles": TilesConfig(), "before": TilesConfig(megapixels=0)}
        models = {
            name: load_models("opencv-zoo", cache_dir=Path(cache), settings=EmbeddingConfig(tiles=kind).faces())
            for name, kind in kinds.items()
        }
    pictures = of_people(options.people) if options.people else of_packages()
    heads = [head for one in pictures for head in [head_of(one, models["before"])] if head][: options.most]
    sizes = [size for size in SIZES if not options.only or f"{size[0]}x{size[1]}" in options.only]
    rows = []
    for size in sizes:
        for beside in (False, True):
            rows.append(measure(size, heads, models, beside=beside, seed=options.seed))
            print(rows[-1], file=sys.stderr, flush=True)
    return finish(rows, as_json=options.json)


def of_packages() -> Iterator[UInt8]:
    """Pictures of one face each."""
    pictures = load_photographs(("astronaut", "stranger", "group"))
    yield from (pictures["astronaut"], pictures["stranger"])
    yield from (crop(pictures["group"], around(box, margin=0.8)) for box in GROUP_FACES)


def of_people(folder: Path) -> Iterator[UInt8]:
    """The first picture of each person."""
    for person in sorted(path for path in folder.iterdir() if path.is_dir()):
        yield np.array(Image.open(min(person.iterdir())).convert("RGB"))


def head_of(picture: UInt8, models: FaceModels) -> Head | None:
    """The largest face of a picture; None where it has none of at least 80 pixels."""
    faces = faces_in(picture, models)
    sides = faces.boxes[:, 2:] - faces.boxes[:, :2]
    if not len(sides) or sides.max() < SIDES[-1] * 0.7:
        return None
    best = int(np.argmax(sides.prod(axis=1)))
    x1, y1, x2, y2 = (round(float(value)) for value in faces.boxes[best])
    left, top = max(x1 - round((x2 - x1) * MARGIN), 0), max(y1 - round((y2 - y1) * MARGIN), 0)
    cut = crop(picture, around((x1, y1, x2, y2), margin=MARGIN))
    centre = (x1 + x2) / 2 - left, (y1 + y2) / 2 - top
    return Head(cut, float(sides[best].max()), centre, vectors_of_frame(faces, models)[best])


def faces_in(picture: UInt8, models: FaceModels) -> FrameFaces:
    """What is found in a picture of which nothing is decoded anew."""
    height, width = picture.shape[:2]
    return faces_of_frame(Frame(0, np.ascontiguousarray(picture), 1.0, (0.0, 0.0)), (width, height), models)


def measure(
    size: tuple[int, int], heads: Sequence[Head], models: dict[str, FaceModels], *, beside: bool, seed: int
) -> dict[str, Any]:
    """The row of one size of picture."""
    scenes = load_photographs(BACKGROUNDS)
    settings = models["tiles"].settings
    cut = tile_scale(size, settings)
    row: dict[str, Any] = {"picture": f"{size[0]}x{size[1]}", "beside a large face": beside}
    row |= {"tile scale": cut and round(cut, 2), "aims at": round(smallest_seen(size, settings))}
    ground = {name: resize(scene, width=size[0], height=size[1]) for name, scene in scenes.items()}
    times: dict[str, list[float]] = {name: [] for name in models}
    shares: dict[str, dict[int, float]] = {name: {} for name in models}
    lost, more, random = 0, 0, np.random.default_rng((seed, *size))
    for side in SIDES:
        found: dict[str, list[tuple[bool, bool]]] = {name: [] for name in models}
        for at, head in enumerate(heads):
            picture, centre = scene_of(ground[BACKGROUNDS[at % len(BACKGROUNDS)]], head, side, heads, beside, random)
            for name, one in models.items():
                started = time.process_time()
                faces = faces_in(picture, one)
                times[name].append(1e3 * (time.process_time() - started))
                found[name].append(is_found(faces, centre, side, head, one))
                more += (len(faces.scores) - found[name][-1][0]) * (1 if name == "tiles" else -1)
        lost += sum(old[0] and not new[0] for old, new in zip(found["before"], found["tiles"], strict=True))
        for name, each in found.items():
            shares[name][side] = float(np.mean([one[0] for one in each]))
            row[f"{name} {side} px"] = f"{shares[name][side]:.2f} ({np.mean([one[1] for one in each]):.2f})"
    for name in models:
        enough = [side for side in SIDES if all(shares[name][more] >= FOUND for more in SIDES if more >= side)]
        row[f"{name} smallest found"] = enough[0] if enough else None
        row[f"{name} ms"] = round(statistics.median(times[name]), 1)
    row["ratio"] = round(statistics.median(np.array(times["tiles"]) / np.array(times["before"])), 2)
    row |= {"lost": lost, "more false faces": more}
    return row | {"correct": lost == 0 and (cut is None or size[0] * size[1] > ORDINARY)}


def scene_of(
    ground: UInt8, head: Head, side: int, heads: Sequence[Head], beside: bool, random: np.random.Generator
) -> tuple[UInt8, tuple[float, float]]:
    """A picture with one small face, and its centre; ``beside`` a large one in the right half, or the lower."""
    height, width = ground.shape[:2]
    factor = side / head.side
    small = resized(head.picture, factor)
    room = np.array([width - small.shape[1], height - small.shape[0]])
    if beside:
        other = next(one for one in heads if one is not head)
        large = resized(other.picture, 0.66 * min(width, height, 3000) / other.picture.shape[0])
        x, y = (width - large.shape[1], (height - large.shape[0]) // 2)
        x, y = (x, y) if width >= height else ((width - large.shape[1]) // 2, height - large.shape[0])
        ground = paste(ground, large, x=x, y=y)
        room = np.minimum(room, [x - small.shape[1], room[1]] if width >= height else [room[0], y - small.shape[0]])
    x, y = (int(random.integers(max(int(most), 1))) for most in room)
    return paste(ground, small, x=x, y=y), (x + head.centre[0] * factor, y + head.centre[1] * factor)


def resized(picture: UInt8, factor: float) -> UInt8:
    """A picture of another size."""
    return resize(picture, width=round(picture.shape[1] * factor), height=round(picture.shape[0] * factor))


def is_found(
    faces: FrameFaces, centre: tuple[float, float], side: int, head: Head, models: FaceModels
) -> tuple[bool, bool]:
    """Whether there is a face of the right size in the right place, and whether it is recognised."""
    there = [
        at
        for at, (x1, y1, x2, y2) in enumerate(faces.boxes.tolist())
        if x1 <= centre[0] <= x2 and y1 <= centre[1] <= y2 and 0.5 * side <= max(x2 - x1, y2 - y1) <= 2 * side
    ]
    if not there:
        return False, False
    return True, bool((vectors_of_frame(faces, models)[there] @ head.vector).max() >= REVIEW)


if __name__ == "__main__":
    sys.exit(main())
