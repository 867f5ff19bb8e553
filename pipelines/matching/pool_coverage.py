"""Which posts are pooled as they are, and which pools were compared with whom (I1, I2).

A pool says itself up to which registry version everybody was compared with it when it was made. What came later is said
for each subject: up to which number every pool was compared with it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from indexes.thresholds import Bands
from pipelines.database.parts import parts
from pipelines.database.tables import items, pool_coverage, pool_faces, pools
from pipelines.database.times import moment
from pipelines.home.workspace import Workspace
from pipelines.intake.ledger import Scope
from pipelines.matching.pool_store import changed_posts, is_waiting, pooling_settings
from pipelines.registry.subjects import active_versions


def unpooled_count(connection: Connection, workspace: Workspace, *, scope: Scope | None = None) -> int:
    """Posts with an item in scope whose faces were not pooled as they are now."""
    settings = settings_of(workspace, workspace.bands_at(connection))
    return len(changed_posts(connection, model_id=workspace.model_id, settings=settings, scope=scope))


def lacking_subjects(connection: Connection, workspace: Workspace, versions: Mapping[str, int]) -> frozenset[str]:
    """Those of the subjects that some pool was not compared with."""
    return frozenset(read_lacking(connection, workspace, versions, workspace.bands_at(connection)).wanted)


def settings_of(workspace: Workspace, bands: Bands) -> str:
    """What faces are pooled by, see :func:`pipelines.matching.pool_store.pooling_settings`."""
    distance = workspace.policy.settings.takedown.duplicate_distance
    return pooling_settings(workspace.model_id, bands, duplicate_distance=distance)


def uncompared_count(connection: Connection, workspace: Workspace, *, scope: Scope | None = None) -> int:
    """Models of which a pool with a picture in scope was not compared with everybody who is active."""
    versions = active_versions(connection, now=moment(connection))
    lacking = read_lacking(connection, workspace, versions, workspace.bands_at(connection))
    if not lacking.wanted:
        return 0
    joined = pools.join(pool_faces, pool_faces.c.number == pools.c.number).join(
        items, items.c.item_id == pool_faces.c.item_id
    )
    query = sa.select(sa.func.count(pools.c.model.distinct())).select_from(joined)
    within = scope.where() if scope else []
    waiting = is_waiting(workspace.model_id, lacking.version, lacking.threshold, after=lacking.after)
    return int(connection.execute(query.where(waiting, *within)).scalar_one())


@dataclass(frozen=True, slots=True)
class Lacking:
    """Who was not compared with every pool at ``threshold``. ``wanted``: their versions; ``newest``: number of the
    newest pool; ``after``: the number up to which all of them were compared with every pool. ``covered``: registry
    versions that pools were compared at."""

    wanted: Mapping[str, int]
    threshold: float
    newest: int
    after: int
    covered: Sequence[int]

    @property
    def version(self) -> int:
        """The newest version among those wanted; 0 without any."""
        return max(self.wanted.values(), default=0)


def read_lacking(connection: Connection, workspace: Workspace, versions: Mapping[str, int], bands: Bands) -> Lacking:
    """Which of these subjects some pool was not compared with."""
    threshold = bands.pooled.review
    known = read_pool_coverage(connection, versions, model_id=workspace.model_id, threshold=threshold)
    wanted = {key: version for key, version in versions.items() if known.lacks(key, version)}
    after = min((known.least.get(key, 0) for key in wanted), default=0)
    return Lacking(wanted, threshold, known.newest, after, known.versions)


@dataclass(frozen=True, slots=True)
class PoolCoverage:
    """Who was compared with which pools of one set of models, at a threshold.

    ``newest``: number of the newest pool; ``least``: subject -> the number up to which every pool was compared with it,
    beside what pools say themselves. ``versions``: registry versions that pools were covered at, ascending, and
    ``numbers``: of the newest pool covered at each or earlier. ``above``: of the newest one compared at a higher
    threshold.
    """

    newest: int
    least: Mapping[str, int]
    versions: Sequence[int]
    numbers: Sequence[int]
    above: int

    def lacks(self, subject_id: str, version: int) -> bool:
        """Whether some pool was not compared with this subject at this version."""
        first = bisect_left(self.versions, version)
        uncovered = max(self.numbers[first - 1] if first else 0, self.above)
        return uncovered > self.least.get(subject_id, 0)


def read_pool_coverage(
    connection: Connection, versions: Mapping[str, int], *, model_id: str, threshold: float
) -> PoolCoverage:
    """What is covered now. ``versions``: of the subjects that it will be asked about."""
    newest = sa.func.max(pools.c.number)
    grouped = sa.select(pools.c.covered_version, pools.c.covered_threshold, newest).where(pools.c.model_id == model_id)
    by_version: dict[int, int] = {}
    above = 0
    for version, at, number in connection.execute(grouped.group_by(pools.c.covered_version, pools.c.covered_threshold)):
        by_version[int(version)] = max(by_version.get(int(version), 0), int(number))
        above = max(above, int(number) if at > threshold else 0)
    ordered = sorted(by_version)
    running = np.maximum.accumulate([by_version[version] for version in ordered]).tolist() if ordered else []
    own = sa.select(pool_coverage).where(pool_coverage.c.model_id == model_id, pool_coverage.c.threshold <= threshold)
    least = {
        str(row.subject_id): int(row.upto)
        for row in connection.execute(own)
        if row.subject_version >= versions.get(row.subject_id, 0)
    }
    return PoolCoverage(max(by_version.values(), default=0), least, ordered, running, above)


def record_pool_coverage(
    tx: Connection, versions: Mapping[str, int], *, model_id: str, threshold: float, upto: int, now: datetime
) -> None:
    """Record that these subjects have been compared with every pool up to a number."""
    for some in parts(sorted(versions)):
        own = (pool_coverage.c.subject_id.in_(some), pool_coverage.c.model_id == model_id)
        tx.execute(sa.delete(pool_coverage).where(*own))
    rows = [
        {
            "subject_id": subject_id,
            "model_id": model_id,
            "subject_version": version,
            "threshold": threshold,
            "upto": upto,
            "compared_at": now,
        }
        for subject_id, version in sorted(versions.items())
    ]
    if rows:
        tx.execute(sa.insert(pool_coverage), rows)
