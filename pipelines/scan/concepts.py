"""Concept scores of contents: made while a content is described, and anew from stored vectors when the list changes.

``contents.concepts_id`` says which list with which weights gave ``contents.concepts``. What has vectors and another id
is due; :func:`apply_concepts` streams the shards that hold such contents and enters the scores in batches, each its own
transaction, so that it may be cut off anywhere and goes on with what is still due (I6). The text tower is needed once
per list: the directions it gave lie in the home folder (they are of harmless published words, no personal data), and
with them even the vectors of weights that are gone can be scored again.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from embeddings.errors import CorruptionError, VectorError
from embeddings.types import Description, Float32, check_unit, vectors_of
from indexes.corpus import ShardEntry
from indexes.durable import durable_file
from indexes.heads import Heads, concept_scores, content_scores
from pipelines.database.tables import content_shards, contents
from pipelines.home.progress import Pace, Progress, silent
from pipelines.home.workspace import Workspace
from pipelines.intake.fetch import ahead
from pipelines.intake.ledger import judge_anew

if TYPE_CHECKING:
    import pyarrow as pa

DIGITS = 4
"""Decimals kept of a score: finer than what a re-encoding of the picture changes."""
ROWS_AT_ONCE = 4096
"""Vectors in one product, whose contents are entered in one transaction: what an interruption can cost."""


@dataclass(frozen=True, slots=True)
class ConceptCounts:
    """Counts of one run of the stage. ``waiting``: contents whose vectors are of weights that are not here and for
    which the list's directions were never computed; they keep their old scores."""

    scored: int = 0
    waiting: int = 0


@dataclass(frozen=True, slots=True)
class _Shard:
    """The contents of one shard that are due, and its rows."""

    entry: ShardEntry
    due: frozenset[str]
    rows: pa.Table


def apply_concepts(workspace: Workspace, *, progress: Progress = silent) -> ConceptCounts:
    """Score every stored content that lacks scores by the list in force; one worker at a time, others wait.

    Raises :class:`CorruptionError` when a listed shard is not what was written, or lacks a content that names it.
    """
    scored = 0
    with workspace.database.exclusive("content"):  # so that no other process deletes the shards that are being read
        due = _due_shards(workspace)
        heads = {model_id: heads_for(workspace, model_id) for model_id in due}
        waiting = sum(count for model_id, shards in due.items() if heads[model_id] is None for _, count in shards)
        plan = [shard for model_id, shards in due.items() if heads[model_id] is not None for shard in shards]
        pace = Pace("concepts", [count for _, count in plan], progress, unit="contents")
        for model_id, shards in groupby(ahead(_read(workspace, [entry for entry, _ in plan])), key=_model_id):
            if (found := heads[model_id]) is not None:
                scored += _apply(workspace, shards, found, pace)
    return ConceptCounts(scored, waiting)


def concept_values(workspace: Workspace, heads: Heads | None, described: Description) -> dict[str, str | None]:
    """Return the columns for a content that the weights of ``heads`` just encoded; none without vectors."""
    if heads is None or not len(described.vectors):
        return {"concepts_id": None, "concepts": None}
    frames = concept_scores(described.vectors, heads, model_id=heads.model_id)
    scores = content_scores(frames, np.zeros(1, dtype=np.int64), heads)
    return {
        "concepts_id": workspace.concept_list.concepts_id(heads.model_id),
        "concepts": _as_json(heads.names, scores)[0],
    }


def heads_for(workspace: Workspace, clip_model_id: str) -> Heads | None:
    """Return the heads of the list in force for vectors of these weights; None if the weights are not here and never
    were.

    Loads the text tower only for texts that these weights have not encoded in this home before.
    """
    from embeddings.content.clip_text import ensemble

    listed = workspace.concept_list
    groups = listed.texts()
    path = workspace.home / "models" / "clip" / "concepts" / f"{listed.texts_id(clip_model_id)}.npy"
    directions = _read_directions(path, len(groups))
    if directions is None:
        if workspace.content_models.clip_model_id != clip_model_id:
            return None
        directions = ensemble(workspace.content_models.text_encoder, groups)
        _write_directions(path, directions)
    return listed.heads(directions, model_id=clip_model_id)


def is_due(workspace: Workspace, model_ids: Sequence[str]) -> sa.ColumnElement[bool]:
    """Condition on ``contents``: has vectors by one of these weights, without scores by the list in force."""
    listed = workspace.concept_list
    other = (
        sa.and_(contents.c.clip_model_id == name, contents.c.concepts_id.is_distinct_from(listed.concepts_id(name)))
        for name in model_ids
    )
    return sa.and_(contents.c.clip_shard_id.is_not(None), sa.or_(sa.false(), *other))


def stored_model_ids(connection: Connection) -> list[str]:
    """Return the ids of the weights that stored vectors are of."""
    return list(connection.execute(sa.select(content_shards.c.model_id).distinct().order_by("model_id")).scalars())


