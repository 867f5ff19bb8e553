"""The thorough pass: looking again where the fast pass found nothing, or something uncertain.

Owns which views (:mod:`embeddings.views`) are looked at, in which order, and when to stop:

*close-ups* of one place, upright by the landmarks of what was seen there first, then at every eighth of a turn and in
both polarities. One costs a fifteenth of a whole view at 640, and undoes a detector that took a chin for a forehead.

*whole views*, only while no certain face is known: enlarged or reduced, quarter turns and eighths in both polarities,
and overlapping tiles for tiny faces. What they propose is looked at in close-ups again.

All of it ends when the budget of detector input is spent. Knows nothing of recognition.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import cv2
import numpy as np

from embeddings.detection import halve
from embeddings.images import Frame
from embeddings.types import FaceDetector, FaceSettings, UInt8, ViewSettings
from embeddings.views import EIGHTHS, Face, View, close_up, holds, merged, overlap, taken_back, whole_views

RIVAL_MARGIN = 0.03
"""How much lower rivals have to score: upside down or inverted a face scores 0.1 to 0.4 less, at 45 degrees 0.05."""
GROUND = 128
"""Grey outside the frame: the negative of itself."""


class Search:
    """One frame, its budget, and pictures of it. Lives as long as one call of :func:`look_again`."""

    def __init__(self, frame: Frame, detector: FaceDetector, views: ViewSettings) -> None:
        self._levels = levels(frame)
        self._frame = frame
        self._detector = detector
        self._views = views
        self.left = views.megapixels
        """Megapixels of detector input that may still be spent."""

    def certain(self, face: Face) -> bool:
        """Whether a face needs no second look: a high score, enough pixels, and upright in its view."""
        views = self._views
        clear = face.score >= views.certain_score and face.pixels >= views.tiny_pixels and face.lean <= views.max_lean
        return clear or face.settled

    def faces_in(self, view: View) -> list[Face]:
        """What the detector sees in ``view``, best first; nothing when the budget does not reach that far."""
        if view.megapixels > self.left:
            return []
        self.left -= view.megapixels
        return taken_back(self._detector.detect(self._render(view)), view)

    def closer(self, face: Face) -> Face:
        """``face``, or what close-ups of its place show with a higher score.

        Upright by its landmarks first, beside rivals: an eighth of a turn to either side, upside down, and the other
        polarity, because landmarks of a tilted or inverted face lie. If the first beats them all, that is it. Otherwise
        every eighth in both polarities, and the best of them once more, upright by its own landmarks.
        """
        negative = face.negative
        around = [(0, negative), (45, negative), (-45, negative), (180, negative), (0, not negative)]
        near = [close_up(face.box, face.tilt + turn, polarity) for turn, polarity in around]
        first, *rivals = [self._best(face, [view]) for view in near]
        if first is not None and self._beats(first, rivals):
            return replace(best_of(face, first), settled=True)
        likeliest = best_of(face, first, *rivals)
        if likeliest.score < self._views.promising_score:
            return likeliest
        every = [close_up(face.box, turn, polarity) for polarity in (False, True) for turn in EIGHTHS]
        best = best_of(likeliest, self._best(face, every))
        if best.lean <= self._views.max_lean / 2:
            return best
        return best_of(best, self._best(best, [close_up(best.box, best.tilt, best.negative)]))

    def _beats(self, first: Face, rivals: list[Face | None]) -> bool:
        """Whether ``first`` is a face, upright, and no rival comes near its score."""
        upright = first.score >= self._views.certain_score - RIVAL_MARGIN and first.lean <= self._views.max_lean
        return upright and all(one is None or one.score + RIVAL_MARGIN <= first.score for one in rivals)

    def _best(self, face: Face, views: list[View]) -> Face | None:
        """The best face in ``views`` that lies where ``face`` does."""
        seen = [one for view in views for one in self.faces_in(view) if holds(face.box, one.box)]
        return max(seen, key=lambda one: one.score, default=None)

    def _render(self, view: View) -> UInt8:
        """The view's pixels: from the smallest picture of the frame that has enough of them, bilinear."""
        wanted = float(np.hypot(view.matrix[0, 0], view.matrix[1, 0]))
        if wanted > 1.5 * self._frame.scale < 1.5:
            self._frame = self._frame.at_least(wanted)
            self._levels = levels(self._frame)
        image, scale, offset = next(
            level for level in reversed(self._levels) if level[1] >= wanted or level is self._levels[0]
        )
        matrix = view.matrix.astype(np.float64).copy()
        matrix[:, 2] += matrix[:, :2] @ np.asarray(offset)
        matrix[:, :2] /= scale
        size = (view.width, view.height)
        pixels: UInt8 = cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR, borderValue=(GROUND,) * 3)
        return 255 - pixels if view.negative else pixels


def best_of(face: Face, *others: Face | None) -> Face:
    """The one with the highest score; of equals the first."""
    return max([face, *(one for one in others if one is not None)], key=lambda one: one.score)


Level = tuple[UInt8, float, tuple[float, float]]


def levels(frame: Frame) -> list[Level]:
    """The frame's picture and its halves down to about 100 pixels: image, pixels per full-size pixel, offset."""
    found: list[Level] = [(frame.image, frame.scale, frame.offset)]
    while min(found[-1][0].shape[:2]) >= 200:
        image, scale, offset = found[-1]
        found.append((halve(image), scale / 2, offset))
    return found


def look_again(
    frame: Frame, size: tuple[int, int], fast: list[Face], detector: FaceDetector, settings: FaceSettings
) -> list[Face]:
    """The faces of ``frame``, ``size`` (width, height) at full size, after the thorough pass, best first.

    ``fast`` are the candidates of the fast pass, best first, which may have scores below ``settings.min_score``. A face
    that it found is never lost, only seen better. ``detector`` answers from ``candidate_score`` on. Without
    ``settings.views`` the answer is what the fast pass found.
    """
    views = settings.views
    if views is None:
        return [face for face in fast if face.score >= settings.min_score]
    search = Search(frame, detector, views)
    faces = [face if search.certain(face) else search.closer(face) for face in fast if face.score >= settings.min_score]
    if views.always or not any(search.certain(face) for face in faces):
        places = (search.closer(face) for face in fast if face.score < settings.min_score)
        faces += [face for face in places if face.score >= views.search_score]
    if views.always or not any(search.certain(face) for face in faces):
        faces += _search_whole(search, whole_views(size, views), faces, settings, views)
    return merged(faces, nms_iou=settings.nms_iou)


def _search_whole(
    search: Search, whole: Iterator[View], known: list[Face], settings: FaceSettings, views: ViewSettings
) -> list[Face]:
    """Faces that views of the whole frame show, until one of them is certain (or all are done) or the budget is."""
    new: list[Face] = []
    for view in whole:
        for face in search.faces_in(view):
            if any(search.certain(one) and overlap(face.box, one.box) > settings.nms_iou for one in (*known, *new)):
                continue
            closer = face if search.certain(face) else search.closer(face)
            if closer.score >= views.search_score:
                new.append(closer)
        if not views.always and any(search.certain(face) for face in new):
            break
    return new
