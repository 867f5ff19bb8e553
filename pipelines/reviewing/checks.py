"""Decided cases that somebody else judges again without knowing it: golden ones, and second looks.

A *golden* case was settled long ago, a *second look* is at a recent decision. Both come as any case comes, in the place
of one that waits, with its deadline; the answer is noted and changes nothing. Who gets one when, and which, are lots
drawn with the key of the home (:meth:`pipelines.home.sealing.Sealer.lot`): no clock and no queue foretells them.

The same is read and rehearsed whether a lot was drawn or not, so that the time a page takes tells nothing either.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from embeddings.errors import StateError
from pipelines.database.tables import checks, claims, decisions, hits
from pipelines.database.times import moment
from pipelines.decisions.decide import Answer, DecisionScope, undo_in
from pipelines.hits.counting import hits_in_force
from pipelines.home import audit
from pipelines.home.actors import identity_of
from pipelines.home.clock import acts
from pipelines.home.sealing import associated_data, seal
from pipelines.home.workspace import Workspace
from pipelines.registry.templates import open_subject_key
from pipelines.reviewing.claims import CaseClaim, claim_in, end_claim, insert_claim, open_claim
from pipelines.reviewing.notes import cases_with_notes
from pipelines.reviewing.queue import CaseKey, WaitingCase, belongs_to, waiting_case

Kind = Literal["golden", "second_look"]
MOST_HITS_AGAIN: Final = 200
"""Hits of a case that is looked at again: more are not shown at once."""
_CONSIDERED: Final = 400
"""Decided cases, the newest first, among which one is chosen."""
_TRIES: Final = 3
"""Of them, how many may turn out not to be as they were before none is taken."""


@dataclass(frozen=True, slots=True)
class Check:
    """A claim on a case that was decided before, by ``decided_by`` as ``decided`` (confirm or reject).

    ``case``: as it waited then, with the deadline of the one in whose place it came. ``answer``: what was said now.
    """

    claim_id: str
    kind: Kind
    batch_id: str
    decided_by: str
    decided: str
    case: WaitingCase
    answer: str | None = None
    undone_at: datetime | None = None


def as_check(row: Row[Any], key: CaseKey) -> Check:
    """Read a row of ``checks``."""
    same = {name: getattr(row, name) for name in ("hits", "items", "harm", "found_at", "due_at")}
    case = WaitingCase(key=key, tiers=tuple(row.tiers.split()), **same)
    own = ("claim_id", "kind", "batch_id", "decided_by", "decided", "answer", "undone_at")
    return Check(case=case, **{name: getattr(row, name) for name in own})


def check_of(connection: Connection, claim: CaseClaim) -> Check | None:
    """What this claim looks at again; None: it is on a case that waits."""
    row = connection.execute(sa.select(checks).where(checks.c.claim_id == claim.claim_id)).first()
    return None if row is None else as_check(row, claim.key)


def claim_what_waits(tx: Connection, workspace: Workspace, key: CaseKey, *, actor: str) -> CaseClaim:
    """Claim what waits of a case, as :func:`claim_in` does. If this person looks at the case again meanwhile, that
    ends: it is no longer as it was."""
    now = workspace.now()
    standing = open_claim(tx, key.case_id, now=now)
    if standing is not None and standing.actor == actor and check_of(tx, standing) is not None:
        end_claim(tx, standing, now=now, outcome="gone")
    return claim_in(tx, workspace, key, actor=actor)


def hits_again(connection: Connection, key: CaseKey, batch_id: str) -> sa.Select[Any]:
    """The hits of a case that a decision holds for, joined with items as :func:`hits_that_wait` has them."""
    same = [decisions.c[name] == hits.c[name] for name in DecisionScope._fields]
    own = sa.or_(hits.c.tier != "text", decisions.c.item_id == hits.c.item_id)
    made = sa.select(decisions.c.decision_id).where(
        *same, own, decisions.c.batch_id == batch_id, decisions.c.reversed_at.is_(None)
    )
    found = hits_in_force(moment(connection), rejected_too=True)
    return found.where(made.correlate(hits).exists(), hits.c.subject_id == key.subject_id, belongs_to(key.about))


def draw_check(workspace: Workspace, *, actor: str, place_of: WaitingCase) -> CaseClaim | None:
    """Claim a decided case instead of ``place_of``, if it is this person's turn for one and there is one for them."""
    if not workspace.config.review.checks:
        return None
    with workspace.database.write() as tx:
        kind = _drawn(tx, workspace, actor)
        found = _first_as_it_was(tx, workspace, kind or "golden", actor)
        if kind is None or found is None:
            return None
        decided, case = found
        claim = insert_claim(tx, workspace, case.key, actor=actor, found_at=case.found_at)
        tx.execute(
            sa.insert(checks).values(
                claim_id=claim.claim_id,
                kind=kind,
                case_id=case.key.case_id,
                batch_id=decided.batch_id,
                decided_by=decided.actor,
                decided=decided.decision,
                hits=case.hits,
                items=case.items,
                tiers=" ".join(case.tiers),
                harm=case.harm,
                found_at=case.found_at,
                due_at=place_of.due_at,
                answered_by=actor,
            )
        )
    return claim


