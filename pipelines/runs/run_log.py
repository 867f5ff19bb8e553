"""The record of runs: when, with which models and policy, and with which result."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import sqlalchemy as sa

from pipelines.database.registry_version import registry_version
from pipelines.database.tables import runs
from pipelines.home.workspace import Workspace, new_id
from pipelines.judging.request_progress import settle_requests


def begin_run(workspace: Workspace, *, kind: str, day: date | None, run_id: str | None = None) -> str:
    """Record that a run began; with a given id (Dagster's) a retry, or a later stage, continues the same record, under
    the policy that is in force by then."""
    run_id = run_id or new_id("run")
    with workspace.database.write() as tx:
        settle_requests(tx, now=workspace.now())  # before this run finds hits that belong to none of them any more
        own = runs.c.run_id == run_id
        known = tx.execute(sa.select(runs.c.policy_version).where(own)).first()
        if known is not None and known.policy_version != workspace.policy.version:
            tx.execute(sa.update(runs).where(own).values(policy_version=workspace.policy.version))
        if known is None:
            tx.execute(
                sa.insert(runs).values(
                    run_id=run_id,
                    kind=kind,
                    day=day.isoformat() if day else None,
                    started_at=workspace.now(),
                    model_id=workspace.model_id,
                    policy_version=workspace.policy.version,
                    registry_version=registry_version(tx),
                )
            )
    return run_id


def finish_run(workspace: Workspace, run_id: str, summary: dict[str, Any]) -> None:
    """Record the result of a run."""
    with workspace.database.write() as tx:
        tx.execute(
            sa.update(runs)
            .where(runs.c.run_id == run_id)
            .values(finished_at=workspace.now(), summary=json.dumps(summary))
        )
