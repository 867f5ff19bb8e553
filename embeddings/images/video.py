"""Videos: which frames of an MP4 or WebM file are looked at, and their pixels. By FFmpeg through PyAV (extra `video`).

The packets are walked first, which decodes nothing and tells when each frame is shown. Frames are chosen as those of
animations are (:mod:`embeddings.images.sampling`): by time, and by change, for which all of them are decoded if that
takes no more than ``max_video_pixels``, otherwise the key frames alone. Chosen frames are then decoded from the key
frame before each. Only two containers are opened, by name, with no other file within reach, and only codecs that
browsers play.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from typing import TYPE_CHECKING, Final

import numpy as np

from embeddings.errors import UnscannableError
from embeddings.images.account import check_size
from embeddings.images.damage import CORRUPT, TRUNCATED
from embeddings.images.faults import EXPECTED
from embeddings.images.magic import sniff
from embeddings.images.sampling import Sampled, choose, sample, signature
from embeddings.types import ImageLimits, UInt8

if TYPE_CHECKING:
    import av
    from av.container import InputContainer

_DEMUXERS: Final[Mapping[str, str]] = {"mp4": "mov", "webm": "matroska"}
_CODECS: Final = ("h264", "hevc", "av1", "libdav1d", "vp8", "vp9", "libvpx", "libvpx-vp9", "mpeg4")
_MAX_PACKETS: Final = 300_000
_PER_PIXEL: Final = 36
"""Bytes a pixel that decoding takes at most: sixteen frames that others refer to, and one in RGB, twice."""
_SMALL: Final = 64
"""Side of the picture from which a frame's signature is made."""


@dataclass(frozen=True, slots=True)
class Packet:
    """When one frame is shown, in units of the stream, and whether it needs no other."""

    time: int
    whole: bool


@dataclass(frozen=True, slots=True)
class Video:
    """A video whose packets were walked."""

    format: str
    width: int
    """Of the upright frame, in pixels."""
    height: int
    frames_total: int
    wanted: tuple[int, ...]
    """Positions of the frames that are looked at, in the order in which they are shown."""
    damage: tuple[str, ...]
    _data: bytes = field(repr=False)
    _packets: tuple[Packet, ...] = field(repr=False)
    """In the order in which their frames are shown."""
    _unit: float
    """Seconds in a unit of the stream."""

    def frames(self, damage: list[str]) -> Iterator[tuple[int, UInt8, float]]:
        """Yield position, RGB pixels (h, w, 3) and time in seconds of each wanted frame.

        Adds to ``damage`` what could not be decoded. Raises :class:`UnscannableError` where nothing could.
        """
        damage += self.damage
        begin, shown = self._packets[0].time, 0
        with _opened(self._data) as (container, stream):
            for at, frame in _decoded(container, stream, self._packets, self.wanted, damage):
                shown += 1
                yield at, _pixels(frame, (self.width, self.height)), (self._packets[at].time - begin) * self._unit
        if not shown:
            raise UnscannableError("corrupt")


def open_video(data: bytes, *, limits: ImageLimits) -> Video:
    """Walk the packets and choose frames. Raises :class:`UnscannableError`, ``no_video_decoder`` without the extra."""
    with _opened(data) as (container, stream):
        width, height = stream.codec_context.width, stream.codec_context.height
        check_size(width, height, limits.max_pixels)
        if _PER_PIXEL * width * height > limits.max_decode_bytes:
            raise UnscannableError("too_much_memory")
        if stream.codec_context.name not in _CODECS:
            raise UnscannableError("format", "a codec that browsers do not play")
        # Before packets are read, from which FFmpeg guesses it; what the file says, however much that is.
        announced = min(max(int(stream.frames or 0), 0), _MAX_PACKETS)
        unit = float(stream.time_base or 1)
        packets, ended = _walk(container, stream, limits.max_video_seconds / unit)
        total = max(announced, len(packets))
    if not packets:
        raise UnscannableError("truncated")
    turned = _rotation(data) % 180 != 0
    return Video(
        sniff(data),
        *((height, width) if turned else (width, height)),
        total,
        tuple(_wanted(data, packets, unit, width * height, limits)),
        (TRUNCATED,) if ended and len(packets) < announced else (),
        data,
        packets,
        unit,
    )


def _walk(container: InputContainer, stream: av.VideoStream, longest: float) -> tuple[tuple[Packet, ...], bool]:
    """The packets of the first ``longest`` units, and whether the file was read to its end."""
    found: dict[int, bool] = {}
    begin, ended = None, True
    try:
        for packet in container.demux(stream):
            if packet.pts is None or packet.is_discard:
                continue
            begin = packet.pts if begin is None else begin
            if packet.pts - begin > longest or len(found) >= _MAX_PACKETS:
                ended = False
                break
            found[packet.pts] = found.get(packet.pts, False) or bool(packet.is_keyframe)
    except EXPECTED:  # the file ends or breaks here; what was found stays
        ended = True
    return tuple(Packet(time, found[time]) for time in sorted(found)), ended


