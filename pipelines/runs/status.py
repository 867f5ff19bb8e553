"""The present state in numbers, for ``likeness status``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from embeddings.errors import WeightsError
from embeddings.models.runtimes import choose_runtime, inspect_machine
from pipelines.calibration.fit import GalleryFit, read_fit
from pipelines.cases.request_limits import requests_today
from pipelines.cases.requests import Standing, standing_of, unfinished_requests
from pipelines.database import get_state
from pipelines.database.in_force import state_at
from pipelines.database.registry_version import registry_version
from pipelines.database.tables import runs
from pipelines.database.times import moment
from pipelines.evidence.kept import KeptCounts, count_kept
from pipelines.evidence.second_opinions import SecondStatus, read_second_status
from pipelines.hits.statuses import statuses_now
from pipelines.home.sandbox import SandboxStatus, sandbox_status
from pipelines.home.workspace import Workspace
from pipelines.intake.ledger import Scope, count_damaged, count_unsettled, scanner_faults
from pipelines.intake.picture_texts import unread_count
from pipelines.judging import earlier_hits_count, unjudged_count
from pipelines.matching.coverage import unexamined_count
from pipelines.registry.endings import Ending, ending_within
from pipelines.registry.subjects import active_versions
from pipelines.runs.backfill_progress import BackfillProgress, watch_backfill
from pipelines.runs.compaction import held_shards
from pipelines.runs.days import blocked_days
from pipelines.runs.sweep import count_unpooled, measure_coverage
from pipelines.scan.content_coverage import ContentCoverage, measure_content
from pipelines.takedown.outbox import count_resting, counts_by_state


@dataclass(frozen=True, slots=True)
class CorpusStatus:
    """Stored faces. ``faces``: of live items, in files. ``dead_rows``: in files until the next compaction."""

    shards: int
    faces: int
    bytes: int
    dead_rows: int
    dead_since: datetime | None
    shards_without_vectors: int
    faces_without_vectors: int


@dataclass(frozen=True, slots=True)
class Status:
    """The state at one moment, read in one transaction."""

    home: str
    model_id: str
    runtime: str
    decoding: SandboxStatus
    policy_version: str
    items: int
    statuses: dict[str, int]
    damaged: dict[str, int]
    """Items that were scanned although their file is damaged or odd (:func:`pipelines.intake.ledger.count_damaged`)."""
    scanner_faults: int
    coverage: float
    pairs_missing: int
    items_unexamined: int
    pictures_unread: int
    """Live pictures that were not read for what they say of their making."""
    models_unpooled: int
    items_unsettled: int
    backfill: BackfillProgress
    hits_by_earlier_models: int
    hits_unjudged: int
    registry_version: int
    subjects: dict[str, int]
    subjects_active: int
    corpus: CorpusStatus
    content: ContentCoverage
    evidence: KeptCounts
    second_opinion: SecondStatus
    calibration: GalleryFit
    gallery_outgrown: bool
    watermark: str | None
    days_blocked: tuple[str, ...]
    """Days whose last night a check stopped and that nobody approved."""
    outbox: dict[str, int]
    requests: tuple[Standing, ...]
    """Unfinished removal requests, the most urgent first."""
    endings: tuple[Ending, ...]
    """Opt-outs that end within the longest of ``registry.warn_days``, the first to end first."""
    messages_resting: int
    """Messages that are not sent while the consent of their subject is over."""
    requests_today: dict[str, int]
    """Requests opened, previewed, and refused by the daily limits on this UTC day."""
    last_runs: tuple[dict[str, Any], ...]


def read_status(workspace: Workspace) -> Status:
    """Read the status. Loads no model."""
    now, longest = workspace.now(), max(workspace.config.registry.warn_days, default=0)
    with workspace.database.read() as connection:
        statuses = statuses_now(connection, Scope(None, None))
        coverage = measure_coverage(connection, workspace, Scope(None, None))
        state = state_at(moment(connection)).label("state_now")
        by_state = connection.execute(sa.select(state, sa.func.count()).group_by(sa.text("state_now")))
        recent = connection.execute(sa.select(runs).order_by(runs.c.started_at.desc()).limit(5)).mappings()
        fit = read_fit(connection, workspace)
        asked = requests_today(connection, workspace)
        return Status(
            home=str(workspace.home),
            model_id=workspace.model_id,
            runtime=_runtime(workspace),
            decoding=sandbox_status(workspace.config),
            policy_version=workspace.policy.version,
            items=sum(statuses.values()),
            statuses=statuses,
            damaged=count_damaged(connection, Scope(None, None)),
            scanner_faults=scanner_faults(statuses),
            coverage=coverage.fraction,
            pairs_missing=coverage.pairs - coverage.settled,
            items_unexamined=unexamined_count(connection, workspace),
            pictures_unread=unread_count(connection),
            models_unpooled=count_unpooled(connection, workspace, Scope(None, None)),
            items_unsettled=count_unsettled(connection, Scope(None, None)),
            backfill=watch_backfill(connection, workspace),
            hits_by_earlier_models=earlier_hits_count(connection, model_id=workspace.model_id),
            hits_unjudged=unjudged_count(connection),
            registry_version=registry_version(connection),
            subjects={str(state): int(count) for state, count in by_state},
            subjects_active=len(active_versions(connection, now=moment(connection))),
            corpus=_corpus(connection, workspace),
            content=measure_content(connection, workspace, Scope(None, None)),
            evidence=count_kept(connection),
            second_opinion=read_second_status(workspace, connection),
            calibration=fit,
            gallery_outgrown=fit.outgrown,
            watermark=get_state(connection, "watermark"),
            days_blocked=blocked_days(connection, workspace),
            outbox=counts_by_state(connection),
            requests=tuple(standing_of(request, now=now) for request in unfinished_requests(connection)),
            endings=tuple(ending_within(connection, now=moment(connection), days=longest)),
            messages_resting=count_resting(connection, now=moment(connection)),
            requests_today={name: getattr(asked, name) for name in ("opened", "previewed", "refused")},
            last_runs=tuple(
                {name: row[name] for name in ("run_id", "kind", "day", "started_at", "finished_at")} for row in recent
            ),
        )


def _corpus(connection: Connection, workspace: Workspace) -> CorpusStatus:
    held = held_shards(connection, workspace)
    kept = [one for one in held if one.shard.entry.path]
    without = [one for one in held if not one.shard.entry.path]
    noticed = [one.shard.dead_since for one in kept if one.shard.dead_since is not None]
    return CorpusStatus(
        shards=len(kept),
        faces=sum(one.live for one in kept),
        bytes=sum(one.shard.entry.stored_bytes for one in kept),
        dead_rows=sum(one.dead for one in kept),
        dead_since=min(noticed, default=None),
        shards_without_vectors=len(without),
        faces_without_vectors=sum(one.live for one in without),
    )


def _runtime(workspace: Workspace) -> str:
    """Return the runtime of the networks, or the error: it stops a sweep but must not hide the rest of the status."""
    try:
        return str(choose_runtime(workspace.config.embedding.runtime_settings(), inspect_machine()))
    except WeightsError as error:
        return f"unavailable: {error}"
