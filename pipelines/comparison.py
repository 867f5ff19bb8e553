"""Comparing one shard with a gallery: from stored vectors, streamed, or from content that is embedded again.

Reads only, and knows nothing of coverage; what it found is committed by :mod:`pipelines.matching`.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from embeddings.errors import CorruptionError, NotReadyError
from embeddings.types import vectors_of
from indexes.calibration import Thresholds
from indexes.corpus import ShardEntry, corpus_schema
from indexes.gallery import Gallery, GalleryMatches
from pipelines.policy import band_of
from pipelines.reembedding import Leaving, embed_again
from pipelines.retention import is_kept
from pipelines.workspace import Workspace

FoundBy = Literal["sweep", "rescan"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What comparing one shard with a gallery found, not yet committed: opaque ids, boxes and scores, no vectors."""

    shard_id: str
    faces: int
    rows: tuple[dict[str, Any], ...]
    """Rows of the table of hits."""
    leaving: tuple[Leaving, ...] = ()
    """Items that could not be compared: see :mod:`pipelines.reembedding`."""
    superseded: bool = False
    """The shard was compacted or let go of, and nothing was compared."""


def compare_shard(workspace: Workspace, gallery: Gallery, entry: ShardEntry, found_by: FoundBy) -> Comparison:
    """Compare the faces of a shard's live items with ``gallery``. Reads only; repeating it changes nothing."""
    if entry.path is None:
        return _compare_again(workspace, gallery, entry, found_by)
    try:
        faces, matched, matches = _compare_kept(workspace, gallery, entry)
    except CorruptionError:
        if is_kept(workspace, entry):
            raise
        return Comparison(entry.shard_id, 0, (), superseded=True)
    rows = _hit_rows(workspace, gallery, matched, matches, shard_id=entry.shard_id, found_by=found_by)
    return Comparison(entry.shard_id, faces, tuple(rows))


def _compare_kept(workspace: Workspace, gallery: Gallery, entry: ShardEntry) -> tuple[int, pa.Table, GalleryMatches]:
    """Faces compared, the faces that matched, and what they matched, row for row. Those of dead items are among them.

    Vectors that lie apart are streamed, read and opened ahead of the comparison; their other columns are read only
    if something was found.
    """
    key, threshold = workspace.sealer.shard_key(entry.shard_id), bands_of(workspace, gallery).review
    if entry.vector_salt is None:
        table = workspace.corpus.read(entry, key=key)
        vectors = vectors_of(table["vector"], entry.dimension)
        matches = gallery.match(vectors, model_id=entry.model_id, threshold=threshold)
    else:
        with workspace.corpus.open_vectors(entry, key=key) as stored:
            matches = gallery.match_stored(stored, model_id=entry.model_id, threshold=threshold)
        table = workspace.corpus.read_rows(entry, key=key) if len(matches) else _no_rows(entry.dimension)
    return entry.faces, table.take(pa.array(np.asarray(matches.probe))), matches


def _no_rows(dimension: int) -> pa.Table:
    return corpus_schema(dimension).empty_table().drop_columns(["vector"])


def _compare_again(workspace: Workspace, gallery: Gallery, entry: ShardEntry, found_by: FoundBy) -> Comparison:
    faces, rows, leaving = 0, list[dict[str, Any]](), list[Leaving]()
    for table, some in embed_again(workspace, entry.shard_id):
        vectors = vectors_of(table["vector"], entry.dimension)
        matches = gallery.match(vectors, model_id=entry.model_id, threshold=bands_of(workspace, gallery).review)
        matched = table.take(pa.array(np.asarray(matches.probe)))
        rows += _hit_rows(workspace, gallery, matched, matches, shard_id=entry.shard_id, found_by=found_by)
        faces += len(table)
        leaving += some
    return Comparison(entry.shard_id, faces, tuple(rows), tuple(leaving))


def _hit_rows(
    workspace: Workspace,
    gallery: Gallery,
    matched: pa.Table,
    matches: GalleryMatches,
    *,
    shard_id: str,
    found_by: FoundBy,
) -> list[dict[str, Any]]:
    """Hit rows of everything but the canary, ordered by face and subject; ``matched`` has a face for each match."""
    thresholds = bands_of(workspace, gallery)
    now = workspace.now()
    common = {
        "tier": "face",
        "threshold": thresholds.review,
        "threshold_source": thresholds.source,
        "model_id": gallery.model_id,
        "policy_version": workspace.policy.version,
        "shard_id": shard_id,
        "found_by": found_by,
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
                "content_sha256": content,
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


def bands_of(workspace: Workspace, gallery: Gallery) -> Thresholds:
    """The thresholds for the models that made this gallery."""
    thresholds = workspace.thresholds_of(gallery.model_id)
    if thresholds is None:
        raise NotReadyError(f"there are no thresholds for {gallery.model_id}")
    return thresholds
