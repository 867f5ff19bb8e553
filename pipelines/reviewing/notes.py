"""What colleagues write on a case: comments, escalations to a lead, assignments to one person.

The text is internal, and sealed under the key of the case's person: opening it is a look at what is said of them, whose
audit row comes first, and erasing the person deletes it. Who has a case, and who may pass it on, is in
:mod:`pipelines.reviewing.passing_on`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from embeddings.errors import InputError
from pipelines.accounts.accounts import DISABLED
from pipelines.accounts.roles import JUDGING
from pipelines.database.parts import parts
from pipelines.database.tables import accounts, case_notes, decisions, hits, items, kept_evidence
from pipelines.decisions.decide import MOST_NOTE, DecisionScope
from pipelines.hits.counting import live_hits
from pipelines.home import audit
from pipelines.home.actors import ON_PAGES, identity_of
from pipelines.home.clock import acts
from pipelines.home.sealing import associated_data, seal, unseal
from pipelines.home.workspace import Workspace, new_id
from pipelines.registry.templates import open_subject_key, require_kept
from pipelines.reviewing.queue import CaseKey, PassedOn, WaitingCase, belongs_to, waiting_case

NoteKind = Literal["comment", "escalation", "assignment"]
PASSING: Final = ("escalation", "assignment")
"""Kinds that say whose a case is, for as long as they stand."""


@dataclass(frozen=True, slots=True)
class CaseNote:
    """One note. ``text``: None where it has none, or was not opened; ``ended_at``: an escalation or an assignment does
    not stand any more."""

    note_id: str
    key: CaseKey
    kind: NoteKind
    actor: str
    assigned_to: str | None
    written_at: datetime
    ended_at: datetime | None
    ended_by: str | None
    has_text: bool
    text: str | None = field(default=None, repr=False)


def notes_on(connection: Connection, case_id: str) -> list[CaseNote]:
    """The notes on a case without their texts, the oldest first."""
    query = sa.select(case_notes).where(case_notes.c.case_id == case_id)
    return [_note(row) for row in connection.execute(query.order_by(case_notes.c.written_at, case_notes.c.note_id))]


def open_notes(workspace: Workspace, case_id: str, *, actor: str, **facts: str) -> list[CaseNote]:
    """The notes on a case with their texts. The look leaves an audit row (``case.notes``) where there is a text.

    ``facts``: what else the row says. Raises :class:`StateError` when the person was erased.
    """
    with workspace.database.write() as tx:
        own = sa.select(case_notes.c.note_id, case_notes.c.subject_id, case_notes.c.sealed_text).where(
            case_notes.c.case_id == case_id, case_notes.c.sealed_text.is_not(None)
        )
        rows = tx.execute(own).all()
        if rows:
            about = {"case_id": case_id, "subject_id": rows[0].subject_id, "notes": len(rows), **facts}
            audit.append(tx, workspace.sealer, actor=actor, action="case.notes", now=workspace.now(), **about)
    with workspace.database.read() as connection:
        found = notes_on(connection, case_id)
        if not rows:
            return found
        require_kept(connection, rows[0].subject_id)
        key = open_subject_key(connection, workspace.sealer, rows[0].subject_id)
    opened = {row.note_id: unseal(key, row.sealed_text, _aad(row.note_id)).decode() for row in rows}
    return [replace(one, text=opened.get(one.note_id)) for one in found]


def with_notes(connection: Connection, cases: Iterable[WaitingCase]) -> list[WaitingCase]:
    """The same cases, each with whom it was passed on to."""
    found = passed_on(connection)
    return [replace(case, passed_on=found[case.key]) if case.key in found else case for case in cases]


def passed_on(connection: Connection, *, key: CaseKey | None = None) -> dict[CaseKey, PassedOn]:
    """Case -> whom it was passed on to; of one case or of all. An account that is disabled, or may judge no more, has
    no case."""
    query = sa.select(case_notes, accounts.c.name, accounts.c.state, accounts.c.roles)
    query = query.outerjoin(accounts, sa.literal(ON_PAGES) + accounts.c.name == case_notes.c.assigned_to)
    query = query.where(case_notes.c.ended_at.is_(None), case_notes.c.kind.in_(PASSING))
    if key is not None:
        query = query.where(case_notes.c.case_id == key.case_id)
    found: dict[CaseKey, PassedOn] = {}
    for row in connection.execute(query.order_by(case_notes.c.written_at, case_notes.c.note_id)):
        if row.name is not None and not may_judge(row.state, row.roles):
            continue
        own = CaseKey(row.subject_id, row.about)
        known = found.get(own, PassedOn(row.written_at))
        named = {"escalated_by": row.actor} if row.kind == "escalation" else {"assigned_to": row.assigned_to}
        found[own] = replace(known, **named)
    return found


def may_judge(state: str, roles: str) -> bool:
    """Whether an account of the pages may judge cases. ``state`` and ``roles``: as the table has them."""
    return state != DISABLED and bool(JUDGING & set(roles.split()))


def cases_with_notes(connection: Connection, case_ids: Sequence[str]) -> set[str]:
    """Those of these cases that anybody has written on."""
    found: set[str] = set()
    for some in parts(case_ids):
        found.update(
            connection.execute(sa.select(case_notes.c.case_id).where(case_notes.c.case_id.in_(some))).scalars()
        )
    return found


def insert_note(
    tx: Connection,
    workspace: Workspace,
    key: CaseKey,
    kind: NoteKind,
    text: str | None,
    *,
    actor: str,
    assigned_to: str | None = None,
) -> CaseNote:
    """Write a note, in the caller's writing transaction, with its audit row. Raises :class:`InputError` for a text of
    more than :data:`MOST_NOTE` characters, and for a comment or an escalation without one."""
    require_text(kind, text)
    note_id, now = new_id("note"), workspace.now()
    sealed = None
    if text:
        subject_key = open_subject_key(tx, workspace.sealer, key.subject_id)
        sealed = seal(subject_key, text.encode(), _aad(note_id))
    values = {"kind": kind, "actor": actor, "assigned_to": assigned_to, "written_at": now, "sealed_text": sealed}
    tx.execute(sa.insert(case_notes).values(note_id=note_id, case_id=key.case_id, **key._asdict(), **values))
    facts = {"case_id": key.case_id, "subject_id": key.subject_id, "note_id": note_id}
    if assigned_to is not None:
        facts["assigned_to"] = assigned_to
    audit.append(tx, workspace.sealer, actor=actor, action=f"case.{kind}", now=now, **facts)
    return CaseNote(note_id, key, kind, actor, assigned_to, now, None, None, sealed is not None, text)


def require_text(kind: NoteKind, text: str | None) -> None:
    """Raise :class:`InputError` for a text that is too long, and where one is needed and missing."""
    if not text and kind != "assignment":
        raise InputError("say something: the text is empty")
    if text is not None and len(text) > MOST_NOTE:
        raise InputError(f"a note has at most {MOST_NOTE} characters")


def end_passing(tx: Connection, key: CaseKey, *, actor: str, now: datetime, kinds: Sequence[NoteKind] = PASSING) -> int:
    """End what stands of these kinds on a case, in the caller's writing transaction; return how many did."""
    standing = sa.update(case_notes).where(
        case_notes.c.case_id == key.case_id, case_notes.c.kind.in_(kinds), case_notes.c.ended_at.is_(None)
    )
    return tx.execute(standing.values(ended_at=now, ended_by=actor)).rowcount


