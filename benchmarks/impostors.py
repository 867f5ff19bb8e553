"""How often a stranger is taken for somebody registered, with a single view and with several.

Owns part 4 of :mod:`benchmarks.robustness`. Probes: the 25x25 patches of 100 people of LFW that scikit-image carries,
enlarged, under transforms that leave a face as the fast pass sees it (*plain*) and such that hide it (*hidden*).
References: every other patch, seen by the single view, and the portraits; so each picture is compared with about 110
strangers. Faces of so few pixels resemble each other more than photographs do: the rates are an upper estimate, and
what counts is one pass beside the other.

``false match``: (face, stranger) pairs that reach a threshold. ``FPIR``: pictures in which some face reaches it with
some stranger, with 95 % bounds (Clopper and Pearson); several pictures show one person, so true bounds are wider.
``fpir_with_face`` counts only pictures in which the pass saw a face: a pass that sees nothing makes no mistake.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import beta
from skimage.data import lfw_subset

from benchmarks.inputs.portraits import Portrait
from benchmarks.inputs.transforms import Transform, transforms, turned
from embeddings.faces.find import faces_of_frame, vectors_of_frame
from embeddings.images.decode import Frame
from embeddings.models.load import FaceModels
from embeddings.types import UInt8
from indexes.thresholds import published_thresholds
from pipelines.sample.photographs import Box
from pipelines.sample.variants import resize

LFW_FACES = 100
"""The first hundred of the 200 patches are faces, of different people."""
FACE: Box = (64, 64, 192, 192)
PLAIN = ("original", "flip", "JPEG q10", "hue shift", "darkened", "anamorphic 0.6", "noise sigma 40", "stylised")
HIDDEN = (
    "inverted",
    "inverted, mirrored",
    "inverted, rotated 90",
    "rotated 45",
    "rotated 90",
    "rotated 180",
    "rotated 315",
)
DRAWN = 5
"""Turns by an angle drawn for each patch."""
Float32 = npt.NDArray[np.float32]


def measure_impostors(
    passes: Mapping[str, FaceModels], people: Sequence[Portrait], references: Float32, strangers: int
) -> list[dict[str, Any]]:
    """One row per group of transforms, pass and threshold."""
    patches = list(lfw(strangers))
    own = [vectors_of(patch, passes["single"])[:1] for patch in patches]
    gallery = np.concatenate([references, *own])
    owner = np.array([*(-1 for _ in people), *(at for at, found in enumerate(own) for _ in found)])
    published = published_thresholds("opencv-zoo")
    rows = []
    for group, chosen in (("plain", picked(PLAIN)), ("hidden", picked(HIDDEN) | drawn())):
        best = {label: compared(models, chosen, patches, gallery, owner) for label, models in passes.items()}
        for name, threshold in (("review", published.review), ("strong", published.strong)):
            for label, (scores, pictures) in best.items():
                rows.append({"transforms": group, "threshold": f"{name} {threshold}", "pass": label})
                rows[-1] |= rates(scores, pictures, threshold)
    return rows


def rates(scores: Float32, pictures: Float32, threshold: float) -> dict[str, Any]:
    """What one pass did at one threshold."""
    counts = [
        (int((scores >= threshold).sum()), len(scores)),
        (int((pictures >= threshold).sum()), len(pictures)),
        (int((pictures >= threshold).sum()), int((pictures > -1).sum())),
    ]
    per_pair, per_picture, per_seen = ((count / among, *bounds(count, among)) for count, among in counts)
    return {
        "pictures": len(pictures),
        "with_face": counts[2][1],
        "pairs": len(scores),
        "false_match": "{:.2e} ({:.2e} to {:.2e})".format(*per_pair),
        "fpir": "{:.4f} ({:.4f} to {:.4f})".format(*per_picture),
        "fpir_with_face": "{:.4f} ({:.4f} to {:.4f})".format(*per_seen),
    }


def compared(
    models: FaceModels,
    chosen: Mapping[str, Transform],
    patches: Sequence[UInt8],
    gallery: Float32,
    owner: npt.NDArray[Any],
) -> tuple[Float32, Float32]:
    """Scores of all (face, stranger) pairs, and of each picture the best of them (-1 without a face)."""
    pairs, pictures = [np.empty(0, dtype=np.float32)], []
    for transform in chosen.values():
        for at, patch in enumerate(patches):
            scores = vectors_of(transform(patch, FACE), models) @ gallery[owner != at].T
            pairs.append(scores.ravel())
            pictures.append(scores.max(initial=-1.0))
    return np.concatenate(pairs), np.array(pictures, dtype=np.float32)


def vectors_of(picture: UInt8, models: FaceModels) -> Float32:
    """Vectors of all faces of ``picture``."""
    height, width = picture.shape[:2]
    faces = faces_of_frame(Frame(0, np.ascontiguousarray(picture), 1.0, (0.0, 0.0)), (width, height), models)
    return vectors_of_frame(faces, models)


def picked(names: Sequence[str]) -> dict[str, Transform]:
    """Transforms by name."""
    every = transforms()
    return {name: every[name] for name in names}


def drawn() -> dict[str, Transform]:
    """Turns by drawn angles, the same for all patches."""
    angles = np.random.default_rng(7).uniform(0, 360, DRAWN).tolist()
    return {f"rotated {angle:.0f}": partial(turned, degrees=angle) for angle in angles}


def lfw(number: int) -> Iterator[UInt8]:
    """Faces of ``number`` people nobody enrolled, each in the middle of a grey square."""
    for patch in lfw_subset()[: min(number, LFW_FACES)]:
        canvas = np.full((256, 256, 3), 128, dtype=np.uint8)
        grey = np.repeat((patch * 255).astype(np.uint8)[:, :, None], 3, axis=2)
        canvas[64:192, 64:192] = resize(grey, width=128, height=128)
        yield canvas


def bounds(count: int, among: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Clopper and Pearson's interval of a rate seen ``count`` times ``among`` trials."""
    tail = (1 - confidence) / 2
    low = 0.0 if count == 0 else float(beta.ppf(tail, count, among - count + 1))
    high = 1.0 if count == among else float(beta.ppf(1 - tail, count + 1, among - count))
    return low, high
