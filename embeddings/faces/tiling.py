"""Tiles: small faces in large frames, and the panels of long ones.

Owns which frames are cut, at which size, and where. The fast pass shows a frame at a fixed size, so that a face of 60
pixels in a frame of 6000 is 6 pixels there; docs/recall.md says how large a face has to be for the detector. A frame
whose short side is hardly shown at all is worse off: in a comic strip of twenty panels the fast pass sees each as a
thumbnail. So a frame that is large, or longer than ``LONG``, is shown once more in overlapping tiles:

- a *large* one so that a face of ``smallest_face`` pixels is ``SEEN`` pixels for the detector;
- a *long* one as if it were cut into near-squares and each were a picture of its own, at both scales of the fast pass.

Detector input stays within ``megapixels`` for each frame; beyond, tiles are shown smaller, and the smallest face grows
(:func:`smallest_seen`). What touches an edge that a neighbour overlaps is left to the neighbour, which has all of it.
A face that only tiles show is one when a close-up shows it too (:mod:`embeddings.faces.thorough`). Knows nothing of
turned or inverted faces.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil, sqrt

import numpy as np

from embeddings.faces.detection import CELL, resize_to
from embeddings.faces.views import QUARTERS, Face, View, taken_back
from embeddings.images.decode import Frame
from embeddings.types import FaceDetector, FaceSettings

LONG = 2.5
"""Longer side by shorter side from which a frame is seen as near-squares."""
SEEN = 30
"""Longer side of a face's box, in pixels of the detector's input, that tiles aim at."""
WORTH = 1.3
"""Times as large as in the fast pass tiles have to show a frame: ordinary pictures are not shown twice."""
SIDE = 1024
"""Longest side of a tile, in pixels of the detector's input: its memory and the overlap are bounded by it."""
OVERLAP = 128
"""Pixels of detector input that neighbouring tiles share, where there are as many: a face up to that size is whole in
one of them, and a larger one the fast pass sees."""
LEAST_SIDE = 16
"""Shorter side of a frame, in pixels, below which nothing in it is a face: the fast pass alone sees such a frame."""
TILE = "tile"
"""The view of a face that only a tile shows."""


def tile_scale(size: tuple[int, int], settings: FaceSettings) -> float | None:
    """Pixels of detector input per pixel of a frame of ``size`` (width, height) in tiles; None: it is not cut."""
    tiles = settings.tiles
    if tiles is None or min(size) < LEAST_SIDE:
        return None
    shown = min(1.0, max(settings.scales) / max(size))
    wanted = min(1.0, max(settings.scales) / min(size) if is_long(size) else SEEN / tiles.smallest_face)
    scale = min(wanted, sqrt(1e6 * tiles.megapixels / (size[0] * size[1])))
    while scale >= WORTH * shown:
        across, down = (sum(max(part, CELL) for _, part in _parts(side)) for side in shown_size(size, scale))
        if across * down <= 1e6 * tiles.megapixels:  # a thin tile costs what it is padded to
            return scale
        scale *= 0.98  # tiles overlap
    return None


def is_long(size: tuple[int, int]) -> bool:
    """Whether a frame of ``size`` is seen as near-squares."""
    return max(size) > LONG * min(size)


def smallest_seen(size: tuple[int, int], settings: FaceSettings) -> float:
    """Longer side, in pixels of a frame of ``size``, of the smallest face that the detector is shown large enough."""
    fast = min(1.0, max(settings.scales) / max(size))
    return SEEN / max(fast, tile_scale(size, settings) or 0.0)


def places(size: tuple[int, int], scale: float) -> list[tuple[int, int, int, int]]:
    """Tiles (x, y, width, height), in pixels of detector input, of a frame of ``size`` shown at ``scale``."""
    width, height = shown_size(size, scale)
    return [(x, y, across, down) for y, down in _parts(height) for x, across in _parts(width)]


