"""Taking back verdicts and messages.

A person's decision clears verdicts without evidence and withdraws messages that only the rejected evidence supported. A
machine withdraws only messages that it wrote itself, has not sent, and would not write any more.

Evidence also goes for other reasons: pictures are removed or changed, policies change, consents run out. Messages sent
on it stand, whatever a person says of other evidence: a picture may be gone because of the message. Unsent messages are
withdrawn with their evidence (:func:`let_fall`); if the evidence comes back, so does the message, as another case (I5).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from pipelines.database.parts import parts
from pipelines.database.tables import hits, items, outbox, subjects, verdicts
from pipelines.hits.counting import POOLED, is_rejected, key_of_item, live_hits, model_of_item, owner_of_item, said
from pipelines.home.workspace import Workspace
from pipelines.judging.evidence import Group, group_of_message
from pipelines.judging.messages import is_unsent, stands_by_person, take_back
from pipelines.takedown.outbox import BLOCK, FELL, TAKEDOWN, WITHDRAWN, Wanted, not_taken_back

Pair = tuple[str, str]
"""Item (or model) and subject."""


def clear_rejected(tx: Connection, workspace: Workspace, pairs: Collection[Pair], *, left: Collection[Pair]) -> None:
    """Clear the verdicts on pairs whose evidence people rejected entirely; ``left``: pairs with evidence still."""
    lost = sorted(set(pairs) - set(left))
    for part in parts(lost):
        gone = [row for row in tx.execute(_unfounded(part)) if (row.item_id, row.subject_id) in part]
        for row in gone:
            values = {"verdict": "clear", "rule": "rejected_by_person", "decided_by": "human", "priority": 0}
            reasons = {**values, "decided_by": "a person", "policy_version": workspace.policy.version}
            values |= {"reasons": json.dumps(reasons, sort_keys=True), "judged_at": workspace.now()}
            own = (verdicts.c[name] == row._mapping[name] for name in ("item_id", "content_key", "subject_id"))
            tx.execute(sa.update(verdicts).where(*own).values(**values))
        take_back(tx, workspace, {(row.item_id, row.subject_id) for row in gone}, action=TAKEDOWN)


def drop_unfounded(tx: Connection, pairs: Collection[Pair]) -> None:
    """Delete the verdicts on pairs without any hit left. Where people rejected the evidence, a verdict says so."""
    for part in parts(sorted(pairs)):
        wanted, named = {item_id for item_id, _ in part}, {subject_id for _, subject_id in part}
        left = live_hits(rejected_too=True).where(hits.c.item_id.in_(wanted), hits.c.subject_id.in_(named))
        kept = {(row.item_id, row.subject_id) for row in tx.execute(left)}
        for item_id, subject_id in set(part) - kept:
            own = (verdicts.c.item_id == item_id, verdicts.c.subject_id == subject_id)
            tx.execute(sa.delete(verdicts).where(*own))


def _unfounded(pairs: Sequence[Pair]) -> sa.Select[tuple[str, str, str]]:
    """Select the verdicts on these pairs without evidence that counts because people rejected it.

    For an item that is gone or has changed, no evidence counts; its verdict is selected if people rejected all
    evidence, or reversed what they had confirmed.
    """
    of_pair = sa.select(hits.c.hit_id).where(
        *(hits.c[name] == verdicts.c[name] for name in ("item_id", "subject_id")),
        sa.or_(hits.c.content_key == verdicts.c.content_key, hits.c.tier.in_(("text", POOLED))),
        hits.c.dropped_at.is_(None),
    )
    so = sa.or_(verdicts.c.decided_by != "human", said("confirm"))
    founded = of_pair.where(~is_rejected(), so).correlate(verdicts).exists()
    rejected = of_pair.where(is_rejected()).correlate(verdicts).exists()
    current = sa.and_(items.c.live, key_of_item() == verdicts.c.content_key, subjects.c.state == "active")
    return (
        sa.select(verdicts.c.item_id, verdicts.c.content_key, verdicts.c.subject_id)
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
    """Withdraw the messages that were called for ``before`` people decided and are not called for ``now``.

    Both hold (item or model, subject) pairs by action. A message that a person caused goes with their confirmation.
    """
    for action in (TAKEDOWN, BLOCK):
        lost = {pair for pair in now[action] if pair in before[action] or stands_by_person(tx, action, pair)}
        take_back(tx, workspace, lost, action=action)


def let_fall(tx: Connection, groups: Collection[Group], wanted: Sequence[Wanted], *, now: datetime) -> int:
    """Withdraw a machine's unsent messages about these groups that are not ``wanted`` any more; return how many.

    A message stays if a picture that supported it is gone because the picture's own takedown was sent: otherwise the
    order of delivery would decide which messages are delivered.
    """
    called_for = {(one.action, one.item_id, one.subject_id) for one in wanted}
    removed: dict[Group, set[str | None]] = {}
    for row in tx.execute(_of_groups(_removed(), groups)):
        removed.setdefault(group_of_message(row), set()).add(row.uploader)
    gone: list[str] = []
    for row in tx.execute(_of_groups(_unsent(), groups)):
        group = group_of_message(row)
        if group not in groups:
            continue
        speakers = {row.owner} if row.action == BLOCK else {row.owner, row.uploader}
        carried = (row.action, row.item_id, row.subject_id) in called_for or removed.get(group, set()) & speakers
        if not carried or _is_outdated(row):
            gone.append(row.message_id)
    for chosen in parts(gone):
        part = outbox.c.message_id.in_(chosen)
        tx.execute(sa.update(outbox).where(part).values(state=WITHDRAWN, finished_at=now, last_result=FELL))
    return len(gone)


def _is_outdated(row: Any) -> bool:
    """Whether a takedown is about content, or a text, that its item no longer has."""
    return row.action == TAKEDOWN and row.content_key not in (row.content_now, row.text_now)


def groups_without_evidence(connection: Connection) -> list[Group]:
    """Return the groups with an unsent message of a machine about an item or model without any evidence that counts.

    Groups with evidence left are judged again when a change is listed (:mod:`pipelines.intake.ledger`).
    """
    return sorted({group_of_message(row) for row in connection.execute(_without())}, key=lambda group: group.order)


@cache  # every judgement asks for it, and building it takes milliseconds
def _without() -> sa.Select[Any]:
    of_model = items.c.parent_model == outbox.c.item_id
    about = sa.or_(items.c.item_id == outbox.c.item_id, sa.and_(outbox.c.action == BLOCK, of_model))
    left = live_hits().where(hits.c.subject_id == outbox.c.subject_id, about).correlate(outbox).exists()
    return _unsent().where(~left)


_ABOUT: Final = items.alias("about")
"""The item that a message is about."""
_MESSAGES: Final = (
    sa.select(
        *(outbox.c[name] for name in ("message_id", "action", "item_id", "subject_id", "content_key")),
        _ABOUT.c.content_sha256.label("content_now"),
        _ABOUT.c.text_digest.label("text_now"),
        _ABOUT.c.uploader,
        model_of_item(_ABOUT).label("model"),
        owner_of_item(_ABOUT).label("owner"),
    )
).select_from(outbox.outerjoin(_ABOUT, _ABOUT.c.item_id == outbox.c.item_id))


def _unsent() -> sa.Select[Any]:
    return _MESSAGES.where(is_unsent())


def _removed() -> sa.Select[Any]:
    """Select takedowns that were sent and not withdrawn, of items that are gone."""
    return _MESSAGES.where(outbox.c.action == TAKEDOWN, outbox.c.attempts > 0, not_taken_back(), ~_ABOUT.c.live)


def _of_groups(query: sa.Select[Any], groups: Collection[Group]) -> sa.Select[Any]:
    """Narrow ``query`` to the models and subjects of the groups; it may still give messages of other groups."""
    subject_ids, names = {group.subject_id for group in groups}, {group.model or group.item_id for group in groups}
    about = sa.or_(outbox.c.item_id.in_(names), _ABOUT.c.parent_model.in_(names))
    return query.where(outbox.c.subject_id.in_(subject_ids), about)
