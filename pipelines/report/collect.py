"""Reads the facts of a report from the database, on the caller's connection. Knows nothing of pages and files."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from pipelines.calibration.fit import read_fit
from pipelines.cases.request_record import RemovalRequest, list_requests, unfinished_requests
from pipelines.corpus.manifest import list_shards, uncovered
from pipelines.database.in_force import rests
from pipelines.database.registry_version import registry_version
from pipelines.database.tables import hits, items, outbox, runs, subjects, verdicts
from pipelines.database.times import moment
from pipelines.hits.counting import hits_in_force, key_of_item, outside, verdict_of_hit
from pipelines.hits.listing import second_columns, with_second_opinions
from pipelines.hits.statuses import statuses_now
from pipelines.hits.verdicts import ModelVerdict, list_model_verdicts
from pipelines.home.calibrations import calibration_in_force
from pipelines.home.workspace import Workspace
from pipelines.intake.ledger import Scope, count_damaged
from pipelines.registry.endings import count_ended, ending_within
from pipelines.registry.subjects import active_versions
from pipelines.report.facts import (
    CoverageFacts,
    EndingFacts,
    HeldCount,
    MessageCount,
    PartialFacts,
    ReportCounts,
    ReportFacts,
    ReportHit,
    RunFacts,
    UnscannedItem,
)
from pipelines.runs.days import list_blocked, why_stopped
from pipelines.runs.sweep import count_verdicts, measure_coverage
from pipelines.takedown.outbox import BLOCK, DEAD, HELD, LEASED, PENDING, TAKEDOWN, WITHDRAWAL, WITHDRAWN, count_resting

LOOKED_AT: Final = frozenset({"clean", "hit", "no_face"})
_NOT_SHOWN: Final = ("template_id", "sealed_term", "lapsed_at", "dropped_at")
_OF_VERDICT: Final = ("verdict", "rule", "distinct_images", "tiers", "decided_by", "priority")
UNFINISHED: Final = (PENDING, HELD, LEASED, DEAD)
"""States of a message that has had no effect yet."""


def collect_facts(connection: Connection, workspace: Workspace, scope: Scope, *, max_runs: int) -> ReportFacts:
    """Read everything a report says of the scope, as this transaction sees it."""
    now = workspace.now()
    found = read_hits(connection, scope)
    models = tuple(list_model_verdicts(connection, scope=scope))
    coverage = read_coverage(connection, workspace, scope)
    stopped_by, approval = why_stopped(connection, workspace, scope)
    return ReportFacts(
        day=scope.day,
        source_id=scope.source_id,
        written_at=now,
        model_id=workspace.model_id,
        policy_version=workspace.policy.version,
        registry_version=registry_version(connection),
        thresholds=workspace.thresholds_at(connection),
        calibration=calibration_in_force(connection, workspace.sealer, model_id=workspace.model_id),
        fit=read_fit(connection, workspace),
        counts=_counts(connection, workspace, scope, found, models, coverage),
        coverage=coverage,
        partial=read_partial(connection, scope),
        hits=found,
        models=models,
        expiries=_expiries(connection, {hit.subject_id for hit in found}),
        unscanned=read_unscanned(connection, scope),
        runs=read_runs(connection, scope, limit=max_runs),
        messages=count_messages(connection, scope, now=now),
        requests=read_requests(connection),
        stopped_by=stopped_by,
        approved_by=approval.actor if approval else None,
        held=count_held(connection, scope),
        served=read_served(connection, scope.day or now.date()),
        endings=read_endings(connection, workspace),
        blocked=tuple(list_blocked(connection, workspace)),
    )


def read_hits(connection: Connection, scope: Scope) -> tuple[ReportHit, ...]:
    """Hits in force of the live items in scope, by hit id."""
    found = hits_in_force(moment(connection)).where(*scope.where())
    chosen = with_second_opinions(
        found.with_only_columns(
            key_of_item().label("item_key"),
            *(column for column in hits.c if column.name not in _NOT_SHOWN),
            hits.c.template_id.label("reference_id"),
            *(items.c[name] for name in ("kind", "parent_model", "width", "height")),
            *(verdicts.c[name] for name in _OF_VERDICT),
            *second_columns(),
        ).outerjoin(verdicts, verdict_of_hit())
    )
    standing = _standing_takedowns(connection, scope)
    rows = connection.execute(chosen.order_by(hits.c.hit_id)).mappings()
    return tuple(_report_hit(dict(row), standing) for row in rows)


def _report_hit(row: dict[str, Any], standing: Mapping[tuple[str, str, str], dict[str, Any]]) -> ReportHit:
    nothing = {"takedown_id": None, "takedown_state": None, "takedown_due_at": None}
    key = (row["item_id"], row.pop("item_key"), row["subject_id"])
    return ReportHit(**outside(row), **standing.get(key, nothing))


def _standing_takedowns(connection: Connection, scope: Scope) -> dict[tuple[str, str, str], dict[str, Any]]:
    """Return the takedown for each (item, content, person): the newest not withdrawn, else the newest."""
    query = (
        sa.select(
            *(outbox.c[name] for name in ("item_id", "content_key", "subject_id", "message_id", "state", "due_at"))
        )
        .select_from(outbox.join(items, items.c.item_id == outbox.c.item_id))
        .where(outbox.c.action == TAKEDOWN, *scope.where())
        .order_by(sa.case((outbox.c.state == WITHDRAWN, 0), else_=1), outbox.c.created_at, outbox.c.message_id)
    )
    return {
        (row.item_id, row.content_key, row.subject_id): {
            "takedown_id": row.message_id,
            "takedown_state": row.state,
            "takedown_due_at": row.due_at,
        }
        for row in connection.execute(query)
    }


def read_coverage(connection: Connection, workspace: Workspace, scope: Scope) -> CoverageFacts:
    """Count the settled pairs as every other command does, and say where the missing ones are."""
    measured = measure_coverage(connection, workspace, scope)
    versions = active_versions(connection, now=moment(connection))
    statuses = statuses_now(connection, scope)
    pending = waiting = 0
    waiting_for: set[str] = set()
    if measured.settled < measured.pairs or (not versions and statuses.get("pending")):
        listed = list_shards(connection, workspace.sealer)
        missing = uncovered(connection, listed, versions, threshold=workspace.thresholds_at(connection).review)
        query = sa.select(items.c.shard_id, items.c.status, sa.func.count()).where(*scope.where())
        for shard_id, status, count in connection.execute(query.group_by(items.c.shard_id, items.c.status)):
            pending += int(count) * (shard_id is None and status == "pending")
            if shard_id in missing:
                waiting += int(count)
                waiting_for |= missing[shard_id]
    return CoverageFacts(
        persons=len(versions),
        pairs=measured.pairs,
        settled=measured.settled,
        pending=pending,
        waiting=waiting,
        waiting_for=len(waiting_for),
    )


def read_partial(connection: Connection, scope: Scope) -> PartialFacts:
    """Count the live items of which not every frame or face was looked at, and the listing's problems."""

    def count(condition: sa.ColumnElement[bool]) -> int:
        query = sa.select(sa.func.count()).select_from(items).where(condition, *scope.where())
        return int(connection.execute(query).scalar_one())

    problems = sa.select(items.c.problem, sa.func.count()).where(items.c.problem.is_not(None), *scope.where())
    by_problem = connection.execute(problems.group_by(items.c.problem).order_by(items.c.problem))
    return PartialFacts(
        frames_sampled=count(items.c.frames < items.c.frames_total),
        faces_dropped=count(items.c.faces_dropped > 0),
        damaged=count_damaged(connection, scope),
        listing_problems={str(problem): int(number) for problem, number in by_problem},
    )


