"""Compaction: merges many small shards into few large ones, and removes rows of items that are gone from the disk.

A row is dead when its item no longer names its shard: deleted, changed, embedded by other models, or too old. No search
finds a dead row from the transaction on that made it dead. Compaction removes it physically:

- a shard without a live row is unlisted and deleted by the next compaction;
- a shard with rows that are too old (``max_age_days``) is rewritten by the next compaction;
- so is a shard of which ``dead_ratio`` is dead, or that has had any dead row for ``grace_days``, counted from the
  compaction that first saw it; with ``purge``, every shard with a dead row;
- small shards of one model are merged up to ``shard_bytes``, those compared with everybody apart from the others;
- of shards without files only the rows in the database are merged, up to as many faces as a batch has items.

The stored header of a model file is deleted with the last live item that has it, and so is the vector of a pool that
lacks a picture.

One transaction lists the new shard, moves the items that are still there, and unlists the old shards; then their files
are deleted. A process that dies before the transaction leaves new files unlisted, one that dies after it old ones; the
next turn deletes either. Copies of a deleted file in snapshots and backups are out of reach, but sealed under a key per
shard, derived from the master key, so that they stay as secret as that key.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from embeddings.errors import CorruptionError
from indexes.corpus import ShardEntry, corpus_schema
from pipelines.corpus.manifest import (
    ListedShard,
    find_shard,
    insert_shard,
    list_shards,
    record_coverage,
    uncovered,
    unlist,
)
from pipelines.corpus.turns import remove_leavings, turn
from pipelines.database.parts import parts
from pipelines.database.tables import items, shards, subjects
from pipelines.home.clock import acts
from pipelines.home.progress import Progress, silent
from pipelines.home.workspace import Workspace
from pipelines.intake.model_files import forget_model_files
from pipelines.intake.picture_texts import forget_picture_texts
from pipelines.runs.run_log import begin_run, finish_run

if TYPE_CHECKING:
    import pyarrow as pa

SMALL = 0.5
"""A shard below this part of ``shard_bytes`` is merged with others."""


@dataclass(frozen=True, slots=True)
class CompactionSummary:
    """What a compaction did. ``dead_rows``: removed from the disk; ``bytes_*``: sizes of all listed shards."""

    run_id: str
    shards_before: int
    shards_after: int
    rewritten: int
    written: int
    dead_rows: int
    bytes_before: int
    bytes_after: int
    leavings: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Held:
    """A shard, and how many of its rows are live."""

    shard: ListedShard
    live: int

    @property
    def dead(self) -> int:
        """Number of dead rows in the shard's files."""
        return self.shard.entry.rows - self.live if self.shard.entry.path else 0

    @property
    def live_bytes(self) -> int:
        """Approximate size of the live rows."""
        return self.shard.entry.stored_bytes * self.live // max(self.shard.entry.rows, 1)


@acts
def compact(
    workspace: Workspace, *, purge: bool = False, run_id: str | None = None, progress: Progress = silent
) -> CompactionSummary:
    """Merge and rewrite shards by the rules of this module. Safe to repeat, and to be killed anywhere.

    A waiting sweep gets its turn after each shard that is written.
    """
    from pipelines.corpus.retention import let_go
    from pipelines.matching.pool_ends import forget_broken, let_go_of_vectors
    from pipelines.reviewing.checks import let_go_of_checks
    from pipelines.reviewing.notes import end_passing_of_decided, let_go_of_notes

    started = time.monotonic()
    run_id = begin_run(workspace, kind="compaction", day=None, run_id=run_id)
    let_go(workspace)
    let_go_of_vectors(workspace)
    let_go_of_checks(workspace)
    end_passing_of_decided(workspace)
    let_go_of_notes(workspace)
    forget_broken(workspace)
    with turn(workspace):
        leavings = remove_leavings(workspace)
        before = hold(workspace)
        _note_dead(workspace, before)
        dead_rows = _remove_empty(workspace, [held.shard for held in before if not held.live])
        with workspace.database.write() as tx:
            forget_model_files(tx)
            forget_picture_texts(tx)
    bins = choose(workspace, [held for held in before if held.live], purge=purge)
    progress("compact", 0, len(bins))
    written = 0
    for done, sources in enumerate(bins, start=1):
        with turn(workspace):
            gone = merge_shards(workspace, sources)
        written += gone is not None
        dead_rows += gone or 0
        progress("compact", done, len(bins))
    after = hold(workspace)
    summary = CompactionSummary(
        run_id=run_id,
        shards_before=len(before),
        shards_after=len(after),
        rewritten=sum(map(len, bins)),
        written=written,
        dead_rows=dead_rows,
        bytes_before=sum(held.shard.entry.stored_bytes for held in before),
        bytes_after=sum(held.shard.entry.stored_bytes for held in after),
        leavings=leavings,
        seconds=round(time.monotonic() - started, 3),
    )
    finish_run(workspace, run_id, asdict(summary))
    return summary