def rehearse_undone(tx: Connection, workspace: Workspace, key: CaseKey, batch_id: str, *, actor: str) -> None:
    """Undo a decision on a case, in a savepoint that the caller rolls back. Raises :class:`StateError` if none stands.

    What is read or rehearsed then is what it was while the case waited.
    """
    standing = standing_of(tx, key, batch_id)
    if not standing:
        raise StateError("nothing of this case waits (any more)")
    undo_in(tx, workspace, standing, actor=actor)


def standing_of(connection: Connection, key: CaseKey, batch_id: str) -> Sequence[Row[Any]]:
    """The decisions of a batch on a case that stand."""
    about = hits_again(connection, key, batch_id).with_only_columns(*(hits.c[name] for name in DecisionScope._fields))
    scopes = {tuple(row) for row in connection.execute(about)}
    query = sa.select(decisions).where(decisions.c.batch_id == batch_id, decisions.c.reversed_at.is_(None))
    return [
        row
        for row in connection.execute(query.order_by(decisions.c.decision_id))
        if tuple(getattr(row, name) for name in DecisionScope._fields) in scopes
    ]


def record_check(tx: Connection, workspace: Workspace, claim: CaseClaim, check: Check, answer: Answer) -> None:
    """Note what was said of a case that is looked at again, in the table and in the audit chain; a note is sealed under
    the subject's key."""
    now = workspace.now()
    own = sa.update(checks).where(checks.c.claim_id == claim.claim_id)
    tx.execute(own.values(answer=answer.decision, reason=answer.reason, answered_at=now))
    facts = {"claim_id": claim.claim_id, "batch_id": check.batch_id, "subject_id": claim.key.subject_id}
    facts |= {"kind": check.kind, "answer": answer.decision, "reason": answer.reason}
    if answer.note is not None:
        key = open_subject_key(tx, workspace.sealer, claim.key.subject_id)
        sealed = seal(key, answer.note.encode(), associated_data("note", claim.claim_id))
        facts["sealed_note"] = base64.b64encode(sealed).decode()
    audit.append(tx, workspace.sealer, actor=answer.actor, action="check.answer", now=now, **facts)


def take_answer_back(tx: Connection, workspace: Workspace, claim: CaseClaim) -> CaseClaim | None:
    """Undo what was said of a case that is looked at again, and claim it again if nobody else has it.

    Raises :class:`StateError` where it was undone already.
    """
    row = tx.execute(sa.select(checks).where(checks.c.claim_id == claim.claim_id)).one()
    if row.undone_at is not None:
        raise StateError("nothing to undo: it was undone or replaced already")
    tx.execute(sa.update(checks).where(checks.c.claim_id == claim.claim_id).values(undone_at=workspace.now()))
    if open_claim(tx, claim.case_id, now=workspace.now()) or not standing_of(tx, claim.key, row.batch_id):
        return None
    return claim_again(tx, workspace, row, claim.key, actor=claim.actor)


