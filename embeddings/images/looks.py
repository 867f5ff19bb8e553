"""Looks at one picture: what viewers make of it where they do not agree, and what a narrow range of levels hides.

Owns the rules. The first look is what a browser shows on a white page. There is another one only where it shows
something materially else:

* ``black``: over black, where the alpha channel itself carries a picture. That is measured on the alpha channel and on
  the picture over white, reduced and in blocks of ``BLOCK`` pixels. In some block the alpha varies by at least
  ``SOFT`` levels (standard deviation) and half of it is neither clear nor opaque; or in ``CROWDED`` of nine blocks
  together it varies by ``HARD`` levels and the picture over white by less than a quarter of that. An outline of
  something opaque does neither.
* ``as_stored``: without the file's gamma or profile, which many programs leave out, where that moves the reduced
  picture by ``MOVED`` levels on average and leaves something to see.
* ``stretched``: with the levels stretched to the whole range, where nearly all lie within ``NARROW`` of 255.

Numbers: tests/embeddings/test_looks.py says on what they were measured.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar, cast

import cv2
import numpy as np

from embeddings.images.colour import Recolour, Stored, looked_up, of_inks, plain
from embeddings.images.look_names import AS_STORED, BLACK, FIRST, STRETCHED
from embeddings.types import Float32, UInt8

Pixels = TypeVar("Pixels", UInt8, Stored)

REDUCED: Final = 256
"""Long side of the reduced picture on which looks are compared, in pixels."""
BLOCK: Final = 8
SOFT: Final = 4.0
HARD: Final = 16.0
CROWDED: Final = 0.75
MOVED: Final = 48.0
NARROW: Final = 48.0
_TAIL: Final = 0.5
"""Percent of the pixels at either end of the range that do not count."""
_FLAT: Final = 4.0
"""Levels of 255 within which there is nothing to see at 8 bits."""
_ROWS: Final = 256


@dataclass(frozen=True, slots=True)
class Rendering:
    """One way to see stored pixels."""

    name: str
    """``FIRST``, ``BLACK``, ``AS_STORED`` or ``STRETCHED``."""
    render: Callable[[Stored], UInt8]
    """Makes RGB (h, w, 3) of stored pixels of any scale."""


def looks_at(stored: Stored, recolour: Recolour | None, *, inks: bool = False) -> list[Rendering]:
    """Choose the looks at ``stored``, (h, w, 3) or, with alpha, (h, w, 4); or ``inks`` (h, w, 4). The first comes
    first."""
    unmanaged = of_inks if inks else plain
    shown = recolour or unmanaged

    def over(ground: int, colours: Recolour) -> Callable[[Stored], UInt8]:
        return lambda pixels: colours(pixels) if inks else laid_over(pixels, colours, ground)

    small = reduced(stored)
    first = Rendering(FIRST, over(255, shown))
    looks = [first]
    white = first.render(small)
    if not inks and stored.shape[2] == 4 and alpha_carries(plain(_channel(small, 3)), _grey(white)):
        looks.append(Rendering(BLACK, over(0, shown)))
    if recolour is not None:
        other = over(255, unmanaged)
        if _differ(white, other(small)):
            looks.append(Rendering(AS_STORED, other))
    if (stretch := _stretch(white, small, over(255, unmanaged))) is not None:
        looks.append(Rendering(STRETCHED, stretch))
    return looks


def laid_over(stored: Stored, colours: Recolour, ground: int) -> UInt8:
    """RGB (h, w, 3) of ``stored`` (h, w, 3 or 4), its ``colours`` made sRGB and laid over a grey ``ground``."""
    if stored.shape[2] == 3:
        return colours(stored)
    alpha = plain(_channel(stored, 3))
    mixed = colours(_colours(stored))
    if alpha.min(initial=255) == 255:
        return mixed
    mixed = mixed if mixed.flags.writeable and mixed.base is None else mixed.copy()
    for start in range(0, len(mixed), _ROWS):  # in strips: what is computed with takes twice the room
        part, share = mixed[start : start + _ROWS], alpha[start : start + _ROWS, :, None].astype(np.uint16)
        part[:] = (part * share + ground * (255 - share) + 127) // 255
    return mixed


def alpha_carries(alpha: UInt8, white: Float32) -> bool:
    """Whether ``alpha`` (h, w), reduced, shows a picture that ``white`` (h, w), the one over white, does not."""
    if alpha.min(initial=255) == 255:
        return False
    variation = _deviation(alpha.astype(np.float32))
    soft = _mean(((alpha > 2) & (alpha < 253)).astype(np.float32))
    carried = (variation >= SOFT) & (soft >= 0.5)
    hidden = ((variation >= HARD) & (_deviation(white) < variation / 4)).astype(np.float32)
    return bool(carried.any() or cv2.blur(hidden, (3, 3)).max() >= CROWDED)


def reduced(stored: Pixels) -> Pixels:
    """``stored`` with a long side of at most ``REDUCED`` pixels, averaged."""
    height, width = stored.shape[:2]
    factor = REDUCED / max(height, width)
    if factor >= 1:
        return stored
    size = max(1, round(width * factor)), max(1, round(height * factor))
    return cast(Pixels, cv2.resize(stored, size, interpolation=cv2.INTER_AREA))


def _differ(white: UInt8, other: UInt8) -> bool:
    moved = float(np.abs(white.astype(np.int16) - other).mean())
    return moved >= MOVED and float(_grey(other).std()) > _FLAT


def _stretch(white: UInt8, small: Stored, unmanaged: Callable[[Stored], UInt8]) -> Callable[[Stored], UInt8] | None:
    """Stretches the levels of stored pixels, None where the picture's are not narrow or there is nothing to see."""
    low, high = np.percentile(white, [_TAIL, 100 - _TAIL])
    if high - low > NARROW:
        return None
    deep = small.dtype == np.uint16 and small.shape[2] == 3
    levels = small if deep else unmanaged(small)
    if np.ptp(np.percentile(levels, [_TAIL, 100 - _TAIL], axis=(0, 1)), axis=0).max() <= _FLAT:
        return None  # one colour: whatever its three levels are, there is nothing in it
    bottom, top = (float(end) for end in np.percentile(levels, [_TAIL, 100 - _TAIL]))
    if top - bottom <= _FLAT:
        return None  # a few dots in one of the three

    size = 65_536 if deep else 256
    table = np.clip((np.arange(size) - bottom) * (255 / (top - bottom)), 0, 255).round().astype(np.uint8)
    return lambda stored: looked_up(table, stored if deep else unmanaged(stored))


def _colours(stored: Stored) -> Stored:
    return cast(Stored, np.ascontiguousarray(stored[..., :3]))


def _channel(stored: Stored, number: int) -> Stored:
    channel: Stored = stored[..., number]
    return channel


def _grey(image: UInt8) -> Float32:
    grey: Float32 = image.astype(np.float32).mean(axis=2)
    return grey


def _mean(values: Float32) -> Float32:
    """Means over blocks; the last ones, over what the blocks before them leave."""
    height, width = values.shape
    rows, columns = range(0, height, BLOCK), range(0, width, BLOCK)
    sums = np.add.reduceat(np.add.reduceat(values.astype(np.float64), rows, axis=0), columns, axis=1)
    counts = np.outer(np.diff([*rows, height]), np.diff([*columns, width]))
    mean: Float32 = (sums / counts).astype(np.float32)
    return mean


def _deviation(values: Float32) -> Float32:
    """Standard deviations over blocks."""
    spread: Float32 = np.sqrt(np.maximum(_mean(values**2) - _mean(values) ** 2, 0))
    return spread
