"""The manifest: which corpus shards exist and what each has been compared with.

A shard exists for readers from the transaction that lists it here. Each row carries a MAC, and an item that names a
shard which is not listed is an error: a lost or altered row is found before anything is read as "no match" (I7).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from embeddings.errors import CorruptionError
from indexes.corpus import ShardEntry
from pipelines.database.tables import coverage, items, shards
from pipelines.sealing import Sealer


@dataclass(frozen=True, slots=True)
class ListedShard:
    """A shard's file and its coverage: all subjects up to ``covered_version``, at ``covered_threshold``."""

    entry: ShardEntry
    covered_version: int
    covered_threshold: float | None


def list_shards(connection: Connection, sealer: Sealer, *, model_id: str | None = None) -> list[ListedShard]:
    """All listed shards (of one model), oldest first. Raises :class:`CorruptionError` for an altered or lost row."""
    _require_complete(connection)
    listed = []
    for row in connection.execute(sa.select(shards).order_by(shards.c.created_at, shards.c.shard_id)):
        entry = ShardEntry(
            shard_id=row.shard_id,
            model_id=row.model_id,
            dimension=row.dimension,
            path=row.path,
            sha256=row.sha256,
            bytes=row.bytes,
            faces=row.faces,
        )
        if row.seal != _seal(sealer, entry, row.covered_version, row.covered_threshold):
            raise CorruptionError("a manifest row is not what was written: restore the database from a backup")
        if model_id is None or entry.model_id == model_id:
            listed.append(ListedShard(entry, row.covered_version, row.covered_threshold))
    return listed


def insert_shard(tx: Connection, sealer: Sealer, entry: ShardEntry, *, now: datetime) -> None:
    """List a shard that has been written; nothing has been compared with it yet."""
    tx.execute(
        sa.insert(shards).values(
            shard_id=entry.shard_id,
            model_id=entry.model_id,
            dimension=entry.dimension,
            path=entry.path,
            sha256=entry.sha256,
            bytes=entry.bytes,
            faces=entry.faces,
            created_at=now,
            covered_version=0,
            covered_threshold=None,
            seal=_seal(sealer, entry, 0, None),
        )
    )


def mark_covered(tx: Connection, sealer: Sealer, entry: ShardEntry, *, version: int, threshold: float) -> None:
    """Every subject active at ``version`` has been compared with this shard; single records become superfluous.

    Another process may have entered more meanwhile; that stands.
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


def require_not_ahead(registry_version: int, listed: Sequence[ListedShard]) -> None:
    """Raise :class:`CorruptionError` if a shard was compared with a newer registry than this one.

    A registry that went back would give its next subjects versions that look compared already (I7).
    """
    if any(shard.covered_version > registry_version for shard in listed):
        raise CorruptionError("the registry is older than what was compared with it: restore the database backup")


def _require_complete(connection: Connection) -> None:
    lost = connection.execute(
        sa.select(sa.func.count())
        .select_from(items.outerjoin(shards, shards.c.shard_id == items.c.shard_id))
        .where(items.c.shard_id.is_not(None), shards.c.shard_id.is_(None))
    ).scalar_one()
    if lost:
        raise CorruptionError(f"{lost} items name shards that the manifest does not list: restore from a backup")


def _seal(sealer: Sealer, entry: ShardEntry, version: int, threshold: float | None) -> str:
    return sealer.manifest_seal(
        [
            entry.shard_id,
            entry.model_id,
            entry.dimension,
            entry.path,
            entry.sha256,
            entry.bytes,
            entry.faces,
            version,
            threshold,
        ]
    )