def claim_again(tx: Connection, workspace: Workspace, row: Row[Any], key: CaseKey, *, actor: str) -> CaseClaim:
    """Claim a decided case that was given before, as ``row`` of ``checks`` says, in the caller's transaction."""
    claim = insert_claim(tx, workspace, key, actor=actor, found_at=row.found_at)
    fresh = {"claim_id": claim.claim_id, "answered_by": actor}
    nothing_yet = dict.fromkeys(("answer", "reason", "answered_at", "undone_at"))
    own = {name: row._mapping[name] for name in checks.c.keys()}  # noqa: SIM118
    tx.execute(sa.insert(checks).values({**own, **nothing_yet, **fresh}))
    return claim


def _drawn(tx: Connection, workspace: Workspace, actor: str) -> Kind | None:
    """Whether the next case of this person is one that was decided before, and of which kind."""
    config = workspace.config.review
    count = sa.select(sa.func.count()).select_from(claims).where(claims.c.actor == actor)
    lot = workspace.sealer.lot("turn", identity_of(actor), int(tx.execute(count).scalar_one()))
    if lot < config.golden_share:
        return "golden"
    return "second_look" if lot < config.golden_share + config.second_look_share else None


def _first_as_it_was(
    tx: Connection, workspace: Workspace, kind: Kind, actor: str
) -> tuple[Row[Any], WaitingCase] | None:
    """The first candidate that would wait again, with all that it had, if its decision were undone."""
    for decided in _candidates(tx, workspace, kind, actor)[:_TRIES]:
        key = CaseKey(decided.subject_id, decided.about)
        if waiting_case(tx, workspace, key) is not None:
            continue  # something new waits under the same address
        count = hits_again(tx, key, decided.batch_id).with_only_columns(sa.func.count())
        known = int(tx.execute(count).scalar_one())
        if not 0 < known <= MOST_HITS_AGAIN:
            continue
        rehearsal = tx.begin_nested()
        rehearse_undone(tx, workspace, key, decided.batch_id, actor=actor)
        case = waiting_case(tx, workspace, key)
        rehearsal.rollback()
        if case is not None and case.hits == known and not case.unsure:
            return decided, case
    return None


def _candidates(tx: Connection, workspace: Workspace, kind: Kind, actor: str) -> list[Row[Any]]:
    """Decided cases that this person may be given, in an order that is drawn for them."""
    config, now, lot = workspace.config.review, workspace.now(), workspace.sealer.lot
    settled = now - timedelta(days=config.settled_days)
    sent = now - timedelta(minutes=workspace.policy.settings.decisions.undo_minutes)
    made = (claims.c.outcome == "decided", claims.c.batch_id.is_not(None))
    span = (
        (claims.c.ended_at <= settled,)
        if kind == "golden"
        else (claims.c.ended_at > settled, claims.c.ended_at <= sent)
    )
    word = sa.select(sa.func.min(decisions.c.decision)).where(
        decisions.c.batch_id == claims.c.batch_id,
        decisions.c.subject_id == claims.c.subject_id,
        decisions.c.reversed_at.is_(None),
    )
    columns = (
        claims.c.claim_id,
        claims.c.case_id,
        claims.c.subject_id,
        claims.c.about,
        claims.c.batch_id,
        claims.c.actor,
    )
    query = sa.select(*columns, word.correlate(claims).scalar_subquery().label("decision")).where(*made, *span)
    rows: Sequence[Any] = tx.execute(
        query.order_by(claims.c.ended_at.desc(), claims.c.claim_id).limit(_CONSIDERED)
    ).all()
    known = set(tx.execute(sa.select(claims.c.case_id).where(claims.c.actor == actor)).scalars())
    known |= {row.case_id for row in tx.execute(given_and_open())}  # in the list already, as if they waited
    known |= cases_with_notes(tx, sorted({row.case_id for row in rows}))  # a note may say what was decided
    said = _said_again(tx, {row.batch_id for row in rows})
    found: list[Row[Any]] = []
    for row in rows:
        if row.decision not in ("confirm", "reject") or row.case_id in known:
            continue  # undone, unsure, or seen by this person before
        if identity_of(row.actor) == identity_of(actor):
            continue
        answers = said.get((row.batch_id, row.case_id), [])
        if kind == "golden" and any(answer not in (None, "unsure", row.decision) for answer in answers):
            continue  # somebody disagrees: it is not settled
        if kind == "second_look":
            chosen = lot("second look", row.batch_id, row.case_id) < config.second_look_share
            if not chosen or answers:
                continue
        found.append(row)
    return sorted(found, key=lambda row: lot("order", identity_of(actor), row.batch_id, row.case_id))


