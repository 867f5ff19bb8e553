"""The thorough pass: looking again where the fast pass found nothing, or something uncertain.

Owns which views (:mod:`embeddings.views`) are looked at, in which order, and when to stop:

*Is a face upright?* Neither a high score nor its landmarks tell: at 30 degrees YuNet scores 0.92 and puts upright
landmarks beside the eyes. What tells is that the scores of a level face fall alike when it is turned to either side.
So every face gets two small close-ups, and is followed to the side on which they score higher.

*What else might it be?* A face that is not clear is looked at in eighths of a turn and both polarities.

*Is there another one?* Where no face is certain, quarter turns of the whole frame in both polarities; where one is but
leaves room for others, the same in a much smaller picture, so that a plain face does not hide a turned one beside it.

All of it ends when the budget of detector input is spent. Knows nothing of recognition.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import cv2
import numpy as np

from embeddings.detection import halve
from embeddings.images import Frame
from embeddings.types import FaceDetector, FaceSettings, UInt8, ViewSettings
from embeddings.views import EIGHTHS, Face, View, close_up, glances, holds, merged, overlap, taken_back, whole_views

STEP = 25.0
"""Degrees between the close-ups that level a face: less and scores hardly differ, more and they are all low."""
MAX_STEPS = 4
BETTER = 0.02
"""How much higher than a level face one to the side of it may score."""
NEAR = (0, 45, -45, 180)
"""Turns at which a place is looked at first, from the turn at which it was seen."""
RIVAL_MARGIN = 0.03
"""How much lower the negative and the opposite of a face have to score."""
GROUND = 128
"""Grey outside the frame: the negative of itself."""


class Search:
    """One frame, its budget, and pictures of it. Lives as long as one call of :func:`look_again`."""

    def __init__(self, frame: Frame, detector: FaceDetector, views: ViewSettings) -> None:
        self._levels = levels(frame)
        self._frame = frame
        self._detector = detector
        self._views = views
        self._last: tuple[tuple[int, int], UInt8] | None = None
        self.left = views.megapixels
        """Megapixels of detector input that may still be spent."""

    def faces_in(self, view: View) -> list[Face]:
        """What the detector sees in ``view``, best first; nothing when the budget does not reach that far."""
        if view.megapixels > self.left:
            return []
        self.left -= view.megapixels
        return taken_back(self._detector.detect(self._pixels(view)), view)

    def closer(self, face: Face) -> Face:
        """``face``, or what close-ups of its place show better; *settled* when they leave no doubt of it.

        A clear face that is level stays as it is. Any other is sought in both polarities, in the turns near its own
        and, unless one of them is certain, in all eighths; the best is levelled and set against its negative and its
        opposite.
        """
        views = self._views
        clear = face.score >= views.clear_score and face.pixels >= views.tiny_pixels and face.lean <= views.max_lean
        if clear and (level := self._levelled(face, face.tilt)) is not None:
            if level.score >= views.certain_score or self._outdoes(level, level.tilt):
                return replace(level, settled=True)
        near = [(face.turn + turn, face.negative) for turn in NEAR]
        best = self._best(face, [*near, (face.turn, not face.negative)])
        if best is None or best.score < views.promising_score:
            return face
        if best.score < views.certain_score:
            rest = [(turn, polarity) for polarity in (face.negative, not face.negative) for turn in EIGHTHS]
            best = max(best, self._best(best, rest) or best, key=_score)
        level = self._levelled(best, best.turn) or best
        if level.score < max(face.score - views.level_margin, views.promising_score):
            return face
        return replace(level, settled=level.score >= views.settled_score and self._outdoes(level, level.turn))

    def _levelled(self, face: Face, turn: float) -> Face | None:
        """``face``, seen at ``turn``, or what close-ups to the side of it show: the one whose worse side is the best.

        None where neither side looks like a face: a face that is not upside down bears a little turning.
        """
        seen: dict[int, Face | None] = {0: face}

        def score(steps: int) -> float:
            if steps not in seen:
                seen[steps] = self._best(face, [(turn + steps * STEP, face.negative)])
            one = seen[steps]
            return 0.0 if one is None else one.score

        def poise(steps: int) -> tuple[float, float]:
            return min(score(steps - 1), score(steps + 1)), score(steps)

        at = 0
        for _ in range(MAX_STEPS):
            low, high = sorted([score(at - 1), score(at + 1)])
            if high <= score(at) or (high <= score(at) + BETTER and high - low <= self._views.level_margin):
                break
            towards = at + (1 if score(at + 1) == high else -1)
            if poise(towards) <= poise(at):
                break
            at = towards
        bears = max(score(at - 1), score(at + 1)) >= score(at) - self._views.max_drop
        return seen[at] if bears else None

    def _outdoes(self, face: Face, turn: float) -> bool:
        """Whether neither the negative nor the opposite of ``face``, upright at ``turn``, shows a better one there."""
        rival = self._best(face, [(turn, not face.negative), (turn + 180, face.negative)])
        return rival is None or rival.score < face.score - RIVAL_MARGIN

    def _best(self, face: Face, ways: Sequence[tuple[float, bool]]) -> Face | None:
        """The best face where ``face`` lies, over close-ups at these turns and polarities."""
        shown = (self.faces_in(close_up(face, turn, negative)) for turn, negative in ways)
        return max((one for faces in shown for one in faces if holds(face, one)), key=_score, default=None)

    def _pixels(self, view: View) -> UInt8:
        """What the detector is shown. Quarter turns of one picture are made from it, not rendered."""
        if view.upright is None:
            shown = self._render(view)
        else:
            if self._last is None or self._last[0] != (view.upright.width, view.upright.height):
                self._last = (view.upright.width, view.upright.height), self._render(view.upright)
            shown = np.ascontiguousarray(np.rot90(self._last[1], round(view.turn / 90)))
        return 255 - shown if view.negative else shown

    def _render(self, view: View) -> UInt8:
        """The view's pixels before inversion: from the smallest picture of the frame that has enough of them, bilinear."""
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
        return pixels


def _score(face: Face) -> float:
    return face.score


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
    faces = [search.closer(face) for face in fast if face.score >= settings.min_score]
    if views.always or not any(face.settled for face in faces):
        places = (search.closer(face) for face in fast if face.score < settings.min_score)
        faces += [face for face in places if face.score >= views.search_score]
    settled = [face for face in faces if face.settled]
    if views.always or not settled:
        faces += _search_whole(search, whole_views(size, views), faces, settings, views)
    elif sum(face.area for face in settled) < views.room * size[0] * size[1]:
        faces += _search_whole(search, glances(size, side=views.glance_side), faces, settings, views)
    return merged(faces, nms_iou=settings.nms_iou)


def _search_whole(
    search: Search, whole: Iterator[View], known: list[Face], settings: FaceSettings, views: ViewSettings
) -> list[Face]:
    """Faces that views of the whole frame show, until one of them is certain (or all are done) or the budget is."""
    new: list[Face] = []
    for view in whole:
        for face in search.faces_in(view):
            if any(one.settled and overlap(face.box, one.box) > settings.nms_iou for one in (*known, *new)):
                continue
            closer = search.closer(face)
            if closer.score >= views.search_score:
                new.append(closer)
        if not views.always and any(face.settled for face in new):
            break
    return new
