"""Which frames of an animation or a video are looked at: by time, and by change.

Half of them are those that are shown at evenly spaced instants, first and last frame among them: what a viewer sees for
long is never missed. The other half are those that differ most from all that were chosen before (farthest-point
sampling, Gonzalez 1985): what is shown briefly is missed only where many other frames differ more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from embeddings.types import Float32, UInt8

_SIDE: Final = 16
"""Side of the reduced picture by which frames are compared."""
_SMALL_SIDE: Final = 4
_MANY: Final = 4096
"""Frames from which the reduced pictures are smaller, so that they and the choice stay bounded."""


@dataclass(frozen=True, slots=True)
class Sampled:
    """What is known of one frame when frames are chosen."""

    start: float
    """When it begins to be shown, in seconds."""
    signature: UInt8
    """The reduced picture, flat."""


def sample(total: int, *, at_most: int) -> list[int]:
    """Choose ``at_most`` evenly spaced indices below ``total``, first and last included; all of them if they are
    few."""
    if total <= at_most:
        return list(range(total))
    if at_most == 1:
        return [0]
    return [(position * (total - 1) + (at_most - 1) // 2) // (at_most - 1) for position in range(at_most)]


def signature(image: UInt8, *, many: int) -> UInt8:
    """Reduce ``image`` (h, w, 3) to what frames are compared by, where there are ``many``."""
    side = _SIDE if many <= _MANY else _SMALL_SIDE
    small: UInt8 = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
    return small.reshape(-1)


def choose(frames: Sequence[Sampled], *, at_most: int, end: float | None = None) -> list[int]:
    """Choose the positions of at most ``at_most`` of ``frames``, in order; all of them if they are few.

    ``end``: when the last one ends to be shown; None: it is shown for as long as the others on average.
    """
    if len(frames) <= at_most:
        return list(range(len(frames)))
    if at_most == 1:
        return [0]
    chosen = set(_by_time([frame.start for frame in frames], end, at_most=-(-at_most // 2)))
    chosen |= {0, len(frames) - 1}
    pictures = np.stack([frame.signature for frame in frames]).astype(np.float32)
    nearest = np.full(len(frames), np.inf, dtype=np.float32)
    for at in chosen:
        nearest = np.minimum(nearest, _distances(pictures, at))
    spare = sample(len(frames), at_most=at_most)
    while len(chosen) < at_most:
        farthest = int(nearest.argmax())
        if nearest[farthest] <= 0:  # nothing else differs: whatever is evenly spaced
            farthest = next((at for at in spare if at not in chosen), -1)
            if farthest < 0:
                break
        chosen.add(farthest)
        nearest = np.minimum(nearest, _distances(pictures, farthest))
    return sorted(chosen)


def _by_time(starts: Sequence[float], end: float | None, *, at_most: int) -> list[int]:
    """The frames shown at ``at_most`` evenly spaced instants."""
    last = starts[-1] + (starts[-1] - starts[0]) / max(len(starts) - 1, 1) if end is None else end
    instants = np.linspace(starts[0], max(last, starts[-1]), at_most, endpoint=False)
    shown: list[int] = (np.searchsorted(np.asarray(starts), instants, side="right") - 1).clip(0).tolist()
    return shown


def _distances(pictures: Float32, at: int) -> Float32:
    distances: Float32 = np.square(pictures - pictures[at]).sum(axis=1)
    return distances
