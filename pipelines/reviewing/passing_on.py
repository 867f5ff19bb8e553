"""Second opinions: writing on a case, asking a lead to look, giving it to one person, and back to everybody.

Who passes a case on ends their own work on it. Nobody passes on what somebody else works on. An escalation or an
assignment stands until the case is decided, or somebody hands it back.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from embeddings.errors import InputError, StateError
from pipelines.database.tables import accounts
from pipelines.home import audit
from pipelines.home.actors import identity_of, on_pages
from pipelines.home.workspace import Workspace
from pipelines.reviewing.claims import end_claim, open_claim
from pipelines.reviewing.notes import PASSING, CaseNote, NoteKind, end_passing, insert_note, may_judge, passed_on
from pipelines.reviewing.queue import CaseKey, waiting_case
from pipelines.reviewing.shown import check_listed


def comment(workspace: Workspace, key: CaseKey, text: str, *, actor: str) -> CaseNote:
    """Write on a case for colleagues. Raises :class:`StateError` if nothing of it waits."""
    with workspace.database.write() as tx:
        _require_waiting(tx, workspace, key, now=workspace.now())
        return insert_note(tx, workspace, key, "comment", text, actor=actor)


def escalate(workspace: Workspace, key: CaseKey, text: str, *, actor: str) -> CaseNote:
    """Ask a lead to decide a case, and end one's own work on it: no reviewer gets it while that stands, nor does whom
    it was given to before.

    Raises :class:`StateError` if nothing of it waits, somebody else works on it, or a lead was asked already.
    """
    with workspace.database.write() as tx:
        _take_off(tx, workspace, key, actor=actor)
        known = passed_on(tx, key=key).get(key)
        if known is not None and known.escalated_by is not None:
            raise StateError("a lead was asked to look at this case already")
        end_passing(tx, key, actor=actor, now=workspace.now(), kinds=("assignment",))
        return insert_note(tx, workspace, key, "escalation", text, actor=actor)


def assign(workspace: Workspace, key: CaseKey, account: str, text: str | None, *, actor: str) -> CaseNote:
    """Give a case to one person, by the name of their account; whom it was given to before has it no more.

    Given to who asked a lead, it is theirs again: the question is answered.

    Raises :class:`StateError` as :func:`escalate` does, and :class:`InputError` for an account that judges nothing, or
    was unsure of the case.
    """
    with workspace.database.write() as tx:
        _take_off(tx, workspace, key, actor=actor)
        _require_judge(tx, workspace, account)
        _require_sure(tx, workspace, key, account)
        known = passed_on(tx, key=key).get(key)
        answered = known is not None and not known.may_take(on_pages(account), lead=True)
        kinds: Sequence[NoteKind] = PASSING if answered else ("assignment",)
        end_passing(tx, key, actor=actor, now=workspace.now(), kinds=kinds)
        return insert_note(tx, workspace, key, "assignment", text, actor=actor, assigned_to=on_pages(account))


def hand_back(workspace: Workspace, key: CaseKey, *, actor: str) -> int:
    """Let everybody have a case again that was passed on; return how many escalations and assignments ended.

    Raises :class:`StateError` if it was not passed on, or somebody else works on it.
    """
    with workspace.database.write() as tx:
        now = workspace.now()
        _take_off(tx, workspace, key, actor=actor)
        ended = end_passing(tx, key, actor=actor, now=now)
        if not ended:
            raise StateError("this case was not passed on to anybody")
        facts = {"case_id": key.case_id, "subject_id": key.subject_id}
        audit.append(tx, workspace.sealer, actor=actor, action="case.handed_back", now=now, **facts)
    return ended


def judges(connection: Connection) -> list[str]:
    """Names of the local accounts that a case may be given to."""
    query = sa.select(accounts.c.name, accounts.c.state, accounts.c.roles).order_by(accounts.c.name)
    return [row.name for row in connection.execute(query) if may_judge(row.state, row.roles)]


def _take_off(tx: Connection, workspace: Workspace, key: CaseKey, *, actor: str) -> None:
    """End the actor's own work on a case that waits."""
    now = workspace.now()
    claim = open_claim(tx, key.case_id, now=now)
    if claim is not None and claim.actor != actor:
        raise StateError("somebody else works on this case")
    if claim is None:
        _require_waiting(tx, workspace, key, now=now)
    else:
        end_claim(tx, claim, now=now, outcome="passed_on")


def _require_waiting(tx: Connection, workspace: Workspace, key: CaseKey, *, now: datetime) -> None:
    """Raise :class:`StateError` unless a case waits, or is looked at again as if it did."""
    if open_claim(tx, key.case_id, now=now) is not None or waiting_case(tx, workspace, key) is not None:
        return
    if check_listed(tx, key.case_id) is None:
        raise StateError("nothing of this case waits (any more)")


def _require_judge(tx: Connection, workspace: Workspace, account: str) -> None:
    """Raise :class:`InputError` unless the account may judge. Behind a proxy, it alone knows of whoever has no account
    here."""
    known = tx.execute(sa.select(accounts.c.name).where(accounts.c.name == account)).first()
    if (known is not None or not workspace.config.review.by_proxy) and account not in judges(tx):
        raise InputError("there is no account of this name that judges cases: see `likeness account list`")


def _require_sure(tx: Connection, workspace: Workspace, key: CaseKey, account: str) -> None:
    """Raise :class:`InputError` for who was unsure of the case. Who decided it before is not refused: that would tell
    a case which is looked at again from one that waits. Leads get what such a person was given."""
    listed = check_listed(tx, key.case_id)
    case = waiting_case(tx, workspace, key) or (listed.case if listed else None)
    if case is not None and identity_of(on_pages(account)) in case.unsure:
        raise InputError("they were unsure of this case: give it to somebody else")
