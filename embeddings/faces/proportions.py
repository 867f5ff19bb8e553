"""Faces of squeezed and stretched pictures: which proportions a face had before, and the maps that give them back.

Five landmarks do not tell. A detector has seen upright faces of usual proportions only, and puts the landmarks of a
picture whose width was taken to 0.6 where those of a face 0.9 times as wide would be, so that the least-squares affine
map of the landmarks undoes a fifth of it. The *box* does tell: its proportions follow about half of what was done. So a
face with a box that is wider or narrower than faces are is shown to the detector in several stretches, and the
stretches in which its box looks most usual are those in which its landmarks are right.

They count if the detector likes the face better in one of them than unstretched, which it hardly ever does of a face
that is wide or narrow by nature. Two are taken, because the right one lies between two: a crop is cut in each, and
their vectors are averaged (:func:`embeddings.faces.recognition.mean_of_crops`). That leaves one vector per face, so
that neither the corpus nor the number of comparisons grows. Where a face looks most usual unstretched it keeps the one
crop it had.

The box of a turned view says nothing of proportions, and a squeezed face, like many a level one, may look best when it
is turned a little. So of a face that was seen turned by less than half a quarter the close-up counts in which it was
level. If it is unusual there it is shown stretched, and the stretches have to outdo what it scored turned. If not, and
it hardly leans, it is cut out by the mean of its landmarks there and as it was turned, because those of a level view
show too little of a tilt, and those of a turned one too much.

Stretches go along the axes of the picture, as those of whoever resizes one do. Faces that are tilted far from a quarter
turn stay as they are, and so does shear.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, log

import numpy as np

from embeddings.faces.alignment import fit
from embeddings.faces.viewing import Viewer
from embeddings.faces.views import Face, View, holds
from embeddings.images.decode import Frame
from embeddings.types import FaceDetector, Float32

USUAL = -0.28
"""Natural logarithm of a box's width over its height: the median of upright faces of ordinary pictures."""
UNUSUAL = 0.10
"""How far a box's logarithm lies from ``USUAL`` when its face is looked at in other stretches."""
STRETCHES = tuple(log(ratio) for ratio in (0.5, 0.6, 0.75, 1.0, 1 / 0.75, 1 / 0.6, 2.0))
"""Natural logarithms of the factors by which a picture's width over its height is changed."""
TAKEN = 2
"""Stretches that a face is cut in."""
LEVEL = 20.0
"""Degrees from a quarter turn up to which a box tells the proportions of its face."""
NEARLY_LEVEL = 34.0
"""Degrees from a quarter turn up to which a face that was seen turned may be a squeezed one."""
LEANING = 18.0
"""Degrees by which a face leans, as scores tell, from which its landmarks are those of the turned view alone."""
SIDE = 128
"""Side of a stretched close-up, in pixels."""
FACE_SIDE = 80
"""Longer side of the face in it, in pixels."""
MOST = 16
"""Best faces of a frame that are looked at: a sheet of a hundred squeezed faces must not cost a second."""
MEGAPIXELS = 2 * MOST * len(STRETCHES) * SIDE**2 / 1e6
"""Detector input that they may cost: twice what they take, because sheets have empty cells."""


def fitted(faces: Sequence[Face], frame: Frame, detector: FaceDetector) -> list[Float32]:
    """For each face the affine maps (m, 2, 3) from pixels of the full-size frame to its crops, the best first.

    One similarity for most, which :func:`embeddings.faces.alignment.fit` gives; two for a face that has unusual
    proportions.
    """
    maps = {at: one[None] for at, one in enumerate(fit(np.stack([_landmarks(face) for face in faces])))}
    asked = {at: 0.0 for at, face in enumerate(faces) if is_unusual(face)}
    asked |= {at: faces[at].score for at, face in enumerate(faces) if is_doubtful(face) and _is_unusual_level(face)}
    if not asked:
        return list(maps.values())
    viewer = Viewer(frame, detector, megapixels=MEGAPIXELS)
    views = {at: [stretched(faces[at], by) for by in STRETCHES] for at in sorted(asked)[:MOST]}
    viewer.faces_in([view for some in views.values() for view in some])  # together, so that they share sheets
    for at, some in views.items():
        maps[at] = _maps(faces[at], some, viewer.faces_in(some), plain=maps[at], bar=asked[at])
    return list(maps.values())


