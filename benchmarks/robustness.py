"""What uploaders do to hide a face: how often it is found all the same, how often a stranger is taken for it, the cost.

    python -m benchmarks.robustness [--threshold 0.40] [--strangers 100] [--only NAME ...] [--json]

Portraits: the faces of photographs that installed packages carry, and, where ``LIKENESS_PHOTOGRAPHS`` names a folder
with one folder per person (named by a single letter), its pictures too. Each goes through every transform of
:mod:`benchmarks.transforms`; it is *hit* when some face in the result reaches the threshold with the untouched
portrait. ``other`` is the same with the person's other photographs as references, which only that folder offers.

Strangers: every portrait beside the references of all other people; low-resolution faces of 100 more people (the 25x25
patches of LFW that scikit-image carries, enlarged; a few transforms each); and pictures without any face. A *false
positive* is a (picture, person) pair of which some face reaches the threshold.

The settings of the thorough pass were chosen on these portraits and angles, so the rates here are optimistic: at 16
other angles (7, 30, 53, ... 352 degrees) of the same portraits the rate was 0.985 (268 of 272), not 1.00.

The peer is the plain single-view pass, on the same pixels in the same run. Costs are processor milliseconds per picture
for detection and alignment. Correct means: views lose nothing that the single view hits, per transform, and hit every
portrait under those transforms that say so. The exit status is 1 when that fails.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from rich.console import Console
from rich.table import Table
from skimage.data import lfw_subset

from benchmarks.machine import describe_machine
from benchmarks.transforms import CERTAIN, Transform, transforms
from embeddings.faces import faces_of_frame
from embeddings.images import Frame
from embeddings.models import FaceModels, load_models
from embeddings.types import UInt8
from pipelines.config import EmbeddingConfig
from pipelines.sample.photographs import GROUP_FACES, Box, load_photographs
from pipelines.sample.variants import around, crop, resize

FACELESS = ("coffee", "chelsea", "rocket", "coins", "motorcycle", "hubble", "brick", "page")
LFW_FACES = 100
"""The first hundred of the 200 patches are faces, of different people."""
TRANSFORMS_PER_STRANGER = 6
FACES_COMPARED = 6
"""Best faces of one picture that are recognised: a contact sheet repeats one face a hundred times."""
Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Portrait:
    """A picture, the box of its face, and whose it is; ``person`` None: nobody's."""

    person: str | None
    picture: UInt8
    box: Box


@dataclass(slots=True)
class Tally:
    """What one pass did under one transform."""

    hits: list[bool] = field(default_factory=list)
    other: list[bool] = field(default_factory=list)
    pairs: int = 0
    false: int = 0
    seconds: list[float] = field(default_factory=list)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark, print its table, and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.robustness", description="Hidden faces: views beside a single view."
    )
    parser.add_argument("--threshold", type=float, default=0.40)
    parser.add_argument("--strangers", type=int, default=LFW_FACES)
    parser.add_argument("--only", nargs="*", help="names of transforms")
    parser.add_argument("--json", action="store_true", help="print the rows as one JSON object on the last line")
    options = parser.parse_args(arguments)
    chosen = {name: made for name, made in transforms().items() if not options.only or name in options.only}
    with tempfile.TemporaryDirectory(prefix="likeness-views-") as cache:
        settings = EmbeddingConfig().faces()
        views = load_models("opencv-zoo", cache_dir=Path(cache), settings=settings)
        single = load_models("opencv-zoo", cache_dir=Path(cache), settings=replace(settings, views=None))
    rows = measure({"single": single, "views": views}, chosen, options.threshold, options.strangers)
    print_table(rows, Console(width=None if sys.stdout.isatty() else 150))
    if options.json:
        print(json.dumps({"rows": rows, "machine": describe_machine()}))
    return 0 if all(row["correct"] for row in rows) else 1


