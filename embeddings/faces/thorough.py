"""The thorough pass: seeing every face upright, and looking again where the fast pass found nothing certain.

Owns which views (:mod:`embeddings.faces.views`) are looked at, in which order, and when to stop:

*Which way up is a face?* Neither its score nor its landmarks tell: at 20 degrees YuNet scores 0.90 where it scores 0.92
upright, at 180 up to 0.91, and it puts nearly upright landmarks on both. What tells is the comparison: of close-ups of
one face turned by various angles, the one with the highest score is nearly always within 20 degrees of upright. So
every face is looked at turned a little to either side, by quarters, and inverted, and a face that looks better in one
of these is turned on until nothing looks better. No score is compared with a constant.

*Is there another one?* Where no face is settled, quarter turns of the whole frame in both polarities; where one is but
leaves room for others, the same in a much smaller picture, so that a plain face does not hide a turned one beside it.

What the fast pass took for faces is looked at in any case, which costs a quarter of recognising them; everything
else ends when the budget of detector input is spent. Of one place one face is taken, the one that the detector likes
best. Knows nothing of recognition.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from embeddings.faces.tiling import near_squares, search_megapixels
from embeddings.faces.viewing import Viewer
from embeddings.faces.views import Face, View, close_up, glances, holds, merged, moved, overlaps, whole_views
from embeddings.images.decode import Frame
from embeddings.types import FaceDetector, FaceSettings, ViewSettings

TURNS = 16
"""Directions in which a face is sought: 22.5 degrees apart, so that one is within 11 degrees of upright."""
AROUND = (0, 1, -1, TURNS // 4, -TURNS // 4, TURNS // 2)
"""Turns, in sixteenths, that a face has to outdo where it looks best: a little to either side, by quarters, opposite.
"""
SIDES = (64, 96, 192)
"""Sides of close-ups in pixels. The smallest tell quarters and polarity apart, and end the matter for most faces; turns
take larger ones. Of a face without anything around it the smaller ones show nothing."""
CLEAR = 0.1
"""How much better than in other quarters and inverted a face has to look in the smallest close-ups to be left as it
is."""
LEVEL = 10.0
"""Degrees up to which such a face may lean, as these close-ups tell."""
Way = tuple[int, bool]
"""How a face is turned against the view it was found in, in sixteenths, and whether its polarity is changed."""
PLACES = 6
"""Best places of a stage that are looked at closer: a sheet of a hundred false ones must not use up the budget."""


def look_again(
    frame: Frame,
    size: tuple[int, int],
    fast: list[Face],
    tiled: list[Face],
    detector: FaceDetector,
    settings: FaceSettings,
) -> list[Face]:
    """The faces of ``frame``, ``size`` (width, height) at full size, after the thorough pass, best first.

    ``fast`` are the candidates of the fast pass, best first, and ``tiled`` those of tiles; either may have scores below
    ``settings.min_score``. A face that the fast pass found is never lost, only seen better; one that only a tile shows
    counts when a closer look shows it as well, because tiles show much more than a face may hide in. ``detector``
    answers from ``candidate_score`` on. Without ``settings.views`` the answer is what the passes found.
    """
    sure = [face for face in fast if face.score >= settings.min_score]
    tiled = [
        face
        for face in merged(tiled, nms_iou=settings.nms_iou)
        if not any(same(one, face, nms_iou=settings.nms_iou) for one in sure)
    ]
    in_tiles = [face for face in tiled if face.score >= settings.min_score]
    views = settings.views
    if views is None:
        return sorted([*sure, *in_tiles], key=_score, reverse=True)
    viewer = Viewer(frame, detector, megapixels=search_megapixels(size, settings))
    search = Search(viewer, views, settings)
    faces = search.upright(sure[: settings.max_faces], free=True) + sure[settings.max_faces :]
    faces += [face for face in search.upright(in_tiles[: settings.max_faces], free=True) if face.settled]
    unsure = [face for face in (*fast, *tiled) if face.score < settings.min_score]
    places = search.upright(merged(unsure, nms_iou=settings.nms_iou)[:PLACES])
    faces += [face for face in places if face.settled]
    covered = sum(face.area for face in faces if face.settled)
    part, corners = near_squares(size, settings)
    if views.always or covered < views.room * size[0] * size[1]:
        some = list(glances(part, side=views.glance_side))
        faces += search.elsewhere([[moved(view, corner) for corner in corners for view in some]], faces)
    if views.always or not any(face.settled for face in faces):
        stages = ([moved(view, corner) for corner in corners for view in stage] for stage in whole_views(part, views))
        faces += search.elsewhere(stages, faces)
    return merged(faces, nms_iou=settings.nms_iou)


def same(one: Face, other: Face, *, nms_iou: float) -> bool:
    """Whether two detections are of one face."""
    return holds(one, other) or bool(overlaps(one.box, other.box[None])[0] > nms_iou)


class Search:
    """What is looked at in one frame, and why. Lives as long as one call of :func:`look_again`."""

    def __init__(self, viewer: Viewer, views: ViewSettings, settings: FaceSettings) -> None:
        self._viewer = viewer
        self._views = views
        self._settings = settings

    def upright(self, faces: Sequence[Face], *, free: bool = False) -> list[Face]:
        """``faces``, each as the close-ups of its place show it best; *settled* when that is a face in any view.

        ``free``: outside of the budget.
        """
        certain = self._views.search_score
        looks = [Orientation(face, still=self._settings.min_score, certain=certain) for face in faces]
        while True:
            asked = [(look, way) for look in looks for way in look.wanted()]
            if not asked:
                return [look.best() for look in looks]
            shown = self._viewer.faces_in([look.view(way) for look, way in asked], free=free)
            for (look, way), seen in zip(asked, shown, strict=True):
                look.add(way, seen)

    def elsewhere(self, stages: Iterable[Sequence[View]], known: Sequence[Face]) -> list[Face]:
        """Faces that these views show, up to the first stage that shows one for certain."""
        new: list[Face] = []
        for stage in stages:
            settled = [face for face in (*known, *new) if face.settled]
            shown = sorted((one for faces in self._viewer.faces_in(stage) for one in faces), key=_score, reverse=True)
            places: list[Face] = []
            for face in shown:
                if not any(same(one, face, nms_iou=self._settings.nms_iou) for one in (*settled, *places)):
                    places.append(face)
            closer = self.upright(places if self._views.always else places[:PLACES])
            new += [face for face in closer if face.settled]
            if not self._views.always and any(face.settled for face in new):
                break
        return new


class Orientation:
    """What close-ups of one place have shown so far."""

    def __init__(self, face: Face, *, still: float, certain: float) -> None:
        """``still``: detector score from which something is a face; ``certain``: from which it is *settled*."""
        self._face = face
        self._still = still
        self._certain = certain
        self._seen: dict[Way, Face | None] = {}
        self._size = 0
        self._ruled_out = False
        """Whether small close-ups have shown that it is in no other quarter and not inverted."""

    def view(self, way: Way) -> View:
        """The close-up for ``way``."""
        turn, negative = self._face.turn + way[0] * 360 / TURNS, self._face.negative != way[1]
        return close_up(self._face, turn, negative, side=SIDES[self._size])

    def add(self, way: Way, shown: Sequence[Face]) -> None:
        """Take note of what the close-up for ``way`` has shown."""
        self._seen[way] = max((one for one in shown if holds(self._face, one)), key=_score, default=None)

    def wanted(self) -> list[Way]:
        """Ways to look in next; none once nothing promises more.

        The smallest close-ups are enough where they leave no doubt, and where only the lean is in doubt, the others
        are about that alone. Otherwise a face that looks best as it was
        found is upright. One that looks best a little turned is turned on until its surroundings look worse. One that
        looks best in another quarter or polarity was misjudged, and all turns of that polarity are looked at.
        """
        if self._seen and self._size == 0:
            if self._is_clear():
                return []
            self._ruled_out = self._margin() >= CLEAR
            self._size, self._seen = 1, {}
        elif self._seen and self._blind() and self._size + 1 < len(SIDES):
            self._size += 1
            self._seen = {}
            self._ruled_out = False
        best, changed = self._best_way()
        turns = AROUND if not changed and self._climbed(best) else range(TURNS)
        ways = [(_turn(best + turn), changed) for turn in turns] + [(best, not changed)]
        if self._ruled_out:
            ways = [(_turn(best + turn), False) for turn in (0, 1, -1)]
        return [way for way in ways if way not in self._seen]

    def best(self) -> Face:
        """The face as it is seen best: as it was found unless a close-up shows it turned, or twice as large and better.

        *Settled* when some view gives it the certain score, and turned a little more to one side it still is a face.
        """
        way = self._upright_way()
        shown = self._seen.get(way)
        face = self._face
        if shown is None or self._blind():
            return replace(face, settled=face.score >= self._certain)
        if way != (0, False):
            level, lean = self._level(way)
            return replace(shown, settled=self._is_settled(way), level=level, lean=lean)
        better = shown.score > face.score and shown.pixels > 2 * face.pixels
        return replace(shown if better else face, settled=self._is_settled(way))

    def _is_settled(self, way: Way) -> bool:
        shown = self._seen.get(way)
        sides = (self._at(way[0] + side, way[1]) for side in (1, -1))
        return max(_score(shown), self._face.score) >= self._certain and max(sides) >= self._still

    def _is_clear(self) -> bool:
        """Whether the smallest close-ups leave no doubt that the face is as it was found."""
        level = abs(self._lean(0, changed=False)) < LEVEL
        return self._margin() >= CLEAR and level and self._is_settled((0, False))

    def _margin(self) -> float:
        """How much better the face looks as it was found than in other quarters and inverted."""
        ways = [(turn, False) for turn in AROUND if turn and turn % (TURNS // 4) == 0] + [(0, True)]
        return self._at(0, False) - max(_score(self._seen.get(way)) for way in ways)

    def _level(self, way: Way) -> tuple[Face | None, float]:
        """The face in the quarter turn beside ``way``, and by how many degrees it leans against that."""
        side = next((side for side in (1, -1) if (way[0] + side) % (TURNS // 4) == 0), 0)
        quarter = way[0] + side
        level = self._seen.get((_turn(quarter), way[1])) if side else None
        return level, abs(self._lean(quarter, way[1])) if level else 0.0

    def _lean(self, turn: int, changed: bool) -> float:
        """Degrees by which the face looks best beside a turn: the vertex of the parabola through three scores."""
        before, at, after = (self._at(turn + side, changed) for side in (-1, 0, 1))
        bend = 2 * at - before - after
        step = 360 / TURNS
        return step / 2 * (after - before) / bend if bend > 0 else step if after >= before else -step

    def _blind(self) -> bool:
        """Whether close-ups show neither the face that was found nor a better one."""
        if self._face.score < self._still:
            return False
        return self._seen.get((0, False)) is None and _score(self._seen[self._best_way()]) < self._face.score

    def _best_way(self) -> Way:
        """The way with the best score, the one it was found in where several have it."""
        return max(self._seen, key=lambda way: (_score(self._seen[way]), way == (0, False)), default=(0, False))

    def _upright_way(self) -> Way:
        """The best way, or the quarter turn beside it unless the turns beyond the two say that it is less upright.

        Scores hardly differ within 20 degrees of upright and fall alike on either side of it, and pictures are more
        often turned by quarters, or not at all, than by anything else.
        """
        turn, changed = self._best_way()
        side = next((side for side in (1, -1) if (turn + side) % (TURNS // 4) == 0), 0)
        quarter = (_turn(turn + side), changed)
        upright = (
            side and self._seen.get(quarter) and self._at(turn + 2 * side, changed) >= self._at(turn - side, changed)
        )
        return quarter if upright else (turn, changed)

    def _at(self, turn: int, changed: bool) -> float:
        """Score at a turn; 0 where nothing was seen."""
        return _score(self._seen.get((_turn(turn), changed)))

    def _climbed(self, best: int) -> bool:
        """Whether every turn between the one it was found in and ``best`` was looked at, so that it was turned on."""
        return all((turn, False) in self._seen for turn in range(0, best, 1 if best > 0 else -1))


def _turn(sixteenths: int) -> int:
    """The same turn between one half turn and the other, -7 to 8."""
    return (sixteenths + TURNS // 2 - 1) % TURNS - TURNS // 2 + 1


def _score(face: Face | None) -> float:
    return 0.0 if face is None else face.score
