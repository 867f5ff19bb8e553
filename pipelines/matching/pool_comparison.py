"""Compares pools with a gallery, new ones and stored ones: what each resembles, and which of its pictures that tells.

Reads only. :mod:`pipelines.matching.pool_hits` commits the results; the preview of a person who is not enrolled yet
(:mod:`pipelines.cases.impact`) counts them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from embeddings.types import Float32
from indexes.gallery import Gallery
from indexes.join import pair_scores
from indexes.pooling import pooled_vector
from indexes.thresholds import Bands
from pipelines.home.workspace import Workspace
from pipelines.matching.comparison import FoundBy
from pipelines.matching.pool_store import NewPool, Post, faces_of, open_vectors
from pipelines.matching.pool_vectors import read_faces
from pipelines.policy import Band, band_of

if TYPE_CHECKING:
    from pipelines.scan.again import LeavingItem

POOLS_AT_ONCE: Final = 1 << 13
"""Stored pools that are compared at once."""
_OF_FACE: Final = ("frame", "seconds", "face", "x1", "y1", "x2", "y2", "view")


@dataclass(frozen=True, slots=True)
class Found:
    """A pool that resembles a subject. ``faces``: what rows of hits do not share, one for each picture; ``number``: of
    a stored pool."""

    post: Post
    digest: str
    subject_id: str
    template_id: str
    score: float
    found_by: FoundBy
    faces: tuple[dict[str, Any], ...] = field(repr=False)
    number: int | None = None

    def band(self, bands: Bands) -> Band:
        """The band of the pool."""
        return band_of(self.score, bands.pooled)

    def telling(self, bands: Bands) -> tuple[dict[str, Any], ...]:
        """The faces of which the pool says more than they do: they are below its band by themselves, or nobody knows.

        A picture whose own face reaches the band of the pool speaks for itself, and has a hit that says so.
        """
        least = bands.single.strong if self.band(bands) == "strong" else bands.single.review
        return tuple(face for face in self.faces if face["alone_score"] is None or face["alone_score"] < least)


@dataclass(frozen=True, slots=True)
class StoredCompared:
    """What stored pools resemble. ``leaving``: items that are not what they were, by the shard that they leave."""

    found: list[Found]
    leaving: Mapping[str, Sequence[LeavingItem]]


@dataclass(frozen=True, slots=True)
class _Members:
    """The faces of a stored pool, and their vectors (n, d); None where something of them cannot be had."""

    faces: Sequence[Any]
    vectors: Float32 | None = field(repr=False)


def compare_pools(
    new: Sequence[NewPool], gallery: Gallery, bands: Bands, *, found_by: FoundBy, workspace: Workspace
) -> dict[Post, list[Found]]:
    """Compare new pools with a gallery: what each resembles, by post. The canary is left out."""
    found: dict[Post, list[Found]] = {}
    if not new:
        return found
    probes = np.stack([pool.vector for pool in new])
    for probe, template, score in _matches(workspace, gallery, bands, probes):
        pool = new[probe]
        of_faces = [{name: face[name] for name in (*_OF_FACE, "item_id")} for face in pool.faces]
        scores = [face["score"] for face in pool.faces]
        faces = _told(of_faces, scores, _alone(pool.vectors, gallery, template))
        one = Found(pool.post, pool.digest, *_named(gallery, template), score, found_by, faces)
        found.setdefault(pool.post, []).append(one)
    return found


def compare_stored(
    workspace: Workspace,
    gallery: Gallery,
    bands: Bands,
    rows: Sequence[Any],
    *,
    found_by: FoundBy,
    again: bool = True,
) -> StoredCompared:
    """Compare rows of ``pools`` by their stored vectors, or by those of their faces where none is kept.

    A pool that cannot be made again has a post that changed, and is pooled anew with that. ``again`` False: nothing is
    fetched or embedded again, so that pools without a vector are left out. The canary is left out.
    """
    kept = [row for row in rows if row.sealed_vector is not None]
    vectors = dict(zip([row.number for row in kept], open_vectors(workspace.sealer, kept), strict=True)) if kept else {}
    members, leaving = dict[int, _Members](), dict[str, list["LeavingItem"]]()
    if again:
        lost = [row.number for row in rows if row.sealed_vector is None]
        members = _members(workspace, lost, leaving, again=again)
        for number, own in members.items():
            if own.vectors is not None:
                made = pooled_vector(own.vectors, np.array([face.weight for face in own.faces]))
                vectors |= {} if made is None else {number: made}
    ordered = [row for row in rows if row.number in vectors]
    if not ordered:
        return StoredCompared([], leaving)
    matches = _matches(workspace, gallery, bands, np.stack([vectors[row.number] for row in ordered]))
    matched = sorted({ordered[probe].number for probe, _, _ in matches} - members.keys())
    members |= _members(workspace, matched, leaving, again=again)
    found = []
    for probe, template, score in matches:
        row = ordered[probe]
        of_pool = members.get(row.number)
        if of_pool is None:  # it was replaced meanwhile
            continue
        unknown: list[float | None] = [None] * len(of_pool.faces)
        alone = unknown if of_pool.vectors is None else _alone(of_pool.vectors, gallery, template)
        of_faces = [{name: face._mapping[name] for name in (*_OF_FACE, "item_id")} for face in of_pool.faces]
        faces = _told(of_faces, [face.detector_score for face in of_pool.faces], alone)
        post = Post(row.model, row.uploader)
        found.append(Found(post, row.digest, *_named(gallery, template), score, found_by, faces, row.number))
    return StoredCompared(found, leaving)


def _matches(workspace: Workspace, gallery: Gallery, bands: Bands, probes: Float32) -> list[tuple[int, int, float]]:
    """(probe, template, score) of every person that a pool's vector resembles; the canary is nobody."""
    matches = gallery.match(probes, model_id=gallery.model_id, threshold=bands.pooled.review)
    found = zip(matches.probe, matches.template, matches.scores, strict=True)
    canary = workspace.canary.subject_id
    return [
        (int(probe), int(template), float(score))
        for probe, template, score in found
        if gallery.subject_ids[template] != canary
    ]


