"""The judging stage: hits that no verdict has weighed yet -> verdicts, and takedowns in the outbox.

Verdict and outbox row are written in one transaction (I5, I6). When a hit arrives, every item of its model is judged
again for that subject, because a second picture can corroborate the first.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from indexes.calibration import Thresholds
from pipelines.database.evidence import decisions
from pipelines.database.tables import hits, items, outbox, requests, subjects, verdicts
from pipelines.ledger import Scope, count_statuses
from pipelines.policy import FaceEvidence, Judgement, band_of, judge
from pipelines.progress import Progress, silent
from pipelines.takedown.outbox import enqueue_takedown
from pipelines.workspace import Workspace

GROUPS_PER_TRANSACTION = 100


@dataclass(frozen=True, slots=True)
class JudgeCounts:
    """What one run of the stage did. ``takedowns``: messages newly written to the outbox."""

    judged: int = 0
    takedowns: int = 0


@dataclass(frozen=True, slots=True, order=True)
class Group:
    """What is judged together: one subject in the pictures of one model, or in one item without a model."""

    subject_id: str
    parent_model: str | None
    item_id: str | None


_KEY = ("item_id", "content_sha256", "subject_id")


@dataclass(frozen=True, slots=True)
class Judged:
    """One item and one subject with the verdict on them."""

    subject_id: str
    evidence: tuple[FaceEvidence, ...]
    judgement: Judgement

    @property
    def key(self) -> dict[str, str]:
        """What the verdict is about."""
        first = self.evidence[0]
        return {"item_id": first.item_id, "content_sha256": first.content_sha256, "subject_id": self.subject_id}


def judge_pending(workspace: Workspace, *, progress: Progress = silent) -> JudgeCounts:
    """Judge every group that has an unjudged hit. Safe to repeat and to run twice at once."""
    judged = takedowns = 0
    with workspace.database.read() as connection:
        calibration_id = workspace.thresholds_at(connection).calibration_id
        groups = _groups_to_judge(connection, workspace.policy.version, calibration_id)
    progress("judge", 0, len(groups))
    for start in range(0, len(groups), GROUPS_PER_TRANSACTION):
        part = groups[start : start + GROUPS_PER_TRANSACTION]
        with workspace.database.write() as tx:
            new = _judge_groups(tx, workspace, part)
            workspace.failpoints.pass_by("before_outbox_commit")
        workspace.failpoints.pass_by("after_outbox_commit")
        judged, takedowns = judged + new.judged, takedowns + new.takedowns
        progress("judge", start + len(part), len(groups))
    return JudgeCounts(judged, takedowns)


def live_hits() -> sa.Select[Any]:
    """Hits that count: the item is live with that very content, and the subject is active. Joined with the item.

    A text counts while the item has it, everything else while the item has that content; nothing that somebody rejected
    counts. ``content_key`` is what a verdict names: the content, or the text of an item without any.

    A face hit of earlier models no longer counts once the models of the item's present vectors have found the same
    person in the same content, no less strongly. See :mod:`pipelines.backfill`.
    """
    digest = sa.case((hits.c.tier == "text", items.c.text_digest), else_=items.c.content_sha256)
    same = sa.and_(items.c.item_id == hits.c.item_id, digest == hits.c.content_sha256, items.c.live)
    active = sa.and_(subjects.c.subject_id == hits.c.subject_id, subjects.c.state == "active")
    counted = sa.select(hits, items.c.pdq, items.c.parent_model, content_key().label("content_key"))
    return counted.select_from(hits.join(items, same).join(subjects, active)).where(~_taken_over(), ~_rejected())


def content_key() -> sa.ColumnElement[str]:
    """What a verdict or a takedown of an item is about: its content, or its text where no content could be read."""
    return sa.func.coalesce(items.c.content_sha256, items.c.text_digest)


def _rejected() -> sa.ColumnElement[bool]:
    """Condition on ``hits``: somebody said of this subject, content and model that it is not so."""
    said = sa.select(decisions.c.decision_id).where(
        *(decisions.c[name] == hits.c[name] for name in ("subject_id", "content_sha256", "model_id")),
        decisions.c.decision == "reject",
        decisions.c.reversed_at.is_(None),
    )
    return said.correlate(hits).exists()


def _taken_over() -> sa.ColumnElement[bool]:
    """Condition on ``hits`` joined with ``items``: a hit of the item's present models, no weaker, says the same."""
    newer = hits.alias("newer")
    found = sa.select(newer.c.hit_id).where(
        *(newer.c[name] == hits.c[name] for name in _KEY),
        newer.c.tier == "face",
        newer.c.model_id == items.c.model_id,
        sa.or_(newer.c.band == "strong", hits.c.band == "review"),
    )
    return sa.and_(hits.c.tier == "face", hits.c.model_id != items.c.model_id, found.correlate(hits, items).exists())


