"""Decisions: a person's answers about hits, with all consequences in one transaction.

A decision is about a subject, a content and the models that linked them, and so holds for every item with that content:
a confirmation makes a takedown and seeds of the fingerprints; a rejection is remembered, and the hit does not come back
until content or models change; ``unsure`` leaves it in review. One decision stands for each such scope. A later one
replaces it; undoing the later one puts the earlier one in force again. A takedown that a person caused waits until
``decisions.undo_minutes`` are over, so that a decision undone within them is never sent.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Literal, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from embeddings.errors import InputError, StateError
from pipelines.database.parts import parts
from pipelines.database.tables import decisions, hits, items, outbox
from pipelines.database.times import moment
from pipelines.decisions.log import record_made, record_restored, record_reversed
from pipelines.hits.counting import hits_in_force
from pipelines.hits.statuses import settle_statuses
from pipelines.home.actors import identity_of
from pipelines.home.clock import acts
from pipelines.home.workspace import Workspace, new_id
from pipelines.judging import rejudge
from pipelines.matching.made_by import find_made_by
from pipelines.registry import seeds
from pipelines.registry.seeds import Confirmed
from pipelines.takedown.outbox import TAKEDOWN, not_taken_back

Word = Literal["confirm", "reject", "unsure"]

REASONS: Final[dict[Word, tuple[str, ...]]] = {
    "confirm": ("same_person", "named_person", "copy_of_confirmed", seeds.REPRODUCES),
    "reject": (
        *("other_person", "not_a_likeness", "bad_reference"),
        *("consented", "parody_or_satire", "public_interest"),
    ),
    "unsure": ("low_quality", "needs_second_opinion"),
}
"""Why somebody may say so, in fixed words. ``reproduces_person``: they tried the model, and it does; of
anything that is no model it says what ``same_person`` says."""

MOST_NOTE: Final = 1000
"""Characters of a note."""
_HIT_ID: Final = re.compile(r"hit_[0-9a-f]{1,64}")


class DecisionScope(NamedTuple):
    """What a decision is about. ``content_key`` and ``found_by_id``: of the hit."""

    subject_id: str
    content_key: str
    found_by_id: str


@dataclass(frozen=True, slots=True)
class Answer:
    """A person's answer and its reason. ``note``: free text, kept sealed. Raises :class:`InputError` for a reason that
    is not in :data:`REASONS` or a note that is too long."""

    decision: Word
    reason: str
    actor: str
    note: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.reason not in REASONS.get(self.decision, ()):
            raise InputError("a decision needs one of its fixed reasons: see pipelines.decisions.decide.REASONS")
        if self.note is not None and len(self.note) > MOST_NOTE:
            raise InputError(f"a note has at most {MOST_NOTE} characters")


@dataclass(frozen=True, slots=True)
class DecisionSummary:
    """What deciding, or undoing a decision, changed. ``batch_id`` None: nothing, because all was decided so before.

    ``decisions``: made or undone; ``unchanged``: made before by the same person; ``replaced`` and ``restored``: earlier
    decisions that no longer stand, and that stand again; ``items``: judged again; ``seeds`` and ``seeds_revoked``:
    fingerprints newly in force, and no longer in force; ``takedowns`` and ``withdrawn``: messages likewise.
    """

    batch_id: str | None
    hits: int
    decisions: int
    unchanged: int
    replaced: int
    restored: int
    items: int
    seeds: int
    seeds_revoked: int
    takedowns: int
    withdrawn: int
    undo_until: datetime | None


@dataclass(slots=True)
class _Tally:
    """Counts while a batch is worked on. ``touched``: every decision that began, ended or stands again."""

    touched: list[tuple[str, DecisionScope]] = field(default_factory=list)
    decisions: int = 0
    replaced: int = 0
    restored: int = 0
    seeds: int = 0
    seeds_revoked: int = 0


def decide(
    workspace: Workspace, hit_ids: Sequence[str], *, decision: Word, reason: str, actor: str, note: str | None = None
) -> DecisionSummary:
    """Decide hits, all or none. Raises :class:`StateError` naming the first that is not in force.

    A rejected hit may be decided anew, if the rejection alone keeps it from counting.
    """
    return decide_as(workspace, hit_ids, Answer(decision, reason, actor, note))


@acts
def decide_as(workspace: Workspace, hit_ids: Sequence[str], answer: Answer) -> DecisionSummary:
    """Decide hits with a ready :class:`Answer`, all or none, as :func:`decide` does."""
    with workspace.database.write() as tx:
        summary = decide_in(tx, workspace, hit_ids, answer)
        workspace.failpoints.pass_by("before_decision_commit")
    workspace.failpoints.pass_by("after_decision_commit")
    return summary


def decide_in(
    tx: Connection, workspace: Workspace, hit_ids: Sequence[str], answer: Answer, *, batch_id: str | None = None
) -> DecisionSummary:
    """Decide hits in the caller's writing transaction, which must not commit if this raises.

    ``batch_id``: of answers that are given, and undone, together; None: a new one.
    """
    named: dict[DecisionScope, list[Row[Any]]] = {}
    for hit in _named(tx, hit_ids):
        named.setdefault(_scope(hit), []).append(hit)
    standing, tally = _standing(tx, named), _Tally()
    said = [scope for scope, decision in standing.items() if _says_the_same(decision, answer)]
    new = {scope: new_id("dec") for scope in named if scope not in said}
    before = _messages(tx, named)
    for scope, decision_id in new.items():
        if scope in standing:
            _reverse(tx, workspace, standing[scope], by=decision_id, actor=answer.actor, tally=tally)
            tally.replaced += 1
    _require_in_force(tx, [hit.hit_id for scope in new for hit in named[scope]])
    batch_id = batch_id or new_id("batch")
    _make(tx, workspace, {new[scope]: named[scope][0] for scope in new}, answer, batch_id=batch_id, tally=tally)
    items = _judge_again(tx, workspace, tally.touched)
    after = _messages(tx, named)
    minutes = workspace.policy.settings.decisions.undo_minutes
    return DecisionSummary(
        batch_id=batch_id if new else None,
        hits=len(set(hit_ids)),
        decisions=tally.decisions,
        unchanged=len(said),
        replaced=tally.replaced,
        restored=0,
        items=items,
        seeds=tally.seeds,
        seeds_revoked=tally.seeds_revoked,
        takedowns=len(after - before),
        withdrawn=len(before - after),
        undo_until=workspace.now() + timedelta(minutes=minutes) if new else None,
    )


@acts
def undo(workspace: Workspace, which: str, *, actor: str) -> DecisionSummary:
    """Undo a batch or one decision; decisions that it replaced stand again. Raises :class:`StateError` if none stands.

    Within the undo window its takedowns are never sent; after it, they get withdrawal events.
    """
    with workspace.database.write() as tx:
        summary = undo_named_in(tx, workspace, which, actor=actor)
        workspace.failpoints.pass_by("before_decision_commit")
    workspace.failpoints.pass_by("after_decision_commit")
    return summary


def undo_named_in(tx: Connection, workspace: Workspace, which: str, *, actor: str) -> DecisionSummary:
    """Undo a batch or one decision as :func:`undo` does, in the caller's writing transaction."""
    chosen = sa.or_(decisions.c.batch_id == which, decisions.c.decision_id == which)
    found = tx.execute(sa.select(decisions).where(chosen).order_by(decisions.c.decision_id)).all()
    standing = [decision for decision in found if decision.reversed_at is None]
    if not standing:
        why = "it was undone or replaced already" if found else "there is no such batch or decision"
        raise StateError(f"nothing to undo: {why}")
    return undo_in(tx, workspace, standing, actor=actor)