def is_unusual(face: Face) -> bool:
    """Whether the box of ``face``, seen level, is wider or narrower than the boxes of faces are."""
    quarters = round(face.tilt / 90)
    if face.turn % 90 or abs(face.tilt - 90 * quarters) > LEVEL:
        return False
    return abs(_proportions(face.box, np.eye(2, dtype=np.float32), quarters) - USUAL) > UNUSUAL


def is_doubtful(face: Face) -> bool:
    """Whether ``face`` was seen turned, but so little that a squeezed one might look better so."""
    return bool(face.turn % 90) and abs(face.tilt - 90 * round(face.tilt / 90)) <= NEARLY_LEVEL


def _landmarks(face: Face) -> Float32:
    """The landmarks (5, 2) that ``face`` is cut out by."""
    if face.level is None or face.lean >= LEANING or not is_doubtful(face):
        return face.landmarks
    mean: Float32 = ((face.landmarks + face.level.landmarks) / 2).astype(np.float32)
    return mean


def _is_unusual_level(face: Face) -> bool:
    """Whether ``face``, seen turned, is unusually wide or narrow where it was seen level."""
    if face.level is None:
        return False
    quarters = round(face.level.turn / 90)
    return abs(_proportions(face.level.box, np.eye(2, dtype=np.float32), quarters) - USUAL) > UNUSUAL


def stretched(face: Face, by: float) -> View:
    """A close-up of ``face`` in which the picture's width over its height is ``exp(by)`` times what it is.

    Turned by quarters until the face is upright.
    """
    turn = 90 * (round(face.tilt / 90) % 4)
    stretch = np.diag([exp(by / 2), exp(-by / 2)])
    sides = np.abs(stretch @ (face.box[2:] - face.box[:2]))
    linear = _QUARTER[turn] @ stretch * (FACE_SIDE / max(float(sides.max()), 1e-6))
    centre = (face.box[:2] + face.box[2:]) / 2
    matrix = np.column_stack([linear, SIDE / 2 - linear @ centre])
    return View("stretched", matrix.astype(np.float32), SIDE, SIDE, float(turn), face.negative)


_QUARTER = {
    0: np.array([[1.0, 0.0], [0.0, 1.0]]),
    90: np.array([[0.0, 1.0], [-1.0, 0.0]]),
    180: np.array([[-1.0, 0.0], [0.0, -1.0]]),
    270: np.array([[0.0, -1.0], [1.0, 0.0]]),
}
"""Turns against the clock of a picture whose y goes down."""


def _maps(face: Face, views: Sequence[View], seen: Sequence[Sequence[Face]], *, plain: Float32, bar: float) -> Float32:
    """The maps of one face, from what the detector has seen in ``views``, one for each of ``STRETCHES``.

    ``bar``: a score that the face has to outdo in the best of them, as it has to outdo what it scores unstretched.
    """
    found: list[tuple[float, float, float, Float32]] = []
    for by, view, shown in zip(STRETCHES, views, seen, strict=True):
        best = _best(face, shown)
        if best is not None:
            off = abs(_proportions(best.box, view.matrix[:, :2], 0) - USUAL)
            found.append((off, by, best.score, _through(view, best.landmarks)))
            bar = max(bar, best.score) if by == 0 else bar
    found.sort(key=lambda one: one[:2])
    if not found or found[0][1] == 0 or max(score for _, _, score, _ in found[:TAKEN]) <= bar:
        return plain
    return np.stack([matrix for *_, matrix in found[:TAKEN]])


def _best(face: Face, shown: Sequence[Face]) -> Face | None:
    """The face that a view shows where ``face`` lies."""
    return max((one for one in shown if holds(face, one)), key=lambda one: one.score, default=None)


def _proportions(box: Float32, linear: Float32, quarters: int) -> float:
    """Natural logarithm of width over height of ``box`` as ``linear`` (2, 2) shows it, turned by ``quarters``."""
    width, height = np.maximum(np.abs(linear) @ (box[2:] - box[:2]), 1e-6).tolist()
    return log(width / height) * (-1 if quarters % 2 else 1)


def _through(view: View, landmarks: Float32) -> Float32:
    """The map (2, 3) to the template that is a similarity of what ``view`` shows of ``landmarks`` (5, 2)."""
    linear, offset = view.matrix[:, :2], view.matrix[:, 2]
    (similarity,) = fit((landmarks @ linear.T + offset)[None].astype(np.float32))
    joined: Float32 = np.column_stack(
        [similarity[:, :2] @ linear, similarity[:, :2] @ offset + similarity[:, 2]]
    ).astype(np.float32)
    return joined
