"""Pictures decoded in a confined process: the same frames, bit by bit, as in this one.

Whatever comes back is checked before it is used: sizes against the limits, words against what a word may be. What an
upload makes of the process that decodes it can be a wrong picture, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, Final, get_args, get_origin, get_type_hints

from embeddings.images.decode import DecodedImage, Frame
from embeddings.sandbox.image_work import DECODE_IMAGE, FRAME_FACTS, IMAGE_FACTS, decoding_facts
from embeddings.sandbox.pool import DecodingPool, unbelievable, word
from embeddings.sandbox.process import Reply
from embeddings.sandbox.work import Facts
from embeddings.types import ImageLimits, UInt8

_MOST_REAL: Final = 2.0**53
_MOST_NUMBER: Final = 2**31 - 1
"""What the columns hold that such numbers end up in (:func:`embeddings.types.status_schema`)."""
_MOST_PARTS: Final = 64
_CHANNELS: Final = 3
_IMAGE_TYPES: Final = get_type_hints(DecodedImage)
_FRAME_TYPES: Final = get_type_hints(Frame)


class SandboxedDecoder:
    """An :class:`embeddings.images.decoder.Decoder` on a pool of confined processes."""

    def __init__(self, pool: DecodingPool) -> None:
        self.pool = pool

    def __call__(self, data: bytes, *, limits: ImageLimits, long_side: int) -> DecodedImage:
        """Decode the first frame, and each of the others when it is asked for. Raises :class:`UnscannableError`."""
        frames = _Frames(self, data, limits, long_side)
        head = _checked_fields(IMAGE_FACTS, _IMAGE_TYPES, frames.first.facts.get("image"))
        image = DecodedImage(**head, frames=frames)
        if not 0 < image.width * image.height <= limits.max_pixels or image.frames_total < 1:
            raise unbelievable()
        return image

    def frame_at(self, data: bytes, limits: ImageLimits, long_side: int, position: int, scale: float) -> Frame:
        """Decode one frame at ``scale`` or more: that which is at ``position`` where ``long_side`` is asked for."""
        return next(_Frames(self, data, limits, long_side, position, scale))


class _Frames(Iterator[Frame]):
    """Frames from answers, each of which is asked for when it is wanted. Begins with the first."""

    def __init__(
        self,
        decoder: SandboxedDecoder,
        data: bytes,
        limits: ImageLimits,
        long_side: int,
        position: int | None = None,
        scale: float = 0.0,
    ) -> None:
        self._decoder = decoder
        self._data = data
        self._limits = limits
        self._long_side = long_side
        self._position = position or 0  # of the next frame among those that the file gives
        facts = decoding_facts(limits, long_side=long_side, position=position, scale=scale)
        self._results = decoder.pool.results(DECODE_IMAGE, facts, data, room=_CHANNELS * limits.max_pixels)
        first = next(self._results, None)
        if first is None:
            raise unbelievable()
        self.first = first
        self._coming: Reply | None = first

    def __next__(self) -> Frame:
        answer, self._coming = self._coming or next(self._results), None
        frame = self._frame(answer, self._position)
        self._position += 1
        return frame

    def _frame(self, answer: Reply, position: int) -> Frame:
        facts = _checked_fields(FRAME_FACTS, _FRAME_TYPES, answer.facts.get("frame"))
        if not 0 < facts["scale"] <= 1:
            raise unbelievable()

        def enlarge(scale: float) -> Frame:
            return self._decoder.frame_at(self._data, self._limits, self._long_side, position, scale)

        enlarges = answer.facts.get("enlarges") is True
        return Frame(**facts, image=self._pixels(answer), _enlarge=enlarge if enlarges else None)

    def _pixels(self, answer: Reply) -> UInt8:
        rows, columns = (_checked(int, answer.facts.get(name)) for name in ("rows", "columns"))
        if not 0 < rows * columns <= self._limits.max_pixels or rows * columns * _CHANNELS != len(answer.payload):
            raise unbelievable()
        return answer.payload.reshape(rows, columns, _CHANNELS)


def _checked_fields(names: Sequence[str], types: Mapping[str, Any], said: object) -> Facts:
    """The fields of a dataclass, each of its type."""
    if not isinstance(said, dict):
        raise unbelievable()
    return {name: _checked(types[name], said.get(name)) for name in names}


def _checked(kind: Any, value: object) -> Any:
    """What a decoding process said, as a value of the type: a number within bounds, a word, nothing, or several."""
    parts = get_args(kind)
    if get_origin(kind) is tuple and isinstance(value, list) and len(value) <= _MOST_PARTS:
        each = parts[:1] * len(value) if parts[-1] is Ellipsis else parts
        if len(each) == len(value):
            return tuple(_checked(one, part) for one, part in zip(each, value, strict=True))
    elif isinstance(kind, UnionType):
        if value is None and NoneType in parts:
            return None
        return _checked(next(part for part in parts if part is not NoneType), value)
    elif kind is bool and isinstance(value, bool):
        return value
    elif kind is str:
        return word(value)
    elif kind is float and type(value) in (int, float) and abs(value) <= _MOST_REAL:  # type: ignore[arg-type]
        return float(value)  # type: ignore[arg-type]
    elif kind is int and type(value) is int and 0 <= value <= _MOST_NUMBER:
        return value
    raise unbelievable()