def end_what_is_answered(tx: Connection, workspace: Workspace, key: CaseKey, *, actor: str, now: datetime) -> None:
    """End the escalation and the assignment of a case that was answered just now, unless some of it still waits.

    While it waits, an assignment ends with its own person's answer if they are unsure of all of it: it is for others.
    """
    case = waiting_case(tx, workspace, key)
    if case is None:
        end_passing(tx, key, actor=actor, now=now)
    elif identity_of(actor) in case.unsure:
        end_assignment_of(tx, key, actor=actor, now=now)


def end_assignment_of(tx: Connection, key: CaseKey, *, actor: str, now: datetime) -> None:
    """End the assignment of a case to this very person, if there is one."""
    known = passed_on(tx, key=key).get(key)
    if known is not None and known.assigned_to is not None and identity_of(known.assigned_to) == identity_of(actor):
        end_passing(tx, key, actor=actor, now=now, kinds=("assignment",))


def reopen_passing(tx: Connection, case_id: str, *, ended_by: str, ended_at: datetime) -> None:
    """Let stand again what an answer ended that is taken back, but of each kind only where nothing stands since."""
    own = (case_notes.c.case_id == case_id, case_notes.c.kind.in_(PASSING))
    standing = sa.select(case_notes.c.kind).where(*own, case_notes.c.ended_at.is_(None))
    again = [kind for kind in PASSING if kind not in set(tx.execute(standing).scalars())]
    ended = (case_notes.c.ended_by == ended_by, case_notes.c.ended_at == ended_at, case_notes.c.kind.in_(again))
    tx.execute(sa.update(case_notes).where(*own, *ended).values(ended_at=None, ended_by=None))


