"""The thorough pass: looking again where the fast pass found nothing, or something uncertain.

Owns which views (:mod:`embeddings.faces.views`) are looked at, in which order, and when to stop:

*Is a face upright?* Neither a high score nor its landmarks tell: at 30 degrees YuNet scores 0.92 and puts upright
landmarks beside the eyes. What tells is that a level face keeps its score when it is turned a little to either side,
and a tilted one gains on one side and loses on the other. So every face of the fast pass gets two small close-ups.

*What else might it be?* A face that is not clear is looked at in eighths of a turn and both polarities.

*Is there another one?* Where no face is settled, quarter turns of the whole frame in both polarities; where one is but
leaves room for others, the same in a much smaller picture, so that a plain face does not hide a turned one beside it.

All of it ends when the budget of detector input is spent; looking at what the fast pass found may take half of it. Of
one place one face is taken, the one that the detector likes best. Knows nothing of recognition.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from embeddings.faces.viewing import Viewer
from embeddings.faces.views import (
    CLOSE_SIDE,
    EIGHTHS,
    Face,
    View,
    close_up,
    glances,
    holds,
    merged,
    overlaps,
    whole_views,
)
from embeddings.images.decode import Frame
from embeddings.types import FaceDetector, FaceSettings, ViewSettings

STEP = 25.0
"""Degrees between the close-ups that level a face: less and scores hardly differ, more and they are all low."""
MAX_STEPS = 4
BETTER = 0.02
"""How much higher than a level face one to the side of it may score."""
PLACES = 6
"""Best places of a stage that are looked at closer: a sheet of a hundred false ones must not use up the budget."""
NEAR = (0, 45, -45, 180)
"""Turns at which a place is looked at first, from the turn at which it was seen."""
RIVAL_MARGIN = 0.03
"""How much lower the negative and the opposite of a face have to score."""


def look_again(
    frame: Frame, size: tuple[int, int], fast: list[Face], detector: FaceDetector, settings: FaceSettings
) -> list[Face]:
    """The faces of ``frame``, ``size`` (width, height) at full size, after the thorough pass, best first.

    ``fast`` are the candidates of the fast pass, best first, which may have scores below ``settings.min_score``. A face
    that it found is never lost, only seen better. ``detector`` answers from ``candidate_score`` on. Without
    ``settings.views`` the answer is what the fast pass found.
    """
    sure = [face for face in fast if face.score >= settings.min_score]
    views = settings.views
    if views is None:
        return sure
    search = Search(Viewer(frame, detector, megapixels=views.megapixels), views, nms_iou=settings.nms_iou)
    faces = search.look_at(sure)
    if views.always or not any(face.settled for face in faces):
        places = search.look_at([face for face in fast if face.score < settings.min_score])
        faces += [face for face in places if face.score >= views.search_score]
    covered = sum(face.area for face in faces if face.settled)
    if views.always or covered < views.room * size[0] * size[1]:
        faces += search.elsewhere([list(glances(size, side=views.glance_side))], faces)
    if views.always or not any(face.settled for face in faces):
        faces += search.elsewhere(whole_views(size, views), faces)
    return merged(faces, nms_iou=settings.nms_iou)


class Search:
    """What is looked at in one frame, and why. Lives as long as one call of :func:`look_again`."""

    def __init__(self, viewer: Viewer, views: ViewSettings, *, nms_iou: float) -> None:
        self._viewer = viewer
        self._views = views
        self._nms_iou = nms_iou

    def look_at(self, faces: Sequence[Face]) -> list[Face]:
        """``faces``, each closer, for at most half of the budget. The sides of clear ones are shown together."""
        reserve = self._views.megapixels / 2
        affordable = max(0, int((self._viewer.left - reserve) * 1e6 / (2 * CLOSE_SIDE**2)))
        clear = [face for face in faces if self._clear(face) and face.score < self._views.sure_score][:affordable]
        self._viewer.faces_in([close_up(one, one.tilt + turn, one.negative) for one in clear for turn in (-STEP, STEP)])
        return [self.closer(face) if self._viewer.left >= reserve else face for face in faces]

    def elsewhere(self, stages: Iterable[Sequence[View]], known: Sequence[Face]) -> list[Face]:
        """Faces that these views show, up to the first stage that shows one for certain."""
        new: list[Face] = []
        for stage in stages:
            shown = sorted((one for faces in self._viewer.faces_in(stage) for one in faces), key=_score, reverse=True)
            for face in shown if self._views.always else shown[:PLACES]:
                if any(one.settled and self._same(one, face) for one in (*known, *new)):
                    continue
                closer = self.closer(face)
                if closer.score >= self._views.search_score:
                    new.append(closer)
            if not self._views.always and any(face.settled for face in new):
                break
        return new

    def closer(self, face: Face) -> Face:
        """``face``, or what close-ups of its place show better; *settled* when they leave no doubt of it.

        A clear face that scores very high or is level stays as it is. Any other is sought in both polarities, in the
        turns near its own and, unless one of them is certain, in all eighths; the best is levelled and set against
        its negative and its opposite.
        """
        views = self._views
        if self._clear(face) and face.score >= views.sure_score:
            return replace(face, settled=True)
        level = self._levelled(face, face.tilt) if self._clear(face) else None
        if level is not None and (level.score >= views.certain_score or self._outdoes(level, level.tilt)):
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

    def _clear(self, face: Face) -> bool:
        """Whether a face needs no more than levelling."""
        views = self._views
        return face.score >= views.clear_score and face.pixels >= views.tiny_pixels and face.lean <= views.max_lean

    def _levelled(self, face: Face, turn: float) -> Face | None:
        """``face``, seen at ``turn``, or what close-ups to the side show: what scores best together with its sides.

        None where neither side looks like a face: one that is not upside down bears a little turning.
        """
        seen: dict[int, Face | None] = {0: face}

        def score(steps: int) -> float:
            if steps not in seen:
                seen[steps] = self._best(face, [(turn + steps * STEP, face.negative)])
            one = seen[steps]
            return 0.0 if one is None else one.score

        def poise(steps: int) -> float:
            return score(steps - 1) + score(steps) + score(steps + 1)

        at = 0
        self._best(face, [(turn - STEP, face.negative), (turn + STEP, face.negative)])
        for _ in range(MAX_STEPS):
            low, high = sorted([score(at - 1), score(at + 1)])
            level = high - low <= self._views.level_margin and high <= score(at) + BETTER
            if level or (low > 0 and high <= score(at)):
                break
            towards = at + (1 if score(at + 1) == high else -1)
            if poise(towards) <= poise(at):
                break
            at = towards
        bears = max(score(at - 1), score(at + 1)) >= score(at) - self._views.max_drop
        return seen[at] if bears else None

    def _outdoes(self, face: Face, turn: float) -> bool:
        """Whether neither the negative nor the opposite of ``face``, upright at ``turn``, comes near its score."""
        rival = self._best(face, [(turn, not face.negative), (turn + 180, face.negative)])
        return rival is None or rival.score < face.score - RIVAL_MARGIN

    def _best(self, face: Face, ways: Sequence[tuple[float, bool]]) -> Face | None:
        """The best face where ``face`` lies, over close-ups at these turns and polarities."""
        shown = self._viewer.faces_in([close_up(face, turn, negative) for turn, negative in ways])
        return max((one for faces in shown for one in faces if holds(face, one)), key=_score, default=None)

    def _same(self, one: Face, other: Face) -> bool:
        return holds(one, other) or bool(overlaps(one.box, other.box[None])[0] > self._nms_iou)


def _score(face: Face) -> float:
    return face.score