def earlier_hits_count(connection: Connection, *, model_id: str, scope: Scope | None = None) -> int:
    """Hits that count and were made by other models than ``model_id``, of everything or of a scope."""
    query = live_hits().where(hits.c.model_id != model_id, *(scope.where() if scope else ())).subquery()
    return int(connection.execute(sa.select(sa.func.count()).select_from(query)).scalar_one())


def unjudged_count(connection: Connection, scope: Scope | None = None) -> int:
    """Hits that count and await a verdict, of everything or of a scope."""
    query = live_hits().where(hits.c.judged_at.is_(None), *(scope.where() if scope else ())).subquery()
    return int(connection.execute(sa.select(sa.func.count()).select_from(query)).scalar_one())


def _groups_to_judge(connection: Connection, policy_version: str, calibration_id: str | None) -> list[Group]:
    """Groups with a hit that no verdict has weighed, or only one by another policy or calibration."""
    by_this_policy = sa.and_(
        *(verdicts.c[name] == hits.c[name] for name in _KEY),
        verdicts.c.policy_version == policy_version,
        verdicts.c.calibration_id.is_not_distinct_from(calibration_id),
    )
    todo = sa.or_(hits.c.judged_at.is_(None), ~sa.select(verdicts.c.rule).where(by_this_policy).exists())
    groups = {_group(row) for row in connection.execute(live_hits().where(todo))}
    return sorted(groups, key=lambda group: (group.subject_id, group.parent_model or "", group.item_id or ""))


def _group(row: Any) -> Group:
    return Group(row.subject_id, row.parent_model, None if row.parent_model else row.item_id)


def _judge_groups(tx: Connection, workspace: Workspace, groups: Sequence[Group]) -> JudgeCounts:
    """Judge whole groups: their evidence in one query, their verdicts in one statement."""
    judged: list[Judged] = []
    thresholds = workspace.thresholds_at(tx)
    judge_item = partial(judge, policy=workspace.policy, calibration_id=thresholds.calibration_id)
    for group, evidence in _evidence_of(tx, groups, thresholds, model_id=workspace.model_id).items():
        by_item: dict[str, list[FaceEvidence]] = {}
        for hit in evidence:
            by_item.setdefault(hit.item_id, []).append(hit)
        judged += [
            Judged(group.subject_id, tuple(own), judge_item(own, model_evidence=evidence)) for own in by_item.values()
        ]
    standing = [entry for entry in judged if entry.judgement.verdict != "takedown" and _asked_for(tx, entry.key)]
    # A takedown that stands is not undone because the picture that corroborated it has gone: only people do that.
    _store_verdicts(tx, workspace, [entry for entry in judged if entry not in standing])
    _mark_judged(tx, workspace, judged)
    return JudgeCounts(judged=len(judged), takedowns=_enqueue(tx, workspace, judged))


def _evidence_of(
    tx: Connection, groups: Sequence[Group], thresholds: Thresholds, *, model_id: str
) -> dict[Group, list[FaceEvidence]]:
    """All hits that count, of each group; ``thresholds`` are those of ``model_id``."""
    found: dict[Group, list[FaceEvidence]] = {group: [] for group in groups}
    query = live_hits().where(
        hits.c.subject_id.in_({group.subject_id for group in groups}),
        sa.or_(
            items.c.parent_model.in_({group.parent_model for group in groups if group.parent_model}),
            items.c.item_id.in_({group.item_id for group in groups if group.item_id}),
        ),
    )
    for row in tx.execute(query.order_by(hits.c.item_id, hits.c.hit_id)):
        if (group := _group(row)) in found:
            found[group].append(_evidence(row, thresholds if row.model_id == model_id else None))
    return found


def _evidence(row: Any, thresholds: Thresholds | None) -> FaceEvidence:
    """A hit as the policy in force sees it; its own row keeps what was in force when it was found.

    None for a hit of earlier models: today's thresholds say nothing of their scores, so its band stays (I4).
    """
    return FaceEvidence(
        hit_id=row.hit_id,
        item_id=row.item_id,
        content_sha256=row.content_sha256,
        score=row.score,
        threshold=row.threshold,
        threshold_source=row.threshold_source,
        band=band_of(row.score, thresholds) if thresholds else row.band,
        template_id=row.template_id,
        model_id=row.model_id,
        pdq=row.pdq,
    )


