"""How often a person is found, by what was done to the picture, and how often a stranger is taken for the person.

    python -m benchmarks.recall [--photographs FOLDER] [--most 12] [--only NAME ...] [--single]
                                [--seed 0] [--plots FOLDER] [--json]

``FOLDER`` (or ``LIKENESS_PHOTOGRAPHS``) has a folder for each person, with at least two pictures in it; without one the
faces of installed packages serve, each compared with its own plain picture, so that its recall says what a transform
costs and nothing about other photographs of a person. Nothing was chosen on the pictures you give: docs/recall.md says
what was chosen on whom.

*Transforms*: those of :mod:`benchmarks.inputs.degradations`, and the turns, mirrors and negatives of
:mod:`benchmarks.inputs.transforms` that ``--only`` names. *Recall*: a person is enrolled by so many plain
pictures, and a model shows so many others; it is found when its score reaches the threshold. With one of each all pairs
count, else ``DRAWS`` draws per person. *False-match rate*: among draws of the same kind with the references of
somebody else. Intervals are Clopper and Pearson's for as many trials as there are pictures, because draws repeat them;
false matches are counted once per picture and stranger. How scores of several pictures become one is
``COMBINATIONS``: today any picture will do.

*Simulated* rows change vectors and no pictures: a face whose cosine to the very photograph it was made of is known, the
rest of it another person's, as a generator's likenesses are published to be. They say how recall depends on similarity,
not how similar a given generator's faces are.

``--single`` measures the plain single-view pass instead. Correct means: a plain picture finds itself, and every score
is finite. The exit status is 1 when that fails; low recall fails nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from rich.console import Console
from rich.table import Table

from benchmarks.impostors import bounds
from benchmarks.inputs.degradations import Degradation, degradations
from benchmarks.inputs.transforms import transforms
from benchmarks.machine import describe_machine
from benchmarks.recall_plots import write_plots
from embeddings.faces.find import faces_of_frame, vectors_of_frame
from embeddings.images.decode import Frame
from embeddings.models.load import FaceModels, load_models
from embeddings.types import Float32, UInt8
from indexes.thresholds import published_thresholds
from pipelines.sample.photographs import GROUP_FACES, load_photographs
from pipelines.sample.variants import around, crop
from pipelines.settings.config import EmbeddingConfig, ViewsConfig

REFERENCES = (1, 3, 5, 10)
PICTURES = (1, 3, 5)
DRAWS = 20
"""Draws of references and pictures per person and row."""
SIMILARITIES = (0.8, 0.7, 0.6, 0.5, 0.45, 0.4)
LONGEST = 700
"""Longer side that pictures are brought to, in pixels: a benchmark of faces, not of decoding."""
Row = dict[str, Any]
Scores = npt.NDArray[np.float32]

COMBINATIONS: dict[str, Callable[[Scores], float]] = {"any picture": lambda scores: float(scores.max(initial=-1.0))}
"""From the scores (pictures, references) of a model's pictures with a person's references to one score."""


@dataclass(frozen=True, slots=True)
class Sitting:
    """One picture of one person: under each transform the vectors (n, d) of all faces found in it."""

    person: int
    reference: Float32
    """(d,) of the plain picture's largest face."""
    faces: Mapping[str, Float32]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark, print its tables, and return the exit status."""
    options = parser().parse_args(arguments)
    chosen = chosen_transforms(options.only)
    kind = "off" if options.single else "uncertain"
    with tempfile.TemporaryDirectory(prefix="likeness-recall-") as cache:
        settings = EmbeddingConfig(views=ViewsConfig(mode=kind)).faces()
        models = load_models("opencv-zoo", cache_dir=Path(cache), settings=settings)
    folder = options.photographs or os.environ.get("LIKENESS_PHOTOGRAPHS")
    pictures = list(of_folder(Path(folder), most=options.most) if folder else of_packages(models))
    sittings = list(embedded(pictures, models, chosen))
    own = not folder
    random = np.random.default_rng(options.seed)
    results = {
        "transforms": [row_of(sittings, name, 1, 1, random, own=own) for name in chosen],
        "references": [] if own else by_references(sittings, [*chosen][:1], random),
        "simulated": [] if own else simulated(sittings, random),
    }
    console = Console(width=None if sys.stdout.isatty() else 150)
    people = len({one.person for one in sittings})
    console.print(f"{people} people, {len(sittings)} pictures; {'own plain picture' if own else 'other pictures'}")
    for title, rows in results.items():
        print_table(title, rows, console)
    if options.plots:
        write_plots(Path(options.plots), results)
    if options.json:
        print(json.dumps(results | {"people": people, "pictures": len(sittings), "machine": describe_machine()}))
    return 0 if is_correct(sittings) else 1


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="benchmarks.recall", description="Recall and false matches by transform.")
    made.add_argument("--photographs", help="a folder with a folder for each person")
    made.add_argument("--most", type=int, default=12, help="pictures of one person")
    made.add_argument("--only", nargs="*", help="names of transforms")
    made.add_argument("--single", action="store_true", help="the plain single-view pass")
    made.add_argument("--seed", type=int, default=0, help="of the draws")
    made.add_argument("--plots", help="a folder that plots are written to, as SVG")
    made.add_argument("--json", action="store_true", help="print all rows as one JSON object on the last line")
    return made


def chosen_transforms(only: Sequence[str] | None) -> dict[str, Degradation]:
    """Transforms by name, ``plain`` first. Raises :class:`SystemExit` for a name that there is not."""
    every = dict(degradations())
    if only:
        turning = {name: bare(one) for name, one in transforms().items() if name not in every}
        if unknown := sorted(set(only) - {*every, *turning}):
            raise SystemExit(f"no such transforms: {', '.join(unknown)}")
        return {"plain": every["plain"]} | {name: (every | turning)[name] for name in only}
    return every


def bare(transform: Callable[..., UInt8]) -> Degradation:
    """A transform that asks for the box of a face, with the middle of the picture for it."""

    def apply(image: UInt8) -> UInt8:
        height, width = image.shape[:2]
        return transform(image, (width // 4, height // 4, 3 * width // 4, 3 * height // 4))

    return apply


def of_folder(folder: Path, *, most: int) -> Iterator[tuple[int, UInt8]]:
    """Numbers of people and their pictures, as many as ``most`` of each, evenly from the list of files."""
    people = [one for one in sorted(folder.iterdir()) if one.is_dir()]
    for number, person in enumerate(people):
        files = [file for file in sorted(person.iterdir()) if file.suffix.lower() in {".jpg", ".jpeg", ".png", ".webp"}]
        step = max(1, -(-len(files) // most))
        for file in files[::step] if len(files) > 1 else ():
            with Image.open(file) as opened:
                picture = opened.convert("RGB")
                picture.thumbnail((LONGEST, LONGEST))
                yield number, np.array(picture)


def of_packages(models: FaceModels) -> Iterator[tuple[int, UInt8]]:
    """The faces in the photographs of installed packages, one picture of each."""
    found = load_photographs(("astronaut", "stranger", "camera", "group"))
    heads = [crop(found["group"], around(box, margin=0.8)) for box in GROUP_FACES]
    yield from enumerate([found["astronaut"], found["stranger"], found["camera"], *heads])


def embedded(
    pictures: Sequence[tuple[int, UInt8]], models: FaceModels, chosen: Mapping[str, Degradation]
) -> Iterator[Sitting]:
    """Every picture that shows a face when it is plain, under all transforms."""
    for at, (person, picture) in enumerate(pictures):
        plain, largest = vectors_in(picture, models)
        if largest is None:
            continue
        faces = {"plain": plain}
        for name, transform in chosen.items():
            if name != "plain":
                faces[name] = vectors_in(transform(np.ascontiguousarray(picture)), models)[0]
        yield Sitting(person, plain[largest], faces)
        print(f"{at + 1} of {len(pictures)}", file=sys.stderr, flush=True)


def vectors_in(picture: UInt8, models: FaceModels) -> tuple[Float32, int | None]:
    """Vectors of all faces of ``picture``, and which is the largest."""
    height, width = picture.shape[:2]
    found = faces_of_frame(Frame(0, np.ascontiguousarray(picture), 1.0, (0.0, 0.0)), (width, height), models)
    areas = (found.boxes[:, 2:] - found.boxes[:, :2]).prod(axis=1)
    return vectors_of_frame(found, models), int(areas.argmax()) if len(areas) else None


def row_of(
    sittings: Sequence[Sitting], name: str, references: int, pictures: int, random: np.random.Generator, *, own: bool
) -> Row:
    """Recall and false matches under one transform, with so many references and pictures of a model."""
    best = pairwise(sittings, name)
    people = np.array([one.person for one in sittings])
    mated = drawn_scores(best, people, references, pictures, random, own=own)
    strangers = best[people[:, None] != people[None, :]]
    row: Row = {"transform": name, "references": references, "pictures": pictures}
    row["found"] = round(float(np.mean([len(one.faces[name]) > 0 for one in sittings])), 3)
    published = published_thresholds("opencv-zoo")
    for label, threshold in (("review", published.review), ("strong", published.strong)):
        for combination, scores in mated.items():
            prefix = label if len(mated) == 1 else f"{label}, {combination}"
            row |= rate(prefix, float((scores >= threshold).mean()) if len(scores) else 0.0, len(sittings))
        count = int((strangers >= threshold).sum())
        row |= rate(f"{label} FMR", count / max(1, len(strangers)), len(strangers))
    return row


def rate(label: str, value: float, trials: int) -> Row:
    """``value`` with its interval for so many trials."""
    low, high = bounds(round(value * trials), trials) if trials else (0.0, 1.0)
    return {label: float(f"{value:.4g}"), f"{label} low": float(f"{low:.4g}"), f"{label} high": float(f"{high:.4g}")}


def pairwise(sittings: Sequence[Sitting], name: str) -> Scores:
    """Best score (probes, references) of any face of each transformed picture with each plain picture."""
    gallery = np.stack([one.reference for one in sittings])
    rows = [(one.faces[name] @ gallery.T).max(axis=0, initial=-1.0) for one in sittings]
    scores: Scores = np.stack(rows).astype(np.float32)
    return scores


def drawn_scores(
    best: Scores,
    people: npt.NDArray[Any],
    references: int,
    pictures: int,
    random: np.random.Generator,
    *,
    own: bool,
) -> dict[str, npt.NDArray[np.float64]]:
    """Scores of drawn models with drawn references of the same person, for each of ``COMBINATIONS``."""
    if own:
        return {name: np.diag(best).astype(np.float64) for name in COMBINATIONS}
    if references == pictures == 1:  # every pair there is
        pairs = best[(people[:, None] == people[None, :]) & ~np.eye(len(people), dtype=bool)].astype(np.float64)
        return {name: np.array([combine(one[None, None]) for one in pairs]) for name, combine in COMBINATIONS.items()}
    scores: dict[str, list[float]] = {name: [] for name in COMBINATIONS}
    for person in np.unique(people):
        (mine,) = np.nonzero(people == person)
        if len(mine) < references + pictures:
            continue
        for _ in range(DRAWS):
            order = random.permutation(mine)
            some = best[np.ix_(order[:pictures], order[pictures : pictures + references])]
            for name, combine in COMBINATIONS.items():
                scores[name].append(combine(some))
    return {name: np.array(some) for name, some in scores.items()}


def by_references(sittings: Sequence[Sitting], names: Sequence[str], random: np.random.Generator) -> list[Row]:
    """Recall by references and pictures, as far as some person has so many."""
    most = int(np.bincount([one.person for one in sittings]).max())
    counts = [(k, n) for k in REFERENCES for n in PICTURES if k + n <= most]
    return [row_of(sittings, name, k, n, random, own=False) for name in names for k, n in counts]


def simulated(sittings: Sequence[Sitting], random: np.random.Generator) -> list[Row]:
    """SIMULATION: faces at a known cosine to one photograph, the rest of them a drawn stranger's."""
    rows = []
    most = int(np.bincount([one.person for one in sittings]).max())
    for similarity in SIMILARITIES:
        name = f"simulated, similarity {similarity}"
        made = []
        for one in sittings:
            strangers = [other.reference for other in sittings if other.person != one.person]
            if not strangers:
                return []
            drawn = strangers[int(random.integers(len(strangers)))]
            rest = drawn - (drawn @ one.reference) * one.reference
            vector = similarity * one.reference + np.sqrt(1 - similarity**2) * rest / np.linalg.norm(rest)
            made.append(Sitting(one.person, one.reference, {name: vector[None].astype(np.float32)}))
        rows += [row_of(made, name, k, n, random, own=False) for k, n in ((1, 1), (3, 1), (3, 3)) if k + n <= most]
    return rows


def is_correct(sittings: Sequence[Sitting]) -> bool:
    """Whether plain pictures find themselves and all scores are finite."""
    finite = all(np.isfinite(some).all() for one in sittings for some in one.faces.values())
    return bool(sittings) and finite and all((one.faces["plain"] @ one.reference).max() > 0.999 for one in sittings)


def print_table(title: str, rows: Sequence[Row], console: Console) -> None:
    """The rows for people, a rate with its interval in one cell."""
    if not rows:
        return
    names = [name for name in rows[0] if not name.endswith((" low", " high"))]
    table = Table(*names, title=title)
    for row in rows:
        table.add_row(*(cell(row, name) for name in names))
    console.print(table)


def cell(row: Row, name: str) -> str:
    """One value, with its interval where it has one."""
    if f"{name} low" not in row:
        return str(row[name])
    form = "{:.1e} ({:.1e}-{:.1e})" if "FMR" in name else "{:.3f} ({:.3f}-{:.3f})"
    return form.format(row[name], row[f"{name} low"], row[f"{name} high"])


if __name__ == "__main__":
    sys.exit(main())