def forget_notes(tx: Connection, subject_id: str) -> None:
    """Delete every note about a subject, in the transaction that destroys the subject's key."""
    tx.execute(sa.delete(case_notes).where(case_notes.c.subject_id == subject_id))


@acts
def let_go_of_notes(workspace: Workspace) -> int:
    """Delete the notes of cases that are gone: no hit of them counts, decided or not, and nothing is kept of one that
    did. Returns how many. Safe to repeat, and to run twice at once."""
    with workspace.database.read() as connection:
        keys = connection.execute(sa.select(case_notes.c.subject_id, case_notes.c.about).distinct()).all()
        over = [CaseKey(*row) for row in keys if not _is_there(connection, CaseKey(*row))]
    deleted = 0
    for key in over:
        with workspace.database.write() as tx:  # unless it came back meanwhile
            if not _is_there(tx, key):
                own = (case_notes.c.subject_id == key.subject_id, case_notes.c.about == key.about)
                deleted += tx.execute(sa.delete(case_notes).where(*own)).rowcount
    return deleted


@acts
def end_passing_of_decided(workspace: Workspace) -> int:
    """End what stands of cases that were confirmed or rejected since, by whatever way, and of which nothing waits.
    Returns how many escalations and assignments. Safe to repeat, and to run twice at once."""
    with workspace.database.read() as connection:
        keys = [key for key, known in passed_on(connection).items() if _decided_since(connection, key, known.since)]
    ended = 0
    for key in keys:
        with workspace.database.write() as tx:
            known = passed_on(tx, key=key).get(key)
            decided_by = _decided_since(tx, key, known.since) if known is not None else None
            if decided_by is not None and waiting_case(tx, workspace, key) is None:
                ended += end_passing(tx, key, actor=decided_by, now=workspace.now())
    return ended


def _decided_since(connection: Connection, key: CaseKey, since: datetime) -> str | None:
    """Who last confirmed or rejected anything of a case since then, which stands."""
    same = [decisions.c[name] == hits.c[name] for name in DecisionScope._fields]
    stands = (decisions.c.decision.in_(("confirm", "reject")), decisions.c.reversed_at.is_(None))
    query = (
        sa.select(decisions.c.actor)
        .select_from(hits.join(items, items.c.item_id == hits.c.item_id).join(decisions, sa.and_(*same)))
        .where(hits.c.subject_id == key.subject_id, belongs_to(key.about), *stands, decisions.c.decided_at >= since)
        .order_by(decisions.c.decided_at.desc(), decisions.c.decision_id)
    )
    return connection.execute(query.limit(1)).scalar()


def _is_there(connection: Connection, key: CaseKey) -> bool:
    """Whether anything of a case counts, whatever the clock says (I12), or is kept."""
    of_case = (hits.c.subject_id == key.subject_id, belongs_to(key.about))
    stored = live_hits(rejected_too=True, lapsed_too=True).where(*of_case).with_only_columns(hits.c.hit_id)
    kept = sa.select(hits.c.hit_id).select_from(
        hits.join(kept_evidence, kept_evidence.c.hit_id == hits.c.hit_id).join(items, items.c.item_id == hits.c.item_id)
    )
    return any(connection.execute(query.limit(1)).first() for query in (stored, kept.where(*of_case)))


def _note(row: Any) -> CaseNote:
    same = ("note_id", "kind", "actor", "assigned_to", "written_at", "ended_at", "ended_by")
    named = {name: getattr(row, name) for name in same}
    return CaseNote(key=CaseKey(row.subject_id, row.about), has_text=row.sealed_text is not None, **named)


def _aad(note_id: str) -> bytes:
    return associated_data("case note", note_id)