def measure(
    passes: Mapping[str, FaceModels], chosen: Mapping[str, Transform], threshold: float, strangers: int
) -> list[dict[str, Any]]:
    """One row per transform, and one for all of them."""
    people = list(portraits(passes["single"]))
    probes = [*people, *faceless()]
    references = np.stack([embedded(one.picture, passes["single"])[0][0] for one in people])
    owners = [one.person for one in people]
    unknown = list(lfw(strangers))
    tallies: dict[str, dict[str, Tally]] = {name: defaultdict(Tally) for name in chosen}
    for number, (name, transform) in enumerate(chosen.items()):
        # Every stranger goes through a few of the transforms, every transform through a few of the strangers.
        share = max(1, len(chosen) // TRANSFORMS_PER_STRANGER)
        drawn = [one for at, one in enumerate(unknown) if at % share == number % share]
        for position, probe in enumerate([*probes, *drawn]):
            picture = np.ascontiguousarray(transform(probe.picture, probe.box))
            for label, models in passes.items():
                vectors, seconds = embedded(picture, models)
                scores = (vectors @ references.T).max(axis=0, initial=-1.0)
                own = position if position < len(people) else None
                count(tallies[name][label], scores, owners, probe.person, own, threshold)
                tallies[name][label].seconds.append(seconds)
        print(name, len(tallies[name]["views"].seconds), file=sys.stderr, flush=True)
    rows = [row_of(name, tally) for name, tally in tallies.items()]
    return [*rows, total_of(tallies, rows, threshold)]


def embedded(picture: UInt8, models: FaceModels) -> tuple[Float32, float]:
    """Vectors of the best faces of ``picture`` and the processor seconds that finding and aligning them took."""
    height, width = picture.shape[:2]
    started = time.process_time()
    faces = faces_of_frame(Frame(0, picture, 1.0, (0.0, 0.0)), (width, height), models)
    seconds = time.process_time() - started
    return models.recognizer.embed(faces.crops[:FACES_COMPARED]), seconds


def count(
    tally: Tally, scores: Float32, owners: Sequence[str | None], person: str | None, own: int | None, threshold: float
) -> None:
    """Enter a picture's best ``scores`` against all references; ``own``: the one made from the same portrait."""
    reached = scores >= threshold
    if own is not None:
        tally.hits.append(bool(reached[own]))
        others = [at for at, owner in enumerate(owners) if owner == person and at != own]
        if others:
            tally.other.append(bool(reached[others].any()))
    for stranger in sorted({owner for owner in owners if owner is not None and owner != person}):
        tally.pairs += 1
        tally.false += bool(reached[[at for at, owner in enumerate(owners) if owner == stranger]].any())


def row_of(name: str, tally: Mapping[str, Tally]) -> dict[str, Any]:
    """What both passes did under one transform."""
    single, views = tally["single"], tally["views"]
    rates = {label: float(np.mean(one.hits)) for label, one in tally.items()}
    return {
        "transform": name,
        "portraits": len(views.hits),
        "single": round(rates["single"], 3),
        "views": round(rates["views"], 3),
        "single_other": round(float(np.mean(single.other)), 3) if single.other else None,
        "views_other": round(float(np.mean(views.other)), 3) if views.other else None,
        "impostor_pairs": views.pairs,
        "single_false": single.false,
        "views_false": views.false,
        "single_ms": round(1e3 * float(np.mean(single.seconds)), 1),
        "views_ms": round(1e3 * float(np.mean(views.seconds)), 1),
        "correct": rates["views"] >= rates["single"] and (name not in CERTAIN or rates["views"] == 1.0),
    }


def total_of(
    tallies: Mapping[str, Mapping[str, Tally]], rows: Sequence[Mapping[str, Any]], threshold: float
) -> dict[str, Any]:
    """All transforms together."""
    every = {"single": Tally(), "views": Tally()}
    for passes in tallies.values():
        for label, one in passes.items():
            whole = every[label]
            whole.hits += one.hits
            whole.other += one.other
            whole.pairs, whole.false = whole.pairs + one.pairs, whole.false + one.false
            whole.seconds += one.seconds
    correct = all(row["correct"] for row in rows)
    return row_of(f"all, at {threshold}", every) | {"pictures": len(every["views"].seconds), "correct": correct}


def portraits(models: FaceModels) -> Iterator[Portrait]:
    """Everybody in the packaged photographs and in the folder of ``LIKENESS_PHOTOGRAPHS``."""
    pictures = load_photographs(("astronaut", "stranger", "group"))
    heads = [("astronaut", pictures["astronaut"]), ("stranger", pictures["stranger"])]
    heads += [(f"group {at}", crop(pictures["group"], around(box, margin=0.5))) for at, box in enumerate(GROUP_FACES)]
    folder = os.environ.get("LIKENESS_PHOTOGRAPHS")
    for file in sorted(Path(folder).glob("?/*.jpg")) if folder else []:
        heads.append((f"photographs {file.parent.name}", np.array(Image.open(file).convert("RGB"))))
    for person, picture in heads:
        head = crop(picture, around(largest_face(picture, models), margin=1.0))
        yield Portrait(person, head, largest_face(head, models))


def largest_face(picture: UInt8, models: FaceModels) -> Box:
    """The box of the largest face. Raises :class:`ValueError` when there is none."""
    boxes = models.detector.detect(picture).boxes
    x1, y1, x2, y2 = max(boxes.tolist(), key=lambda box: (box[2] - box[0]) * (box[3] - box[1]))
    return int(x1), int(y1), int(x2), int(y2)


def faceless() -> Iterator[Portrait]:
    """Pictures in which there is no face."""
    for picture in load_photographs(FACELESS).values():
        height, width = picture.shape[:2]
        yield Portrait(None, picture, (width // 4, height // 4, width * 3 // 4, height * 3 // 4))


def lfw(number: int) -> Iterator[Portrait]:
    """Faces of ``number`` people nobody enrolled, each in the middle of a grey square."""
    for at, patch in enumerate(lfw_subset()[: min(number, LFW_FACES)]):
        canvas = np.full((256, 256, 3), 128, dtype=np.uint8)
        grey = np.repeat((patch * 255).astype(np.uint8)[:, :, None], 3, axis=2)
        canvas[64:192, 64:192] = resize(grey, width=128, height=128)
        yield Portrait(f"lfw {at}", canvas, (64, 64, 192, 192))


def print_table(rows: Sequence[Mapping[str, Any]], console: Console) -> None:
    """The rows for people."""
    columns = [name for name in rows[0] if name != "portraits"]
    table = Table(*(name.replace("_", " ") for name in columns))
    for row in rows:
        table.add_row(*("-" if row[name] is None else str(row[name]) for name in columns))
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
