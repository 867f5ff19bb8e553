"""Faces that several looks at one frame show, each once.

Two looks at a picture (:mod:`embeddings.images.looks`) mostly show the same faces. Where boxes overlap and the aligned
crops correlate, it is one face and the crop of more contrast is kept; where the crops differ, both are, as each is what
some viewer sees there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from embeddings.faces.views import overlaps
from embeddings.types import Float32, UInt8

ALIKE: Final = 0.9
"""Correlation of two aligned crops from which they show one face: the looks of one face have 0.98 and more where both
show it, different people 0.2 to 0.7 (tests/embeddings/test_joining.py)."""


@dataclass(frozen=True, slots=True)
class SeenFace:
    """One face of one look."""

    box: Float32
    """(4,)"""
    score: float
    view: str
    crops: UInt8
    """(k, 112, 112, 3)"""


def joined(looks: list[list[SeenFace]], *, nms_iou: float) -> list[SeenFace]:
    """All faces of ``looks``, each once, best score first; as they are where there is one look."""
    if len(looks) == 1:
        return looks[0]
    kept: list[SeenFace] = []
    for face in (face for faces in looks for face in faces):
        boxes = np.array([one.box for one in kept], dtype=np.float32).reshape(-1, 4)
        near = np.flatnonzero(overlaps(face.box, boxes) > nms_iou)
        same = next((at for at in near.tolist() if correlation(kept[at].crops[0], face.crops[0]) >= ALIKE), None)
        if same is None:
            kept.append(face)
        elif kept[same].crops[0].std() < face.crops[0].std():
            kept[same] = replace(face, score=max(face.score, kept[same].score))
    return sorted(kept, key=lambda face: (-face.score, *face.box.tolist()))


def correlation(one: UInt8, other: UInt8) -> float:
    """Pearson's correlation of two crops (h, w, 3) of one size; 0 where one of them is flat."""
    first, second = (crop.astype(np.float64) - crop.mean() for crop in (one, other))
    norm = float(np.sqrt((first**2).sum() * (second**2).sum()))
    return float((first * second).sum()) / norm if norm else 0.0
