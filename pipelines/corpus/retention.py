"""How long vectors are kept: up to an age, or not at all. Files leave the manifest first and the disk afterwards.

Both limits lead to a shard that is listed and names no file. Its items keep their results and its coverage stays; to
compare one more person, its items are fetched and embedded again (:mod:`pipelines.scan.again`).

- ``mode = "none"``: a shard loses its files in the transaction that records it as compared with everybody. Until then
  they are needed: a crash between embedding and comparing must lose nothing (I6).
- ``max_age_days``: items embedded longer ago move to shards without files, in one transaction, before anything is
  searched. Their rows in the old files are dead, and the next compaction drops them.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from embeddings.errors import CorruptionError
from embeddings.types import vector_column
from indexes.corpus import ShardEntry
from pipelines.corpus.manifest import ListedShard, find_shard, insert_shard, keep_nothing
from pipelines.database.parts import parts
from pipelines.database.tables import coverage, items, shards
from pipelines.home.clock import acts
from pipelines.home.workspace import Workspace

if TYPE_CHECKING:
    import pyarrow as pa


def read_kept(workspace: Workspace, entry: ShardEntry) -> pa.Table | None:
    """Read a listed shard's rows; None when it was compacted or lost its files meanwhile.

    Raises :class:`CorruptionError` when the same files are still listed and are not what was written.
    """
    try:
        return workspace.corpus.read(entry, key=workspace.sealer.shard_key(entry.shard_id))
    except CorruptionError:
        if is_kept(workspace, entry):
            raise
        return None


def read_kept_of(workspace: Workspace, entry: ShardEntry, item_ids: Sequence[str]) -> pa.Table | None:
    """Read the rows of these items in a listed shard with their vectors, and no other vectors where these lie apart.

    None, and errors, as with :func:`read_kept`.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    key, corpus = workspace.sealer.shard_key(entry.shard_id), workspace.corpus
    wanted = pa.array(item_ids, type=pa.string())
    try:
        if entry.vector_salt is None:
            table = corpus.read(entry, key=key)
            return table.filter(pc.is_in(table["item_id"], value_set=wanted))
        table = corpus.read_rows(entry, key=key)
        rows = np.flatnonzero(pc.is_in(table["item_id"], value_set=wanted).to_numpy()).astype(np.int64)
        with corpus.open_vectors(entry, key=key) as sealed:
            vectors = sealed.vectors(rows)
    except CorruptionError:
        if is_kept(workspace, entry):
            raise
        return None
    return table.take(pa.array(rows)).append_column("vector", vector_column(vectors))


def is_kept(workspace: Workspace, entry: ShardEntry) -> bool:
    """Whether the manifest lists these very files now."""
    with workspace.database.read() as connection:
        shard = find_shard(connection, workspace.sealer, entry.shard_id)
    return shard is not None and shard.entry == entry


def expiry(workspace: Workspace) -> datetime | None:
    """Return the moment up to which embedded faces are no longer kept; None without a limit."""
    days = workspace.config.corpus.max_age_days
    return workspace.now() - timedelta(days=days) if days else None


@acts
def let_go(workspace: Workspace) -> int:
    """Take off the manifest what must not be kept, and delete files that no item needs; return the number of items.

    Cheap when there is nothing to do; safe to repeat, and to run twice at once.
    """
    limits: list[tuple[sa.ColumnElement[bool], datetime | None]] = []
    if workspace.config.corpus.mode == "none":
        limits.append((shards.c.covered_threshold.is_not(None), None))
    if limit := expiry(workspace):
        limits.append((shards.c.created_at <= limit, limit))
    gone = 0
    for condition, until in limits:
        with workspace.database.read() as connection:
            kept = sa.select(shards.c.shard_id).where(shards.c.path.is_not(None), condition)
            shard_ids = list(connection.execute(kept).scalars())
        for shard_id in shard_ids:
            while moved := _move(workspace, shard_id, until=until):
                gone += moved
    return gone


def _move(workspace: Workspace, shard_id: str, *, until: datetime | None) -> int:
    """Move the shard's items embedded by ``until`` to a shard without files, a shard's worth at once; return how many.

    A small shard of which all items go keeps its row and loses its files.
    """
    most = workspace.config.sweep.shard_items
    files: tuple[str, ...] = ()
    with workspace.database.write() as tx:
        shard = find_shard(tx, workspace.sealer, shard_id)
        if shard is None or shard.entry.path is None:
            return 0
        here = sa.and_(items.c.shard_id == shard_id, items.c.live)
        old = here if until is None else sa.and_(here, items.c.scanned_at <= until)
        going = list(tx.execute(sa.select(items.c.item_id).where(old).order_by(items.c.item_id).limit(most)).scalars())
        kept = tx.execute(sa.select(sa.func.count()).select_from(items).where(here)).scalar_one() - len(going)
        if not kept:
            files = keep_nothing(tx, workspace.sealer, shard)
        elif going:
            _split(tx, workspace, shard, going)
    workspace.corpus.delete(files)
    return len(going)


def _split(tx: Connection, workspace: Workspace, shard: ListedShard, item_ids: list[str]) -> None:
    """Move items to a shard of their own that keeps nothing and has been compared with the same people."""
    new_id = secrets.token_hex(16)
    faces = 0
    for chosen in parts(item_ids):
        some = items.c.item_id.in_(chosen)
        faces += tx.execute(sa.select(sa.func.sum(items.c.faces)).where(some)).scalar_one() or 0
        tx.execute(sa.update(items).where(some).values(shard_id=new_id))
    entry = ShardEntry(new_id, shard.entry.model_id, shard.entry.dimension, None, None, 0, faces)
    insert_shard(
        tx,
        workspace.sealer,
        entry,
        now=shard.created_at,
        covered_version=shard.covered_version,
        covered_threshold=shard.covered_threshold,
    )
    own = tx.execute(sa.select(coverage).where(coverage.c.shard_id == shard.entry.shard_id))
    if copied := [dict(row._mapping) | {"shard_id": new_id} for row in own]:
        tx.execute(sa.insert(coverage), copied)
