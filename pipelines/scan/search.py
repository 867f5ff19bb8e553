"""Search by content: compares a text or a picture with every stored CLIP vector of live items.

Exact (I3): every vector is compared in float32 as :func:`indexes.join.pair_scores` defines, a shard at a time, and the
best are kept; memory grows neither with the corpus nor with the matches. The query is neither stored nor logged,
because an analyst may type a name: the audit row says that somebody searched, with which kind, and over how much.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import sqlalchemy as sa

from embeddings.content.describe import Describer, describe_contents
from embeddings.errors import ConfigError, CorruptionError, UnscannableError, WeightsError
from embeddings.types import Content, Float32, vectors_of
from indexes.corpus import ShardEntry
from indexes.join import pair_scores
from pipelines.corpus.clip_manifest import clip_vectors, list_content_shards
from pipelines.database.parts import parts
from pipelines.database.tables import contents, items
from pipelines.home import audit
from pipelines.home.decoding import decoding_slot
from pipelines.home.progress import Pace, Progress, silent
from pipelines.home.workspace import Workspace
from pipelines.intake.fetch import ahead
from pipelines.intake.ledger import Scope
from pipelines.scan.content_coverage import measure_content
from pipelines.scan.rating import ratings_of


@dataclass(frozen=True, slots=True)
class RankedItem:
    """A live item found. ``score``: cosine, of an animation's best frame. ``rating``: level of maturity."""

    item_id: str
    score: float
    frame: int
    kind: str
    parent_model: str | None
    rating: str


@dataclass(frozen=True, slots=True)
class SearchResult:
    """What a search found. ``contents_searched``: distinct contents of live items. ``contents_missing``: readable ones
    without vectors by the weights in use, of which nothing can be said (I1)."""

    contents_searched: int
    contents_missing: int
    found: tuple[RankedItem, ...]


@dataclass(frozen=True, slots=True)
class _Shard:
    entry: ShardEntry
    rows: pa.Table


_Best = dict[str, tuple[float, int]]
"""Content digest -> score and frame."""


def search_text(
    workspace: Workspace, text: str, *, limit: int, actor: str, progress: Progress = silent
) -> SearchResult:
    """Find the ``limit`` contents nearest to ``text``, as the live items that have them, nearest first.

    Raises :class:`WeightsError` without CLIP weights, ``ConfigError`` for an empty text.
    """
    if not text.strip():
        raise ConfigError("the text to search for is empty")
    _require_weights(workspace)
    queries = workspace.content_models.text_encoder.encode_texts([text])
    return _search(workspace, queries, kind="text", limit=limit, actor=actor, progress=progress)


def search_image(
    workspace: Workspace, data: bytes, *, limit: int, actor: str, progress: Progress = silent
) -> SearchResult:
    """Find the ``limit`` contents nearest to a picture, or to the nearest frame of an animation, nearest first.

    Raises :class:`WeightsError` without CLIP weights, :class:`UnscannableError` for bytes that are no picture.
    """
    _require_weights(workspace)
    with decoding_slot(workspace):
        (seen,) = describe_contents(
            [Content(hashlib.sha256(data).digest(), data)],
            Describer(None, workspace.content_models.encoder, workspace.config.content.max_frames),
            limits=workspace.limits,
            decoder=workspace.decoder,
            long_side=max(workspace.config.embedding.scales),
            workers=1,
        )
    if not len(seen.vectors):
        raise UnscannableError(seen.status.partition(":")[2], "the picture to search for cannot be read")
    return _search(workspace, seen.vectors, kind="image", limit=limit, actor=actor, progress=progress)


def _require_weights(workspace: Workspace) -> None:
    if workspace.content_models.clip_model_id is None:
        raise WeightsError(
            "a search needs the CLIP weights that made the stored vectors, and content.clip is off or they are not "
            "here: run `likeness models pull clip`, or set content.clip_checkpoint to a local file"
        )


