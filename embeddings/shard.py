"""Many images at once: bytes in, Arrow tables out, one status for every distinct content (I1).

Owns what a scan of many contents gives: statuses, faces, and descriptions where they are wanted, from one decoding of
each. The threads and the order of results are :mod:`embeddings.window`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pyarrow as pa

from embeddings.content.describe import Describer, Descriptions
from embeddings.control import control_content, control_crops
from embeddings.errors import ItemError, UnscannableError
from embeddings.faces.alignment import no_crops
from embeddings.faces.find import FoundFace, ScannedImage, find_faces, scan
from embeddings.faces.recognition import mean_of_crops
from embeddings.faults import bisected, is_unforeseen
from embeddings.images.decode import decode
from embeddings.images.decoder import Decoder
from embeddings.models.load import FaceModels, load_models
from embeddings.types import (
    Content,
    Float32,
    ImageLimits,
    ShardEmbeddings,
    distinct_contents,
    face_schema,
    status_schema,
    vector_column,
)
from embeddings.window import Batches, in_order, nothing, threads

__all__ = ["FaceModels", "FoundFace", "embed_shard", "find_faces", "load_models"]

Outcome = ScannedImage | ItemError


def embed_shard(
    contents: Sequence[Content],
    models: FaceModels,
    *,
    limits: ImageLimits,
    workers: int,
    describer: Describer | None = None,
    decoder: Decoder = decode,
    beat: Callable[[], None] = nothing,
) -> ShardEmbeddings:
    """Embed every face of every distinct content, and describe those that can be scanned if there is a ``describer``.

    ``workers`` threads (one per core) change the speed and nothing else. An image that cannot be scanned, for whatever
    reason, gets a status row and affects no other (:mod:`embeddings.faults`); what this raises is no image's fault. An
    image that only the ``describer`` fails on has its faces and no description. ``beat`` is called whenever a content
    is done with.
    """

    embed = partial(_embed, models=models, limits=limits, workers=workers, decoder=decoder, beat=beat)

    def work(some: Sequence[Content]) -> ShardEmbeddings:
        try:
            return embed(some, describer=describer)
        except Exception as error:
            if len(some) != 1 or describer is None or not is_unforeseen(error):
                raise
            # A rater or encoder that fails must hide no face: the description stays open for a later run.
            return embed(some, describer=None)

    def faulty(content: Content, error: UnscannableError) -> ShardEmbeddings:
        faces = face_schema(models.dimension).empty_table()
        return ShardEmbeddings(_status_table([content], [error]), faces, ())

    def control() -> None:
        seeing = replace(describer, known=frozenset()) if describer else None
        embed([control_content()], describer=seeing)
        models.recognizer.embed(control_crops())

    return _joined(bisected(distinct_contents(contents), work, faulty=faulty, control=control))


def _joined(parts: Sequence[ShardEmbeddings]) -> ShardEmbeddings:
    statuses = pa.concat_tables([part.statuses for part in parts])
    faces = pa.concat_tables([part.faces for part in parts])
    return ShardEmbeddings(statuses, faces, tuple(one for part in parts for one in part.descriptions))


def _embed(
    distinct: Sequence[Content],
    *,
    models: FaceModels,
    limits: ImageLimits,
    workers: int,
    describer: Describer | None,
    decoder: Decoder,
    beat: Callable[[], None],
) -> ShardEmbeddings:
    """Embed distinct contents together; an exception that one of them causes ends the call."""
    outcomes: list[Outcome] = []
    with threads(workers) as pool:
        crops = Batches(pool, models.recognizer.embed, size=models.batch, dimension=models.dimension)
        described = Descriptions(pool, describer) if describer else None
        work = partial(_scan, models=models, limits=limits, describer=describer, decoder=decoder)
        for content, outcome in zip(distinct, in_order(pool, work, distinct, workers=workers), strict=True):
            if isinstance(outcome, ScannedImage):
                crops.add(outcome.crops)
                if described and outcome.glimpses:
                    described.add(content.sha256, outcome.glimpses)
                outcome = replace(outcome, crops=no_crops(), glimpses=())
            outcomes.append(outcome)
            beat()
        rest = crops.result()
        descriptions = described.result() if described else ()
    return ShardEmbeddings(_status_table(distinct, outcomes), _face_table(distinct, outcomes, rest), descriptions)


def _scan(
    content: Content, *, models: FaceModels, limits: ImageLimits, describer: Describer | None, decoder: Decoder
) -> Outcome:
    """The faces of one content, or what is wrong with it. Only an item's own fault is caught."""
    wanted = describer if describer and content.sha256 not in describer.known else None
    try:
        return scan(content.data, models, limits=limits, describer=wanted, decoder=decoder)
    except ItemError as error:
        return error


def _status_table(contents: Sequence[Content], outcomes: Sequence[Outcome]) -> pa.Table:
    rows = [
        {"content_sha256": content.sha256, **_status(outcome)}
        for content, outcome in zip(contents, outcomes, strict=True)
    ]
    return pa.Table.from_pylist(rows, schema=status_schema())


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
        "damage": outcome.damage,
        "pdq": outcome.pdq,
    }


def _face_table(contents: Sequence[Content], outcomes: Sequence[Outcome], rest: Float32) -> pa.Table:
    """``rest`` holds the vectors of the crops that the images left over, in their order.

    A face has one row, however many crops it has.
    """
    dimension = rest.shape[1]
    pairs = [
        (content.sha256, image)
        for content, image in zip(contents, outcomes, strict=True)
        if isinstance(image, ScannedImage)
    ]
    vectors, taken = [rest[:0]], 0
    for _, image in pairs:
        left = sum(image.counts) - len(image.vectors)
        vectors += [image.vectors, rest[taken : taken + left]]
        taken += left
    counts = np.array([count for _, image in pairs for count in image.counts], dtype=np.int64)
    boxes = np.concatenate([np.empty((0, 4), dtype=np.float32), *(image.boxes for _, image in pairs)])
    columns = {
        "content_sha256": [sha256 for sha256, image in pairs for _ in image.frame],
        "frame": [frame for _, image in pairs for frame in image.frame],
        "face": [number for _, image in pairs for number in range(len(image))],
        **{name: boxes[:, at] for at, name in enumerate(("x1", "y1", "x2", "y2"))},
        "score": np.concatenate([np.empty(0, dtype=np.float32), *(image.scores for _, image in pairs)]),
        "view": [view for _, image in pairs for view in image.views],
        "seconds": [time for _, image in pairs for time in image.seconds],
        "vector": vector_column(mean_of_crops(np.concatenate(vectors), counts)),
    }
    return pa.table(columns, schema=face_schema(dimension))
