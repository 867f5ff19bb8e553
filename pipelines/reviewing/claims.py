"""Claims: one person works on a case at a time, for as long as a lease lasts.

A claim is open while it has not ended and its lease lasts. Writers are serialised, so looking for an open claim and
making one in one transaction never makes two. A lease that is over frees the case without anybody's doing; who comes
next writes down that it expired.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from embeddings.errors import StateError
from pipelines.database.tables import claims
from pipelines.home.actors import identity_of
from pipelines.home.workspace import Workspace, new_id
from pipelines.reviewing.notes import passed_on
from pipelines.reviewing.queue import CaseKey, WaitingCase, waiting_case

Outcome = Literal["decided", "skipped", "released", "expired", "gone", "passed_on"]


@dataclass(frozen=True, slots=True)
class CaseClaim:
    """Somebody's work on a case. ``looked_at``: first shown to them, in this claim; ``answered_at``, ``first_answer``:
    first answered by them, in this claim or an earlier one."""

    claim_id: str
    key: CaseKey
    actor: str
    claimed_at: datetime
    until: datetime
    looked_at: datetime | None = None
    answered_at: datetime | None = None
    first_answer: str | None = None
    ended_at: datetime | None = None
    outcome: str | None = None
    batch_id: str | None = None

    @property
    def case_id(self) -> str:
        """Of the case."""
        return self.key.case_id


def claim_case(workspace: Workspace, key: CaseKey, *, actor: str, lead: bool = False) -> CaseClaim:
    """Claim one case, or go on with it. ``lead``: whether the person is one, who may take what was passed on.

    Raises :class:`StateError` if somebody else has it, it is for others, or nothing of it waits.
    """
    with workspace.database.write() as tx:
        return claim_in(tx, workspace, key, actor=actor, lead=lead)


def claim_in(tx: Connection, workspace: Workspace, key: CaseKey, *, actor: str, lead: bool = False) -> CaseClaim:
    """Claim one case as :func:`claim_case` does, in the caller's writing transaction."""
    standing = open_claim(tx, key.case_id, now=workspace.now())
    if standing is not None and standing.actor != actor:
        raise StateError("somebody else works on this case")
    case = waiting_case(tx, workspace, key)
    if case is not None:
        require_for(case, actor)
    if standing is not None:
        return standing
    if case is None:
        raise StateError("nothing of this case waits (any more)")
    require_for(replace(case, passed_on=passed_on(tx, key=key).get(key)), actor, lead=lead)
    return insert_claim(tx, workspace, key, actor=actor, found_at=case.found_at)


def require_for(case: WaitingCase, actor: str, *, lead: bool = False) -> None:
    """Raise :class:`StateError` if a case is for others than this person."""
    if identity_of(actor) in case.barred:
        raise StateError("you decided this case before: somebody else looks at it now")
    if identity_of(actor) in case.unsure:
        raise StateError("you were unsure of this case: somebody else looks at it now")
    if not case.is_for(actor, lead=lead):
        raise StateError("this case was passed on to somebody else")


def insert_claim(tx: Connection, workspace: Workspace, key: CaseKey, *, actor: str, found_at: datetime) -> CaseClaim:
    """Claim a case of which the caller knows, in its writing transaction, that it is free and that there is work.

    ``found_at``: of its oldest hit. What the person answered first since then stays their first answer: they have seen
    scores of it, however that claim ended.
    """
    now = workspace.now()
    over = sa.update(claims).where(claims.c.case_id == key.case_id, claims.c.ended_at.is_(None))
    tx.execute(over.values(ended_at=claims.c.until, outcome="expired"))
    answered_at, first_answer = _answered(tx, key.case_id, actor=actor, since=found_at)
    made = CaseClaim(
        claim_id=new_id("claim"),
        key=key,
        actor=actor,
        claimed_at=now,
        until=now + workspace.config.review.lease,
        answered_at=answered_at,
        first_answer=first_answer,
    )
    named = ("claim_id", "actor", "claimed_at", "until", "answered_at", "first_answer")
    own = {name: getattr(made, name) for name in named}
    tx.execute(sa.insert(claims).values(case_id=key.case_id, **key._asdict(), **own))
    return made


def open_claim(connection: Connection, case_id: str, *, now: datetime) -> CaseClaim | None:
    """Who works on the case at this moment."""
    query = sa.select(claims).where(claims.c.case_id == case_id, *_is_open(now))
    row = connection.execute(query).first()
    return None if row is None else _as_claim(row)


def open_claims(connection: Connection, *, now: datetime, actor: str | None = None) -> list[CaseClaim]:
    """Claims that are open, the oldest first; of this person, or of all."""
    query = sa.select(claims).where(*_is_open(now)).order_by(claims.c.claimed_at, claims.c.claim_id)
    if actor is not None:
        query = query.where(claims.c.actor == actor)
    return [_as_claim(row) for row in connection.execute(query)]


