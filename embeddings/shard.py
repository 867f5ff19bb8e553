"""Many images at once: bytes in, Arrow tables out, one status for every distinct content (I1).

Owns the threads and the order of results. Decoding, detection and alignment of one image are one task; crops of many
images make one recogniser batch, another task on the same threads. Both release the GIL, so one thread per core keeps
every core busy. Tasks are handed out through a window, which bounds the memory; results are taken in order, so neither
batches nor tables depend on the number of workers or on timing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TypeVar

import numpy as np
import pyarrow as pa

from embeddings.alignment import no_crops
from embeddings.errors import ItemError
from embeddings.faces import FoundFace, ScannedImage, find_faces, scan
from embeddings.models import FaceModels, load_models
from embeddings.types import (
    STATUS_SCHEMA,
    Content,
    Float32,
    ImageLimits,
    ShardEmbeddings,
    distinct_contents,
    face_schema,
    vector_column,
)

__all__ = ["FaceModels", "FoundFace", "embed_shard", "find_faces", "load_models"]

WINDOW_PER_WORKER = 4
"""Images in flight per worker: enough that a slow one does not idle the others, few enough to bound memory."""

T = TypeVar("T")
R = TypeVar("R")
Outcome = ScannedImage | ItemError


def embed_shard(
    contents: Sequence[Content], models: FaceModels, *, limits: ImageLimits, workers: int
) -> ShardEmbeddings:
    """Embed every face of every distinct content.

    ``workers`` threads (one per core) change the speed and nothing else. An image that cannot be scanned gets a status
    row and costs nobody else; any other error (:class:`VectorError`, a bug) is raised.
    """
    distinct = distinct_contents(contents)
    outcomes: list[Outcome] = []
    batches: list[Future[Float32]] = []
    waiting = no_crops()
    pool = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="embed")
    try:
        work = partial(_scan, models=models, limits=limits)
        for outcome in in_order(pool, work, distinct, window=workers * WINDOW_PER_WORKER):
            if isinstance(outcome, ScannedImage):
                waiting = np.concatenate([waiting, outcome.crops])
                outcome = replace(outcome, crops=no_crops())
            outcomes.append(outcome)
            if len(waiting) >= models.batch:  # an image leaves fewer than a batch, so there is never a second one
                batches.append(pool.submit(models.recognizer.embed, waiting[: models.batch]))
                waiting = waiting[models.batch :]
        if len(waiting):
            batches.append(pool.submit(models.recognizer.embed, waiting))
        none = np.empty((0, models.dimension), dtype=np.float32)
        rest = np.concatenate([none, *(part.result() for part in batches)])
    finally:
        pool.shutdown(cancel_futures=True)
    return ShardEmbeddings(_status_table(distinct, outcomes), _face_table(distinct, outcomes, rest))


def in_order(pool: Executor, work: Callable[[T], R], values: Iterable[T], *, window: int) -> Iterator[R]:
    """``work`` of each of ``values`` on ``pool``, in their order, with at most ``window`` begun and not yet taken."""
    begun: deque[Future[R]] = deque()
    for value in values:
        begun.append(pool.submit(work, value))
        if len(begun) >= window:
            yield begun.popleft().result()
    while begun:
        yield begun.popleft().result()


def _scan(content: Content, *, models: FaceModels, limits: ImageLimits) -> Outcome:
    """The faces of one content, or what is wrong with it. Only an item's own fault is caught."""
    try:
        return scan(content.data, models, limits=limits)
    except ItemError as error:
        return error


def _status_table(contents: Sequence[Content], outcomes: Sequence[Outcome]) -> pa.Table:
    rows = [
        {"content_sha256": content.sha256, **_status(outcome)}
        for content, outcome in zip(contents, outcomes, strict=True)
    ]
    return pa.Table.from_pylist(rows, schema=STATUS_SCHEMA)


def _status(outcome: Outcome) -> dict[str, str | int | bytes | None]:
    if isinstance(outcome, ItemError):
        return {"status": outcome.status, "faces": 0, "faces_dropped": 0}
    return {
        "status": "faces" if len(outcome) else "no_face",
        "format": outcome.format,
        "width": outcome.width,
        "height": outcome.height,
        "frames": outcome.frames,
        "frames_total": outcome.frames_total,
        "faces": len(outcome),
        "faces_dropped": outcome.dropped,
        "pdq": outcome.pdq,
    }


def _face_table(contents: Sequence[Content], outcomes: Sequence[Outcome], rest: Float32) -> pa.Table:
    """``rest`` holds the vectors of the crops that the images left over, in their order."""
    dimension = rest.shape[1]
    pairs = [
        (content.sha256, image)
        for content, image in zip(contents, outcomes, strict=True)
        if isinstance(image, ScannedImage)
    ]
    vectors, taken = [rest[:0]], 0
    for _, image in pairs:
        left = len(image) - len(image.vectors)
        vectors += [image.vectors, rest[taken : taken + left]]
        taken += left
    boxes = np.concatenate([np.empty((0, 4), dtype=np.float32), *(image.boxes for _, image in pairs)])
    columns = {
        "content_sha256": [sha256 for sha256, image in pairs for _ in image.frame],
        "frame": [frame for _, image in pairs for frame in image.frame],
        "face": [number for _, image in pairs for number in range(len(image))],
        **{name: boxes[:, at] for at, name in enumerate(("x1", "y1", "x2", "y2"))},
        "score": np.concatenate([np.empty(0, dtype=np.float32), *(image.scores for _, image in pairs)]),
        "view": [view for _, image in pairs for view in image.views],
        "vector": vector_column(np.concatenate(vectors)),
    }
    return pa.table(columns, schema=face_schema(dimension))
