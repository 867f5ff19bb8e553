"""Pure functions from pictures to pictures, and an endless supply of different images for benchmarks.

Pictures are uint8 RGB (h, w, 3). Nothing here reads a clock or global randomness: the same arguments give the same
pixels, and the same seed the same files.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import simplejpeg
from PIL import Image

from embeddings.types import UInt8
from pipelines.sample.encoding import png, webp
from pipelines.sample.photographs import ASTRONAUT_FACE, CAMERA_FACE, GROUP_FACES, Box, load_photographs


def flip(image: UInt8) -> UInt8:
    """Left and right exchanged."""
    return np.ascontiguousarray(image[:, ::-1])


def crop(image: UInt8, box: Box) -> UInt8:
    """Return the part inside ``box``, which is cut to the picture."""
    height, width = image.shape[:2]
    x1, y1, x2, y2 = max(box[0], 0), max(box[1], 0), min(box[2], width), min(box[3], height)
    return np.ascontiguousarray(image[y1:y2, x1:x2])


def around(box: Box, *, margin: float) -> Box:
    """``box`` grown on each side by ``margin`` times its own width or height."""
    dx, dy = round((box[2] - box[0]) * margin), round((box[3] - box[1]) * margin)
    return box[0] - dx, box[1] - dy, box[2] + dx, box[3] + dy


def resize(image: UInt8, *, width: int, height: int) -> UInt8:
    """Bicubic, with antialiasing where it shrinks."""
    return np.array(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))


def scale(image: UInt8, *, factor: float) -> UInt8:
    """Both sides times ``factor``."""
    height, width = image.shape[:2]
    return resize(image, width=max(1, round(width * factor)), height=max(1, round(height * factor)))


def rotate(image: UInt8, *, degrees: float) -> UInt8:
    """Turned against the clock within a canvas of the same size; corners become mid grey."""
    turned = Image.fromarray(image).rotate(degrees, Image.Resampling.BICUBIC, fillcolor=(128, 128, 128))
    return np.array(turned)


def brightness(image: UInt8, *, factor: float) -> UInt8:
    """Return every value times ``factor``, saturating at 255."""
    table = np.clip(np.arange(256) * factor, 0, 255).round().astype(np.uint8)
    brightened: UInt8 = table[image]
    return brightened


def hue(image: UInt8, *, degrees: float) -> UInt8:
    """Return every hue moved by ``degrees`` on the colour circle; saturation and value stay."""
    hsv = np.array(Image.fromarray(image).convert("HSV"))
    hsv[..., 0] += np.uint8(round(degrees / 360 * 256) % 256)
    return np.array(Image.fromarray(hsv, "HSV").convert("RGB"))


def stripes(image: UInt8, *, every: int, thickness: int) -> UInt8:
    """Half-transparent white diagonal lines, as a preview's watermark has them."""
    rows, columns = np.indices(image.shape[:2])
    marked = image.copy()
    line = (rows + columns) % every < thickness
    marked[line] = marked[line] // 2 + 127
    return marked


