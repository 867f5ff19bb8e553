"""Photographs -> one vector each, through the very path that uploads take, with the views that are configured.

Each distinct content is embedded once. A photograph that cannot be used is counted by reason and costs the comparisons
it was for. Where several faces are found the largest counts, and that is counted too: labels are about one person.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from embeddings.faces.views import FAST
from embeddings.shard import embed_shard
from embeddings.types import Content, Float32, vectors_of
from indexes.stored import Int64
from pipelines.home.progress import Progress
from pipelines.home.workspace import Workspace

CHUNK = 32
"""Photographs in memory at a time: enough for whole batches of crops."""


@dataclass(frozen=True, slots=True)
class Faces:
    """Vectors (n, d) of distinct contents, and for each path its row, or -1 where there is none."""

    vectors: Float32 = field(repr=False)
    row: Int64
    problems: tuple[str | None, ...]
    """For each path why it has no row; None where it has one."""
    several: int
    """Distinct contents with more than one face."""
    second_look: int
    """Distinct contents whose face was found by another view than the first."""


def embed_photographs(workspace: Workspace, paths: Sequence[Path], *, progress: Progress) -> Faces:
    """Embed the largest face of every photograph. A photograph's own fault is not raised."""
    vectors = [np.empty((0, workspace.models.dimension), dtype=np.float32)]
    outcome: dict[bytes, int | str] = {}
    digests: list[bytes | str] = []
    counts: Counter[str] = Counter()
    progress("embed", 0, len(paths))
    for start in range(0, len(paths), CHUNK):
        read = [_read(path, workspace.limits.max_bytes) for path in paths[start : start + CHUNK]]
        digests += [entry if isinstance(entry, str) else entry.sha256 for entry in read]
        new = [entry for entry in read if isinstance(entry, Content) and entry.sha256 not in outcome]
        if new:
            vectors.append(_embed(workspace, new, outcome, counts, offset=sum(len(part) for part in vectors)))
        progress("embed", min(start + CHUNK, len(paths)), len(paths))
    found = [entry if isinstance(entry, str) else outcome[entry] for entry in digests]
    return Faces(
        vectors=np.concatenate(vectors),
        row=np.array([-1 if isinstance(entry, str) else entry for entry in found], dtype=np.int64),
        problems=tuple(entry if isinstance(entry, str) else None for entry in found),
        several=counts["several"],
        second_look=counts["second_look"],
    )


def _embed(
    workspace: Workspace,
    contents: Sequence[Content],
    outcome: dict[bytes, int | str],
    counts: Counter[str],
    *,
    offset: int,
) -> Float32:
    """Embed new contents, enter the row or problem of each into ``outcome``, and return the vectors kept."""
    workers = workspace.config.embedding.worker_count()
    result = embed_shard(contents, workspace.models, limits=workspace.limits, workers=workers)
    for row in result.statuses.to_pylist():
        outcome[row["content_sha256"]] = row["status"]
    largest: dict[bytes, int] = {}
    faces = result.faces.drop_columns(["vector"]).to_pylist()
    for at, face in enumerate(faces):
        known = largest.setdefault(face["content_sha256"], at)
        if _area(face) > _area(faces[known]):
            largest[face["content_sha256"]] = at
    for position, (digest, at) in enumerate(largest.items()):
        outcome[digest] = offset + position
        counts["second_look"] += faces[at]["view"] not in (None, FAST)
    counts["several"] += sum(row["faces"] > 1 for row in result.statuses.to_pylist())
    kept = result.faces["vector"].take(pa.array(list(largest.values()), type=pa.int64()))
    return vectors_of(kept, workspace.models.dimension).copy()


def _area(face: dict[str, float]) -> float:
    return (face["x2"] - face["x1"]) * (face["y2"] - face["y1"])


def _read(path: Path, max_bytes: int) -> Content | str:
    """Read a photograph; return a fixed word if it cannot be had."""
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except FileNotFoundError:
        return "missing"
    except (OSError, ValueError):  # ValueError: a NUL in the path
        return "unreadable"
    return Content(hashlib.sha256(data).digest(), data)