def read_unscanned(connection: Connection, scope: Scope) -> tuple[UnscannedItem, ...]:
    """Live items that were not looked at: failed fetches, then unscannable, then pending, by reason and id."""
    columns = [items.c[name] for name in ("item_id", "kind", "parent_model", "status", "attempts", "received_at")]
    query = sa.select(*columns).where(items.c.status.not_in(LOOKED_AT), *scope.where())
    order = {"fetch_failed": 0, "unscannable": 1}
    found = []
    for row in connection.execute(query).mappings():
        status, _, reason = row["status"].partition(":")
        found.append(UnscannedItem(**{**row, "status": status, "reason": reason}))
    return tuple(sorted(found, key=lambda item: (order.get(item.status, 2), item.status, item.reason, item.item_id)))


def read_runs(connection: Connection, scope: Scope, *, limit: int) -> tuple[RunFacts, ...]:
    """Read the last runs that covered this day: its own, and those over all days that began on it or later."""
    query = sa.select(runs).order_by(runs.c.started_at.desc(), runs.c.run_id).limit(limit)
    if scope.day is not None:
        midnight = datetime.fromisoformat(f"{scope.day.isoformat()}T00:00:00+00:00")
        whole = sa.and_(runs.c.day.is_(None), runs.c.started_at >= midnight)
        query = query.where(sa.or_(runs.c.day == scope.day.isoformat(), whole))
    return tuple(_run(row) for row in connection.execute(query).mappings())


def _run(row: sa.RowMapping) -> RunFacts:
    summary = json.loads(row["summary"] or "{}")
    same = {name: row[name] for name in RunFacts.__dataclass_fields__ if name != "coverage"}
    return RunFacts(**same, coverage=summary.get("coverage"))