def _store_verdicts(tx: Connection, workspace: Workspace, judged: Sequence[Judged]) -> None:
    """Replace the verdicts."""
    if not judged:
        return
    now = workspace.now()
    same = sa.and_(*(verdicts.c[name] == sa.bindparam(f"this_{name}") for name in _KEY))
    keys = [{f"this_{name}": value for name, value in entry.key.items()} for entry in judged]
    tx.execute(sa.delete(verdicts).where(same), keys)
    tx.execute(
        sa.insert(verdicts),
        [
            entry.key
            | {
                "verdict": entry.judgement.verdict,
                "rule": entry.judgement.rule,
                "best_score": entry.judgement.best_score,
                "distinct_images": entry.judgement.distinct_images,
                "policy_version": workspace.policy.version,
                "calibration_id": entry.judgement.reasons["calibration_id"],
                "reasons": json.dumps(entry.judgement.reasons, sort_keys=True),
                "judged_at": now,
                "tiers": "face",
                "decided_by": "automated",
                "priority": 0,
            }
            for entry in judged
        ],
    )


def _mark_judged(tx: Connection, workspace: Workspace, judged: Sequence[Judged]) -> None:
    own = [{"this_hit": hit.hit_id} for entry in judged for hit in entry.evidence]
    unjudged = sa.and_(hits.c.hit_id == sa.bindparam("this_hit"), hits.c.judged_at.is_(None))
    if own:
        tx.execute(sa.update(hits).where(unjudged).values(judged_at=workspace.now()), own)


def _enqueue(tx: Connection, workspace: Workspace, judged: Sequence[Judged]) -> int:
    """Write the takedowns that verdicts call for and that do not stand already; how many."""
    wanted = [entry for entry in judged if entry.judgement.verdict == "takedown" and not _asked_for(tx, entry.key)]
    due_at = {subject_id: _due_at(tx, workspace, subject_id) for subject_id in {entry.subject_id for entry in wanted}}
    implausible = _implausible(tx, workspace, [entry.key["item_id"] for entry in wanted])
    return sum(
        enqueue_takedown(
            tx,
            **entry.key,
            policy_version=workspace.policy.version,
            due_at=due_at[entry.subject_id],
            reasons=entry.judgement.reasons,
            now=workspace.now(),
            held="hit_rate" if entry.key["item_id"] in implausible else None,
            occurrence=_earlier(tx, entry.key),
        )
        for entry in wanted
    )


def _implausible(tx: Connection, workspace: Workspace, item_ids: Sequence[str]) -> set[str]:
    """Items of a day on which more of the scannable items are hits than ``sweep.max_hit_rate``.

    That is a fault of models or registry until somebody has looked: their takedowns are held.
    """
    config = workspace.config.sweep
    by_day: dict[tuple[str, str], set[str]] = {}
    query = sa.select(items.c.item_id, items.c.source_id, items.c.day).where(items.c.item_id.in_(item_ids))
    for item_id, source, day in tx.execute(query):
        by_day.setdefault((source, day), set()).add(item_id)
    found: set[str] = set()
    for (source, day), of_day in by_day.items():
        rate = hit_rate(count_statuses(tx, Scope(source, date.fromisoformat(day))), at_least=config.hit_rate_items)
        if rate is not None and rate > config.max_hit_rate:
            found |= of_day
    return found


def hit_rate(statuses: Mapping[str, int], *, at_least: int) -> float | None:
    """Share of hits among scannable items; None among fewer than ``at_least``, where a share says nothing."""
    hit = statuses.get("hit", 0)
    scannable = hit + statuses.get("clean", 0) + statuses.get("no_face", 0)
    return hit / scannable if scannable >= max(1, at_least) else None


def _asked_for(tx: Connection, key: Mapping[str, str]) -> bool:
    """A takedown of this item for this subject stands, of the time since the item was uploaded (again)."""
    query = (
        sa.select(outbox.c.message_id)
        .join(items, sa.and_(items.c.item_id == outbox.c.item_id, outbox.c.created_at >= items.c.live_since))
        .where(*_takedowns_of(key), outbox.c.state != "withdrawn")
    )
    return tx.execute(query.limit(1)).first() is not None


def _earlier(tx: Connection, key: Mapping[str, str]) -> int:
    """How many takedowns there were of this item for this subject, withdrawn ones included."""
    query = sa.select(sa.func.count()).select_from(outbox).where(*_takedowns_of(key))
    return int(tx.execute(query).scalar_one())


def _takedowns_of(key: Mapping[str, str]) -> list[sa.ColumnElement[bool]]:
    return [outbox.c.action == "takedown", *(outbox.c[name] == value for name, value in key.items())]


def _due_at(tx: Connection, workspace: Workspace, subject_id: str) -> datetime:
    """The policy's deadline, or a running removal request's if that is sooner."""
    now = workspace.now()
    deadline = now + timedelta(hours=workspace.policy.settings.takedown.hours)
    query = sa.select(sa.func.min(requests.c.due_at)).where(
        requests.c.subject_id == subject_id, requests.c.state.in_(("accepted", "completed")), requests.c.due_at > now
    )
    requested: datetime | None = tx.execute(query).scalar()
    return min(deadline, requested) if requested else deadline
