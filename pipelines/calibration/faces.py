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
import numpy.typing as npt
import pyarrow as pa

from embeddings.faces.alignment import CROP_SIDE
from embeddings.faces.views import FAST
from embeddings.shard import embed_shard
from embeddings.types import Content, Float32, vectors_of
from indexes.pooling import distinct_pictures, face_weight
from indexes.stored import Int64
from pipelines.home.progress import Progress
from pipelines.home.workspace import Workspace

CHUNK = 32
"""Photographs in memory at a time: enough for whole batches of crops."""


@dataclass(frozen=True, slots=True)
class Faces:
    """Vectors (n, d) of distinct contents, and for each path its row, or -1 where there is none.

    ``weights`` (n,): what each face weighs in a pool; ``pictures`` (n,): a number, the same for near-duplicates.
    """

    vectors: Float32 = field(repr=False)
    weights: npt.NDArray[np.float64] = field(repr=False)
    pictures: Int64
    row: Int64
    problems: tuple[str | None, ...]
    """For each path why it has no row; None where it has one."""
    several: int
    """Distinct contents with more than one face."""
    second_look: int
    """Distinct contents whose face was found by another view than the first."""


@dataclass(frozen=True, slots=True)
class _Photograph:
    """What is known of a photograph with a face beside its vector."""

    digest: bytes
    weight: float
    pdq: bytes | None


def embed_photographs(workspace: Workspace, paths: Sequence[Path], *, progress: Progress) -> Faces:
    """Embed the largest face of every photograph. A photograph's own fault is not raised."""
    vectors = [np.empty((0, workspace.models.dimension), dtype=np.float32)]
    outcome: dict[bytes, int | str] = {}
    kept: list[_Photograph] = []
    digests: list[bytes | str] = []
    counts: Counter[str] = Counter()
    progress("embed", 0, len(paths))
    for start in range(0, len(paths), CHUNK):
        read = [_read(path, workspace.limits.max_bytes) for path in paths[start : start + CHUNK]]
        digests += [entry if isinstance(entry, str) else entry.sha256 for entry in read]
        new = [entry for entry in read if isinstance(entry, Content) and entry.sha256 not in outcome]
        if new:
            vectors.append(_embed(workspace, new, outcome, counts, kept))
        progress("embed", min(start + CHUNK, len(paths)), len(paths))
    found = [entry if isinstance(entry, str) else outcome[entry] for entry in digests]
    return Faces(
        vectors=np.concatenate(vectors),
        weights=np.array([one.weight for one in kept], dtype=np.float64),
        pictures=_pictures(kept, distance=workspace.policy.settings.takedown.duplicate_distance),
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
    kept: list[_Photograph],
) -> Float32:
    """Embed new contents, enter the row or problem of each into ``outcome``, and return the vectors kept, beside
    ``kept``."""
    workers = workspace.config.embedding.worker_count()
    result = embed_shard(
        contents, workspace.models, limits=workspace.limits, workers=workers, decoder=workspace.decoder
    )
    statuses = {row["content_sha256"]: row for row in result.statuses.to_pylist()}
    outcome.update((digest, row["status"]) for digest, row in statuses.items())
    largest: dict[bytes, int] = {}
    faces = result.faces.drop_columns(["vector"]).to_pylist()
    for at, face in enumerate(faces):
        known = largest.setdefault(face["content_sha256"], at)
        if _area(face) > _area(faces[known]):
            largest[face["content_sha256"]] = at
    for digest, at in largest.items():
        outcome[digest] = len(kept)
        kept.append(_Photograph(digest, _weight(faces[at]), statuses[digest]["pdq"]))
        counts["second_look"] += faces[at]["view"] not in (None, FAST)
    counts["several"] += sum(row["faces"] > 1 for row in statuses.values())
    chosen = result.faces["vector"].take(pa.array(list(largest.values()), type=pa.int64()))
    return vectors_of(chosen, workspace.models.dimension).copy()


def _weight(face: dict[str, float]) -> float:
    return face_weight(face["score"], face["x2"] - face["x1"], face["y2"] - face["y1"], side=CROP_SIDE)


def _pictures(kept: Sequence[_Photograph], *, distance: int) -> Int64:
    hashes = {one.digest.hex(): one.pdq.hex() if one.pdq else None for one in kept}
    numbers = distinct_pictures(hashes, distance=distance)
    return np.array([numbers[one.digest.hex()] for one in kept], dtype=np.int64)


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