def given_and_open() -> sa.Select[Any]:
    """Select the checks that somebody was given and nobody has settled: what they said is nothing yet, or unsure.

    Joined with their claims, the oldest first. One that ended because something new waits is none.
    """
    other = checks.alias("other")
    settled = sa.select(other.c.claim_id).where(
        other.c.batch_id == checks.c.batch_id,
        other.c.case_id == checks.c.case_id,
        other.c.answer.in_(("confirm", "reject")),
        other.c.undone_at.is_(None),
    )
    is_open = (checks.c.undone_at.is_(None), sa.or_(checks.c.answer.is_(None), checks.c.answer == "unsure"))
    return (
        sa.select(checks, claims.c.subject_id, claims.c.about, claims.c.claimed_at)
        .join(claims, claims.c.claim_id == checks.c.claim_id)
        .where(*is_open, claims.c.outcome.is_distinct_from("gone"), ~settled.correlate(checks).exists())
        .order_by(claims.c.claimed_at, claims.c.claim_id)
    )


@acts
def let_go_of_checks(workspace: Workspace) -> int:
    """End the checks that nobody settled and whose decision stands no more: undone, or its items or references are
    gone. Returns how many. Safe to repeat, and to run twice at once."""
    with workspace.database.read() as connection:
        rows = connection.execute(given_and_open()).all()
        keys = {(CaseKey(row.subject_id, row.about), row.batch_id) for row in rows}
        over = [(key, batch_id) for key, batch_id in sorted(keys) if not standing_of(connection, key, batch_id)]
    ended = 0
    for key, batch_id in over:
        with workspace.database.write() as tx:  # unless it stands again
            if not standing_of(tx, key, batch_id):
                ended += _end_checks(tx, key.case_id, batch_id, now=workspace.now())
    return ended


def _end_checks(tx: Connection, case_id: str, batch_id: str, *, now: datetime) -> int:
    """End those on which nobody works; return how many."""
    own = given_and_open().where(checks.c.case_id == case_id, checks.c.batch_id == batch_id)
    free = sa.or_(claims.c.ended_at.is_not(None), claims.c.until <= now)
    found = tx.execute(own.where(free).with_only_columns(checks.c.claim_id)).scalars().all()
    ends = {"outcome": "gone", "ended_at": sa.func.coalesce(claims.c.ended_at, claims.c.until)}
    for claim_id in found:
        tx.execute(sa.update(claims).where(claims.c.claim_id == claim_id).values(**ends))
    return len(found)


def _said_again(tx: Connection, batch_ids: set[str]) -> dict[tuple[str, str], list[str | None]]:
    """Of each decided case that was looked at again: what was said then; None: nothing yet."""
    found: dict[tuple[str, str], list[str | None]] = {}
    query = sa.select(checks).where(checks.c.batch_id.in_(sorted(batch_ids)), checks.c.undone_at.is_(None))
    for row in tx.execute(query):
        found.setdefault((row.batch_id, row.case_id), []).append(row.answer)
    return found
