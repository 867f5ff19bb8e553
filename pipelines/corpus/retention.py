"""How long vectors are kept: by age, or not at all. What goes, goes from the manifest first and from the disk next.

Both limits end in the same thing, a shard that is listed and names no file. Its items keep their results and its
coverage stays; for a person that it lacks, its items are fetched and embedded again (:mod:`pipelines.scan.again`).

- ``mode = "none"``: a shard lets go of its files in the transaction that has it compared with everybody. Until then
  they are needed: a crash between embedding and comparing must lose nothing (I6).
- ``max_age_days``: items embedded longer ago move to shards without files, in one transaction, before anything is
  searched: from then on the store does not have them. Their rows are dead; the next compaction leaves no trace of them.
"""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from embeddings.errors import CorruptionError
from indexes.corpus import ShardEntry
from pipelines.corpus.manifest import ListedShard, find_shard, insert_shard, keep_nothing
from pipelines.database.parts import parts
from pipelines.database.tables import coverage, items, shards
from pipelines.home.clock import acts
from pipelines.home.workspace import Workspace

if TYPE_CHECKING:
    import pyarrow as pa


def read_kept(workspace: Workspace, entry: ShardEntry) -> pa.Table | None:
    """A listed shard's rows; None when it was compacted or let go of while this was reading.

    Raises :class:`CorruptionError` when it is still listed like this and is not what was written.
    """
    try:
        return workspace.corpus.read(entry, key=workspace.sealer.shard_key(entry.shard_id))
    except CorruptionError:
        if is_kept(workspace, entry):
            raise
        return None


def is_kept(workspace: Workspace, entry: ShardEntry) -> bool:
    """Whether the manifest lists these very files now."""
    with workspace.database.read() as connection:
        shard = find_shard(connection, workspace.sealer, entry.shard_id)
    return shard is not None and shard.entry == entry


def expiry(workspace: Workspace) -> datetime | None:
    """Faces embedded at this moment or earlier are not kept; None without a limit."""
    days = workspace.config.corpus.max_age_days
    return workspace.now() - timedelta(days=days) if days else None


@acts
def let_go(workspace: Workspace) -> int:
    """Take everything off the manifest that must not be kept, and delete the files that no item needs. Returns items.

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
    """Let go of the shard's items embedded ``until`` then, a shard's worth at once; how many went.

    Where the shard is small and all of it goes, it is its own row that lets go.
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