def undo_in(tx: Connection, workspace: Workspace, standing: Sequence[Row[Any]], *, actor: str) -> DecisionSummary:
    """Undo these decisions, which stand, in the caller's writing transaction."""
    scopes, tally = [_scope(decision) for decision in standing], _Tally()
    before = _messages(tx, scopes)
    for decision in standing:
        _reverse(tx, workspace, decision, by=None, actor=actor, tally=tally)
        _restore_replaced(tx, workspace, decision, actor=actor, tally=tally)
    items = _judge_again(tx, workspace, tally.touched)
    after = _messages(tx, scopes)
    return DecisionSummary(
        batch_id=standing[0].batch_id,
        hits=len(standing),
        decisions=len(standing),
        unchanged=0,
        replaced=0,
        restored=tally.restored,
        items=items,
        seeds=tally.seeds,
        seeds_revoked=tally.seeds_revoked,
        takedowns=len(after - before),
        withdrawn=len(before - after),
        undo_until=None,
    )


def _make(
    tx: Connection, workspace: Workspace, new: dict[str, Row[Any]], answer: Answer, *, batch_id: str, tally: _Tally
) -> None:
    """Write decisions with their audit rows and seeds; ``new``: the hit decided on, by decision id."""
    now = workspace.now()
    said = {"batch_id": batch_id, "decision": answer.decision, "reason": answer.reason, "actor": answer.actor}
    rows = [
        {"decision_id": decision_id, "hit_id": hit.hit_id, "item_id": hit.item_id, "decided_at": now}
        | _scope(hit)._asdict()
        | said
        for decision_id, hit in new.items()
    ]
    if rows:
        tx.execute(sa.insert(decisions), rows)
    for row in rows:
        record_made(tx, workspace, row, note=answer.note)
    if answer.decision == "confirm":
        confirmed = [
            Confirmed(decision_id, hit.subject_id, hit.item_id, hit.hit_id, answer.reason)
            for decision_id, hit in new.items()
        ]
        tally.seeds += seeds.sow(tx, confirmed, now=now, version_prefix=workspace.config.infotext.version_prefix)
        find_made_by(tx, workspace, list(new))
    tally.touched += [(decision_id, _scope(hit)) for decision_id, hit in new.items()]
    tally.decisions += len(new)


