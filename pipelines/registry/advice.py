"""What is worth saying of reference photographs before anybody is compared by them, and which one stands apart.

Advice refuses nothing. A reference that stands apart is set aside: where most agree with one another and one agrees
with none of them at the threshold in force, it shows somebody else or next to nothing, and a template of it would
accuse strangers every night. It is not enrolled and nothing of it is kept, unless the operator says that it is the
person all the same. Knows pixels and vectors; stores nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np

from embeddings.types import FaceDetector, Float32, UInt8
from indexes.join import score_matrix

LEAST_DETAIL: Final = 0.06
"""Of :func:`detail_of`. Chosen on 100 photographs of 10 people, of which it flags none, and 99 % once they are blurred
by a Gaussian of 2 pixels; of 83 of 22 other people it flags none and 96 % (docs/registry.md)."""
LARGEST_TURN: Final = 0.3
"""Of :func:`turn_of`. Of the same 100 photographs two are beyond, of the 83 one; their scores with other photographs of
the person are 0.05 to 0.15 lower than the others'."""
SAME_PICTURE: Final = 0.9
"""From this score on two references are taken for one picture: between different ones of the 10 people it was at most
0.883."""
ENOUGH: Final = 3
"""References from which on one can stand apart: of two that disagree nobody knows which."""
_SIDE: Final = 112
"""Of a crop, in pixels. Not from where crops are made: that loads OpenCV, which most commands do without."""
_WHOLE: Final = slice(_SIDE // 7, _SIDE - _SIDE // 14)


@dataclass(frozen=True, slots=True)
class ReferenceAdvice:
    """What one reference photograph is like. ``position``: in the order given, from 1.

    ``pixels``: the shorter side of its face in the photograph, None where it was not measured; ``detail``: see
    :func:`detail_of`; ``turn``: see :func:`turn_of`, None where no eyes and nose are found; ``agreement``: its median
    score with the others, None where it is the only one. ``remarks``: fixed words (``small``, ``blurred``, ``turned``,
    ``same_as:N``), empty if there is nothing to say.
    """

    position: int
    pixels: float | None
    detail: float
    turn: float | None
    agreement: float | None
    remarks: tuple[str, ...]


def advise(
    vectors: Float32, crops: Sequence[UInt8], pixels: Sequence[float | None], *, detector: FaceDetector
) -> tuple[ReferenceAdvice, ...]:
    """Advice on each reference: ``vectors`` unit float32 (n, d), ``crops`` RGB uint8 (112, 112, 3)."""
    scores = score_matrix(vectors, vectors)
    advice = []
    for at, (crop, side) in enumerate(zip(crops, pixels, strict=True)):
        detail, turn = detail_of(crop), turn_of(crop, detector)
        others = np.delete(scores[at], at)
        remarks = ["small"] if side is not None and side < _SIDE else []
        remarks += ["blurred"] if detail < LEAST_DETAIL else []
        remarks += ["turned"] if turn is not None and turn > LARGEST_TURN else []
        remarks += [f"same_as:{before + 1}" for before in range(at) if scores[at, before] >= SAME_PICTURE]
        agreement = float(np.median(others)) if len(others) else None
        advice.append(ReferenceAdvice(at + 1, side, detail, turn, agreement, tuple(remarks)))
    return tuple(advice)


def detail_of(crop: UInt8) -> float:
    """How much of a crop's contrast is finer than half its resolution, 0 to about 0.3: little in a blurred photograph,
    and in a small one that was enlarged."""
    import cv2

    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY).astype(np.float32)[_WHOLE, _WHOLE]
    half = cv2.resize(grey, (grey.shape[1] // 2, grey.shape[0] // 2), interpolation=cv2.INTER_AREA)
    coarse = cv2.resize(half, (grey.shape[1], grey.shape[0]), interpolation=cv2.INTER_LINEAR)
    return float(np.sqrt(((grey - coarse) ** 2).mean()) / max(float(grey.std()), 1.0))


def turn_of(crop: UInt8, detector: FaceDetector) -> float | None:
    """How far the tip of the nose is beside the middle of the eyes, in distances of the eyes: 0 from the front, 0.3
    about half turned. None where the detector finds no face in the crop."""
    margin = _SIDE // 2
    found = detector.detect(np.pad(crop, ((margin, margin), (margin, margin), (0, 0))), as_is=True)
    if not len(found):
        return None
    left, right, nose = found.landmarks[0][:3].astype(np.float64)
    across = right - left
    length = float(across @ across)
    return abs(float((nose - (left + right) / 2) @ across)) / length if length > 0 else None


def standing_apart(vectors: Float32, *, agreement: float) -> tuple[int, ...]:
    """Positions (from 0) of references that agree with none of the others, where most of all agree with one another.

    ``vectors``: unit float32 (n, d). Two agree where their score reaches ``agreement``. Nothing where fewer than three
    are given, or where no majority is of one mind: then nobody knows who is right.
    """
    count = len(vectors)
    if count < ENOUGH:
        return ()
    agree = score_matrix(vectors, vectors) >= np.float32(agreement)
    np.fill_diagonal(agree, val=True)
    apart = tuple(int(at) for at in np.flatnonzero(agree.sum(axis=1) == 1))
    rest = [at for at in range(count) if at not in apart]
    of_one_mind = all(agree[one, other] for one, other in combinations(rest, 2))
    return apart if of_one_mind and 2 * len(rest) > count else ()