def count_messages(connection: Connection, scope: Scope, *, now: datetime) -> tuple[MessageCount, ...]:
    """Messages about the items received in scope, gone ones included, by action and state."""
    # A withdrawal is due at once, so it is always late; a resting message is not to be sent.
    late = sa.and_(outbox.c.action != WITHDRAWAL, outbox.c.state.in_(UNFINISHED), outbox.c.due_at < now)
    late = sa.and_(late, ~rests(outbox, now))
    query = sa.select(outbox.c.action, outbox.c.state, sa.func.count(), sa.func.sum(sa.case((late, 1), else_=0))).where(
        _is_about(scope)
    )
    by_state = connection.execute(query.group_by(outbox.c.action, outbox.c.state))
    counts = (MessageCount(action, state, int(messages), int(late)) for action, state, messages, late in by_state)
    return tuple(sorted(counts, key=lambda count: (count.action, count.state)))


def _is_about(scope: Scope) -> sa.ColumnElement[bool]:
    """Condition on ``outbox``: about an item received in scope, or about the model that one belongs to."""
    named = sa.or_(
        items.c.item_id == outbox.c.item_id,
        sa.and_(outbox.c.action == BLOCK, items.c.parent_model == outbox.c.item_id),
    )
    query = sa.select(items.c.item_id).where(named)
    if scope.source_id is not None:
        query = query.where(items.c.source_id == scope.source_id)
    if scope.day is not None:
        query = query.where(items.c.day == scope.day.isoformat())
    return query.correlate(outbox).exists()


def count_held(connection: Connection, scope: Scope) -> tuple[HeldCount, ...]:
    """Messages about the items received in scope that wait for somebody to look at them, by action and reason."""
    query = sa.select(outbox.c.action, outbox.c.last_result, sa.func.count()).where(
        outbox.c.state == HELD, _is_about(scope)
    )
    rows = connection.execute(query.group_by(outbox.c.action, outbox.c.last_result))
    counts = [HeldCount(action, (why or "").removeprefix("held:"), int(messages)) for action, why, messages in rows]
    return tuple(sorted(counts, key=lambda count: (count.action, count.reason)))


def read_served(connection: Connection, day: date) -> tuple[RemovalRequest, ...]:
    """Removal requests that were completed on a UTC day, the earliest first."""
    done = [
        (request.completed_at, request)
        for request in list_requests(connection, state="completed")
        if request.completed_at is not None and request.completed_at.astimezone(UTC).date() == day
    ]
    return tuple(request for _, request in sorted(done, key=lambda pair: (pair[0], pair[1].request_id)))


def read_requests(connection: Connection) -> tuple[RemovalRequest, ...]:
    """Unfinished removal requests, the most urgent first. They concern every day."""
    return tuple(unfinished_requests(connection))


def read_endings(connection: Connection, workspace: Workspace) -> EndingFacts:
    """Opt-outs that end soon or have ended. They concern every day."""
    now, days = moment(connection), workspace.config.registry.warn_days
    return EndingFacts(
        soon=tuple(ending_within(connection, now=now, days=max(days, default=0))),
        ended=count_ended(connection, now=now),
        resting=count_resting(connection, now=now),
        days=max(days, default=0),
        urgent_days=min(days, default=0),
    )


def _expiries(connection: Connection, subject_ids: set[str]) -> dict[str, datetime]:
    query = sa.select(subjects.c.subject_id, subjects.c.expires_at)
    return {row.subject_id: row.expires_at for row in connection.execute(query) if row.subject_id in subject_ids}


def _counts(
    connection: Connection,
    workspace: Workspace,
    scope: Scope,
    found: tuple[ReportHit, ...],
    models: tuple[ModelVerdict, ...],
    coverage: CoverageFacts,
) -> ReportCounts:
    statuses = statuses_now(connection, scope)
    judged = count_verdicts(connection, scope)
    of_models = Counter(model.verdict for model in models)
    faces = connection.execute(sa.select(sa.func.sum(items.c.faces)).where(*scope.where())).scalar_one()
    return ReportCounts(
        items=sum(statuses.values()),
        scanned=sum(count for status, count in statuses.items() if status in LOOKED_AT),
        statuses=statuses,
        faces=int(faces or 0),
        hits=len(found),
        hits_by_tier=dict(sorted(Counter(hit.tier for hit in found).items())),
        hit_items=len({hit.item_id for hit in found}),
        hits_by_earlier_models=sum(hit.tier == "face" and hit.model_id != workspace.model_id for hit in found),
        persons=len({hit.subject_id for hit in found}),
        takedowns=judged.get("takedown", 0),
        review=judged.get("review", 0),
        likeness_models=of_models["likeness_model"],
        suspected_models=of_models["suspected"],
        unjudged=sum(hit.judged_at is None for hit in found),
        pairs=coverage.pairs,
        settled=coverage.settled,
        coverage=coverage.settled / coverage.pairs if coverage.pairs else 1.0,
    )
