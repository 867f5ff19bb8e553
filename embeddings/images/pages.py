"""Frames and pages by Pillow: one plugin each, called directly, and their pixels as stored.

``Image.open`` would try other plugins and warn through the process-wide ``warnings`` state, which threads cannot filter
safely. A frame that the decoder refuses in the middle has the rows before it; one after it ends the sequence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from embeddings.errors import UnscannableError
from embeddings.images import png
from embeddings.images.account import Container
from embeddings.images.colour import Stored
from embeddings.images.damage import CORRUPT, TRUNCATED
from embeddings.images.faults import EXPECTED, decoder_errors
from embeddings.images.others import icon, open_heic

_PLUGINS: Final[Mapping[str, Callable[[BytesIO], ImageFile.ImageFile]]] = {
    "png": PngImagePlugin.PngImageFile,
    "webp": WebPImagePlugin.WebPImageFile,
    "gif": GifImagePlugin.GifImageFile,
    "avif": AvifImagePlugin.AvifImageFile,
    "bmp": BmpImagePlugin.BmpImageFile,
    "tiff": TiffImagePlugin.TiffImageFile,
    "heic": lambda file: open_heic(file.getvalue()),
}
_ROW_BY_ROW: Final = ("GIF", "BMP", "DIB", "TIFF")
_GAPS: Final = "gaps"
"""Entry of a Pillow image whose rows were coded in several passes, the last of which are missing."""
_PAGED: Final = ("tiff", "ico")
"""Formats whose pages have sizes of their own: each is laid on a white page that covers all of them."""


@dataclass(frozen=True, slots=True)
class Page:
    """One frame as stored, not yet upright."""

    index: int
    stored: Stored
    """(h, w, 3), with alpha (h, w, 4), or inks (h, w, 4)."""
    inks: bool
    seconds: float | None
    """When it is shown, where the decoder says so."""


def read_pages(container: Container, indices: Sequence[int], damage: list[str]) -> Iterator[Page]:
    """Yield the frames at ``indices``, in order; frames between them are decoded by the plugin and dropped.

    Adds to ``damage`` what is missing. Raises :class:`UnscannableError` where not even the first can be had.
    """
    page = _open(container, damage)
    for index in indices:
        try:
            with decoder_errors():
                yield page(index)
        except UnscannableError as error:
            if index == indices[0]:
                raise
            damage.append(CORRUPT if error.reason == "corrupt" else TRUNCATED)
            if container.format not in _PAGED:
                return


def _open(container: Container, damage: list[str]) -> Callable[[int], Page]:
    """Open the file; return what decodes the frame of a number. Numbers only rise."""
    if container.format == "ico":
        return lambda index: _page(container, index, _loaded(icon(container.pixels, index), damage))
    grid = (1, 1)
    with decoder_errors():
        file = BytesIO(container.pixels)
        if container.chunks:
            pixels = png.pixels_only(container.chunks, damage, frames=container.frames)
            file, grid = pixels.file, pixels.grid
            if png.is_deep(container.chunks):
                deep = _on_grid(_deep_pixels(file), grid)
                return lambda index: Page(index, deep, inks=False, seconds=None)
        image = _PLUGINS[container.format](file)
        del file  # the plugin lets go of it once a still image is loaded

    def page(index: int) -> Page:
        if index:
            image.seek(index)
        return _page(container, index, _loaded(image, damage), grid)

    return page


def _page(container: Container, index: int, image: Image.Image, grid: tuple[int, int] = (1, 1)) -> Page:
    stored = _on_grid(_stored_pixels(image), grid)
    if image.info.get(_GAPS):
        stored = _without_gaps(stored)
    if container.format in _PAGED:
        stored = _on_page(stored, (container.width, container.height))
    time = image.info.get("timestamp") if container.format == "avif" else None
    return Page(index, stored, image.mode == "CMYK", time / 1000 if isinstance(time, int) else None)


def _loaded(image: Image.Image, damage: list[str]) -> Image.Image:
    """``image`` with its pixels; with those before the place where the decoder gives up, if it decodes row by row."""
    try:
        image.load()
    except EXPECTED:
        if not isinstance(image, ImageFile.ImageFile) or image.format not in _ROW_BY_ROW or image._im is None:
            raise
        gaps = image.format == "GIF" and _is_interlaced(image)
        image.tile = []
        image.load_end()
        image.info[_GAPS] = gaps
        damage.append(TRUNCATED)
    return image


def _is_interlaced(image: ImageFile.ImageFile) -> bool:
    """Whether the rows of a GIF's frame are coded in several passes."""
    args = image.tile[0].args if image.tile else None
    return isinstance(args, tuple) and len(args) > 1 and bool(args[1])


def _stored_pixels(image: Image.Image) -> Stored:
    """The pixels of a loaded Pillow image of any mode: RGB, RGBA or inks, of 8 bits, or of 16 where grey has them."""
    if image.mode.startswith(("I", "F")):
        return _grey_pixels(image)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        return np.asarray(image.convert("RGBA"))
    return np.asarray(image if image.mode in ("RGB", "CMYK") else image.convert("RGB"))


def _grey_pixels(image: Image.Image) -> Stored:
    """Grey of more than 8 bits as 16, with alpha where one level is transparent; real numbers over their range."""
    wide = np.asarray(image)
    if wide.dtype.kind == "f":
        low, high = (float(end) for end in (np.nanmin(wide), np.nanmax(wide)))
        scaled = np.nan_to_num((wide - low) / ((high - low) or 1.0))
        levels = (65_535 * np.clip(scaled, 0, 1)).astype(np.uint16)
    else:
        levels = np.clip(wide, 0, 65_535).astype(np.uint16)
    parts: list[npt.NDArray[np.uint16]] = [levels] * 3
    if isinstance(key := image.info.get("transparency"), int):
        parts.append(np.where(wide == key, 0, 65_535).astype(np.uint16))
    stacked: Stored = np.stack(parts, axis=2)
    return stacked


def _deep_pixels(file: BytesIO) -> Stored:
    """The pixels of a PNG in colours of 16 bits, of which Pillow would keep eight."""
    read = cv2.imdecode(np.frombuffer(file.getbuffer(), dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    if read is None or read.ndim != 3:
        raise UnscannableError("corrupt")
    deep: Stored = np.ascontiguousarray(read[..., [2, 1, 0, 3][: read.shape[2]]])
    return deep


def _on_grid(stored: Stored, grid: tuple[int, int]) -> Stored:
    """``stored`` where only every so many columns and rows have a pixel, the others taken from those."""
    if grid == (1, 1):
        return stored
    across, down = grid
    height, width = stored.shape[:2]
    return stored[::down, ::across].repeat(down, axis=0).repeat(across, axis=1)[:height, :width]


def _without_gaps(stored: Stored) -> Stored:
    """``stored`` with each row of one colour replaced by the row above it: those that an interlaced GIF lacks."""
    rows = np.arange(len(stored))
    there = (stored != stored[:, :1]).any(axis=(1, 2))
    filled: Stored = stored[np.maximum.accumulate(np.where(there, rows, 0))]
    return filled


def _on_page(stored: Stored, size: tuple[int, int]) -> Stored:
    """``stored`` in the upper left corner of a white page of ``size``, or cut to it."""
    width, height = size
    stored = stored[:height, :width]
    if stored.shape[1::-1] == size:
        return stored
    page = np.full((height, width, stored.shape[2]), np.iinfo(stored.dtype).max, dtype=stored.dtype)
    page[: stored.shape[0], : stored.shape[1]] = stored
    return page
