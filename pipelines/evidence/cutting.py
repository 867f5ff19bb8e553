"""The part of a picture that a hit is about: a face with its margin, or the whole. Pixels in, pixels out."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from embeddings.errors import StateError, UnscannableError
from embeddings.images.look_names import FIRST, look_of_view
from embeddings.types import UInt8
from pipelines.home.workspace import Workspace
from pipelines.settings.config_evidence import EvidenceConfig

if TYPE_CHECKING:
    from embeddings.images.decode import Frame

MARGIN: Final = 0.5
"""Share of a face box's longer side that is shown around the box: enough to see the situation."""
LONG_SIDE: Final = 768
"""Pixels of what is shown, at most."""
FIRST_PLACE: Final = (0, FIRST)
"""The first frame as a browser shows it."""
_LEAST_SIDE: Final = 16
_SMALLER: Final = 0.75
"""A JPEG that is too large is made again at this share of its sides and its quality."""


@dataclass(frozen=True, slots=True)
class Cut:
    """What was cut out of a frame. ``pixels``: uint8 (h, w, 3); ``frame_size``: width and height of the upright frame,
    at full size, which is not the item's where the item is several pictures."""

    pixels: UInt8
    frame_size: tuple[int, int]


def frames_of(workspace: Workspace, data: bytes) -> Iterator[Frame]:
    """Decode the frames of a picture that are scanned, each in all its looks, one by one. Raises
    :class:`ItemError`."""
    return workspace.decoder(data, limits=workspace.limits, long_side=LONG_SIDE).frames


def place_of(row: Any) -> tuple[int, str]:
    """The number of the frame that a hit is in, and the look at it that shows the face. ``row`` has ``frame`` and
    ``view`` of the hit."""
    return row.frame or 0, look_of_view(row.view)


def frame_of(workspace: Workspace, data: bytes, place: tuple[int, str]) -> Frame:
    """Decode one frame of a picture in one look (:func:`place_of`), and hold no other. Raises :class:`ItemError`, and
    :class:`StateError` if it is not among those that are scanned."""
    for frame in frames_of(workspace, data):
        if (frame.index, frame.look) == place:
            return frame
    raise StateError("the picture has this frame no more among those that are looked at")


def cut_hit(frame: Frame, row: Any, *, long_side: int) -> Cut:
    """Cut out what a hit is about, with neither side above ``long_side``, from the frame in the look that it is in.

    ``row`` has the box ``x1`` to ``y2`` of the hit, None where it is no face, and the item's ``width`` and ``height``.
    """
    size = frame_size(frame, row)
    box = (0.0, 0.0, float(size[0]), float(size[1])) if row.x1 is None else (row.x1, row.y1, row.x2, row.y2)
    return Cut(_cut(frame, _widened(box, size), long_side=long_side), size)


def frame_size(frame: Frame, row: Any) -> tuple[int, int]:
    """Return the width and height of an upright frame at full size: its own, or the item's (``row``)."""
    return frame.own_size or (row.width, row.height)


def place_in_cut(row: Any, size: tuple[int, int], frame_size: tuple[int, int]) -> tuple[float, float, float, float]:
    """Where a hit's own box lies in what :func:`cut_hit` made of it: x1, y1, x2, y2 in pixels of a cut of ``size``.

    ``frame_size``: as the cut states it.
    """
    left, top, right, bottom = _widened((row.x1, row.y1, row.x2, row.y2), frame_size)
    across, down = size[0] / max(right - left, 1.0), size[1] / max(bottom - top, 1.0)
    return (row.x1 - left) * across, (row.y1 - top) * down, (row.x2 - left) * across, (row.y2 - top) * down


def overlap(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> float:
    """Intersection over union of two boxes, 0 to 1."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(width, 0.0) * max(height, 0.0)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return shared / (areas - shared) if shared else 0.0


def as_jpeg(pixels: UInt8, config: EvidenceConfig) -> tuple[bytes, int, int]:
    """Encode a JPEG of at most ``picture_bytes``, without metadata; return it with its width and height."""
    from PIL import Image

    picture, quality = Image.fromarray(pixels).convert("RGB"), config.quality
    while True:
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=quality, optimize=True)
        if buffer.tell() <= config.picture_bytes:
            return buffer.getvalue(), picture.width, picture.height
        if max(picture.size) <= _LEAST_SIDE:
            raise UnscannableError("too_large", "the picture cannot be made small enough to be kept")
        sides = max(1, int(picture.width * _SMALLER)), max(1, int(picture.height * _SMALLER))
        picture, quality = picture.resize(sides), max(10, int(quality * _SMALLER))


def _widened(box: tuple[float, float, float, float], size: tuple[int, int]) -> tuple[float, float, float, float]:
    """The box with its margin, within a frame of ``size``."""
    margin = MARGIN * max(box[2] - box[0], box[3] - box[1])
    x1, y1, x2, y2 = box[0] - margin, box[1] - margin, box[2] + margin, box[3] + margin
    return max(x1, 0.0), max(y1, 0.0), min(x2, float(size[0])), min(y2, float(size[1]))


def _cut(frame: Frame, box: tuple[float, float, float, float], *, long_side: int) -> UInt8:
    """Cut out ``box``, in pixels of the full-size frame, as sharp as possible."""
    from PIL import Image

    size = max(box[2] - box[0], box[3] - box[1])
    sharp = frame.at_least(min(1.0, long_side / max(size, 1.0)))
    (left, top), (right, bottom) = sharp.from_full(np.array([box[:2], box[2:]], dtype=np.float32)).round().astype(int)
    height, width = sharp.image.shape[:2]
    left, top = min(max(left, 0), width - 1), min(max(top, 0), height - 1)
    part = sharp.image[top : max(bottom, top + 1), left : max(right, left + 1)]
    shown = Image.fromarray(np.ascontiguousarray(part))
    shown.thumbnail((long_side, long_side))
    return np.asarray(shown)
