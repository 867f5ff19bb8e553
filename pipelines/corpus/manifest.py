"""The manifest: which corpus shards exist and what each has been compared with.

A shard exists for readers from the transaction that lists it here. Each row carries a MAC, and an item that names a
shard which is not listed is an error: a lost or altered row is found before anything is read as "no match" (I7).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from embeddings.errors import CorruptionError
from indexes.corpus import ShardEntry
from pipelines.database.tables import coverage, items, shards
from pipelines.home.sealing import Sealer


@dataclass(frozen=True, slots=True)
class ListedShard:
    """A shard's files and its coverage: all subjects up to ``covered_version``, at ``covered_threshold``."""

    entry: ShardEntry
    covered_version: int
    covered_threshold: float | None
    created_at: datetime
    dead_since: datetime | None = None

    def is_again(self, other: ListedShard | None) -> bool:
        """Whether ``other`` lists the same files. Equal ids do not tell: an item may change back to what it was."""
        mine = (self.entry.shard_id, self.created_at)
        return other is not None and mine == (other.entry.shard_id, other.created_at)


def list_shards(connection: Connection, sealer: Sealer, *, model_id: str | None = None) -> list[ListedShard]:
    """Return all listed shards (of one model), oldest first. Raises :class:`CorruptionError` for an altered or lost
    row."""
    _require_complete(connection)
    rows = connection.execute(sa.select(shards).order_by(shards.c.created_at, shards.c.shard_id))
    listed = [_listed(row, sealer) for row in rows]
    return [shard for shard in listed if model_id is None or shard.entry.model_id == model_id]


def find_shard(connection: Connection, sealer: Sealer, shard_id: str) -> ListedShard | None:
    """Return the shard as listed now, or None. Raises :class:`CorruptionError` for an altered row."""
    row = connection.execute(sa.select(shards).where(shards.c.shard_id == shard_id)).first()
    return _listed(row, sealer) if row else None


def _listed(row: sa.Row[Any], sealer: Sealer) -> ListedShard:
    entry = ShardEntry(
        shard_id=row.shard_id,
        model_id=row.model_id,
        dimension=row.dimension,
        path=row.path,
        sha256=row.sha256,
        bytes=row.bytes,
        rows=row.faces,
        vector_salt=row.vector_salt,
        vector_bytes=row.vector_bytes or 0,
    )
    if row.seal != _seal(sealer, entry, row.covered_version, row.covered_threshold):
        raise CorruptionError("a manifest row is not what was written: restore the database from a backup")
    return ListedShard(entry, row.covered_version, row.covered_threshold, row.created_at, row.dead_since)


def insert_shard(
    tx: Connection,
    sealer: Sealer,
    entry: ShardEntry,
    *,
    now: datetime,
    covered_version: int = 0,
    covered_threshold: float | None = None,
) -> None:
    """List a shard that has been written, with its coverage: by default compared with nobody."""
    tx.execute(
        sa.insert(shards).values(
            shard_id=entry.shard_id,
            model_id=entry.model_id,
            dimension=entry.dimension,
            faces=entry.rows,
            created_at=now,
            covered_version=covered_version,
            covered_threshold=covered_threshold,
            **_files(sealer, entry, covered_version, covered_threshold),
        )
    )


def keep_nothing(tx: Connection, sealer: Sealer, shard: ListedShard) -> tuple[str, ...]:
    """Take the files of a shard off the manifest, keeping its coverage. Returns them, to be deleted after the
    commit."""
    values = _files(sealer, shard.entry.without_files(), shard.covered_version, shard.covered_threshold)
    tx.execute(sa.update(shards).where(shards.c.shard_id == shard.entry.shard_id).values(**values, dead_since=None))
    return shard.entry.files


def unlist(tx: Connection, shard_ids: Sequence[str]) -> None:
    """Take shards off the manifest, with their coverage. No item may name them any more."""
    tx.execute(sa.delete(coverage).where(coverage.c.shard_id.in_(shard_ids)))
    tx.execute(sa.delete(shards).where(shards.c.shard_id.in_(shard_ids)))


def _files(sealer: Sealer, entry: ShardEntry, version: int, threshold: float | None) -> dict[str, Any]:
    return {
        "path": entry.path,
        "sha256": entry.sha256,
        "bytes": entry.bytes,
        "vector_salt": entry.vector_salt,
        "vector_bytes": entry.vector_bytes or None,
        "seal": _seal(sealer, entry, version, threshold),
    }


