"""Is what a sweep found right? Its faces beside another detector's, and its hits beside brute force in numpy."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import sqlalchemy as sa

from benchmarks.workers.opencv_loop import FoundFaces
from embeddings.types import vectors_of
from pipelines.corpus.manifest import list_shards
from pipelines.database.tables import hits
from pipelines.home.workspace import Workspace
from pipelines.registry.subjects import active_versions, open_templates

Float32 = npt.NDArray[np.float32]

SAME_FACE = 0.5
"""Intersection over union from which two boxes are the same face."""
BLOCK = 512
"""Faces compared with all templates at once."""
SCORE_TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True)
class Agreement:
    """How one side's faces compare with the other's."""

    peer_faces: int
    recall: float
    """Share of the peer's faces that this side has too."""
    median_cosine: float
    """Between the vectors that both sides give the same face."""
    lowest_cosine: float


def stored_faces(workspace: Workspace) -> pa.Table:
    """Every face in the corpus, from the shards that the manifest lists."""
    with workspace.database.read() as connection:
        listed = [shard.entry for shard in list_shards(connection, workspace.sealer)]
    tables = [workspace.corpus.read(entry, key=workspace.sealer.shard_key(entry.shard_id)) for entry in listed]
    return pa.concat_tables(tables).combine_chunks()


def found_by_name(faces: pa.Table, folder: Path, names: Sequence[str], *, dimension: int) -> dict[str, FoundFaces]:
    """The stored faces of each file."""
    boxes = np.stack([faces[column].to_numpy() for column in ("x1", "y1", "x2", "y2")], axis=1)
    vectors = vectors_of(faces["vector"], dimension)
    rows: dict[bytes, list[int]] = {}
    for row, digest in enumerate(faces["content_sha256"].to_pylist()):
        rows.setdefault(digest, []).append(row)
    own = {name: rows.get(hashlib.sha256((folder / name).read_bytes()).digest(), []) for name in names}
    return {name: FoundFaces(boxes[at], vectors[at]) for name, at in own.items()}


def agreement(ours: Mapping[str, FoundFaces], peer: Mapping[str, FoundFaces]) -> Agreement:
    """Compare image by image: each of the peer's faces with the one of ours that overlaps it most."""
    cosines: list[float] = []
    total = 0
    for name, theirs in peer.items():
        own = ours[name]
        total += len(theirs.boxes)
        if len(own.boxes) and len(theirs.boxes):
            overlap = iou(theirs.boxes, own.boxes)
            best = overlap.argmax(axis=1)
            same = overlap.max(axis=1) >= SAME_FACE
            cosines += np.einsum("ij,ij->i", theirs.vectors[same], own.vectors[best[same]]).tolist()
    return Agreement(
        peer_faces=total,
        recall=len(cosines) / total if total else 1.0,
        median_cosine=float(np.median(cosines)) if cosines else 0.0,
        lowest_cosine=min(cosines, default=0.0),
    )


def iou(left: Float32, right: Float32) -> Float32:
    """Intersection over union of every pair of boxes (n, 4) and (m, 4) -> (n, m)."""
    low = np.maximum(left[:, None, :2], right[None, :, :2])
    high = np.minimum(left[:, None, 2:], right[None, :, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=2)
    areas = [np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (left, right)]
    overlap: Float32 = shared / np.maximum(areas[0][:, None] + areas[1][None, :] - shared, 1e-9)
    return overlap


def hits_are_exact(workspace: Workspace, faces: pa.Table) -> tuple[bool, int]:
    """Whether the hits in the database are those of brute force over ``faces`` and all active templates; their number.

    Every face against every template in numpy, float32 vectors with the sum in float64; nothing of the indexes is used.
    """
    threshold = np.float32(workspace.thresholds.review)
    with workspace.database.read() as connection:
        active = active_versions(connection, now=workspace.now())
        templates, _, owners = open_templates(
            connection, workspace.sealer, subject_ids=active, model_id=workspace.models.model_id
        )
        columns = (hits.c.item_id, hits.c.face, hits.c.subject_id, hits.c.score)
        stored = {(row[0], row[1], row[2]): row[3] for row in connection.execute(sa.select(*columns))}
    vectors = vectors_of(faces["vector"], templates.shape[1])
    item_ids, numbers = faces["item_id"].to_pylist(), faces["face"].to_pylist()
    right = templates.astype(np.float64).T
    expected: dict[tuple[str, int, str], float] = {}
    for start in range(0, len(vectors), BLOCK):
        scores = (vectors[start : start + BLOCK].astype(np.float64) @ right).astype(np.float32)
        for row, column in zip(*np.nonzero(scores >= threshold), strict=True):
            key = (item_ids[start + row], numbers[start + row], owners[column])
            expected[key] = max(expected.get(key, -1.0), float(scores[row, column]))
    same = expected.keys() == stored.keys()
    return same and all(abs(stored[key] - score) <= SCORE_TOLERANCE for key, score in expected.items()), len(stored)