def _reverse(
    tx: Connection, workspace: Workspace, decision: Row[Any], *, by: str | None, actor: str, tally: _Tally
) -> None:
    """End a decision and its seeds; ``by``: the decision that replaces it, None if it is undone."""
    now, decision_id = workspace.now(), decision.decision_id
    own = sa.update(decisions).where(decisions.c.decision_id == decision_id)
    tx.execute(own.values(reversed_at=now, reversed_by=by or actor))
    record_reversed(tx, workspace, decision_id, by=by, actor=actor, now=now)
    tally.seeds_revoked += seeds.revoke(tx, decision_id=decision_id, now=now)
    tally.touched.append((decision_id, _scope(decision)))


def _restore_replaced(tx: Connection, workspace: Workspace, undone: Row[Any], *, actor: str, tally: _Tally) -> None:
    """Put what an undone decision had replaced in force again."""
    for earlier in tx.execute(sa.select(decisions).where(decisions.c.reversed_by == undone.decision_id)).all():
        own = sa.update(decisions).where(decisions.c.decision_id == earlier.decision_id)
        tx.execute(own.values(reversed_at=None, reversed_by=None))
        record_restored(tx, workspace, earlier.decision_id, actor=actor, now=workspace.now())
        tally.seeds += seeds.restore(tx, decision_id=earlier.decision_id)
        tally.touched.append((earlier.decision_id, _scope(earlier)))
        tally.restored += 1


def _judge_again(tx: Connection, workspace: Workspace, touched: Collection[tuple[str, DecisionScope]]) -> int:
    """Judge again every item that these decisions hold for, and those that match their seeds; return how many."""
    pairs: set[tuple[str, str]] = set()
    for scopes in parts([scope for _, scope in touched]):
        pairs.update((row.item_id, row.subject_id) for row in tx.execute(_within(hits, scopes)))
    pairs |= seeds.hit_by(tx, [decision_id for decision_id, _ in touched])
    rejudge(tx, workspace, pairs=pairs)
    item_ids = {item_id for item_id, _ in pairs}
    settle_statuses(tx, item_ids)
    return len(item_ids)


def _named(tx: Connection, hit_ids: Sequence[str]) -> list[Row[Any]]:
    """Read these hits with the kind of their items, in the order given. Raises :class:`StateError` for unknown ones."""
    columns = [*(hits.c[name] for name in ("hit_id", "item_id", *DecisionScope._fields)), items.c.kind]
    query = sa.select(*columns).select_from(hits.outerjoin(items, items.c.item_id == hits.c.item_id))
    found: dict[str, Row[Any]] = {}
    for part in parts(hit_ids):
        found |= {row.hit_id: row for row in tx.execute(query.where(hits.c.hit_id.in_(part)))}
    if not hit_ids:
        raise StateError("no hit is named")
    for hit_id in hit_ids:
        if hit_id not in found:
            raise StateError(f"there is no hit {hit_id if _HIT_ID.fullmatch(hit_id) else 'with that id'}")
    return [found[hit_id] for hit_id in dict.fromkeys(hit_ids)]


def _require_in_force(tx: Connection, hit_ids: Sequence[str]) -> None:
    counted, found = set[str](), hits_in_force(moment(tx))
    for part in parts(hit_ids):
        counted.update(row.hit_id for row in tx.execute(found.where(hits.c.hit_id.in_(part))))
    for hit_id in hit_ids:
        if hit_id not in counted:
            raise StateError(f"hit {hit_id} is not in force: its item, content or subject is not what it was")


def _standing(tx: Connection, scopes: Collection[DecisionScope]) -> dict[DecisionScope, Row[Any]]:
    """The decision that stands for each scope that has one."""
    found: dict[DecisionScope, Row[Any]] = {}
    for part in parts(list(scopes)):
        query = _within(decisions, part).where(decisions.c.reversed_at.is_(None))
        found |= {_scope(row): row for row in tx.execute(query)}
    return found


def _says_the_same(decision: Row[Any], answer: Answer) -> bool:
    said = (decision.decision, decision.reason, identity_of(decision.actor))
    return answer.note is None and said == (answer.decision, answer.reason, identity_of(answer.actor))


def _messages(tx: Connection, scopes: Iterable[DecisionScope]) -> set[str]:
    """The takedowns of these subjects that stand."""
    found: set[str] = set()
    for part in parts(sorted({scope.subject_id for scope in scopes})):
        of_subjects = sa.and_(outbox.c.action == TAKEDOWN, outbox.c.subject_id.in_(part), not_taken_back())
        found.update(tx.execute(sa.select(outbox.c.message_id).where(of_subjects)).scalars())
    return found


def _within(table: sa.Table, scopes: Sequence[DecisionScope]) -> sa.Select[Any]:
    """The rows of ``table`` in any of these scopes."""
    return sa.select(table).where(sa.tuple_(*(table.c[name] for name in DecisionScope._fields)).in_(scopes))


def _scope(row: Row[Any]) -> DecisionScope:
    return DecisionScope(row.subject_id, row.content_key, row.found_by_id)