def _named(gallery: Gallery, template: int) -> tuple[str, str]:
    return gallery.subject_ids[template], gallery.template_ids[template]


def _told(
    of_faces: Sequence[dict[str, Any]], detector_scores: Sequence[float], alone: Sequence[float | None]
) -> tuple[dict[str, Any], ...]:
    return tuple(
        face | {"detector_score": score, "alone_score": own}
        for face, score, own in zip(of_faces, detector_scores, alone, strict=True)
    )


def _alone(vectors: Float32, gallery: Gallery, template: int) -> list[float]:
    """What each vector (n, d) by itself scores with the nearest reference of the subject that a template is of."""
    subject_id = gallery.subject_ids[template]
    references = gallery.vectors[[row for row, owner in enumerate(gallery.subject_ids) if owner == subject_id]]
    scores = [pair_scores(vectors, np.broadcast_to(one, vectors.shape)) for one in references]
    return [float(score) for score in np.max(scores, axis=0)]


def _members(
    workspace: Workspace, numbers: Sequence[int], leaving: dict[str, list[LeavingItem]], *, again: bool
) -> dict[int, _Members]:
    """The members of the pools of these numbers that are stored; what leaves its shard is added to ``leaving``."""
    if not numbers:
        return {}
    with workspace.database.read() as connection:
        stored = faces_of(connection, numbers)
    shards = {row.item_id: row.shard_id for rows in stored.values() for row in rows if row.shard_id}
    read = read_faces(workspace, shards, dimension=workspace.models.dimension, again=again)
    for shard_id, some in read.leaving.items():
        leaving.setdefault(shard_id, []).extend(some)
    place = {
        (face["item_id"], face["content_sha256"].hex(), face["frame"], face["face"]): number
        for number, face in enumerate(read.faces)
    }
    found = {}
    for number, rows in stored.items():
        places = [place.get((row.item_id, row.content_sha256, row.frame, row.face)) for row in rows]
        there = [at for at in places if at is not None]
        found[number] = _Members(rows, read.vectors[there] if len(there) == len(rows) else None)
    return found