def parse_scores(text: str) -> dict[str, float]:
    """Parse ``contents.concepts``. Raises :class:`CorruptionError` for text that this module cannot have written."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not all(isinstance(score, int | float) for score in found.values()):
        raise CorruptionError("concept scores are not what was written: restore the database from a backup")
    return {str(name): float(score) for name, score in found.items()}


def _due_shards(workspace: Workspace) -> Mapping[str, list[tuple[ShardEntry, int]]]:
    """Return, by weights, the shards with due contents and their number, each shard once."""
    from pipelines.corpus.clip_manifest import list_content_shards

    with workspace.database.read() as connection:
        condition = is_due(workspace, stored_model_ids(connection))
        query = sa.select(contents.c.clip_shard_id, sa.func.count()).where(condition)
        due = {str(name): int(count) for name, count in connection.execute(query.group_by(contents.c.clip_shard_id))}
        listed = list_content_shards(connection, workspace.sealer) if due else []
    shards: dict[str, list[tuple[ShardEntry, int]]] = {}
    for entry in listed:
        if entry.shard_id in due:
            shards.setdefault(entry.model_id, []).append((entry, due[entry.shard_id]))
    return shards


def _read(workspace: Workspace, entries: Sequence[ShardEntry]) -> Iterator[_Shard]:
    from pipelines.corpus.clip_manifest import clip_vectors

    for entry in entries:
        condition = is_due(workspace, [entry.model_id])
        query = sa.select(contents.c.content_sha256).where(contents.c.clip_shard_id == entry.shard_id, condition)
        with workspace.database.read() as connection:
            due = frozenset(connection.execute(query).scalars())
        yield _Shard(entry, due, clip_vectors(workspace, entry))


def _model_id(shard: _Shard) -> str:
    return shard.entry.model_id


def _apply(workspace: Workspace, shards: Iterator[_Shard], heads: Heads, pace: Pace) -> int:
    """Score shards of the weights of ``heads``, several at once; return the number of contents."""
    scored = 0
    together: list[_Shard] = []
    for shard in shards:
        together.append(shard)
        if sum(len(one.rows) for one in together) >= ROWS_AT_ONCE:
            scored += _enter(workspace, _scored(workspace, together, heads))
            together = []
        pace.step()
    return scored + (_enter(workspace, _scored(workspace, together, heads)) if together else 0)


def _scored(workspace: Workspace, shards: Sequence[_Shard], heads: Heads) -> list[dict[str, str]]:
    """Score the due contents of shards; return the parameters for :func:`_enter`."""
    rows = [
        (shard.entry.shard_id, digest.hex()) for shard in shards for digest in shard.rows["content_sha256"].to_pylist()
    ]
    starts = [at for at, row in enumerate(rows) if at == 0 or rows[at - 1] != row]
    vectors = np.concatenate([vectors_of(shard.rows["vector"], shard.entry.dimension) for shard in shards])
    scores = content_scores(concept_scores(vectors, heads, model_id=heads.model_id), np.array(starts), heads)
    found = dict(zip((rows[start] for start in starts), _as_json(heads.names, scores), strict=True))
    due = {(shard.entry.shard_id, digest) for shard in shards for digest in shard.due}
    if not due <= found.keys():
        raise CorruptionError("a shard lacks vectors that the database counts: restore it from a backup")
    concepts_id = workspace.concept_list.concepts_id(heads.model_id)
    return [
        {"this_content": digest, "this_shard": shard_id, "new_id": concepts_id, "new_scores": found[shard_id, digest]}
        for shard_id, digest in sorted(due)
    ]


def _enter(workspace: Workspace, updates: Sequence[Mapping[str, str]]) -> int:
    """Write the scores of contents that still have the scored vectors; return how many."""
    same = sa.and_(
        contents.c.content_sha256 == sa.bindparam("this_content"),
        contents.c.clip_shard_id == sa.bindparam("this_shard"),
    )
    change = sa.update(contents).where(same)
    with workspace.database.write() as tx:
        tx.execute(
            change.values(concepts_id=sa.bindparam("new_id"), concepts=sa.bindparam("new_scores")), list(updates)
        )
        judge_anew(tx, [row["this_content"] for row in updates])
        workspace.failpoints.pass_by("before_content_commit")
    workspace.failpoints.pass_by("after_content_commit")
    return len(updates)


def _as_json(names: Sequence[str], scores: Float32) -> list[str]:
    """Format one JSON object per row of ``scores`` (n, k), by hand, because ``json`` is slow for a million rows."""
    form = "{" + ",".join(f'"{name}":%r' for name in names) + "}"  # names are plain letters by the schema
    return [form % tuple(row) for row in np.round(scores.astype(np.float64), DIGITS).tolist()]


def _read_directions(path: Path, count: int) -> Float32 | None:
    """Read the directions that an earlier run wrote; None if there are none of ``count`` rows."""
    try:
        directions: Any = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    try:
        return check_unit(directions) if directions.shape[:1] == (count,) else None
    except VectorError:
        return None


def _write_directions(path: Path, directions: Float32) -> None:
    buffer = io.BytesIO()
    np.save(buffer, directions, allow_pickle=False)
    with durable_file(path, before_rename=lambda: None) as file:
        file.write(buffer.getvalue())
