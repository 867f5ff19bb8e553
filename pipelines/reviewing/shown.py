"""The list of cases as somebody may see it: what waits, what is looked at again as if it waited, and whose each is.

A decided case that somebody was given stays in the list until somebody answers it, as one that waits does: skipped,
expired or unsure of, it is still there, and whoever takes it gets it. Who had it before it was decided does not see it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from embeddings.errors import StateError
from pipelines.database.tables import checks, claims
from pipelines.home.actors import identity_of
from pipelines.home.workspace import Workspace
from pipelines.reviewing.checks import as_check, claim_again, given_and_open, standing_of
from pipelines.reviewing.claims import CaseClaim, claim_in, open_claim, require_for
from pipelines.reviewing.notes import passed_on, with_notes
from pipelines.reviewing.queue import CaseKey, WaitingCase, waiting_case, waiting_cases


@dataclass(frozen=True, slots=True)
class ListedCheck:
    """A decided case that is in the list. ``row``: the first time that it was given; ``case``: as it waited, barred for
    who decided it and for who had it before it was given."""

    row: Row[Any]
    case: WaitingCase

    def is_hidden_from(self, actor: str) -> bool:
        """Whether the person has had it before it was one that is looked at again."""
        return identity_of(actor) in self.case.barred


def cases_shown(connection: Connection, cases: Sequence[WaitingCase], *, actor: str) -> list[WaitingCase]:
    """The waiting cases in their order, with those that are looked at again among them, and whose each is."""
    again = [one.case for one in _listed(connection) if not one.is_hidden_from(actor)]
    if again:
        waiting = {case.key for case in cases}
        again = [case for case in again if case.key not in waiting]
    return with_notes(connection, sorted([*cases, *again], key=lambda case: case.place) if again else cases)


def find_case(workspace: Workspace, case_id: str, *, actor: str) -> CaseKey:
    """Whom and what a case of the list is about. Raises :class:`StateError` for one that is not there."""
    with workspace.database.read() as connection:
        for case in cases_shown(connection, waiting_cases(connection, workspace), actor=actor):
            if case.key.case_id == case_id:
                return case.key
    raise StateError("no case of this id waits (any more): see `likeness cases list`")


def check_listed(connection: Connection, case_id: str) -> ListedCheck | None:
    """The decided case of this id, if it is in the list."""
    return next(iter(_listed(connection, case_id)), None)


def claim_shown(workspace: Workspace, key: CaseKey, *, actor: str, lead: bool = False) -> CaseClaim:
    """Claim a case of the list, or go on with it. Raises what :func:`pipelines.reviewing.claims.claim_case` raises."""
    with workspace.database.write() as tx:
        if waiting_case(tx, workspace, key) is not None or open_claim(tx, key.case_id, now=workspace.now()):
            return claim_in(tx, workspace, key, actor=actor, lead=lead)
        listed = check_listed(tx, key.case_id)
        if listed is None or listed.is_hidden_from(actor):
            raise StateError("nothing of this case waits (any more)")
        case = replace(listed.case, passed_on=passed_on(tx, key=key).get(key))
        require_for(case, actor, lead=lead)
        return claim_again(tx, workspace, listed.row, key, actor=actor)


def _listed(connection: Connection, case_id: str | None = None) -> list[ListedCheck]:
    query = given_and_open()
    if case_id is not None:
        query = query.where(checks.c.case_id == case_id)
    given: dict[tuple[str, str], list[Row[Any]]] = {}
    for row in connection.execute(query):
        given.setdefault((row.case_id, row.batch_id), []).append(row)
    found: dict[str, ListedCheck] = {}
    for rows in given.values():
        key = CaseKey(rows[0].subject_id, rows[0].about)
        if key.case_id not in found and standing_of(connection, key, rows[0].batch_id):
            check = as_check(rows[0], key)
            unsure = frozenset(identity_of(row.answered_by) for row in rows if row.answer == "unsure")
            barred = frozenset(map(identity_of, [check.decided_by, *_had_before(connection, rows[0])]))
            found[key.case_id] = ListedCheck(rows[0], replace(check.case, unsure=unsure, barred=barred))
    return list(found.values())


def _had_before(connection: Connection, given: Row[Any]) -> Sequence[str]:
    """Who had a case before it was first given to be looked at again, whatever came of it."""
    same = (checks.c.case_id == given.case_id, checks.c.batch_id == given.batch_id)
    again = sa.select(checks.c.claim_id).where(*same)
    query = sa.select(claims.c.actor).where(
        claims.c.case_id == given.case_id, claims.c.claimed_at <= given.claimed_at, claims.c.claim_id.not_in(again)
    )
    return connection.execute(query.distinct()).scalars().all()
