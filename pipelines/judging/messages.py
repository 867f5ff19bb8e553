"""From verdicts to messages: which are wanted, which stand already, their deadlines, and which are implausible."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from pipelines.database.parts import parts
from pipelines.database.tables import items, outbox, requests
from pipelines.home.workspace import Workspace
from pipelines.intake.ledger import Scope, count_statuses
from pipelines.judging.request_progress import is_running
from pipelines.takedown.outbox import (
    BLOCK,
    DISCARDED,
    EFFECTS,
    FELL,
    HELD,
    PENDING,
    WITHDRAWN,
    Wanted,
    enqueue,
    not_taken_back,
    withdraw,
)


def write_messages(tx: Connection, workspace: Workspace, wanted: Sequence[Wanted]) -> int:
    """Write wanted messages that do not stand already into the outbox; return how many.

    :func:`pipelines.takedown.dispatcher.dispatch` sends them.

    A message that a person decided, or that follows from a decision, waits until the decision can no longer be undone.
    An implausible message is held; one that a person decided replaces a held one.
    """
    now = workspace.now()
    for one in wanted:
        if one.decided_by == "human":
            _withdraw_unsent(tx, one, state=HELD, decided_by="automated", now=now)
    new = [one for one in wanted if not (stands(tx, one.action, one.key) or _is_barred(tx, one))]
    automated = [one for one in new if one.decided_by != "human"]
    implausible = _implausible(tx, workspace, sorted({item_id for one in automated for item_id in one.because_of}))
    undo = timedelta(minutes=workspace.policy.settings.decisions.undo_minutes)
    written = 0
    for one in new:
        human = one.decided_by == "human"
        undoable = human or one.reasons["rule"] == "copy_of_confirmed"
        written += enqueue(
            tx,
            one,
            policy_version=workspace.policy.version,
            due_at=_due_at(tx, workspace, one),
            now=now,
            not_before=now + undo if undoable else now,
            held="hit_rate" if not human and implausible.intersection(one.because_of) else None,
            occurrence=_earlier(tx, one),
        )
    return written


def take_back(tx: Connection, workspace: Workspace, pairs: Collection[tuple[str, str]], *, action: str) -> None:
    """Withdraw the messages of these (item, subject) pairs: a person has decided otherwise."""
    for item_id, subject_id in sorted(pairs):
        now = workspace.now()
        withdraw(tx, item_id=item_id, subject_id=subject_id, action=action, reason="decision_changed", now=now)


def hand_back(tx: Connection, workspace: Workspace, wanted: Sequence[Wanted]) -> None:
    """Withdraw unsent messages that a person asked for, where only a machine still asks for them.

    The machine then asks for them again, under its limits.
    """
    for one in wanted:
        if one.decided_by != "human":
            _withdraw_unsent(tx, one, state=PENDING, decided_by="human", now=workspace.now())


def _withdraw_unsent(tx: Connection, one: Wanted, *, state: str, decided_by: str, now: datetime) -> None:
    unsent = (outbox.c.state == state, outbox.c.attempts == 0, outbox.c.decided_by == decided_by)
    chosen = sa.update(outbox).where(*_about(one.action, one.key), *unsent)
    tx.execute(chosen.values(state=WITHDRAWN, finished_at=now, last_result=FELL))


def is_unsent() -> sa.ColumnElement[bool]:
    """Condition on ``outbox``: a machine wrote the message, and it was certainly not sent."""
    waiting = outbox.c.state.in_((PENDING, HELD))
    return sa.and_(outbox.c.action.in_(EFFECTS), waiting, outbox.c.attempts == 0, outbox.c.decided_by == "automated")


def stands(tx: Connection, action: str, key: Mapping[str, str]) -> bool:
    """Whether a message of this effect was written and not withdrawn since the item was uploaded (again)."""
    query = sa.select(outbox.c.message_id).where(_since_upload(), *_about(action, key), not_taken_back())
    return tx.execute(query.limit(1)).first() is not None


def is_discarded(tx: Connection, action: str, key: Mapping[str, str]) -> bool:
    """Whether a person decided, since the item was uploaded (again), that a message of this effect is not to be
    sent."""
    said = (outbox.c.state == WITHDRAWN, outbox.c.last_result == DISCARDED)
    query = sa.select(outbox.c.message_id).where(_since_upload(), *_about(action, key), *said)
    return tx.execute(query.limit(1)).first() is not None


def _is_barred(tx: Connection, one: Wanted) -> bool:
    """Whether only a person may ask for the message, and none does."""
    return one.decided_by != "human" and is_discarded(tx, one.action, one.key)


def subjects_of_discarded(tx: Connection, subject_ids: Collection[str]) -> set[str]:
    """Return the subjects about whom any message was discarded: nearly always none."""
    said = (outbox.c.state == WITHDRAWN, outbox.c.last_result == DISCARDED)
    found: set[str] = set()
    for part in parts(sorted(subject_ids)):
        query = sa.select(outbox.c.subject_id).where(*said, outbox.c.subject_id.in_(part)).distinct()
        found.update(tx.execute(query).scalars())
    return found


def _since_upload() -> sa.ColumnElement[bool]:
    """Condition on ``outbox``: written since the item was uploaded, or uploaded again after it was deleted.

    A model that its pictures named before it was listed, and that was blocked then, stays the same model once listed.
    """
    again = sa.select(items.c.item_id).where(
        items.c.item_id == outbox.c.item_id,
        items.c.live_since > items.c.first_seen,
        items.c.live_since > outbox.c.created_at,
    )
    return ~again.correlate(outbox).exists()


def stands_by_person(tx: Connection, action: str, pair: tuple[str, str]) -> bool:
    """Whether a person caused a message about this item (or model) and subject that was not withdrawn."""
    own = (outbox.c.item_id == pair[0], outbox.c.subject_id == pair[1], outbox.c.decided_by == "human")
    query = sa.select(outbox.c.message_id).where(outbox.c.action == action, *own, not_taken_back())
    return tx.execute(query.limit(1)).first() is not None


def _earlier(tx: Connection, one: Wanted) -> int:
    """Count the messages with this key, withdrawn ones included: the next one is another case."""
    about = [outbox.c[name] == value for name, value in one.key.items()]
    query = sa.select(sa.func.count()).select_from(outbox).where(outbox.c.action == one.action, *about)
    return int(tx.execute(query).scalar_one())


def _about(action: str, key: Mapping[str, str]) -> list[sa.ColumnElement[bool]]:
    """Conditions on ``outbox``: a message of this effect.

    A message about an item's text, written while its content could not be read, is about the item and so has this
    effect under either digest. A model is blocked by its name, whatever its file holds, and even if it is not listed.
    """
    same = [outbox.c[name] == key[name] for name in ("item_id", "subject_id")]
    if action != BLOCK:
        text = sa.select(items.c.text_digest).where(items.c.item_id == key["item_id"]).scalar_subquery()
        own = outbox.c.content_key == key["content_key"]
        same.append(sa.or_(own, outbox.c.content_key == text))
    return [outbox.c.action == action, *same]


def _due_at(tx: Connection, workspace: Workspace, one: Wanted) -> datetime:
    """Return the policy's deadline or, if sooner, that of a running removal request, even one that is past.

    A message that was withdrawn with its evidence and comes back with it keeps its first deadline.
    """
    deadline = workspace.now() + timedelta(hours=one.hours)
    requested = sa.select(sa.func.min(requests.c.due_at)).where(requests.c.subject_id == one.subject_id, is_running())
    fallen = sa.select(sa.func.min(outbox.c.due_at)).where(
        *_about(one.action, one.key), _since_upload(), outbox.c.state == WITHDRAWN, outbox.c.last_result == FELL
    )
    found: list[datetime | None] = [tx.execute(query).scalar() for query in (requested, fallen)]
    return min([deadline, *(due for due in found if due is not None)])


def _implausible(tx: Connection, workspace: Workspace, item_ids: Sequence[str]) -> set[str]:
    """Return the items of days on which more of the scannable items are hits than ``sweep.max_hit_rate``.

    Their takedowns are held until a person has looked, because models or registry may be faulty.
    """
    config = workspace.config.sweep
    by_day: dict[tuple[str, str], set[str]] = {}
    query = sa.select(items.c.item_id, items.c.source_id, items.c.day)
    for some in parts(item_ids):
        for item_id, source, day in tx.execute(query.where(items.c.item_id.in_(some))):
            by_day.setdefault((source, day), set()).add(item_id)
    found: set[str] = set()
    for (source, day), of_day in by_day.items():
        rate = hit_rate(count_statuses(tx, Scope(source, date.fromisoformat(day))), at_least=config.min_items_for_rates)
        if rate is not None and rate > config.max_hit_rate:
            found |= of_day
    return found


def hit_rate(statuses: Mapping[str, int], *, at_least: int) -> float | None:
    """Return the share of hits among scannable items; None if these are fewer than ``at_least``, too few to tell."""
    hit = statuses.get("hit", 0)
    scannable = hit + statuses.get("clean", 0) + statuses.get("no_face", 0)
    return hit / scannable if scannable >= max(1, at_least) else None
