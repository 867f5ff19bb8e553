"""Faces that several looks at one frame show, each once.

Two looks at a picture (:mod:`embeddings.images.looks`) mostly show the same faces. Where boxes overlap and the looks
correlate within them, it is one face, and the crop of more contrast is kept; where they do not, both faces are, as each
is what some viewer sees there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import cv2
import numpy as np

from embeddings.faces.views import overlaps
from embeddings.types import Float32, UInt8

ALIKE: Final = 0.9
"""Correlation within a box from which two looks show one face there. Set by hand on made pictures, without a split: the
looks of tests/embeddings/test_joining.py at one face are above it, its fifteen pairs of strangers in one place below.
A face that is not joined is there twice, which costs a comparison and loses nothing."""
_SIDE: Final = 32
"""Side to which what is in a box is brought before it is compared, in pixels."""


@dataclass(frozen=True, slots=True)
class SeenFace:
    """One face of one look."""

    box: Float32
    """(4,) in pixels of the full-size frame."""
    score: float
    view: str
    crops: UInt8 = field(repr=False)
    """(k, 112, 112, 3)"""


@dataclass(frozen=True, slots=True)
class SeenLook:
    """The faces of one look at a frame, and the look itself, reduced."""

    small: UInt8
    """(h, w, 3)"""
    faces: Sequence[SeenFace]


def joined(looks: Sequence[SeenLook], size: tuple[int, int], *, nms_iou: float) -> list[SeenFace]:
    """All faces of looks at a frame of ``size`` (width, height), each once, best score first."""
    kept: list[SeenFace] = []
    where: list[SeenLook] = []
    for look in looks:
        for face in look.faces:
            boxes = np.array([one.box for one in kept], dtype=np.float32).reshape(-1, 4)
            near = np.flatnonzero(overlaps(face.box, boxes) > nms_iou).tolist()
            same = next((at for at in near if are_alike(look.small, where[at].small, face.box, size)), None)
            if same is None:
                kept.append(face)
                where.append(look)
            elif kept[same].crops[0].std() < face.crops[0].std():
                kept[same], where[same] = replace(face, score=max(face.score, kept[same].score)), look
    return sorted(kept, key=lambda face: (-face.score, *face.box.tolist()))


def are_alike(one: UInt8, other: UInt8, box: Float32, size: tuple[int, int]) -> bool:
    """Whether two looks of one frame, reduced alike, correlate within ``box`` of the full-size frame."""
    first, second = (_within(small, box, size) for small in (one, other))
    norm = float(np.sqrt((first**2).sum() * (second**2).sum()))
    return one is other or (norm > 0 and float((first * second).sum()) / norm >= ALIKE)


def _within(small: UInt8, box: Float32, size: tuple[int, int]) -> Float32:
    """The grey levels in ``box``, less their mean, brought to one size."""
    height, width = small.shape[:2]
    factors = np.array([width / size[0], height / size[1]] * 2)
    left, top, right, bottom = (np.asarray(box) * factors).round().astype(int).tolist()
    left, top = min(max(left, 0), width - 1), min(max(top, 0), height - 1)
    part = np.ascontiguousarray(small[top : max(bottom, top + 1), left : max(right, left + 1)])
    levels = cv2.resize(part, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32).mean(axis=2)
    centred: Float32 = levels - levels.mean()
    return centred
