"""Pixels from untrusted bytes: JPEG, PNG, WebP and GIF, upright, opaque, bounded, one frame at a time.

Owns decoding. Everything that a file can do wrong becomes an :class:`UnscannableError` with a fixed reason (I9):

===================  ==================================================================================
``empty``            no bytes
``format``           none of the four formats, by magic bytes
``too_large``        more bytes than the limit
``too_many_pixels``  a frame, or all frames of an animation together, exceed the limit; known from the header
``too_much_memory``  decoding would take more memory than the limit; known from the header
``too_complex``      absurdly many blocks or scans
``truncated``        the file ends early
``corrupt``          anything else: bad checksums, impossible structure, a decoder's warning
===================  ==================================================================================

JPEG is decoded strictly by libjpeg-turbo (simplejpeg), at a reduced scale first. PNG, WebP and GIF go to one Pillow
plugin each, called directly: ``Image.open`` would try others and warn through the process-wide ``warnings`` state,
which threads cannot filter safely. What those warnings would say is checked in :mod:`embeddings.images.containers`
instead.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BytesIO

import numpy as np
import simplejpeg
from PIL import GifImagePlugin, Image, ImageFile, PngImagePlugin, WebPImagePlugin

from embeddings.errors import UnscannableError
from embeddings.images import png
from embeddings.images.containers import Container, check_size, inspect
from embeddings.images.decode_memory import require_memory
from embeddings.types import Float32, ImageLimits, UInt8

JPEG_SCALES = (0.125, 0.25, 0.5, 1.0)
"""Scales at which libjpeg-turbo's inverse transform is vectorised; others are slower than the next larger one."""

_ROWS = 64


@dataclass(frozen=True, slots=True)
class Frame:
    """One upright frame, decoded at full size or smaller."""

    index: int
    """Position in the file, from 0."""
    image: UInt8
    """RGB uint8 (h, w, 3)."""
    scale: float
    """Pixels of ``image`` per pixel of the full-size frame: 1, 1/2, 1/4 or 1/8."""
    offset: tuple[float, float]
    """Where the image's origin lies in the full-size frame, in pixels; not 0 where a turned edge was rounded."""
    _enlarge: Callable[[float], Frame] | None = None

    def at_least(self, scale: float) -> Frame:
        """Return this frame at ``scale`` or more, decoded again only if need be. Raises :class:`UnscannableError`."""
        return self if self._enlarge is None or self.scale >= min(scale, 1.0) else self._enlarge(scale)

    def to_full(self, points: Float32) -> Float32:
        """Convert ``points`` (..., 2) of this image to pixels of the full-size frame."""
        return (points / self.scale + self.offset).astype(np.float32)

    def from_full(self, points: Float32) -> Float32:
        """Return the inverse of :meth:`to_full`."""
        return ((points - self.offset) * self.scale).astype(np.float32)

    def maps_from_full(self, matrices: Float32) -> Float32:
        """Affine maps (n, 2, 3) that take pixels of this image where ``matrices`` take those of the full-size frame."""
        moved = np.empty(matrices.shape, dtype=np.float32)
        moved[:, :, :2] = matrices[:, :, :2] / self.scale
        moved[:, :, 2] = matrices[:, :, :2] @ np.asarray(self.offset) + matrices[:, :, 2]
        return moved


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """A file that passed all checks of its header. Not comparable: ``frames`` is an iterator that is used up."""

    format: str
    width: int
    """Width of the upright full-size frame, in pixels."""
    height: int
    frames_total: int
    """Frames in the file."""
    frames: Iterator[Frame]
    """The sampled frames. Each is decoded when asked for, and none is kept: hold one at a time."""