def shown_size(size: tuple[int, int], scale: float) -> tuple[int, int]:
    """Width and height of a frame of ``size`` at ``scale``."""
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _parts(length: int) -> list[tuple[int, int]]:
    """Starts and lengths of the fewest parts of one side, alike in length."""
    count = 1 if length <= SIDE else ceil((length - OVERLAP) / (SIDE - OVERLAP))
    part = ceil((length + (count - 1) * OVERLAP) / count)
    return [(round((length - part) * at / max(count - 1, 1)), part) for at in range(count)]


def faces_in_tiles(frame: Frame, size: tuple[int, int], detector: FaceDetector, settings: FaceSettings) -> list[Face]:
    """What tiles of ``frame``, ``size`` at full size, show; nothing for a frame that is not cut.

    ``detector`` answers as for the fast pass. A face that several tiles show is there several times.
    """
    scale = tile_scale(size, settings)
    if scale is None:
        return []
    scales = [scale]
    if is_long(size):  # a face that fills its near-square, as the fast pass looks for one that fills its frame
        scales.append(scale * min(settings.scales) / max(settings.scales))
    sharp = frame.at_least(scale)
    return [face for one in scales for face in _shown(sharp, size, one, detector)]


def _shown(frame: Frame, size: tuple[int, int], scale: float, detector: FaceDetector) -> Iterator[Face]:
    whole, across, down = resize_to(frame.image, long_side=max(shown_size(size, scale)))
    linear = np.diag([across * frame.scale, down * frame.scale])
    start = -linear @ np.asarray(frame.offset)
    height, width = whole.shape[:2]
    for y, down_part in _parts(height):
        for x, across_part in _parts(width):
            corner = np.array([x, y], dtype=np.float32)
            far = corner + np.array([across_part, down_part], dtype=np.float32)
            found = detector.detect(np.ascontiguousarray(whole[y : y + down_part, x : x + across_part]), as_is=True)
            boxes = found.boxes + np.tile(corner, 2)
            inner = ((boxes[:, :2] > corner + 1) | (corner == 0)).all(axis=1)
            inner &= ((boxes[:, 2:] < far - 1) | (far == [width, height])).all(axis=1)
            matrix = np.column_stack([linear, start - corner]).astype(np.float32)
            view = View(TILE, matrix, across_part, down_part, 0.0, negative=False)
            for face, whole_face in zip(taken_back(found, view), inner.tolist(), strict=True):
                if whole_face:
                    yield face


def near_squares(size: tuple[int, int], settings: FaceSettings) -> tuple[tuple[int, int], list[tuple[int, int]]]:
    """The size and the corners, in pixels of the frame, of the near-squares that a long frame is searched in.

    Neighbours share a third. There are no more than the budget of the search pays glances of, so that the shape of a
    frame does not decide what it costs. A frame that is not long is its own; a long one of less than ``LEAST_SIDE``
    pixels has none.
    """
    if not is_long(size):
        return size, [(0, 0)]
    short = min(size)
    if short < LEAST_SIDE:
        return size, []
    count = ceil((max(size) - short / 3) / (short * 2 / 3))
    shown = max(CELL, min(short, settings.views.glance_side)) if settings.views else CELL
    paid = ceil(1e6 * search_megapixels(size, settings) / (len(QUARTERS) * shown**2))
    starts = [round((max(size) - short) * at / (count - 1)) for at in range(min(count, paid))]
    return (short, short), [(start, 0) if size[0] > size[1] else (0, start) for start in starts]


def search_megapixels(size: tuple[int, int], settings: FaceSettings) -> float:
    """Detector input that the search for hidden faces in a frame of ``size`` may cost, in millions of pixels.

    A long frame is as many pictures as it has near-squares, so its search may cost what its tiles may.
    """
    own = settings.views.megapixels if settings.views else 0.0
    return max(own, settings.tiles.megapixels) if settings.tiles and is_long(size) else own
