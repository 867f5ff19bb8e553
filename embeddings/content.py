"""What many images show, from their bytes: a content rating and CLIP vectors for each.

Owns the threads and the order of results, as :mod:`embeddings.shard` does for faces: one worker per core decodes,
rates and prepares an image, or encodes a batch of prepared frames. An animation is rated as its worst sampled frame
and has one vector per sampled frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np

from embeddings.clip import ImageEncoder
from embeddings.errors import ItemError
from embeddings.images import decode
from embeddings.ratings import SHORT_SIDE, Rater
from embeddings.shard import WINDOW_PER_WORKER, in_order
from embeddings.types import Content, Float32, ImageLimits, UInt8, distinct_contents

DESCRIBED = "described"


@dataclass(frozen=True, slots=True)
class Description:
    """What is known of one content afterwards."""

    sha256: bytes
    status: str
    """``described`` or ``unscannable:<reason>``."""
    nsfw_score: float | None
    """The highest score of the sampled frames; None without a rater, or when unscannable."""
    frames: tuple[int, ...]
    """Positions in the file of the frames that ``vectors`` are of."""
    vectors: Float32
    """(n, dimension); no rows without an encoder, or when unscannable."""


@dataclass(frozen=True, slots=True)
class _Looked:
    nsfw_score: float | None
    frames: tuple[int, ...]
    pixels: tuple[UInt8, ...]


def describe_contents(
    contents: Sequence[Content], *, rater: Rater | None, encoder: ImageEncoder | None, limits: ImageLimits, workers: int
) -> list[Description]:
    """Rate and encode every distinct content; in order of first appearance.

    An image that cannot be decoded gets a status and costs nobody else; any other error is raised.
    """
    distinct = distinct_contents(contents)
    looked: list[_Looked | ItemError] = []
    batches: list[Future[Float32]] = []
    waiting: list[UInt8] = []
    pool = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="describe")
    try:
        work = partial(_look, rater=rater, encoder=encoder, limits=limits)
        for outcome in in_order(pool, work, distinct, window=workers * WINDOW_PER_WORKER):
            if isinstance(outcome, _Looked):
                waiting += outcome.pixels
                outcome = _Looked(outcome.nsfw_score, outcome.frames, ())
            looked.append(outcome)
            while encoder and len(waiting) >= encoder.batch:
                batches.append(pool.submit(encoder.encode_images, np.stack(waiting[: encoder.batch])))
                del waiting[: encoder.batch]
        if encoder and waiting:
            batches.append(pool.submit(encoder.encode_images, np.stack(waiting)))
        none = np.empty((0, encoder.dimension if encoder else 0), dtype=np.float32)
        vectors = np.concatenate([none, *(batch.result() for batch in batches)])
    finally:
        pool.shutdown(cancel_futures=True)
    return _descriptions(distinct, looked, vectors)


def _look(
    content: Content, *, rater: Rater | None, encoder: ImageEncoder | None, limits: ImageLimits
) -> _Looked | ItemError:
    """Decode, rate and prepare one content. Only an item's own fault is caught."""
    wanted = max(SHORT_SIDE if rater else 0, encoder.transform.short_side if encoder else 0)
    scores: list[float] = []
    frames: list[int] = []
    pixels: list[UInt8] = []
    try:
        image = decode(content.data, limits=limits, long_side=0, short_side=wanted)
        for frame in image.frames:
            if rater:
                scores.append(rater.rate(frame.image))
            if encoder:
                frames.append(frame.index)
                pixels.append(encoder.transform.pixels(frame, full=(image.width, image.height)))
    except ItemError as error:
        return error
    return _Looked(max(scores, default=None), tuple(frames), tuple(pixels))


def _descriptions(
    contents: Sequence[Content], looked: Sequence[_Looked | ItemError], vectors: Float32
) -> list[Description]:
    described = []
    taken = 0
    for content, outcome in zip(contents, looked, strict=True):
        if isinstance(outcome, ItemError):
            described.append(Description(content.sha256, outcome.status, None, (), vectors[:0]))
            continue
        own = vectors[taken : taken + len(outcome.frames)]
        taken += len(outcome.frames)
        described.append(Description(content.sha256, DESCRIBED, outcome.nsfw_score, outcome.frames, own))
    return described
