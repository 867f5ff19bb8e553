"""Compares one shard with a gallery: from stored vectors, streamed, or from content that is embedded again.

Reads only, and knows nothing of coverage; :mod:`pipelines.matching.faces` commits the results.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from embeddings.errors import CorruptionError, StateError
from embeddings.types import vectors_of
from indexes.corpus import ShardEntry, corpus_schema
from indexes.gallery import Gallery, GalleryMatches
from indexes.thresholds import Thresholds
from pipelines.corpus.retention import is_kept
from pipelines.home.workspace import Workspace
from pipelines.matching.galleries import load_gallery
from pipelines.policy import band_of

if TYPE_CHECKING:
    import pyarrow as pa

    from pipelines.scan.again import LeavingItem

FoundBy = Literal["sweep", "rescan"]


@dataclass(frozen=True, slots=True)
class Side:
    """What the shards of a plan are compared with: enough for any process to load the gallery."""

    found_by: FoundBy
    model_id: str
    subject_ids: tuple[str, ...]
    registry_version: int
    upto: int | None
    thresholds: Thresholds


@dataclass(frozen=True, slots=True)
class Comparison:
    """Result of comparing one shard with a gallery, not yet committed: opaque ids, boxes and scores, no vectors."""

    shard_id: str
    faces: int
    rows: tuple[dict[str, Any], ...]
    """Rows of the table of hits."""
    leaving: tuple[LeavingItem, ...] = ()
    """Items that could not be compared and leave the shard (:mod:`pipelines.scan.again`)."""
    superseded: bool = False
    """Whether nothing was compared, because the shard was compacted or lost its files."""


def compare_shard(workspace: Workspace, side: Side, entry: ShardEntry) -> Comparison:
    """Compare the faces of a shard's live items with the gallery of ``side``: a task of an engine.

    Reads only; repeating it changes nothing. Raises :class:`StateError` for a registry older than the plan's.
    """
    gallery = _gallery_of(workspace, side)
    if entry.path is None:
        return _compare_again(workspace, gallery, entry, side)
    try:
        faces, matched, matches = compare_kept(workspace, gallery, entry, threshold=side.thresholds.review)
    except CorruptionError:
        if is_kept(workspace, entry):
            raise
        return Comparison(entry.shard_id, 0, (), superseded=True)
    rows = _hit_rows(workspace, gallery, matched, matches, side=side)
    workspace.failpoints.pass_by("during_comparison")
    return Comparison(entry.shard_id, faces, tuple(rows))


def _gallery_of(workspace: Workspace, side: Side) -> Gallery:
    """Return the plan's gallery; a process that did not make the plan loads it and keeps it for the next shard.

    A newer registry serves as well: a subject that changed has a version above the one that coverage will state.
    """
    if side not in workspace.galleries:
        with workspace.database.read() as connection:
            gallery = load_gallery(
                workspace, connection, subject_ids=side.subject_ids, model_id=side.model_id, upto=side.upto
            )
        if gallery.registry_version < side.registry_version:
            raise StateError("this worker reads an older registry than the plan was made of: is it another database?")
        workspace.galleries = {side: gallery}
    return workspace.galleries[side]


def compare_kept(
    workspace: Workspace, gallery: Gallery, entry: ShardEntry, *, threshold: float
) -> tuple[int, pa.Table, GalleryMatches]:
    """Return the number of faces compared, the faces that matched, and their matches, row for row, dead items included.

    Vectors that lie apart are streamed, read and opened ahead of the comparison; their other columns are read only
    if something was found.
    """
    import pyarrow as pa

    key = workspace.sealer.shard_key(entry.shard_id)
    if entry.vector_salt is None:
        table = workspace.corpus.read(entry, key=key)
        vectors = vectors_of(table["vector"], entry.dimension)
        matches = gallery.match(vectors, model_id=entry.model_id, threshold=threshold)
    else:
        with workspace.corpus.open_vectors(entry, key=key) as stored:
            matches = gallery.match_stored(stored, model_id=entry.model_id, threshold=threshold)
        table = workspace.corpus.read_rows(entry, key=key) if len(matches) else _no_rows(entry.dimension)
    return entry.rows, table.take(pa.array(np.asarray(matches.probe))), matches


def _no_rows(dimension: int) -> pa.Table:
    return corpus_schema(dimension).empty_table().drop_columns(["vector"])


def _compare_again(workspace: Workspace, gallery: Gallery, entry: ShardEntry, side: Side) -> Comparison:
    import pyarrow as pa

    from pipelines.scan.again import LeavingItem, embed_again

    faces, rows, leaving = 0, list[dict[str, Any]](), list[LeavingItem]()
    for table, some in embed_again(workspace, entry.shard_id):
        vectors = vectors_of(table["vector"], entry.dimension)
        matches = gallery.match(vectors, model_id=entry.model_id, threshold=side.thresholds.review)
        matched = table.take(pa.array(np.asarray(matches.probe)))
        rows += _hit_rows(workspace, gallery, matched, matches, side=side)
        faces += len(table)
        leaving += some
    return Comparison(entry.shard_id, faces, tuple(rows), tuple(leaving))


def _hit_rows(
    workspace: Workspace,
    gallery: Gallery,
    matched: pa.Table,
    matches: GalleryMatches,
    *,
    side: Side,
) -> list[dict[str, Any]]:
    """Make the hit rows, without the canary's, ordered by face and subject; ``matched`` has a face for each match."""
    thresholds = side.thresholds
    now = workspace.now()
    common = {
        "tier": "face",
        "threshold": thresholds.review,
        "threshold_source": thresholds.source,
        "calibration_id": thresholds.calibration_id,
        "found_by_id": gallery.model_id,
        "policy_version": workspace.policy.version,
        "found_by": side.found_by,
        "found_at": now,
    }
    faces = matched.drop_columns(["vector"]) if "vector" in matched.column_names else matched
    rows = []
    for face, template, score in zip(faces.to_pylist(), matches.template, matches.scores, strict=True):
        subject_id = gallery.subject_ids[template]
        if subject_id == workspace.canary.subject_id:
            continue
        content = face.pop("content_sha256").hex()
        identity = json.dumps([face["item_id"], content, subject_id, gallery.model_id, face["face"]])
        rows.append(
            {
                "hit_id": f"hit_{hashlib.sha256(identity.encode()).hexdigest()[:32]}",
                "content_key": content,
                "subject_id": subject_id,
                "template_id": gallery.template_ids[template],
                "score": float(score),
                "band": band_of(float(score), thresholds),
                "detector_score": face.pop("score"),
                **face,
                **common,
            }
        )
    return rows