def decode(data: bytes, *, limits: ImageLimits, long_side: int) -> DecodedImage:
    """Check ``data`` and get ready to decode it; pixels are decoded as ``frames`` is consumed.

    A JPEG is decoded at the smallest scale whose long side is at least ``long_side`` pixels. Animations are sampled at
    ``limits.max_frames`` evenly spaced frames, first and last among them. Transparency is laid over white. Raises
    :class:`UnscannableError` at once for what the header tells, and while iterating for what decoding tells.
    """
    if len(data) > limits.max_bytes:
        raise UnscannableError("too_large")
    container = inspect(data, max_pixels=limits.max_pixels)
    if container.format == "jpeg":
        return _decode_jpeg(container, limits, long_side)
    require_memory(container, limits.max_decode_bytes)
    indices = sample(container.frames, at_most=limits.max_frames)
    touched = container.width * container.height * (indices[-1] + 1)
    if container.frames > 1 and touched > limits.max_animation_pixels:
        raise UnscannableError("too_many_pixels")
    width, height = _turned(container.width, container.height, container.orientation)
    frames = _pillow_frames(container, indices)
    return DecodedImage(container.format, width, height, container.frames, frames)


def sample(total: int, *, at_most: int) -> list[int]:
    """Choose ``at_most`` evenly spaced indices below ``total``, first and last included; all of them if they are
    few."""
    if total <= at_most:
        return list(range(total))
    if at_most == 1:
        return [0]
    return [(position * (total - 1) + (at_most - 1) // 2) // (at_most - 1) for position in range(at_most)]


def upright(image: UInt8, orientation: int) -> UInt8:
    """Return ``image`` (h, w, ...) with the Exif ``orientation`` (1 to 8) undone, C-contiguous."""
    left_right, up_down = _mirrored(orientation)
    if orientation >= 5:
        image = image.swapaxes(0, 1)
    if up_down:
        image = image[::-1]
    if left_right:
        image = image[:, ::-1]
    return np.ascontiguousarray(image)


def _mirrored(orientation: int) -> tuple[bool, bool]:
    """Whether left and right, and whether top and bottom, are swapped (after a transposition from 5 on)."""
    return orientation in (2, 3, 6, 7), orientation in (3, 4, 7, 8)


def _turned(width: int, height: int, orientation: int) -> tuple[int, int]:
    return (height, width) if orientation >= 5 else (width, height)


def _decode_jpeg(container: Container, limits: ImageLimits, long_side: int) -> DecodedImage:
    with decoder_errors():
        height, width, colourspace, _ = simplejpeg.decode_jpeg_header(container.pixels, strict=True)
    check_size(width, height, limits.max_pixels)
    require_memory(replace(container, width=width, height=height), limits.max_decode_bytes)
    jpeg = _Jpeg(container, colourspace, (width, height))
    turned = _turned(width, height, container.orientation)
    return DecodedImage("jpeg", *turned, 1, (jpeg.at_scale(wanted) for wanted in [long_side / max(width, height)]))


class _Jpeg:
    """One JPEG of ``size`` (width, height) as stored, decoded once for each scale that somebody asks for."""

    def __init__(self, container: Container, colourspace: str, size: tuple[int, int]) -> None:
        self._container = container
        self._colourspace = colourspace
        self._size = size
        # Pixels, not frames: a frame refers back to this object, and a cycle would outlive the picture.
        self._decoded: dict[float, UInt8] = {}

    def at_scale(self, wanted: float) -> Frame:
        """The frame at the smallest scale that has ``wanted``. Raises :class:`UnscannableError`."""
        scale = next(scale for scale in JPEG_SCALES if scale >= min(wanted, 1.0))
        orientation = self._container.orientation
        if (image := self._decoded.get(scale)) is None:
            stored = _jpeg_pixels(self._container, self._colourspace, scale, self._size)
            image = self._decoded[scale] = upright(stored, orientation)
        # Sizes round up, and mirroring moves the rounded edge to the left or the top.
        far_x, far_y = _mirrored(orientation)
        turned = _turned(*self._size, orientation)
        spare = [side - reduced / scale for side, reduced in zip(turned, image.shape[1::-1], strict=True)]
        return Frame(0, image, scale, (spare[0] * far_x, spare[1] * far_y), self.at_scale)


def _jpeg_pixels(container: Container, colourspace: str, scale: float, size: tuple[int, int]) -> UInt8:
    """The stored (not yet upright) pixels of a JPEG of ``size`` (width, height), RGB, at one of ``JPEG_SCALES``."""
    # At full size no minimum is passed: for images of a few pixels several scales round to the same size.
    width, height = (-int(-side * scale // 1) for side in size) if scale < 1 else (0, 0)
    inks = colourspace in ("CMYK", "YCCK")
    target = "CMYK" if inks else "RGB"
    with decoder_errors():
        pixels: UInt8 = simplejpeg.decode_jpeg(
            container.pixels, target, min_width=width, min_height=height, strict=True
        )
    return _from_inks(pixels, inverted=container.inverted) if inks else pixels


def _from_inks(pixels: UInt8, *, inverted: bool) -> UInt8:
    """RGB from CMYK (h, w, 4) without a colour profile, as Pillow and browsers do for want of one."""
    mixed = np.empty((*pixels.shape[:2], 3), dtype=np.uint8)
    for start in range(0, len(pixels), _ROWS):  # in strips: what is computed with takes eight times the room
        strip = pixels[start : start + _ROWS]
        light = (strip if inverted else 255 - strip).astype(np.uint16)
        mixed[start : start + _ROWS] = (light[..., :3] * light[..., 3:] + 127) // 255
    return mixed


def _pillow_frames(container: Container, indices: list[int]) -> Iterator[Frame]:
    """The frames at ``indices``, in order; frames between them are decoded by the plugin and dropped."""
    plugins: dict[str, Callable[[BytesIO], ImageFile.ImageFile]] = {
        "png": PngImagePlugin.PngImageFile,
        "webp": WebPImagePlugin.WebPImageFile,
        "gif": GifImagePlugin.GifImageFile,
    }
    with decoder_errors():
        file = png.pixels_only(container.chunks) if container.chunks else BytesIO(container.pixels)
        image = plugins[container.format](file)
        del file  # the plugin lets go of it once a still image is loaded
    for index in indices:
        with decoder_errors():
            if index:
                image.seek(index)
            image.load()
            pixels = upright(opaque(image), container.orientation)
        yield Frame(index, pixels, 1.0, (0.0, 0.0))


def opaque(image: Image.Image) -> UInt8:
    """RGB uint8 (h, w, 3) of a loaded Pillow image of any mode that PNG, WebP or GIF give, laid over white.

    16-bit grey keeps its upper byte; Pillow's own conversion would clip it.
    """
    if image.mode.startswith("I"):
        wide = np.asarray(image)
        grey = (wide >> 8).astype(np.uint8)
        if isinstance(key := image.info.get("transparency"), int):
            grey = np.where(wide == key, np.uint8(255), grey)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        layered = image.convert("RGBA")
        ground = Image.new("RGB", image.size, (255, 255, 255))
        ground.paste(layered, mask=layered.getchannel("A"))
        return np.asarray(ground)
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


@contextmanager
def decoder_errors() -> Iterator[None]:
    """Turn what a decoder raises on hostile bytes into ``truncated`` or ``corrupt``. Nothing else is caught.

    ``MemoryError`` is let through: other work may have taken the memory (:mod:`embeddings.faults`).
    """
    expected = (
        OSError,  # Pillow: stream ends early or is broken
        EOFError,  # Pillow: a frame that the file announced is not there
        SyntaxError,  # Pillow plugins: a structure they do not accept
        ValueError,  # simplejpeg: every error and, in strict mode, every warning; Pillow: sizes, modes, text limits
        IndexError,  # Pillow plugins: a field beyond the end of a chunk
        KeyError,  # Pillow plugins: a mode or a type they do not know
        TypeError,  # Pillow plugins: a field that is missing
        AttributeError,  # Pillow plugins: state that an earlier chunk should have made
        AssertionError,  # Pillow plugins: palettes and frames in the wrong order
        NotImplementedError,  # Pillow: legal and not supported
        RuntimeError,  # libwebp through Pillow: decoder refused to start
        OverflowError,  # sizes beyond a C int
        struct.error,  # Pillow plugins: a short fixed-size field
        zlib.error,  # PNG: broken compressed data
        Image.DecompressionBombError,  # Pillow's own pixel limit, in case ours is set above it
        Warning,  # Pillow's warnings where the process runs with -W error
    )
    try:
        yield
    except UnscannableError:
        raise
    except expected as error:
        text = str(error).lower()
        ended = isinstance(error, EOFError) or "truncated" in text or "premature end" in text
        raise UnscannableError("truncated" if ended else "corrupt") from error
