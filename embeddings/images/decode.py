"""Pixels from untrusted bytes, as viewers show them: upright, opaque, bounded, one frame at a time.

Owns decoding. Everything that a file can do wrong becomes an :class:`UnscannableError` with a fixed reason (I9):

====================  =================================================================================
``empty``             no bytes
``format``            none of the formats, by magic bytes
``too_large``         more bytes than the limit
``too_many_pixels``   a frame, or all frames of an animation together, exceed the limit; known from the header
``too_much_memory``   decoding would take more memory than the limit; known from the header
``too_complex``       absurdly many blocks or scans
``truncated``         the file ends before anything that a viewer would show
``corrupt``           anything else of which no viewer shows anything: impossible structure, broken data
``no_heic_decoder``   HEIC, and the extra ``heic`` is not installed
``no_video_decoder``  a video, and the extra ``video`` is not installed
====================  =================================================================================

What viewers show of a damaged file is decoded, and the damage noted (:mod:`embeddings.images.damage`). Where viewers do
not agree, a frame is looked at in more than one way (:mod:`embeddings.images.looks`). JPEG is decoded by libjpeg-turbo
(simplejpeg), at a reduced scale first, videos by FFmpeg (:mod:`embeddings.images.video`), the others by one Pillow
plugin each (:mod:`embeddings.images.pages`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from embeddings.errors import UnscannableError
from embeddings.images import jpeg
from embeddings.images.colour import by_profile, of_png, plain
from embeddings.images.containers import Container, inspect
from embeddings.images.decode_memory import require_memory
from embeddings.images.look_names import FIRST
from embeddings.images.looks import Rendering, laid_over, looks_at, reduced
from embeddings.images.magic import VIDEO, sniff
from embeddings.images.pages import read_pages
from embeddings.images.sampling import Sampled, choose, sample, signature
from embeddings.images.several import apart, are_several
from embeddings.types import Float32, ImageLimits, UInt8

__all__ = ["DecodedImage", "Frame", "decode", "sample", "upright"]


@dataclass(frozen=True, slots=True)
class Frame:
    """One look at one upright frame, decoded at full size or smaller."""

    index: int
    """Position in the file, from 0."""
    image: UInt8
    """RGB uint8 (h, w, 3)."""
    scale: float
    """Pixels of ``image`` per pixel of the full-size frame: 1, 1/2, 1/4 or 1/8."""
    offset: tuple[float, float]
    """Where the image's origin lies in the full-size frame, in pixels; not 0 where a turned edge was rounded."""
    _enlarge: Callable[[float], Frame] | None = None
    look: str = FIRST
    """How it is looked at (:mod:`embeddings.images.looks`): as a browser shows it on a white page, or otherwise."""
    seconds: float | None = None
    """When it is shown, from the beginning of an animation or a video; None for a still picture."""
    damage: tuple[str, ...] = ()
    """What is wrong with the file as far as it had to be decoded for this: words of :mod:`embeddings.images.damage`."""
    own_size: tuple[int, int] | None = None
    """Width and height of the upright full-size frame, where it is one of several pictures in one content."""

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
    """The sampled frames in order, each in all its looks, the first look first. Each is decoded when asked for, and
    none is kept: hold one at a time."""
    planned: int
    """Frames that are sampled. Fewer come where the file ends early, which only decoding tells, or where one of
    several files cannot be opened."""


def decode(data: bytes, *, limits: ImageLimits, long_side: int) -> DecodedImage:
    """Check ``data`` and get ready to decode it; pixels are decoded as ``frames`` is consumed.

    A JPEG is decoded at the smallest scale whose long side is at least ``long_side`` pixels. Animations are sampled at
    ``limits.max_frames`` frames, by time and by change. Of several pictures in one content
    (:mod:`embeddings.images.several`) those are decoded that can be. Raises :class:`UnscannableError` at once for what
    the header tells, and while iterating for what decoding tells.
    """
    if are_several(data):
        return _decode_several(apart(data), limits, long_side)
    if len(data) > limits.max_bytes:
        raise UnscannableError("too_large")
    if sniff(data) in VIDEO:
        return _decode_video(data, limits)
    container = inspect(data, max_pixels=limits.max_pixels)
    if container.format == "jpeg":
        return _decode_jpeg(container, limits, long_side)
    require_memory(container, limits.max_decode_bytes)
    touched = container.width * container.height * container.frames
    if container.frames > 1 and touched > limits.max_animation_pixels:
        raise UnscannableError("too_many_pixels")
    width, height = _turned(container.width, container.height, container.orientation)
    frames = _page_frames(container, limits.max_frames, list(container.damage))
    planned = min(container.frames, limits.max_frames)
    return DecodedImage(container.format, width, height, container.frames, frames, planned)