def hold(workspace: Workspace) -> list[Held]:
    """Return every listed shard with its number of live rows."""
    with workspace.database.read() as connection:
        return held_shards(connection, workspace)


def held_shards(connection: Connection, workspace: Workspace) -> list[Held]:
    """Return what :func:`hold` does, in the caller's transaction."""
    query = sa.select(items.c.shard_id, sa.func.sum(items.c.faces)).where(items.c.live, items.c.shard_id.is_not(None))
    live = {shard_id: int(faces or 0) for shard_id, faces in connection.execute(query.group_by(items.c.shard_id))}
    return [Held(shard, live.get(shard.entry.shard_id, 0)) for shard in list_shards(connection, workspace.sealer)]


def choose(workspace: Workspace, held: Sequence[Held], *, purge: bool) -> list[list[ListedShard]]:
    """Choose groups of shards to be merged, oldest first.

    A group has shards of one model, alike in being compared with everybody and in having files, that are small or due
    for rewriting and fit together. A lone shard that would only be copied is left out.
    """
    waiting: dict[tuple[str, bool, bool], tuple[list[Held], int]] = {}
    bins = []
    for one in held:
        entry = one.shard.entry
        rewrite = one.dead > 0 and (purge or _is_due(workspace, one))
        kept = entry.path is not None
        own, most = one.live_bytes, workspace.config.corpus.shard_bytes
        if not kept:  # embedding it again is one task, so it stays as small as one batch
            own, most = one.live, workspace.config.sweep.shard_items
        if not (rewrite or own < SMALL * most):
            continue
        key = (entry.model_id, one.shard.covered_threshold is not None, kept)
        together, size = waiting.get(key, ([], 0))
        if together and size + own > most:
            bins.append(together)
            together, size = [], 0
        waiting[key] = ([*together, one], size + own)
    bins += [together for together, _ in waiting.values()]
    return [
        [one.shard for one in together]
        for together in bins
        if len(together) > 1 or (together[0].dead and (purge or _is_due(workspace, together[0])))
    ]


def _is_due(workspace: Workspace, one: Held) -> bool:
    """Whether a shard is to be rewritten to remove its dead rows."""
    from pipelines.corpus.retention import expiry

    config, limit = workspace.config.corpus, expiry(workspace)
    noticed = one.shard.dead_since
    return (
        one.dead >= config.dead_ratio * one.shard.entry.rows
        or (noticed is not None and not noticed <= workspace.now() < noticed + timedelta(days=config.grace_days))
        or (limit is not None and one.shard.created_at <= limit)
    )


def _note_dead(workspace: Workspace, held: Sequence[Held]) -> None:
    """Record when a shard was first seen to have dead rows."""
    new = [one.shard.entry.shard_id for one in held if one.dead and one.shard.dead_since is None]
    with workspace.database.write() as tx:
        for chosen in parts(new):
            some = shards.c.shard_id.in_(chosen)
            tx.execute(sa.update(shards).where(some).values(dead_since=workspace.now()))


def _remove_empty(workspace: Workspace, empty: Sequence[ListedShard]) -> int:
    """Unlist and delete shards that no item names; return their rows. Items never come to name an old shard."""
    for some in parts(empty):
        with workspace.database.write() as tx:
            _release(tx, [shard.entry.shard_id for shard in some], new_id=None)
            unlist(tx, [shard.entry.shard_id for shard in some])
            workspace.failpoints.pass_by("before_compaction_commit")
        workspace.failpoints.pass_by("after_compaction_commit")
        workspace.corpus.delete(name for shard in some for name in shard.entry.files)
    return sum(shard.entry.rows for shard in empty if shard.entry.path)


def merge_shards(workspace: Workspace, sources: Sequence[ListedShard]) -> int | None:
    """Write the live rows of ``sources`` as one shard in their place. To be called in a turn.

    Returns how many rows were left out; None, changing nothing, when the sources are no longer listed with these files.
    """
    if sources[0].entry.path is None:
        return _merge_unkept(workspace, sources)
    copied = _live_rows(workspace, sources)
    if copied is None:
        return None
    faces, oldest = copied
    model, shard_id = sources[0].entry, secrets.token_hex(16)
    entry = workspace.corpus.write(
        faces,
        shard_id=shard_id,
        model_id=model.model_id,
        dimension=model.dimension,
        key=workspace.sealer.shard_key(shard_id),
        before_rename=lambda: workspace.failpoints.pass_by("before_shard_rename"),
        apart=True,
    )
    workspace.failpoints.pass_by("after_shard_rename")
    with workspace.database.write() as tx:
        listed = _unchanged(tx, workspace, sources)
        if listed:
            _put_in_place(tx, workspace, listed, entry, oldest=oldest)
            workspace.failpoints.pass_by("before_compaction_commit")
    if not listed:
        workspace.corpus.delete(entry.files)
        return None
    workspace.failpoints.pass_by("after_compaction_commit")
    workspace.corpus.delete(name for source in sources for name in source.entry.files)
    return sum(source.entry.rows for source in sources) - len(faces)


