"""The judging stage: hits that no verdict has weighed yet -> verdicts, and takedowns in the outbox.

Verdict and outbox row are written in one transaction (I5, I6). When a hit arrives, every item of its model is judged
again for that subject, because a second picture can corroborate the first.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from pipelines.database.tables import hits, items, outbox, requests, subjects, verdicts
from pipelines.policy import FaceEvidence, Judgement, judge
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


def judge_pending(workspace: Workspace, *, progress: Progress = silent) -> JudgeCounts:
    """Judge every group that has an unjudged hit. Safe to repeat and to run twice at once."""
    judged = takedowns = 0
    with workspace.database.read() as connection:
        groups = _groups_to_judge(connection)
    progress("judge", 0, len(groups))
    for start in range(0, len(groups), GROUPS_PER_TRANSACTION):
        part = groups[start : start + GROUPS_PER_TRANSACTION]
        with workspace.database.write() as tx:
            for group in part:
                new = _judge_group(tx, workspace, group)
                judged, takedowns = judged + new.judged, takedowns + new.takedowns
            workspace.failpoints.pass_by("before_outbox_commit")
        workspace.failpoints.pass_by("after_outbox_commit")
        progress("judge", start + len(part), len(groups))
    return JudgeCounts(judged, takedowns)


def live_hits() -> sa.Select[Any]:
    """Hits that count: the item is live with that very content, and the subject is active. Joined with the item."""
    same = sa.and_(items.c.item_id == hits.c.item_id, items.c.content_sha256 == hits.c.content_sha256, items.c.live)
    active = sa.and_(subjects.c.subject_id == hits.c.subject_id, subjects.c.state == "active")
    return sa.select(hits, items.c.pdq, items.c.parent_model).select_from(hits.join(items, same).join(subjects, active))


def unjudged_count(connection: Connection) -> int:
    """Hits that count and await a verdict."""
    query = live_hits().where(hits.c.judged_at.is_(None)).subquery()
    return int(connection.execute(sa.select(sa.func.count()).select_from(query)).scalar_one())


def _groups_to_judge(connection: Connection) -> list[Group]:
    rows = connection.execute(live_hits().where(hits.c.judged_at.is_(None)))
    groups = {Group(r.subject_id, r.parent_model, None if r.parent_model else r.item_id) for r in rows}
    return sorted(groups, key=lambda group: (group.subject_id, group.parent_model or "", group.item_id or ""))


def _judge_group(tx: Connection, workspace: Workspace, group: Group) -> JudgeCounts:
    query = live_hits().where(hits.c.subject_id == group.subject_id)
    if group.parent_model is not None:
        query = query.where(items.c.parent_model == group.parent_model)
    else:
        query = query.where(items.c.item_id == group.item_id, items.c.parent_model.is_(None))
    evidence = [_evidence(row) for row in tx.execute(query.order_by(hits.c.item_id, hits.c.hit_id))]
    due_at = _due_at(tx, workspace, group.subject_id)
    takedowns = 0
    by_item: dict[str, list[FaceEvidence]] = {}
    for hit in evidence:
        by_item.setdefault(hit.item_id, []).append(hit)
    for own in by_item.values():
        judgement = judge(own, model_evidence=evidence, policy=workspace.policy)
        takedowns += _store(tx, workspace, group.subject_id, own, judgement, due_at)
    return JudgeCounts(judged=len(by_item), takedowns=takedowns)


def _evidence(row: Any) -> FaceEvidence:
    return FaceEvidence(
        hit_id=row.hit_id,
        item_id=row.item_id,
        content_sha256=row.content_sha256,
        score=row.score,
        threshold=row.threshold,
        threshold_source=row.threshold_source,
        band=row.band,
        template_id=row.template_id,
        model_id=row.model_id,
        pdq=row.pdq,
    )


def _store(
    tx: Connection,
    workspace: Workspace,
    subject_id: str,
    own: Sequence[FaceEvidence],
    judgement: Judgement,
    due_at: datetime,
) -> bool:
    """Write the verdict, and the takedown if it calls for one. True when a message was newly written."""
    now = workspace.now()
    key = {"item_id": own[0].item_id, "content_sha256": own[0].content_sha256, "subject_id": subject_id}
    values = {
        "verdict": judgement.verdict,
        "rule": judgement.rule,
        "best_score": judgement.best_score,
        "distinct_images": judgement.distinct_images,
        "policy_version": workspace.policy.version,
        "reasons": json.dumps(judgement.reasons, sort_keys=True),
        "judged_at": now,
    }
    same = sa.and_(*(verdicts.c[name] == value for name, value in key.items()))
    if not tx.execute(sa.update(verdicts).where(same).values(**values)).rowcount:
        tx.execute(sa.insert(verdicts).values(**key, **values))
    tx.execute(
        sa.update(hits)
        .where(hits.c.hit_id.in_([hit.hit_id for hit in own]), hits.c.judged_at.is_(None))
        .values(judged_at=now)
    )
    if judgement.verdict != "takedown" or _asked_for(tx, key):
        return False
    return enqueue_takedown(
        tx, **key, policy_version=workspace.policy.version, due_at=due_at, reasons=judgement.reasons, now=now
    )


def _asked_for(tx: Connection, key: dict[str, str]) -> bool:
    """A takedown of this item for this subject stands already, perhaps under an earlier policy."""
    query = sa.select(outbox.c.message_id).where(
        *(outbox.c[name] == value for name, value in key.items()),
        outbox.c.action == "takedown",
        outbox.c.state != "withdrawn",
    )
    return tx.execute(query.limit(1)).first() is not None


def _due_at(tx: Connection, workspace: Workspace, subject_id: str) -> datetime:
    """The policy's deadline, or a running removal request's if that is sooner."""
    now = workspace.now()
    deadline = now + timedelta(hours=workspace.policy.settings.takedown.hours)
    query = sa.select(sa.func.min(requests.c.due_at)).where(
        requests.c.subject_id == subject_id, requests.c.state.in_(("accepted", "completed")), requests.c.due_at > now
    )
    requested: datetime | None = tx.execute(query).scalar()
    return min(deadline, requested) if requested else deadline