def _decode_several(files: Sequence[bytes], limits: ImageLimits, long_side: int) -> DecodedImage:
    """The frames of all files, numbered on. Raises what is wrong with the last, if none of them can be decoded.

    A file that cannot be opened is a frame that is sampled and does not come, so that the content is said to lack one.
    """
    each = replace(limits, max_frames=max(1, limits.max_frames // len(files)))
    opened, problem = list[DecodedImage](), UnscannableError("empty")
    for file in files:
        try:
            if are_several(file):
                raise UnscannableError("too_complex")  # somebody's own nesting: how deep, the file would decide
            opened.append(decode(file, limits=each, long_side=long_side))
        except UnscannableError as error:
            problem = error
    if not opened:
        raise problem
    missing = len(files) - len(opened)
    total, planned = (missing + sum(getattr(image, name) for image in opened) for name in ("frames_total", "planned"))
    return replace(opened[0], frames_total=total, frames=_frames_of_several(opened), planned=planned)


def _frames_of_several(opened: Sequence[DecodedImage]) -> Iterator[Frame]:
    before, problem, shown = 0, UnscannableError("empty"), False
    for image in opened:
        try:
            for frame in image.frames:
                yield _numbered_from(before, frame, (image.width, image.height))
                shown = True
        except UnscannableError as error:
            problem = error
        before += image.frames_total
    if not shown:
        raise problem


def _numbered_from(before: int, frame: Frame, size: tuple[int, int]) -> Frame:
    enlarge = frame._enlarge
    larger = None if enlarge is None else lambda scale: _numbered_from(before, enlarge(scale), size)
    return replace(frame, index=before + frame.index, _enlarge=larger, own_size=size)


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
    header = jpeg.read_header(container, max_pixels=limits.max_pixels)
    require_memory(replace(container, width=header.width, height=header.height), limits.max_decode_bytes)
    turned = _turned(header.width, header.height, container.orientation)
    return DecodedImage("jpeg", *turned, 1, _Jpeg(container, header).frames(long_side / max(turned)), 1)


class _Jpeg:
    """One JPEG, decoded once for each scale and look that somebody asks for."""

    def __init__(self, container: Container, header: jpeg.JpegHeader) -> None:
        self._container = container
        self._header = header
        self._damage = list(container.damage)
        # Pixels, not frames: a frame refers back to this object, and a cycle would outlive the picture.
        self._decoded: dict[tuple[float, str], UInt8] = {}

    def frames(self, wanted: float) -> Iterator[Frame]:
        """The looks at the picture at the smallest scale that has ``wanted``. Raises :class:`UnscannableError`."""
        scale = self._scale(wanted)
        stored = jpeg.stored_pixels(self._container, self._header, scale, self._damage)
        recolour = by_profile(self._container.profile, inks=self._header.inks)
        for look in looks_at(stored, recolour, inks=self._header.inks):
            self._decoded[scale, look.name] = upright(look.render(stored), self._container.orientation)
            yield self._frame(scale, look)

    def _scale(self, wanted: float) -> float:
        return 1.0 if self._header.by_pillow else next(scale for scale in jpeg.SCALES if scale >= min(wanted, 1.0))

    def _enlarged(self, wanted: float, *, look: Rendering) -> Frame:
        return self._frame(self._scale(wanted), look)

    def _frame(self, scale: float, look: Rendering) -> Frame:
        orientation = self._container.orientation
        if (image := self._decoded.get((scale, look.name))) is None:
            stored = jpeg.stored_pixels(self._container, self._header, scale, self._damage)
            image = self._decoded[scale, look.name] = upright(look.render(stored), orientation)
        # Sizes round up, and mirroring moves the rounded edge to the left or the top.
        far_x, far_y = _mirrored(orientation)
        turned = _turned(self._header.width, self._header.height, orientation)
        spare = [side - reduced / scale for side, reduced in zip(turned, image.shape[1::-1], strict=True)]
        offset, again = (spare[0] * far_x, spare[1] * far_y), partial(self._enlarged, look=look)
        return Frame(0, image, scale, offset, again, look.name, None, tuple(dict.fromkeys(self._damage)))


def _page_frames(container: Container, at_most: int, damage: list[str]) -> Iterator[Frame]:
    recolour = of_png(container.chunks) if container.chunks else None
    indices, times = _sampled(container, at_most, damage)
    for page in read_pages(container, indices, damage):
        colours = recolour or by_profile(container.profile, inks=page.inks)
        for look in looks_at(page.stored, colours, inks=page.inks):
            image = upright(look.render(page.stored), container.orientation)
            seconds = page.seconds if page.seconds is not None else times.get(page.index)
            yield _still(page.index, image, look, seconds, damage)


def _sampled(container: Container, at_most: int, damage: list[str]) -> tuple[Sequence[int], dict[int, float]]:
    """Which frames are looked at, and when each is shown. An animation of more is decoded twice, first to choose.

    Adds to ``damage`` what is wrong with those that are not chosen: a broken page is none that can be.
    """
    starts = dict(enumerate(np.cumsum([0.0, *container.durations])[:-1].tolist()))
    if container.frames <= at_most:
        return range(container.frames), starts
    seen: list[Sampled] = []
    indices: list[int] = []  # of those that could be decoded: broken pages in between are left out
    for page in read_pages(container, range(container.frames), damage):
        start = page.seconds if page.seconds is not None else starts.get(page.index, float(page.index))
        picture = laid_over(reduced(page.stored), plain, 255)
        seen.append(Sampled(start, signature(picture, many=container.frames)))
        indices.append(page.index)
    chosen = choose(seen, at_most=at_most, end=sum(container.durations) or None)
    return [indices[position] for position in chosen], starts


def _still(index: int, image: UInt8, look: Rendering, seconds: float | None, damage: Sequence[str]) -> Frame:
    return Frame(index, image, 1.0, (0.0, 0.0), None, look.name, seconds, tuple(dict.fromkeys(damage)))


def _decode_video(data: bytes, limits: ImageLimits) -> DecodedImage:
    from embeddings.images.video import open_video

    video, damage = open_video(data, limits=limits), list[str]()

    def frames() -> Iterator[Frame]:
        for index, image, seconds in video.frames(damage):
            for look in looks_at(image, None):
                yield _still(index, look.render(image), look, seconds, damage)

    return DecodedImage(video.format, video.width, video.height, video.frames_total, frames(), len(video.wanted))