def _wanted(data: bytes, packets: Sequence[Packet], unit: float, pixels: int, limits: ImageLimits) -> Sequence[int]:
    """Positions of the frames to look at."""
    if len(packets) <= limits.max_frames:
        return range(len(packets))
    keys = [at for at, packet in enumerate(packets) if packet.whole]
    everything = len(packets) * pixels <= limits.max_video_pixels
    affordable = max(limits.max_frames, limits.max_video_pixels // pixels)
    candidates = list(range(len(packets)))
    if not everything:
        candidates = [keys[at] for at in sample(len(keys), at_most=affordable)] or [0]
    seen: list[Sampled] = []
    places: list[int] = []
    with _opened(data) as (container, stream):
        for at, frame in _decoded(container, stream, packets, candidates, []):
            small = frame.to_ndarray(width=_SMALL, height=_SMALL, format="rgb24").astype(np.uint8, copy=False)
            seen.append(Sampled(packets[at].time * unit, signature(small, many=len(packets))))
            places.append(at)
    chosen = [places[at] for at in choose(seen, at_most=limits.max_frames)]
    if everything or len(chosen) >= limits.max_frames:
        return chosen
    spare = np.linspace(0, len(packets) - 1, limits.max_frames - len(chosen)).round().astype(int).tolist()
    return sorted({*chosen, *spare})


def _decoded(
    container: InputContainer,
    stream: av.VideoStream,
    packets: Sequence[Packet],
    wanted: Sequence[int],
    damage: list[str],
) -> Iterator[tuple[int, av.VideoFrame]]:
    """Decode the frames at the positions ``wanted``, in order, from the key frame before each."""
    place = {packet.time: at for at, packet in enumerate(packets)}
    keys = [at for at, packet in enumerate(packets) if packet.whole] or [0]
    waiting = set(wanted)
    reached, coming = -1, iter(())  # type: tuple[int, Iterator[av.VideoFrame]]
    for at in wanted:
        if at not in waiting:
            continue
        start = last_key(keys, at)
        if start > reached:
            try:
                container.seek(packets[start].time, stream=stream, backward=True)
            except EXPECTED:
                damage.append(CORRUPT)
            coming = container.decode(stream)
        try:
            for frame in coming:
                found = place.get(frame.pts) if frame.pts is not None else None
                if found is None:
                    continue
                reached = max(reached, found)
                if found in waiting:
                    waiting.discard(found)
                    yield found, frame
                if reached >= at:
                    break
        except EXPECTED:
            damage.append(CORRUPT)
            coming, reached = iter(()), at
    if waiting:
        damage.append(CORRUPT if CORRUPT in damage else TRUNCATED)


def last_key(keys: Sequence[int], at: int) -> int:
    """The last of the rising ``keys`` up to ``at``, 0 where there is none. Looks at few of them."""
    position = bisect_right(keys, at)
    return keys[position - 1] if position else 0


@contextmanager
def _opened(data: bytes) -> Iterator[tuple[InputContainer, av.VideoStream]]:
    """Open the file and its first picture stream, decoded on one thread."""
    try:
        import av
    except ImportError as error:
        raise UnscannableError("no_video_decoder", "install the extra `video`") from error
    try:
        with av.open(BytesIO(data), mode="r", format=_DEMUXERS[sniff(data)]) as container:
            if not container.streams.video:
                raise UnscannableError("format", "no pictures in it")
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1
            yield container, stream
    except UnscannableError:
        raise
    except (*EXPECTED, av.FFmpegError) as error:
        ended = isinstance(error, EOFError) or "end of file" in str(error).lower()
        raise UnscannableError("truncated" if ended else "corrupt") from error


def _rotation(data: bytes) -> int:
    """Degrees against the clock by which players turn the frames."""
    with _opened(data) as (container, stream):
        for frame in container.decode(stream):
            return int(frame.rotation)
    return 0


def _pixels(frame: av.VideoFrame, size: tuple[int, int]) -> UInt8:
    """The upright pixels of a frame, of ``size``."""
    turns = round(int(frame.rotation) / 90) % 4
    width, height = size if turns % 2 == 0 else size[::-1]
    image: UInt8 = np.rot90(frame.to_ndarray(width=width, height=height, format="rgb24"), turns)
    return np.ascontiguousarray(image)
