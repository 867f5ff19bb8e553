"""What a person's decision takes back: verdicts without evidence, and messages that only this evidence carried.

Evidence also goes for other reasons: pictures are removed, because they were taken down or not, or changed, policies
change, consents run out. What was sent on it stands, whatever a person says of something else.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from pipelines.database.tables import hits, items, subjects, verdicts
from pipelines.judging.evidence import content_key, is_rejected, said
from pipelines.judging.messages import stands_by_person, take_back
from pipelines.takedown.outbox import BLOCK, TAKEDOWN
from pipelines.workspace import Workspace

Pair = tuple[str, str]
"""Item (or model) and subject."""

_CHUNK = 300


def clear_rejected(tx: Connection, workspace: Workspace, pairs: Collection[Pair], *, left: Collection[Pair]) -> None:
    """Clear the verdicts on these pairs of which people rejected everything; ``left``: those with evidence still."""
    lost = sorted(set(pairs) - set(left))
    for start in range(0, len(lost), _CHUNK):
        part = lost[start : start + _CHUNK]
        gone = [row for row in tx.execute(_unfounded(part)) if (row.item_id, row.subject_id) in part]
        for row in gone:
            values = {"verdict": "clear", "rule": "rejected_by_person", "decided_by": "human", "priority": 0}
            reasons = {**values, "decided_by": "a person", "policy_version": workspace.policy.version}
            values |= {"reasons": json.dumps(reasons, sort_keys=True), "judged_at": workspace.now()}
            own = (verdicts.c[name] == row._mapping[name] for name in ("item_id", "content_sha256", "subject_id"))
            tx.execute(sa.update(verdicts).where(*own).values(**values))
        take_back(tx, workspace, {(row.item_id, row.subject_id) for row in gone}, action=TAKEDOWN)


def _unfounded(pairs: Sequence[Pair]) -> sa.Select[tuple[str, str, str]]:
    """Verdicts on items and subjects of these pairs that have no evidence that counts because people rejected it.

    Of an item that is gone or has changed, nothing counts: there it is what people rejected altogether, or confirmed
    and do not any more.
    """
    of_pair = sa.select(hits.c.hit_id).where(
        *(hits.c[name] == verdicts.c[name] for name in ("item_id", "subject_id")),
        sa.or_(hits.c.content_sha256 == verdicts.c.content_sha256, hits.c.tier == "text"),
    )
    so = sa.or_(verdicts.c.decided_by != "human", said("confirm"))
    founded = of_pair.where(~is_rejected(), so).correlate(verdicts).exists()
    rejected = of_pair.where(is_rejected()).correlate(verdicts).exists()
    current = sa.and_(items.c.live, content_key() == verdicts.c.content_sha256, subjects.c.state == "active")
    return (
        sa.select(verdicts.c.item_id, verdicts.c.content_sha256, verdicts.c.subject_id)
        .join(items, items.c.item_id == verdicts.c.item_id)
        .join(subjects, subjects.c.subject_id == verdicts.c.subject_id)
        .where(
            verdicts.c.item_id.in_({item_id for item_id, _ in pairs}),
            verdicts.c.subject_id.in_({subject_id for _, subject_id in pairs}),
            sa.or_(sa.and_(current, rejected), ~founded),
        )
    )


def take_back_lost(
    tx: Connection, workspace: Workspace, *, before: Mapping[str, Collection[Pair]], now: Mapping[str, Collection[Pair]]
) -> None:
    """Withdraw messages that the evidence left does not carry. Both by action: those that it would carry but for what
    people said (``before``), and those judged that it does not carry (``now``).

    A message that a person caused goes with their confirmation.
    """
    for action in (TAKEDOWN, BLOCK):
        lost = {pair for pair in now[action] if pair in before[action] or stands_by_person(tx, action, pair)}
        take_back(tx, workspace, lost, action=action)
