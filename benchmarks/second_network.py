"""What a second network says of the pairs that the pack takes for one person, on labelled photographs.

    python -m benchmarks.second_network FOLDER [FOLDER ...] [--network dlib]

A folder has a subfolder of photographs for each person; each folder is a row, and together they are another. What is
compared is what a platform has when it asks: the reference as it was enrolled, a crop of 112 pixels, and the hit as it
was kept, a small JPEG in which the face is found again. Every picture is the hit of every other one's person, each way.
Nothing is chosen here: both thresholds are the published ones. Photographs are read, and nothing of them is written.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from embeddings.errors import ItemError
from embeddings.faces.find import find_faces
from embeddings.faces.second import SecondNetwork, load_second
from embeddings.images.decode import decode
from embeddings.models.load import FaceModels, load_models
from embeddings.types import Float32, UInt8
from indexes.thresholds import published_agreement, published_thresholds
from pipelines.evidence.cutting import LONG_SIDE, as_jpeg, cut_hit, overlap, place_in_cut, place_of
from pipelines.settings.config import Config

PACK = "opencv-zoo"


@dataclass(frozen=True, slots=True)
class Shown:
    """One photograph: whose, its vector and crop, and the vector and crop of its face in the picture that is kept."""

    folder: int
    person: str
    vector: Float32 = field(repr=False)
    crop: UInt8 = field(repr=False)
    kept_vector: Float32 = field(repr=False)
    kept_crop: UInt8 = field(repr=False)
    found_at: float


def photographs(folders: Sequence[Path], models: FaceModels, config: Config) -> Iterator[Shown]:
    """The photographs with a face, of which the largest counts."""
    limits = config.images
    for number, folder in enumerate(folders):
        for person in sorted(path for path in folder.iterdir() if path.is_dir()):
            for file in sorted(path for path in person.iterdir() if path.is_file()):
                try:
                    data = file.read_bytes()
                    faces = find_faces(data, models, limits=limits)
                except ItemError:
                    continue
                if not faces:
                    continue
                face = max(faces, key=lambda one: (one.box[2] - one.box[0]) * (one.box[3] - one.box[1]))
                image = decode(data, limits=limits, long_side=LONG_SIDE)
                x1, y1, x2, y2 = face.box
                hit = SimpleNamespace(
                    frame=face.frame, view=face.view, x1=x1, y1=y1, x2=x2, y2=y2, width=image.width, height=image.height
                )
                seen = next(one for one in image.frames if (one.index, one.look) == place_of(hit))
                cut = cut_hit(seen, hit, long_side=config.evidence.long_side)
                kept, width, height = as_jpeg(cut.pixels, config.evidence)
                wanted = place_in_cut(hit, (width, height), cut.frame_size)
                again = find_faces(kept, models, limits=limits)
                best = max(again, key=lambda one: overlap(one.box, wanted), default=None)
                if best is None:
                    continue
                owner = f"{number}/{person.name}"
                at = overlap(best.box, wanted)
                yield Shown(number, owner, face.vector, face.crop, best.vector, best.crop, at)


def row_of(name: str, shown: Sequence[Shown], second: Float32, *, review: float, agreement: float) -> dict[str, Any]:
    """Counts of mated and impostor pairs, and what the second network says of them."""
    people = np.array([one.person for one in shown])
    scores = np.stack([one.vector for one in shown]) @ np.stack([one.kept_vector for one in shown]).T
    same = people[:, None] == people[None, :]
    mated, impostor = same & ~np.eye(len(shown), dtype=bool), ~same
    agrees, taken = second >= agreement, scores >= review
    return {
        "photographs of": name,
        "people": len(set(people.tolist())),
        "pictures": len(shown),
        "mated": int(mated.sum()),
        "mated, pack takes them": int((mated & taken).sum()),
        "mated, second agrees": round(float(agrees[mated].mean()), 4) if mated.any() else None,
        "impostors": int(impostor.sum()),
        "impostors, pack takes them": int((impostor & taken).sum()),
        "of these second agrees": int((impostor & taken & agrees).sum()),
        "impostors, second agrees": round(float(agrees[impostor].mean()), 5) if impostor.any() else None,
        "least overlap": round(min(one.found_at for one in shown), 3),
    }


def measure(folders: Sequence[Path], network: SecondNetwork, models: FaceModels, *, name: str) -> list[dict[str, Any]]:
    """One row per folder, and one of all of them, across folders as well."""
    shown = list(photographs(folders, models, Config()))
    references = network.describe(np.stack([one.crop for one in shown]))
    kept = network.describe(np.stack([one.kept_crop for one in shown]))
    second = network.scores(references, kept)
    bounds = {"review": published_thresholds(PACK).review, "agreement": published_agreement(name)[0]}
    rows = []
    for number, folder in enumerate(folders):
        at = [position for position, one in enumerate(shown) if one.folder == number]
        rows.append(row_of(folder.name, [shown[one] for one in at], second[np.ix_(at, at)], **bounds))
    return [*rows, row_of("all", shown, second, **bounds)] if len(folders) > 1 else rows


def main() -> None:
    """Print a row for each folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--network", default="dlib")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "likeness")
    chosen = parser.parse_args()
    models = load_models(PACK, cache_dir=chosen.cache, settings=Config().embedding.faces())
    network = load_second(chosen.network, cache_dir=chosen.cache)
    for row in measure(chosen.folders, network, models, name=chosen.network):
        print("\n".join(f"{key}: {value}" for key, value in row.items()), end="\n\n")


if __name__ == "__main__":
    main()
