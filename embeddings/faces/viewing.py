"""Showing views of a frame to the detector, within a budget.

Owns how a view is rendered, and the budget: small views are laid out on sheets, because a call costs as much as a third
of a close-up, quarter turns are made from one picture, and no view is shown twice. What to look at is
:mod:`embeddings.faces.thorough`'s affair, geometry that of :mod:`embeddings.faces.views`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from embeddings.faces.detection import CELL, halve
from embeddings.faces.views import Face, View, taken_back
from embeddings.images.decode import Frame
from embeddings.images.warping import warped
from embeddings.types import Detections, FaceDetector, UInt8

GROUND = 128
"""Grey outside the frame: the negative of itself."""
SMALL = 192
"""Views up to this side, in pixels, share sheets."""
SHEET_VIEWS = 16
"""Views on one sheet."""
SHEET_COLUMNS = 4
"""Widths of a sheet that are tried, in widths of its widest view."""

Level = tuple[UInt8, float, tuple[float, float]]
Key = tuple[bytes, int, int, bool]


class Viewer:
    """One frame, the pictures of it, and what may still be spent on it."""

    def __init__(self, frame: Frame, detector: FaceDetector, *, megapixels: float) -> None:
        self._frame = frame
        self._levels = levels(frame)
        self._detector = detector
        self._seen: dict[Key, list[Face]] = {}
        self._upright: tuple[Key, UInt8] | None = None
        self.left = megapixels
        """Megapixels of detector input that may still be spent."""

    def faces_in(self, views: Sequence[View], *, free: bool = False) -> list[list[Face]]:
        """For each view what the detector sees in it, best first; nothing where the budget does not reach that far.

        ``free``: the budget is left alone.
        """
        left = self.left
        if free:
            self.left = math.inf
        new = {_key(view): view for view in views if _key(view) not in self._seen}
        small = [view for view in new.values() if max(view.width, view.height) <= SMALL]
        for view in new.values():
            if max(view.width, view.height) > SMALL and self._spend(_cost(view)):
                self._seen[_key(view)] = taken_back(self._detector.detect(self._pixels(view), as_is=True), view)
        small.sort(key=lambda view: (view.height, view.width))
        for start in range(0, len(small), SHEET_VIEWS):
            self._show_sheet(small[start : start + SHEET_VIEWS])
        if free:
            self.left = left
        return [self._seen.get(_key(view), []) for view in views]

    def _show_sheet(self, views: Sequence[View]) -> None:
        """Show several small views at once. What is found belongs to the view that its box has its centre in."""
        width, height, corners = min(
            (_shelves(views, columns) for columns in range(1, SHEET_COLUMNS + 1)), key=lambda sheet: sheet[0] * sheet[1]
        )
        if not self._spend(max(width * height, sum(_cost(view) for view in views))):
            return
        sheet = np.full((height, width, 3), GROUND, dtype=np.uint8)
        for (x, y), view in zip(corners, views, strict=True):
            sheet[y : y + view.height, x : x + view.width] = self._pixels(view)
        found = self._detector.detect(sheet, as_is=True)
        self._seen |= {_key(view): [] for view in views}
        if not len(found):
            return
        centres = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2
        for corner, view in zip(corners, views, strict=True):
            at = np.array(corner, dtype=np.float32)
            inside = ((centres >= at) & (centres < at + np.array([view.width, view.height]))).all(axis=1)
            part = Detections(found.boxes[inside] - np.tile(at, 2), found.landmarks[inside] - at, found.scores[inside])
            self._seen[_key(view)] = taken_back(part, view)

    def _spend(self, pixels: int) -> bool:
        """Take that much from the budget, if it is there."""
        enough = pixels / 1e6 <= self.left
        self.left -= pixels / 1e6 if enough else 0
        return enough

    def _pixels(self, view: View) -> UInt8:
        """What the detector is shown. Quarter turns of one picture are made from it, not rendered."""
        if view.upright is None:
            shown = self._render(view)
        else:
            if self._upright is None or self._upright[0] != _key(view.upright):
                self._upright = _key(view.upright), self._render(view.upright)
            shown = np.rot90(self._upright[1], round(view.turn / 90))
        return 255 - shown if view.negative else np.ascontiguousarray(shown)

    def _render(self, view: View) -> UInt8:
        """The view before inversion: from the smallest picture of the frame that has enough pixels, bilinear."""
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
        return warped(image, matrix, size, ground=GROUND)


def _shelves(views: Sequence[View], columns: int) -> tuple[int, int, list[tuple[int, int]]]:
    """Width, height and the corners of ``views``, lowest first, on shelves as wide as ``columns`` of the widest."""
    room = columns * max(view.width for view in views)
    corners, x, y, shelf, width = list[tuple[int, int]](), 0, 0, 0, 0
    for view in views:
        if x + view.width > room:
            x, y, shelf = 0, y + shelf, 0
        corners.append((x, y))
        x, shelf = x + view.width, max(shelf, view.height)
        width = max(width, x)
    return width, y + shelf, corners


def _cost(view: View) -> int:
    """Pixels of detector input that a view is charged: a thin one what it is padded to."""
    return max(view.width, CELL) * max(view.height, CELL)


def _key(view: View) -> Key:
    return view.matrix.tobytes(), view.width, view.height, view.negative


def levels(frame: Frame) -> list[Level]:
    """The frame's picture and its halves down to about 100 pixels: image, pixels per full-size pixel, offset."""
    found: list[Level] = [(frame.image, frame.scale, frame.offset)]
    while min(found[-1][0].shape[:2]) >= 200:
        image, scale, offset = found[-1]
        found.append((halve(image), scale / 2, offset))
    return found