def _search(
    workspace: Workspace,
    queries: Float32,
    *,
    kind: Literal["text", "image"],
    limit: int,
    actor: str,
    progress: Progress,
) -> SearchResult:
    best: _Best = {}
    for shard in ahead(_shards(workspace, str(workspace.content_models.clip_model_id), progress)):
        _keep_best(workspace, best, shard, queries, limit)
    found = _items_with(workspace, best)
    with workspace.database.read() as connection:
        coverage = measure_content(connection, workspace, Scope(None, None))
    with workspace.database.write() as tx:
        facts: dict[str, str | int] = {"query": kind, "contents": coverage.clip_embedded, "found": len(found)}
        audit.append(tx, workspace.sealer, actor=actor, action="content.search", now=workspace.now(), **facts)
    return SearchResult(coverage.clip_embedded, coverage.clip_missing, tuple(found))


def _shards(workspace: Workspace, model_id: str, progress: Progress) -> Iterator[_Shard]:
    """Yield every shard of these weights, including those listed meanwhile by a stage that describes contents anew."""
    seen: set[str] = set()
    moved = True
    while moved:
        moved = False
        entries = [entry for entry in _listed(workspace) if entry.model_id == model_id and entry.shard_id not in seen]
        pace = Pace("search", [entry.rows for entry in entries], progress, unit="vectors")
        for entry in entries:
            seen.add(entry.shard_id)
            try:
                rows = clip_vectors(workspace, entry)
            except CorruptionError:
                if entry in _listed(workspace):
                    raise
                moved = True
            else:
                yield _Shard(entry, rows)
            pace.step()


def _listed(workspace: Workspace) -> list[ShardEntry]:
    with workspace.database.read() as connection:
        return list_content_shards(connection, workspace.sealer)


def _current(workspace: Workspace, shard_id: str, digests: Sequence[str]) -> set[str]:
    """Return those of the contents that live items have and whose vectors are in this shard, not in a newer one."""
    query = sa.select(contents.c.content_sha256).join(items, items.c.content_sha256 == contents.c.content_sha256)
    query = query.where(contents.c.clip_shard_id == shard_id, items.c.live)
    found: set[str] = set()
    with workspace.database.read() as connection:
        for chosen in parts(digests):
            some = contents.c.content_sha256.in_(chosen)
            found.update(connection.execute(query.where(some)).scalars())
    return found


def _keep_best(workspace: Workspace, best: _Best, shard: _Shard, queries: Float32, limit: int) -> None:
    """Merge the contents of a shard into the ``limit`` best so far; of equal scores the lesser digest wins.

    Only contents near enough are looked up in the database: after the first shards hardly any.
    """
    vectors = vectors_of(shard.rows["vector"], shard.entry.dimension)
    scores = np.max([pair_scores(vectors, np.broadcast_to(query, vectors.shape)) for query in queries], axis=0)
    floor = min((score for score, _ in best.values()), default=-np.inf) if len(best) >= limit else -np.inf
    near = np.flatnonzero(scores >= floor)
    if not len(near):
        return
    digests, frames = (shard.rows[name].take(pa.array(near)).to_pylist() for name in ("content_sha256", "frame"))
    names = [digest.hex() for digest in digests]
    current = _current(workspace, shard.entry.shard_id, sorted(set(names)))
    for score, name, frame in zip(scores[near].tolist(), names, frames, strict=True):
        if name in current and (name not in best or score > best[name][0]):
            best[name] = (score, frame)
    for digest in sorted(best, key=lambda digest: (-best[digest][0], digest))[limit:]:
        del best[digest]


def _items_with(workspace: Workspace, best: _Best) -> list[RankedItem]:
    """The live items that have these contents, best first."""
    columns = (items.c[name] for name in ("item_id", "content_sha256", "kind", "parent_model"))
    query = sa.select(*columns).where(items.c.live, items.c.content_sha256.in_(list(best)))
    with workspace.database.read() as connection:
        rows = connection.execute(query).all()
        ratings = ratings_of(connection, workspace, [row.item_id for row in rows])
    rows = sorted(rows, key=lambda row: (-best[row.content_sha256][0], row.content_sha256, row.item_id))
    return [
        RankedItem(row.item_id, score, frame, row.kind, row.parent_model, ratings[row.item_id].level)
        for row in rows
        for score, frame in [best[row.content_sha256]]
    ]
