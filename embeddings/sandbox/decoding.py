"""Pictures decoded in a confined process: the same frames, bit by bit, as in this one.

Whatever comes back is checked before it is used: sizes against the limits, words against what a word may be. What an
upload makes of the process that decodes it can be a wrong picture, and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final

from embeddings.errors import UnscannableError
from embeddings.images.decode import DecodedImage, Frame
from embeddings.sandbox.image_work import DECODE_IMAGE, FRAME_FACTS, IMAGE_FACTS, decoding_facts
from embeddings.sandbox.pool import DecodingPool, Results, unbelievable, word
from embeddings.sandbox.process import Reply
from embeddings.types import ImageLimits, UInt8

_MOST_NUMBER: Final = 2.0**53
_MOST_PARTS: Final = 64
_CHANNELS: Final = 3


class SandboxedDecoder:
    """An :class:`embeddings.images.decoder.Decoder` on a pool of confined processes."""

    def __init__(self, pool: DecodingPool) -> None:
        self.pool = pool

    def __call__(self, data: bytes, *, limits: ImageLimits, long_side: int) -> DecodedImage:
        """Decode the first frame, and each of the others when it is asked for. Raises :class:`UnscannableError`."""
        if len(data) > limits.max_bytes:
            raise UnscannableError("too_large")
        results = self._begun(data, limits, decoding_facts(limits, long_side=long_side))
        frames = _Frames(self, results, data, limits)
        head = {name: _plain(frames.first.facts["image"].get(name)) for name in IMAGE_FACTS}
        image = DecodedImage(**head, frames=frames)
        if not 0 < image.width * image.height <= limits.max_pixels or image.frames_total < 1:
            raise unbelievable()
        if image.frames_total == 1:
            image = DecodedImage(**head, frames=iter(list(frames)))  # and the process is free for the next one
        return image

    def frame_at(self, data: bytes, limits: ImageLimits, position: int, scale: float, side: int) -> Frame:
        """Decode one frame at ``scale`` or more; ``side``: the longer one of the full-size frame."""
        facts = decoding_facts(limits, long_side=scale * side, position=position, scale=scale)
        return next(_Frames(self, self._begun(data, limits, facts), data, limits, position=position))

    def _begun(self, data: bytes, limits: ImageLimits, facts: dict[str, Any]) -> Results:
        return self.pool.results(DECODE_IMAGE, facts, data, room=_CHANNELS * limits.max_pixels)


class _Frames(Iterator[Frame]):
    """Frames from answers. Lets go of the process when it is collected."""

    def __init__(
        self, decoder: SandboxedDecoder, results: Results, data: bytes, limits: ImageLimits, *, position: int = 0
    ) -> None:
        self._decoder = decoder
        self._results = results
        self._data = data
        self._limits = limits
        self._position = position
        self._coming: Reply | None = next(results, None)
        if self._coming is None or not all(
            isinstance(self._coming.facts.get(name), dict) for name in ("image", "frame")
        ):
            raise unbelievable()
        self.first = self._coming

    def __next__(self) -> Frame:
        answer, self._coming = self._coming or next(self._results), None
        frame = self._frame(answer, self._position)
        self._position += 1
        return frame

    def _frame(self, answer: Reply, position: int) -> Frame:
        pixels = self._pixels(answer)
        own = answer.facts["frame"]
        facts = {name: _plain(own.get(name)) for name in FRAME_FACTS}
        side = max(answer.facts["image"]["width"], answer.facts["image"]["height"])

        def enlarge(scale: float) -> Frame:
            return self._decoder.frame_at(self._data, self._limits, position, scale, side)

        return Frame(**facts, image=pixels, _enlarge=enlarge if answer.facts.get("enlarges") is True else None)

    def _pixels(self, answer: Reply) -> UInt8:
        rows, columns = answer.facts.get("rows"), answer.facts.get("columns")
        if not isinstance(rows, int) or not isinstance(columns, int) or rows < 1 or columns < 1:
            raise unbelievable()
        if rows * columns > self._limits.max_pixels or rows * columns * _CHANNELS != len(answer.payload):
            raise unbelievable()
        return answer.payload.reshape(rows, columns, _CHANNELS)


def _plain(value: object, *, deep: bool = True) -> Any:
    """A number, a word, nothing or several of these, as a field of a frame may be."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        if not math.isfinite(value) or abs(value) > _MOST_NUMBER:
            raise unbelievable()
        return value
    if isinstance(value, list) and deep and len(value) <= _MOST_PARTS:
        return tuple(_plain(one, deep=False) for one in value)
    return word(value)
