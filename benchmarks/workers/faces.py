"""The measured side of :mod:`benchmarks.faces`: the embedding core in a process of its own, on files it is told.

A worker of :mod:`benchmarks.workers.turns`: ``{"files": [...]}`` -> seconds and faces; ``{"save": path}`` -> everything
found goes into an ``.npz`` file (:func:`benchmarks.workers.opencv_loop.load_found`), with processor seconds and peak
memory.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.workers.opencv_loop import FoundFaces, serve
from benchmarks.workers.turns import Seat
from embeddings.models.load import load_models
from embeddings.shard import embed_shard
from embeddings.types import Content, ShardEmbeddings, vectors_of
from pipelines.settings.config import EmbeddingConfig, ImagesConfig, ViewsConfig


def found_by_name(
    names: Sequence[str], contents: Sequence[Content], result: ShardEmbeddings, *, dimension: int
) -> dict[str, FoundFaces]:
    """The faces of each file. Raises :class:`ValueError` when one of them could not be scanned."""
    failed = set(result.statuses["status"].to_pylist()) - {"faces", "no_face"}
    if failed:
        raise ValueError(f"generated images could not be scanned: {sorted(failed)}")
    faces = result.faces
    boxes = np.stack([faces[column].to_numpy() for column in ("x1", "y1", "x2", "y2")], axis=1)
    vectors = vectors_of(faces["vector"], dimension)
    rows: dict[bytes, list[int]] = {}
    for row, digest in enumerate(faces["content_sha256"].to_pylist()):
        rows.setdefault(digest, []).append(row)
    own = {name: rows.get(content.sha256, []) for name, content in zip(names, contents, strict=True)}
    return {name: FoundFaces(boxes[at], vectors[at]) for name, at in own.items()}


def main() -> None:
    """Serve turns until the parent is gone."""
    parser = argparse.ArgumentParser(prog="benchmarks.workers.faces")
    parser.add_argument("folder", type=Path)
    parser.add_argument("cache", type=Path)
    parser.add_argument("--runtime", required=True)
    parser.add_argument("--precision", required=True)
    parser.add_argument("--views", choices=["off", "uncertain"], required=True)
    options = parser.parse_args()
    config = EmbeddingConfig(
        runtime=options.runtime, precision=options.precision, views=ViewsConfig(mode=options.views)
    )
    settings = config.faces()
    models = load_models(config.pack, cache_dir=options.cache, settings=settings, runtime=config.runtime_settings())
    workers, limits = config.worker_count(), ImagesConfig()

    def look(names: Sequence[str]) -> dict[str, FoundFaces]:
        data = [(options.folder / name).read_bytes() for name in names]
        contents = [Content(hashlib.sha256(one).digest(), one) for one in data]
        result = embed_shard(contents, models, limits=limits, workers=workers)
        return found_by_name(names, contents, result, dimension=models.dimension)

    seat = Seat()
    serve(seat, seat.answer(runtime=models.runtime, workers=workers), look)


if __name__ == "__main__":
    main()
