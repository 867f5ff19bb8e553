"""From verdicts to messages: which are wanted, which stand already, by when they are due, and what is implausible."""

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


def send(tx: Connection, workspace: Workspace, wanted: Sequence[Wanted]) -> int:
    """Write the messages that do not stand already; how many.

    What a person decided, and what follows from it, waits until it cannot be undone any more. What is implausible is
    held; a person's word takes the place of a message that is.
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
    """Take back what a person asked for and has not been sent, where only a machine still asks for it.

    It is asked for again by the machine, under its limits.
    """
    for one in wanted:
        if one.decided_by != "human":
            _withdraw_unsent(tx, one, state=PENDING, decided_by="human", now=workspace.now())


def _withdraw_unsent(tx: Connection, one: Wanted, *, state: str, decided_by: str, now: datetime) -> None:
    unsent = (outbox.c.state == state, outbox.c.attempts == 0, outbox.c.decided_by == decided_by)
    chosen = sa.update(outbox).where(*_about(one.action, one.key), *unsent)
    tx.execute(chosen.values(state=WITHDRAWN, finished_at=now, last_result=FELL))


def is_unsent() -> sa.ColumnElement[bool]:
    """Condition on ``outbox``: a machine wrote it, and it was certainly not sent."""
    waiting = outbox.c.state.in_((PENDING, HELD))
    return sa.and_(outbox.c.action.in_(EFFECTS), waiting, outbox.c.attempts == 0, outbox.c.decided_by == "automated")


def stands(tx: Connection, action: str, key: Mapping[str, str]) -> bool:
    """A message of this effect was written and not taken back, since the item was uploaded (again)."""
    query = sa.select(outbox.c.message_id).where(_since_upload(), *_about(action, key), not_taken_back())
    return tx.execute(query.limit(1)).first() is not None


def is_discarded(tx: Connection, action: str, key: Mapping[str, str]) -> bool:
    """A person decided that a message of this effect shall not be sent, since the item was uploaded (again)."""
    said = (outbox.c.state == WITHDRAWN, outbox.c.last_result == DISCARDED)
    query = sa.select(outbox.c.message_id).where(_since_upload(), *_about(action, key), *said)
    return tx.execute(query.limit(1)).first() is not None


def _is_barred(tx: Connection, one: Wanted) -> bool:
    """Whether only a person may ask for it, and none does."""
    return one.decided_by != "human" and is_discarded(tx, one.action, one.key)


def subjects_of_discarded(tx: Connection, subject_ids: Collection[str]) -> set[str]:
    """Those of these people of whom any message was discarded: nearly always none."""
    said = (outbox.c.state == WITHDRAWN, outbox.c.last_result == DISCARDED)
    found: set[str] = set()
    for part in parts(sorted(subject_ids)):
        query = sa.select(outbox.c.subject_id).where(*said, outbox.c.subject_id.in_(part)).distinct()
        found.update(tx.execute(query).scalars())
    return found


def _since_upload() -> sa.ColumnElement[bool]:
    """Condition on ``outbox``: written since the item was uploaded, or uploaded again after it was deleted.

    A model that was named by its pictures before it was listed itself, and blocked, is no other model for being listed.
    """
    again = sa.select(items.c.item_id).where(
        items.c.item_id == outbox.c.item_id,
        items.c.live_since > items.c.first_seen,
        items.c.live_since > outbox.c.created_at,
    )
    return ~again.correlate(outbox).exists()


def stands_by_person(tx: Connection, action: str, pair: tuple[str, str]) -> bool:
    """A message about this item (or model) and subject was caused by a person and not taken back."""
    own = (outbox.c.item_id == pair[0], outbox.c.subject_id == pair[1], outbox.c.decided_by == "human")
    query = sa.select(outbox.c.message_id).where(outbox.c.action == action, *own, not_taken_back())
    return tx.execute(query.limit(1)).first() is not None


def _earlier(tx: Connection, one: Wanted) -> int:
    """How many messages there were with this very key, withdrawn ones included: the next of them is another case."""
    about = [outbox.c[name] == value for name, value in one.key.items()]
    query = sa.select(sa.func.count()).select_from(outbox).where(outbox.c.action == one.action, *about)
    return int(tx.execute(query).scalar_one())


def _about(action: str, key: Mapping[str, str]) -> list[sa.ColumnElement[bool]]:
    """Conditions on ``outbox``: a message of this effect.

    One about the text of an item, written while its content could not be read, is about the item, so it is a message
    of this effect under either digest. A model is blocked by its name: what its file holds, or that it is not listed at
    all, makes no other case.
    """
    same = [outbox.c[name] == key[name] for name in ("item_id", "subject_id")]
    if action != BLOCK:
        text = sa.select(items.c.text_digest).where(items.c.item_id == key["item_id"]).scalar_subquery()
        own = outbox.c.content_key == key["content_key"]
        same.append(sa.or_(own, outbox.c.content_key == text))
    return [outbox.c.action == action, *same]


def _due_at(tx: Connection, workspace: Workspace, one: Wanted) -> datetime:
    """The policy's deadline, or a running removal request's if that is sooner, be it over already.

    A message that fell with its evidence and comes back with it is late from when it first was: it keeps its deadline.
    """
    deadline = workspace.now() + timedelta(hours=one.hours)
    requested = sa.select(sa.func.min(requests.c.due_at)).where(requests.c.subject_id == one.subject_id, is_running())
    fallen = sa.select(sa.func.min(outbox.c.due_at)).where(
        *_about(one.action, one.key), _since_upload(), outbox.c.state == WITHDRAWN, outbox.c.last_result == FELL
    )
    found: list[datetime | None] = [tx.execute(query).scalar() for query in (requested, fallen)]
    return min([deadline, *(due for due in found if due is not None)])


def _implausible(tx: Connection, workspace: Workspace, item_ids: Sequence[str]) -> set[str]:
    """Items of a day on which more of the scannable items are hits than ``sweep.max_hit_rate``.

    That is a fault of models or registry until somebody has looked: their takedowns are held.
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
    """Share of hits among scannable items; None among fewer than ``at_least``, where a share says nothing."""
    hit = statuses.get("hit", 0)
    scannable = hit + statuses.get("clean", 0) + statuses.get("no_face", 0)
    return hit / scannable if scannable >= max(1, at_least) else None
