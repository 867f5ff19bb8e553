"""The record of decisions: their rows in the audit chain, the list of them, and whether table and chain agree.

A decision has no seal of its own. What it said, whether it stands and who changed that is in the audit chain, which
nobody without the key can rewrite; :func:`verify_decisions` compares the table with it. Knows nothing of what follows
from a decision.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from embeddings.errors import CorruptionError, StateError
from pipelines.database import tables
from pipelines.database.tables import decisions, hits, seeds
from pipelines.database.times import moment
from pipelines.hits.counting import hits_in_force, outside
from pipelines.home import audit
from pipelines.home.sealing import associated_data, seal, unseal
from pipelines.home.workspace import Workspace
from pipelines.registry.templates import open_subject_key, require_kept

_MADE: Final = ("decision.confirm", "decision.reject", "decision.unsure")
_REVERSED: Final = "decision.reversed"
_RESTORED: Final = "decision.restored"
_FACTS: Final = ("batch_id", "reason", "hit_id", "item_id", "subject_id", "content_sha256", "model_id")


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision. It stands while ``reversed_at`` is None; ``reversed_by``: the decision that replaced it, or who
    undid it."""

    decision_id: str
    batch_id: str
    decision: str
    reason: str
    hit_id: str
    item_id: str
    subject_id: str
    content_sha256: str
    model_id: str
    actor: str
    decided_at: datetime
    reversed_at: datetime | None
    reversed_by: str | None


def list_decisions(
    connection: Connection,
    *,
    subject_id: str | None = None,
    item_id: str | None = None,
    standing: bool = False,
    second_opinion: bool = False,
    decision: str | None = None,
    limit: int | None = None,
) -> list[Decision]:
    """Decisions, the newest first; ``standing``: only those in force; ``limit``: at most so many.

    ``second_opinion``: those that wait for somebody else: standing, ``unsure``, and about a hit that is in force.
    """
    query = sa.select(decisions).order_by(decisions.c.decided_at.desc(), decisions.c.decision_id).limit(limit)
    if second_opinion:
        in_force = hits_in_force(moment(connection))
        waiting = in_force.where(hits.c.hit_id == decisions.c.hit_id).correlate(decisions).exists()
        query = query.where(decisions.c.reversed_at.is_(None), decisions.c.decision == "unsure", waiting)
    if decision is not None:
        query = query.where(decisions.c.decision == decision)
    if subject_id is not None:
        query = query.where(decisions.c.subject_id == subject_id)
    if item_id is not None:
        query = query.where(decisions.c.item_id == item_id)
    if standing:
        query = query.where(decisions.c.reversed_at.is_(None))
    return [Decision(**outside(row._mapping)) for row in connection.execute(query)]


def decisions_on(connection: Connection, *, subject_id: str, content_key: str, found_by_id: str) -> list[Decision]:
    """Return every decision ever made on this scope, the newest first."""
    scope = {"subject_id": subject_id, "content_key": content_key, "found_by_id": found_by_id}
    query = sa.select(decisions).where(*(decisions.c[name] == value for name, value in scope.items()))
    ordered = query.order_by(decisions.c.decided_at.desc(), decisions.c.decision_id)
    return [Decision(**outside(row._mapping)) for row in connection.execute(ordered)]


def word_of_batch(connection: Connection, batch_id: str) -> str | None:
    """What a batch said: confirm, reject or unsure; None: there is no such batch."""
    query = sa.select(decisions.c.decision).where(decisions.c.batch_id == batch_id).limit(1)
    word: str | None = connection.execute(query).scalar()
    return word


def record_made(tx: Connection, workspace: Workspace, row: Mapping[str, Any], *, note: str | None) -> None:
    """Chain a new decision; the note is sealed under the subject's key, so that erasing the subject ends it."""
    told = outside(row)
    facts = {name: told[name] for name in ("decision_id", *_FACTS)}
    if note is not None:
        key = open_subject_key(tx, workspace.sealer, row["subject_id"])
        facts["sealed_note"] = base64.b64encode(seal(key, note.encode(), _note_aad(row["decision_id"]))).decode()
    _append(tx, workspace, row["actor"], f"decision.{row['decision']}", row["decided_at"], facts)


def record_reversed(
    tx: Connection, workspace: Workspace, decision_id: str, *, by: str | None, actor: str, now: datetime
) -> None:
    """Chain the end of a decision. ``by``: the decision that replaces it; None: it was undone."""
    _append(tx, workspace, actor, _REVERSED, now, {"decision_id": decision_id, "by": by})