def _merge_unkept(workspace: Workspace, sources: Sequence[ListedShard]) -> int | None:
    """Merge shards without files as :func:`merge_shards` does."""
    here = items.c.shard_id.in_([source.entry.shard_id for source in sources])
    with workspace.database.write() as tx:
        if not (listed := _unchanged(tx, workspace, sources)):
            return None
        faces = tx.execute(sa.select(sa.func.sum(items.c.faces)).where(here, items.c.live)).scalar_one() or 0
        entry = replace(sources[0].entry, shard_id=secrets.token_hex(16), rows=int(faces))
        _put_in_place(tx, workspace, listed, entry, oldest=min(source.created_at for source in sources))
        workspace.failpoints.pass_by("before_compaction_commit")
    return 0


def _unchanged(tx: Connection, workspace: Workspace, sources: Sequence[ListedShard]) -> list[ListedShard]:
    """Read the sources with their present coverage; empty if one is no longer listed with these files."""
    current = [find_shard(tx, workspace.sealer, source.entry.shard_id) for source in sources]
    listed = [shard for shard in current if shard is not None]
    return listed if [shard.entry for shard in listed] == [source.entry for source in sources] else []


def _live_rows(workspace: Workspace, sources: Sequence[ListedShard]) -> tuple[pa.Table, datetime] | None:
    """Read the live rows, and when the oldest were embedded. None if a shard has lost its files."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from pipelines.corpus.retention import read_kept

    parts, oldest = [], []
    for source in sources:
        here = sa.and_(items.c.shard_id == source.entry.shard_id, items.c.live)
        with workspace.database.read() as connection:
            rows = connection.execute(sa.select(items.c.item_id, items.c.scanned_at).where(here)).all()
        oldest += [row.scanned_at or source.created_at for row in rows]
        table = read_kept(workspace, source.entry)
        if table is None:
            return None
        live = pa.array([row.item_id for row in rows], type=pa.string())
        parts.append(table.filter(pc.is_in(table["item_id"], value_set=live)))
    merged = pa.concat_tables(parts).combine_chunks().cast(corpus_schema(sources[0].entry.dimension))
    return merged, min(oldest, default=sources[0].created_at)


def _put_in_place(
    tx: Connection, workspace: Workspace, sources: Sequence[ListedShard], entry: ShardEntry, *, oldest: datetime
) -> None:
    """List the new shard with the coverage that all sources share, in their place."""
    shard_ids = [source.entry.shard_id for source in sources]
    thresholds = [source.covered_threshold for source in sources]
    common = None if None in thresholds else max(value for value in thresholds if value is not None)
    if common is None and any(value is not None for value in thresholds):
        raise CorruptionError("shards that were compared and shards that were not do not become one")
    review = (workspace.thresholds_of(tx, entry.model_id) or workspace.thresholds_at(tx)).review
    now = workspace.now()
    state = sa.select(subjects.c.subject_id, subjects.c.version).where(subjects.c.state == "active")
    versions = {str(row.subject_id): int(row.version) for row in tx.execute(state)}
    # Whom a search would leave out for each source, by this same query, it may leave out for the merged shard.
    lacking = frozenset[str]().union(*uncovered(tx, list(sources), versions, threshold=review).values())
    version = min(source.covered_version for source in sources)
    insert_shard(tx, workspace.sealer, entry, now=oldest, covered_version=version, covered_threshold=common)
    single = {key: value for key, value in versions.items() if key not in lacking and value > version}
    if common is None or common > review:
        single = {key: value for key, value in versions.items() if key not in lacking}
    policy_version = workspace.policy.version
    record_coverage(tx, entry, single, threshold=review, policy_version=policy_version, now=now)
    _release(tx, shard_ids, new_id=entry.shard_id)
    unlist(tx, shard_ids)


def _release(tx: Connection, shard_ids: Sequence[str], *, new_id: str | None) -> None:
    """Move the items that still name these shards to the new shard."""
    here = items.c.shard_id.in_(shard_ids)
    if new_id is None:
        if tx.execute(sa.select(items.c.item_id).where(here, items.c.live).limit(1)).first():
            raise CorruptionError("an item names a shard that none named: nothing names an old shard anew")
    else:
        tx.execute(sa.update(items).where(here, items.c.live).values(shard_id=new_id))
    tx.execute(sa.update(items).where(here).values(shard_id=None))