def require_claim(connection: Connection, case_id: str, *, actor: str, now: datetime) -> CaseClaim:
    """This person's open claim on the case. Raises :class:`StateError` without one."""
    claim = open_claim(connection, case_id, now=now)
    if claim is None or claim.actor != actor:
        whose = "you have not claimed it, or the time for it is over" if claim is None else "somebody else works on it"
        raise StateError(f"this case is not yours: {whose}")
    return claim


def release(workspace: Workspace, case_id: str, *, actor: str, outcome: Outcome) -> CaseClaim:
    """End this person's claim without a decision. Raises :class:`StateError` without one."""
    with workspace.database.write() as tx:
        claim = require_claim(tx, case_id, actor=actor, now=workspace.now())
        end_claim(tx, claim, now=workspace.now(), outcome=outcome)
    return claim


def end_claim(
    tx: Connection, claim: CaseClaim, *, now: datetime, outcome: Outcome, batch_id: str | None = None
) -> None:
    """End a claim, in the caller's writing transaction."""
    own = sa.update(claims).where(claims.c.claim_id == claim.claim_id)
    tx.execute(own.values(ended_at=now, outcome=outcome, batch_id=batch_id))


def note_look(workspace: Workspace, claim: CaseClaim) -> None:
    """Note when the case first was on the person's screen."""
    if claim.looked_at is None:
        _note(workspace, claim, claims.c.looked_at, looked_at=workspace.now())


def note_answer(workspace: Workspace, claim: CaseClaim, word: str) -> None:
    """Note the first answer, which was given without the score."""
    if claim.answered_at is None:
        now = workspace.now()
        looked = {} if claim.looked_at else {"looked_at": now}
        _note(workspace, claim, claims.c.answered_at, answered_at=now, first_answer=word, **looked)


def last_decided(connection: Connection, *, actor: str, since: datetime) -> CaseClaim | None:
    """The last case that this person decided since then: what undoing would take back."""
    mine = (claims.c.actor == actor, claims.c.outcome == "decided", claims.c.ended_at >= since)
    row = connection.execute(sa.select(claims).where(*mine).order_by(claims.c.ended_at.desc()).limit(1)).first()
    return None if row is None else _as_claim(row)


def claims_of_batch(connection: Connection, batch_id: str) -> list[CaseClaim]:
    """The claims that ended with this decision: one, or those of all cases that a contact sheet answered."""
    query = sa.select(claims).where(claims.c.batch_id == batch_id).order_by(claims.c.claim_id)
    return [_as_claim(row) for row in connection.execute(query)]


def judged_since(connection: Connection, *, actor: str, since: datetime) -> list[datetime]:
    """When this person ended cases since then, in order: for counts, and for suggesting a break."""
    mine = (claims.c.actor == actor, claims.c.ended_at >= since, claims.c.outcome.in_(("decided", "skipped")))
    return list(connection.execute(sa.select(claims.c.ended_at).where(*mine).order_by(claims.c.ended_at)).scalars())


def skipped_since(connection: Connection, *, actor: str, since: datetime) -> list[str]:
    """Cases that this person skipped since then, the longest ago first."""
    mine = (claims.c.actor == actor, claims.c.outcome == "skipped", claims.c.ended_at >= since)
    return list(connection.execute(sa.select(claims.c.case_id).where(*mine).order_by(claims.c.ended_at)).scalars())


def _answered(tx: Connection, case_id: str, *, actor: str, since: datetime) -> tuple[datetime | None, str | None]:
    """When this person first answered the case since then, and what; Nones: they have not."""
    columns = (claims.c.actor, claims.c.answered_at, claims.c.first_answer)
    query = sa.select(*columns).where(claims.c.case_id == case_id, claims.c.answered_at >= since)
    for row in tx.execute(query.order_by(claims.c.answered_at, claims.c.claim_id)):
        if identity_of(row.actor) == identity_of(actor):
            return row.answered_at, row.first_answer
    return None, None


def _note(workspace: Workspace, claim: CaseClaim, once: sa.Column[Any], **values: Any) -> None:
    with workspace.database.write() as tx:
        own = sa.update(claims).where(claims.c.claim_id == claim.claim_id, once.is_(None))
        tx.execute(own.values(**values))


def _is_open(now: datetime) -> tuple[sa.ColumnElement[bool], ...]:
    return claims.c.ended_at.is_(None), claims.c.until > now


def _as_claim(row: Any) -> CaseClaim:
    same = {name: getattr(row, name) for name in CaseClaim.__dataclass_fields__ if name != "key"}
    return CaseClaim(key=CaseKey(row.subject_id, row.about), **same)