def mosaic(image: UInt8, box: Box, *, cell: int) -> UInt8:
    """Return the part inside ``box`` in squares of ``cell`` pixels, as a face is hidden."""
    part = crop(image, box)
    height, width = part.shape[:2]
    coarse = resize(part, width=max(1, width // cell), height=max(1, height // cell))
    rows, columns = np.arange(height) * coarse.shape[0] // height, np.arange(width) * coarse.shape[1] // width
    return paste(image, coarse[rows][:, columns], x=box[0], y=box[1])


def blend(image: UInt8, other: UInt8, *, share: float) -> UInt8:
    """``share`` of ``image`` and the rest of ``other``, which is brought to the same size."""
    height, width = image.shape[:2]
    mixed = image * share + resize(other, width=width, height=height) * (1 - share)
    return np.ascontiguousarray(mixed.round().astype(np.uint8))


def paste(background: UInt8, picture: UInt8, *, x: int, y: int) -> UInt8:
    """``picture`` laid upon ``background`` with its top left corner at (x, y); it must fit."""
    height, width = picture.shape[:2]
    result = background.copy()
    result[y : y + height, x : x + width] = picture
    return result


def collage(pictures: Sequence[UInt8], *, columns: int, cell: int) -> UInt8:
    """``pictures`` row by row in a grid of square cells of ``cell`` pixels, each cut to its central square."""
    rows = -(-len(pictures) // columns)
    canvas = np.full((rows * cell, columns * cell, 3), 255, dtype=np.uint8)
    for index, picture in enumerate(pictures):
        y, x = index // columns * cell, index % columns * cell
        canvas[y : y + cell, x : x + cell] = resize(_square(picture), width=cell, height=cell)
    return canvas


def _square(image: UInt8) -> UInt8:
    height, width = image.shape[:2]
    side = min(height, width)
    x, y = (width - side) // 2, (height - side) // 2
    return crop(image, (x, y, x + side, y + side))


_BACKGROUNDS: Final = ("coffee", "chelsea", "rocket", "motorcycle", "hubble", "brick", "gravel", "moon")
_MIN_PIXELS: Final = 300_000
_MAX_PIXELS: Final = 4_000_000
_MAX_COSTLY_PIXELS: Final = 900_000
"""PNG and WebP cost many times a JPEG to encode, so the large ones are left out."""
_MAX_ASPECT: Final = 1.6
_GRAIN: Final = 12
"""Range of the added sensor noise: enlarged photographs are smoother, and cheaper to decode, than real ones."""


@dataclass(frozen=True, slots=True)
class _Stock:
    """The parts that composed images are made of."""

    backgrounds: tuple[UInt8, ...]
    heads: tuple[UInt8, ...]
    portrait: UInt8
    group: UInt8
    grain: UInt8


def generate_variants(count: int, *, seed: int) -> Iterator[tuple[str, bytes]]:
    """``count`` files (name, bytes), no two alike: 0.3 to 4 Mpx, 0 to 6 faces, mostly JPEG, some PNG and WebP.

    Made one at a time as they are asked for. Image ``i`` depends on ``seed`` and ``i`` alone, not on ``count``.
    """
    stock = _stock(seed)
    seen: set[bytes] = set()
    for index in range(count):
        for attempt in itertools.count():
            suffix, data = _variant(stock, np.random.default_rng((seed, index, attempt)))
            digest = hashlib.sha256(data).digest()
            if digest not in seen:
                break
        seen.add(digest)
        yield f"variant-{index:06d}{suffix}", data


def _stock(seed: int) -> _Stock:
    pictures = load_photographs((*_BACKGROUNDS, "astronaut", "camera", "group"))
    side = int((_MAX_PIXELS * _MAX_ASPECT) ** 0.5) + 1
    return _Stock(
        backgrounds=tuple(pictures[name] for name in _BACKGROUNDS),
        heads=tuple(_heads(pictures)),
        portrait=pictures["astronaut"],
        group=pictures["group"],
        grain=np.random.default_rng(seed).integers(0, _GRAIN + 1, (side, side, 3), dtype=np.uint8),
    )


def _heads(pictures: Mapping[str, UInt8]) -> Iterator[UInt8]:
    """Every person's head with a margin, from all photographs."""
    yield crop(pictures["astronaut"], around(ASTRONAUT_FACE, margin=0.4))
    yield crop(pictures["camera"], around(CAMERA_FACE, margin=0.4))
    for box in GROUP_FACES:
        yield crop(pictures["group"], around(box, margin=0.4))


def _variant(stock: _Stock, random: np.random.Generator) -> tuple[str, bytes]:
    """One composed image, encoded: file name suffix and bytes."""
    suffix = str(random.choice([".jpg", ".png", ".webp"], p=[0.9, 0.06, 0.04]))
    limit = _MAX_PIXELS if suffix == ".jpg" else _MAX_COSTLY_PIXELS
    pixels = float(np.exp(random.uniform(np.log(_MIN_PIXELS), np.log(limit))))
    aspect = float(np.exp(random.uniform(-np.log(_MAX_ASPECT), np.log(_MAX_ASPECT))))
    width, height = int((pixels * aspect) ** 0.5) + 1, int((pixels / aspect) ** 0.5) + 1
    image = _compose(stock, width, height, random)
    if random.random() < 0.5:
        image = flip(image)
    image = _develop(image, stock.grain, random)
    if suffix == ".png":
        return suffix, png(image, compression=1)
    if suffix == ".webp":
        return suffix, webp(image, quality=int(random.integers(60, 95)), effort=0)
    quality = int(random.integers(60, 96))
    return suffix, bytes(simplejpeg.encode_jpeg(image, quality=quality, colorsubsampling="420", fastdct=False))


def _compose(stock: _Stock, width: int, height: int, random: np.random.Generator) -> UInt8:
    """A portrait, the group, or a scene with up to six heads put into it."""
    kind = random.random()
    if kind < 0.2:
        return _random_part(stock.portrait, width, height, random, smallest=0.75)
    if kind < 0.45:
        return _random_part(stock.group, width, height, random, smallest=0.5)
    background = stock.backgrounds[int(random.integers(len(stock.backgrounds)))]
    scene = _random_part(background, width, height, random, smallest=0.6)
    cell_width, cell_height = width // 3, height // 2
    for place in random.permutation(6)[: int(random.integers(0, 7))].tolist():
        head = stock.heads[int(random.integers(len(stock.heads)))]
        fit = min(cell_width / head.shape[1], cell_height / head.shape[0]) * random.uniform(0.4, 1.0)
        wide, high = int(head.shape[1] * fit), int(head.shape[0] * fit)
        x = place % 3 * cell_width + int(random.integers(0, cell_width - wide + 1))
        y = place // 3 * cell_height + int(random.integers(0, cell_height - high + 1))
        scene[y : y + high, x : x + wide] = _resampled(head, wide, high)
    return scene


def _random_part(picture: UInt8, width: int, height: int, random: np.random.Generator, *, smallest: float) -> UInt8:
    """A random window of that aspect, at least ``smallest`` of the largest such one, brought to width by height."""
    fit = min(picture.shape[1] / width, picture.shape[0] / height) * random.uniform(smallest, 1.0)
    wide, high = int(width * fit), int(height * fit)
    x, y = int(random.integers(0, picture.shape[1] - wide + 1)), int(random.integers(0, picture.shape[0] - high + 1))
    return _resampled(picture[y : y + high, x : x + wide], width, height)


def _resampled(image: UInt8, width: int, height: int) -> UInt8:
    """Resize several times faster and a little more coarsely than :func:`resize`."""
    shrinks = width < image.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    resampled: UInt8 = cv2.resize(image, (width, height), interpolation=method)
    return resampled


def _develop(image: UInt8, grain: UInt8, random: np.random.Generator) -> UInt8:
    """A random brightness, and noise from a random place in ``grain``."""
    height, width = image.shape[:2]
    x, y = int(random.integers(0, grain.shape[1] - width + 1)), int(random.integers(0, grain.shape[0] - height + 1))
    gain = random.uniform(0.7, 1.25)
    table = np.clip(np.arange(256) * gain - _GRAIN / 2, 0, 255).round().astype(np.uint8)
    developed: UInt8 = cv2.add(cv2.LUT(image, table), grain[y : y + height, x : x + width])
    return developed