def mark_covered(tx: Connection, sealer: Sealer, entry: ShardEntry, *, version: int, threshold: float) -> None:
    """Record that every subject active at ``version`` was compared with this shard, and drop records of single ones.

    More coverage that another process has recorded meanwhile stands.
    """
    less = sa.or_(
        shards.c.covered_threshold.is_(None),
        shards.c.covered_threshold > threshold,
        shards.c.covered_version < version,
    )
    tx.execute(
        sa.update(shards)
        .where(shards.c.shard_id == entry.shard_id, less)
        .values(
            covered_version=version,
            covered_threshold=threshold,
            seal=_seal(sealer, entry, version, threshold),
        )
    )
    tx.execute(sa.delete(coverage).where(coverage.c.shard_id == entry.shard_id, coverage.c.subject_version <= version))


def record_coverage(
    tx: Connection,
    entry: ShardEntry,
    subject_versions: Mapping[str, int],
    *,
    threshold: float,
    policy_version: str,
    now: datetime,
) -> None:
    """Record that single subjects have been compared with this shard."""
    if not subject_versions:
        return
    tx.execute(
        sa.delete(coverage).where(
            coverage.c.shard_id == entry.shard_id, coverage.c.subject_id.in_(list(subject_versions))
        )
    )
    tx.execute(
        sa.insert(coverage),
        [
            {
                "shard_id": entry.shard_id,
                "subject_id": subject_id,
                "subject_version": version,
                "threshold": threshold,
                "policy_version": policy_version,
                "compared_at": now,
            }
            for subject_id, version in subject_versions.items()
        ],
    )


def uncovered(
    connection: Connection, listed: list[ListedShard], subject_versions: Mapping[str, int], *, threshold: float
) -> dict[str, frozenset[str]]:
    """Shard id -> active subjects not yet compared with it at ``threshold`` or lower. Covered shards are absent."""
    recorded: dict[str, dict[str, int]] = {}
    query = sa.select(coverage).where(coverage.c.threshold <= threshold)
    if len(listed) == 1:
        query = query.where(coverage.c.shard_id == listed[0].entry.shard_id)
    for row in connection.execute(query):
        recorded.setdefault(row.shard_id, {})[row.subject_id] = row.subject_version
    by_version = sorted(subject_versions.items(), key=lambda pair: -pair[1])
    work = {}
    for shard in listed:
        compared = shard.covered_threshold is not None and shard.covered_threshold <= threshold
        done = recorded.get(shard.entry.shard_id, {})
        missing = []
        for subject_id, version in by_version:
            if compared and version <= shard.covered_version:
                break  # sorted: all that follow are covered too
            if done.get(subject_id, -1) < version:
                missing.append(subject_id)
        if missing:
            work[shard.entry.shard_id] = frozenset(missing)
    return work


def require_not_ahead(registry_version: int, covered: Iterable[int]) -> None:
    """Raise :class:`CorruptionError` if something was ``covered`` by a newer version of the registry than this one.

    An older registry put back would give its next subjects versions that look compared already (I7).
    """
    if any(version > registry_version for version in covered):
        raise CorruptionError("the registry is older than what was compared with it: restore the database backup")


def named_shards(connection: Connection) -> set[str]:
    """Return the ids of the shards that items name, by one step in the index per shard, however many items there
    are."""
    return set(connection.execute(_named()).scalars())


@cache  # every reader of the manifest asks for it
def _named() -> sa.Select[Any]:
    first = sa.select(sa.func.min(items.c.shard_id).label("shard_id")).cte("named", recursive=True)
    following = sa.select(sa.func.min(items.c.shard_id)).where(items.c.shard_id > first.c.shard_id).scalar_subquery()
    named = first.union_all(sa.select(following).where(first.c.shard_id.is_not(None)))
    return sa.select(named.c.shard_id).where(named.c.shard_id.is_not(None))


def _require_complete(connection: Connection) -> None:
    lost = named_shards(connection).difference(connection.execute(sa.select(shards.c.shard_id)).scalars())
    if lost:
        raise CorruptionError(f"items name {len(lost)} shards that the manifest does not list: restore from a backup")


def _seal(sealer: Sealer, entry: ShardEntry, version: int, threshold: float | None) -> str:
    fields: list[str | int | float | None] = [
        entry.shard_id,
        entry.model_id,
        entry.dimension,
        entry.path,
        entry.sha256,
        entry.bytes,
        entry.rows,
        version,
        threshold,
    ]
    if entry.vector_salt is not None:  # left out where None, so that older seals stay valid
        fields += [entry.vector_salt, entry.vector_bytes]
    return sealer.manifest_seal(fields)
