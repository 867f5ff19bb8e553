"""Observations of what the nights depend on and do not make: registry, requests, corpus and calibration.

Each has a version that changes when it does, and counts. Everybody who reaches the web server sees them in Dagster's
graph, so they hold no id of a person, no name and no vector (I8).
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from pipelines.calibration.fit import read_fit
from pipelines.corpus.manifest import list_shards
from pipelines.database.registry_version import registry_version
from pipelines.database.tables import requests, subjects
from pipelines.database.times import moment
from pipelines.home.calibrations import calibration_in_force
from pipelines.home.workspace import Workspace
from pipelines.registry.subjects import active_versions
from pipelines.text.shown import digest_of


@dataclass(frozen=True, slots=True)
class Observed:
    """One observation. ``version``: the same as long as nothing has changed."""

    name: str
    version: str
    counts: dict[str, int | float | str]


def observe_home(connection: Connection, workspace: Workspace) -> tuple[Observed, ...]:
    """Make all observations in one transaction. Raises :class:`CorruptionError` for altered rows."""
    return (
        _registry(connection, workspace),
        _requests(connection),
        _corpus(connection, workspace),
        _calibration(connection, workspace),
    )


def _registry(connection: Connection, workspace: Workspace) -> Observed:
    active = active_versions(connection, now=moment(connection))
    by_state = connection.execute(sa.select(subjects.c.state, sa.func.count()).group_by(subjects.c.state))
    counts: dict[str, int | float | str] = {f"subjects_{state}": int(count) for state, count in by_state}
    version = registry_version(connection)
    return Observed(
        "registry", digest_of([version, sorted(active)]), counts | {"version": version, "matched": len(active)}
    )


def _requests(connection: Connection) -> Observed:
    columns = (requests.c.request_id, requests.c.state, requests.c.attempt)
    rows = [list(row) for row in connection.execute(sa.select(*columns).order_by(requests.c.request_id))]
    counts: dict[str, int | float | str] = {}
    for _, state, _ in rows:
        counts[f"requests_{state}"] = int(counts.get(f"requests_{state}", 0)) + 1
    return Observed("requests", digest_of(rows), counts)


def _corpus(connection: Connection, workspace: Workspace) -> Observed:
    listed = [shard.entry for shard in list_shards(connection, workspace.sealer)]
    counts: dict[str, int | float | str] = {
        "shards": len(listed),
        "faces": sum(entry.rows for entry in listed),
        "bytes": sum(entry.stored_bytes for entry in listed if entry.path),
    }
    return Observed("corpus", digest_of(sorted([entry.shard_id, entry.sha256] for entry in listed)), counts)


def _calibration(connection: Connection, workspace: Workspace) -> Observed:
    found = calibration_in_force(connection, workspace.sealer, model_id=workspace.model_id)
    thresholds = workspace.thresholds_at(connection)
    counts: dict[str, int | float | str] = {
        "calibration": found.calibration_id if found else "none",
        "review": thresholds.review,
        "strong": thresholds.strong,
        "source": thresholds.source,
        "templates": read_fit(connection, workspace).templates,
    }
    version = digest_of([workspace.model_id, counts["calibration"], thresholds.review, thresholds.strong])
    return Observed("calibration", version, counts)
