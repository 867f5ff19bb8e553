"""Views of a frame: upright or turned, close up or whole, positive or negative; and faces taken back from them.

Owns the geometry. A *view* is an affine picture of the frame. Whatever a detector finds in one becomes a :class:`Face`
in pixels of the upright full-size frame at once, which states the view it was found in.
:mod:`embeddings.faces.thorough` decides which views are looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import atan2, degrees

import cv2
import numpy as np

from embeddings.faces.alignment import template
from embeddings.types import Detections, Float32, ViewSettings

FAST = "fast"
"""The view of a face that the fast pass found and that needed no second look, or gained nothing from one."""
SMOOTHED = "smoothed"
"""The view of a face that only a smoothed picture of the frame shows."""
ODD_EIGHTHS = (45, 315, 135, 225)
QUARTERS = ((90, False), (270, False), (180, False), (0, True), (90, True), (270, True), (180, True))
"""Turns and whether negative: all that the fast pass does not look at."""
CLOSE_MARGIN = 1.7
"""Side of a close-up by the longer side of the box; docs/recall.md compares sides and margins."""
TILE_OVERLAP = 128
"""Pixels that neighbouring tiles share: a face of that size is whole in one of them."""
MAX_ENLARGEMENT = 4.0
_UPRIGHT = (template() - template().mean(axis=0)).astype(np.float64)


@dataclass(frozen=True, slots=True)
class View:
    """A picture of the frame: ``matrix`` (2, 3) takes pixels of the upright full-size frame to pixels of the view."""

    kind: str
    matrix: Float32
    width: int
    height: int
    turn: float
    """Degrees against the clock by which the frame is turned."""
    negative: bool
    upright: View | None = None
    """The view of which this is a turn by quarters about its middle, pixel by pixel."""

    @property
    def name(self) -> str:
        """What the face table says: the kind, then the turn and the polarity unless upright and positive."""
        turn = f" {round(self.turn) % 360}" if round(self.turn) % 360 else ""
        return f"{self.kind}{turn}{' negative' if self.negative else ''}"


@dataclass(frozen=True, slots=True)
class Face:
    """One detection, taken back to pixels of the upright full-size frame."""

    box: Float32
    """(4,)"""
    landmarks: Float32
    """(5, 2)"""
    score: float
    pixels: float
    """Shorter side of its box in the view it was found in."""
    side: float
    """Longer side of its box there, in pixels of the frame."""
    turn: float
    """Of that view, in degrees."""
    view: str = FAST
    negative: bool = False
    """Whether the frame has to be inverted to see this face."""
    settled: bool = False
    """Whether a close look has shown it to be as it was seen."""
    level: Face | None = None
    """The same face in the quarter turn beside the one it was found in, where that is between two."""
    lean: float = 0.0
    """By how many degrees it is turned against ``level``, as scores tell."""

    @property
    def tilt(self) -> float:
        """Degrees against the clock that would set the face upright, from its landmarks."""
        (xu, xv), (yu, yv) = (self.landmarks.astype(np.float64).T @ _UPRIGHT).tolist()
        return degrees(atan2(yu - xv, xu + yv))  # the turn of alignment.fit's similarity, without its scale

    @property
    def area(self) -> float:
        """Of its box, in square pixels."""
        return float(np.prod(self.box[2:] - self.box[:2]))


def moved(view: View, corner: tuple[int, int]) -> View:
    """``view`` of a part of the frame whose origin is the pixel ``corner`` of the frame."""
    if corner == (0, 0):
        return view
    matrix = view.matrix.copy()
    matrix[:, 2] -= matrix[:, :2] @ np.array(corner, dtype=np.float32)
    return replace(view, matrix=matrix, upright=view.upright and moved(view.upright, corner))


def whole_views(size: tuple[int, int], views: ViewSettings) -> Iterator[list[View]]:
    """Views of the whole frame in stages, likeliest and cheapest first, after the fast pass and :func:`glances`.

    Tiles and the large size are for ``always``: a picture without faces has to be done with at some point.
    """
    small, large = min(views.sides), max(views.sides)
    eighths = [(turn, negative) for negative in (False, True) for turn in ODD_EIGHTHS]
    yield [wide(size, side=small // 2), *(turned(size, *way, long_side=views.glance_side) for way in eighths)]
    yield from ([view] for view in glances(size, side=small))
    if views.always:
        yield from ([view] for view in tiles(size, side=large))
        yield from ([view] for view in glances(size, side=large))
        yield from ([turned(size, *way, long_side=small)] for way in eighths)


def glances(size: tuple[int, int], *, side: int) -> Iterator[View]:
    """The whole frame in quarter turns and both polarities, its long side ``side`` pixels at most."""
    return (turned(size, turn, negative, long_side=side) for turn, negative in QUARTERS)


def wide(size: tuple[int, int], *, side: int) -> View:
    """All of a frame in the middle of a square of ``side`` pixels, enlarged or reduced to half of it: for faces that
    fill the frame, and for frames of a few pixels.
    """
    factor = side / 2 / max(size)
    matrix = np.array([[factor, 0, (side - size[0] * factor) / 2], [0, factor, (side - size[1] * factor) / 2]])
    return View("whole", matrix.astype(np.float32), side, side, 0.0, False)


def turned(size: tuple[int, int], turn: float, negative: bool, *, long_side: int) -> View:
    """All of a frame of ``size``, turned; its long side before turning becomes ``long_side`` pixels at most."""
    factor = min(1.0, long_side / max(size))
    matrix = cv2.getRotationMatrix2D(((size[0] - 1) / 2, (size[1] - 1) / 2), turn, factor)
    sides = (np.abs(matrix[:, :2]) @ np.asarray(size, dtype=np.float64)).round(6)  # the same whichever way it is turned
    width, height = (max(1, round(side)) for side in sides.tolist())
    matrix[:, 2] += [(width - size[0]) / 2, (height - size[1]) / 2]
    upright = turned(size, 0, False, long_side=long_side) if turn % 90 == 0 and (turn or negative) else None
    return View("whole", matrix.astype(np.float32), width, height, turn, negative, upright)


def tiles(size: tuple[int, int], *, side: int) -> Iterator[View]:
    """Overlapping squares of ``side`` pixels over a picture nearly twice as large, which is enlarged if need be."""
    factor = (2 * side - TILE_OVERLAP) / max(size)
    if factor > MAX_ENLARGEMENT:
        return
    steps = [1 if length * factor <= side else 2 for length in size]
    for row in range(steps[1]):
        for column in range(steps[0]):
            x, y = column * (side - TILE_OVERLAP), row * (side - TILE_OVERLAP)
            width, height = (
                min(side, int(np.ceil(length * factor)) - at) for length, at in zip(size, (x, y), strict=True)
            )
            matrix = np.array([[factor, 0, -x], [0, factor, -y]], dtype=np.float32)
            yield View("tile", matrix, width, height, 0.0, False)


def close_up(face: Face, turn: float, negative: bool, *, side: int) -> View:
    """A square around ``face``, turned about its centre, ``side`` pixels wide."""
    factor = side / (CLOSE_MARGIN * face.side)
    x, y = ((face.box[:2] + face.box[2:]) / 2).tolist()
    matrix = cv2.getRotationMatrix2D((x, y), turn, factor)
    matrix[:, 2] += [side / 2 - x, side / 2 - y]
    return View("close", matrix.astype(np.float32), side, side, turn, negative)


def taken_back(found: Detections, view: View) -> list[Face]:
    """Detections in pixels of ``view`` as faces in pixels of the full-size frame.

    A turned box becomes the hull of the ellipse in it: a face is round, and the hull of the box up to twice as large.
    """
    if not len(found):
        return []
    inverse = cv2.invertAffineTransform(view.matrix)
    enlargement = float(np.hypot(inverse[0, 0], inverse[1, 0]))
    faces = []
    for box, landmarks, score in zip(found.boxes, found.landmarks, found.scores, strict=True):
        centre = inverse[:, :2] @ ((box[:2] + box[2:]) / 2) + inverse[:, 2]
        sides = box[2:] - box[:2]
        half = np.hypot(inverse[:, 0] * sides[0], inverse[:, 1] * sides[1]) / 2
        hull = np.concatenate([centre - half, centre + half]).astype(np.float32)
        marks = (landmarks @ inverse[:, :2].T + inverse[:, 2]).astype(np.float32)
        pixels, side = float(sides.min()), float(sides.max()) * enlargement
        faces.append(Face(hull, marks, float(score), pixels, side, view.turn, view.name, view.negative))
    return faces


def merged(faces: list[Face], *, nms_iou: float) -> list[Face]:
    """``faces`` without repeats of one face, best score first."""
    ranked = sorted(faces, key=lambda one: (-one.score, *one.box.tolist()))
    boxes = np.array([face.box for face in ranked], dtype=np.float32).reshape(-1, 4)
    kept: list[int] = []
    for at, box in enumerate(boxes):
        if not (overlaps(box, boxes[kept]) > nms_iou).any():
            kept.append(at)
    return [ranked[at] for at in kept]


def overlaps(box: Float32, boxes: Float32) -> Float32:
    """Intersection over union (n,) of a box (4,) with boxes (n, 4)."""
    sides = np.maximum(np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2]), 0)
    shared = sides.prod(axis=1)
    areas = (box[2:] - box[:2]).prod() + (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    ratio: Float32 = shared / np.maximum(areas - shared, 1e-9)
    return ratio


def holds(place: Face, face: Face) -> bool:
    """Whether ``face`` has its centre inside ``place`` and is of a like size: another view of the same face."""
    centre = (face.box[:2] + face.box[2:]) / 2
    inside = (centre >= place.box[:2]).all() and (centre <= place.box[2:]).all()
    return bool(inside and 0.4 <= face.side / max(place.side, 1e-6) <= 2.5)