def record_restored(tx: Connection, workspace: Workspace, decision_id: str, *, actor: str, now: datetime) -> None:
    """Chain that a decision stands again, because what had replaced it was undone."""
    _append(tx, workspace, actor, _RESTORED, now, {"decision_id": decision_id})


def open_note(workspace: Workspace, decision_id: str, *, actor: str) -> str | None:
    """Open the note of a decision; None without one. The look leaves an audit row.

    Raises :class:`StateError` for an unknown decision, or when its subject was erased.
    """
    with workspace.database.write() as tx:
        own = sa.select(decisions.c.subject_id).where(decisions.c.decision_id == decision_id)
        subject_id = tx.execute(own).scalar()
        if subject_id is None:
            raise StateError("there is no such decision")
        sealed = _made_facts(tx, decision_id).get("sealed_note")
        if sealed is None:
            return None
        require_kept(tx, subject_id)
        key = open_subject_key(tx, workspace.sealer, subject_id)
        try:
            note = unseal(key, base64.b64decode(sealed, validate=True), _note_aad(decision_id)).decode()
        except binascii.Error:
            raise CorruptionError("a decision's note cannot be read") from None
        _append(tx, workspace, actor, "note.view", workspace.now(), {"decision_id": decision_id})
    return note


def verify_decisions(connection: Connection) -> str:
    """Compare table and chain; return what agrees, in words. Raises :class:`CorruptionError` where they differ.

    :func:`pipelines.home.audit.verify` checks the chain itself.
    """
    told = _told(connection)
    count = standing = 0
    for row in connection.execute(sa.select(decisions)):
        if told.pop(row.decision_id, None) != _story(row):
            raise CorruptionError(f"decision {row.decision_id} is not what the audit chain says of it")
        count, standing = count + 1, standing + (row.reversed_at is None)
    if told:
        raise CorruptionError(f"{len(told)} decisions of the audit chain are missing")
    stands = sa.and_(
        *(decisions.c[name] == seeds.c[name] for name in ("decision_id", "subject_id")),
        decisions.c.decision == "confirm",
        decisions.c.reversed_at.is_(None),
    )
    in_force = sa.select(sa.func.count()).select_from(seeds).where(seeds.c.revoked_at.is_(None))
    if orphans := connection.execute(in_force.where(~sa.select(decisions.c.reason).where(stands).exists())).scalar():
        raise CorruptionError(f"{orphans} seeds are in force without a confirmation that stands")
    total = connection.execute(in_force).scalar_one()
    return f"{count} decisions as the audit chain tells them, {standing} stand, {total} seeds in force"


def _told(connection: Connection) -> dict[str, tuple[Any, ...]]:
    """Return, by decision, what the chain says of it by now, in the form of :func:`_story`."""
    told: dict[str, tuple[Any, ...]] = {}
    query = sa.select(tables.audit).where(tables.audit.c.action.in_((*_MADE, _REVERSED, _RESTORED)))
    for row in connection.execute(query.order_by(tables.audit.c.seq)):
        facts = json.loads(row.facts)
        decision_id = facts["decision_id"]
        if row.action in _MADE:
            word = row.action.partition(".")[2]
            told[decision_id] = (word, row.actor, row.at, *(facts[name] for name in _FACTS), None, None)
        elif decision_id not in told:
            raise CorruptionError(f"the audit chain changes decision {decision_id}, but nobody made it")
        else:
            ended = (row.at, facts["by"] or row.actor) if row.action == _REVERSED else (None, None)
            told[decision_id] = (*told[decision_id][:-2], *ended)
    return told


def _story(row: Row[Any]) -> tuple[Any, ...]:
    told = outside(row._mapping)
    named = (told[name] for name in _FACTS)
    return row.decision, row.actor, row.decided_at, *named, row.reversed_at, row.reversed_by


def _made_facts(connection: Connection, decision_id: str) -> dict[str, Any]:
    query = sa.select(tables.audit.c.facts).where(
        tables.audit.c.action.in_(_MADE), tables.audit.c.facts.contains(decision_id, autoescape=True)
    )
    found = [json.loads(facts) for facts in connection.execute(query).scalars()]
    return next((facts for facts in found if facts["decision_id"] == decision_id), {})


def _append(
    tx: Connection, workspace: Workspace, actor: str, action: str, now: datetime, facts: Mapping[str, Any]
) -> None:
    audit.append(tx, workspace.sealer, actor=actor, action=action, now=now, **facts)


def _note_aad(decision_id: str) -> bytes:
    return associated_data("note", decision_id)
