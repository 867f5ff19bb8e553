"""What images show, beside faces: a content rating and CLIP vectors.

Owns which frames of an image are looked at for that, and what comes of them. An image is looked at while it is scanned
for faces (:mod:`embeddings.shard`), or later by :func:`describe_contents`, when a model has come or changed: from the
same pixels, with the same result. An animation is rated as its worst looked-at frame and has one vector per looked-at
frame.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby

import numpy as np

from embeddings.content.clip import ImageEncoder
from embeddings.content.ratings import SHORT_SIDE, Rater
from embeddings.control import control_content
from embeddings.errors import ItemError, UnscannableError
from embeddings.faults import bisected
from embeddings.images.decode import Frame, decode, sample
from embeddings.images.decoder import Decoder
from embeddings.types import DESCRIBED, Content, Description, ImageLimits, UInt8, distinct_contents
from embeddings.window import Batches, in_order, nothing, threads


@dataclass(frozen=True, slots=True)
class Glimpse:
    """One frame as the models of a :class:`Describer` want it."""

    frame: int
    nsfw_score: float | None
    pixels: UInt8 | None
    """(h, w, 3): what the encoder is to see."""


@dataclass(frozen=True, slots=True)
class Describer:
    """The models that describe contents, and which frames they see."""

    rater: Rater | None
    encoder: ImageEncoder | None
    max_frames: int
    """Frames looked at of an animation, evenly spaced among those that are sampled for faces."""
    known: frozenset[bytes] = frozenset()
    """Digests of contents that need no description."""

    def positions(self, frames: int) -> frozenset[int]:
        """Choose which of ``frames`` sampled frames are looked at: positions from 0."""
        return frozenset(sample(frames, at_most=self.max_frames))

    def look(self, frame: Frame, size: tuple[int, int]) -> Glimpse:
        """Rate one frame of an image of ``size`` (width, height) at full size, and prepare it for the encoder.

        A reduced frame that is too small for a model is decoded again, larger. Raises :class:`UnscannableError`.
        """
        score, pixels = None, None
        if self.rater:
            score = self.rater.rate(frame.at_least(SHORT_SIDE / min(size)).image)
        if self.encoder:
            transform = self.encoder.transform
            pixels = transform.pixels(frame.at_least(transform.short_side / min(size)), full=size)
        return Glimpse(frame.index, score, pixels)


Glimpses = tuple[Glimpse, ...]


class Descriptions:
    """Descriptions in the making: glimpses go in by content, frames are encoded in batches on ``pool``."""

    def __init__(self, pool: Executor, describer: Describer) -> None:
        self._rows: list[tuple[bytes, Glimpses | ItemError]] = []
        encoder = describer.encoder
        self._batches = encoder and Batches(
            pool, encoder.encode_images, size=encoder.batch, dimension=encoder.dimension
        )

    def add(self, sha256: bytes, seen: Glimpses | ItemError) -> None:
        """Add what was seen of one content, or the error that kept it from being seen."""
        if not isinstance(seen, ItemError):
            if self._batches:
                self._batches.add(one.pixels for one in seen if one.pixels is not None)
            seen = tuple(replace(one, pixels=None) for one in seen)
        self._rows.append((sha256, seen))

    def result(self) -> tuple[Description, ...]:
        """Return the descriptions, in the order of the contents."""
        vectors = self._batches.result() if self._batches else np.empty((0, 0), dtype=np.float32)
        described, taken = [], 0
        for sha256, seen in self._rows:
            if isinstance(seen, ItemError):
                described.append(Description(sha256, seen.status, None, (), vectors[:0]))
                continue
            frames = tuple(one.frame for one in seen) if self._batches else ()
            scores = [one.nsfw_score for one in seen if one.nsfw_score is not None]
            own = vectors[taken : taken + len(frames)]
            taken += len(frames)
            described.append(Description(sha256, DESCRIBED, max(scores, default=None), frames, own))
        return tuple(described)


def describe_contents(
    contents: Sequence[Content],
    describer: Describer,
    *,
    limits: ImageLimits,
    long_side: int,
    workers: int,
    decoder: Decoder = decode,
    beat: Callable[[], None] = nothing,
) -> tuple[Description, ...]:
    """Rate and encode every distinct content; in order of first appearance.

    ``long_side`` is what images are decoded for when they are scanned for faces (the largest detection scale): with it
    results are the same, to the bit, as those of a scan. An image that cannot be looked at, for whatever reason, gets a
    status and affects no other (:mod:`embeddings.faults`). ``beat`` is called whenever a content is done with.
    """

    def work(some: Sequence[Content]) -> tuple[Description, ...]:
        with threads(workers) as pool:
            described = Descriptions(pool, describer)
            look = partial(_look, describer=describer, limits=limits, long_side=long_side, decoder=decoder)
            for content, glimpses in zip(some, in_order(pool, look, some, workers=workers), strict=True):
                described.add(content.sha256, glimpses)
                beat()
            return described.result()

    def faulty(content: Content, error: UnscannableError) -> tuple[Description, ...]:
        return (Description(content.sha256, error.status, None, (), np.empty((0, 0), dtype=np.float32)),)

    parts = bisected(distinct_contents(contents), work, faulty=faulty, control=lambda: work([control_content()]))
    return tuple(one for part in parts for one in part)


def _look(
    content: Content, *, describer: Describer, limits: ImageLimits, long_side: int, decoder: Decoder
) -> Glimpses | ItemError:
    """Decode and look at one content. Only an item's own fault is caught."""
    try:
        image = decoder(content.data, limits=limits, long_side=long_side)
        wanted = describer.positions(image.planned)
        size = (image.width, image.height)
        frames = enumerate(groupby(image.frames, key=lambda frame: frame.index))
        looks = (frame for at, (_, looks) in frames for frame in looks if at in wanted)
        return tuple(describer.look(frame, frame.own_size or size) for frame in looks)
    except ItemError as error:
        return error
