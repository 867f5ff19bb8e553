"""Which case a person gets next: one that they have already, or the first that is free and for them.

At times it is one that was decided before (:mod:`pipelines.reviewing.checks`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Final

from embeddings.errors import StateError
from pipelines.home.workspace import Workspace
from pipelines.reviewing.checks import check_of, draw_check
from pipelines.reviewing.claims import CaseClaim, open_claims, skipped_since
from pipelines.reviewing.queue import Queue, WaitingCase, waiting_case
from pipelines.reviewing.shown import cases_shown, claim_shown

_SKIP_HOURS: Final = 12
"""How long a case that somebody skipped comes last for them."""


def claim_next(
    workspace: Workspace, queue: Queue, *, actor: str, besides: str | None = None, lead: bool = False
) -> CaseClaim | None:
    """The case that this person has claimed already, else the first that waits for them; None: nothing waits.

    ``besides``: the case on their screen, to which this one is the next. ``lead``: whether they are one, who gets what
    others escalated too. What was assigned to them comes first, what to somebody else never.
    """
    with workspace.database.read() as connection:
        for claim in open_claims(connection, actor=actor, now=workspace.now()):
            if claim.case_id == besides:
                continue
            case = waiting_case(connection, workspace, claim.key)
            if check_of(connection, claim) or (case is not None and case.is_for(actor)):
                return claim
    for fresh in (False, True):
        cases = queue.cases(workspace, fresh=fresh)
        first = _claim_first(workspace, cases, actor=actor, besides=besides, lead=lead)
        if first is not None:
            return first
    return None


def _claim_first(
    workspace: Workspace, cases: Sequence[WaitingCase], *, actor: str, besides: str | None, lead: bool
) -> CaseClaim | None:
    """Claim the first of these cases that is free, is for this person, and still waits."""
    with workspace.database.read() as connection:
        now = workspace.now()
        taken = {claim.case_id for claim in open_claims(connection, now=now)}
        skipped = skipped_since(connection, actor=actor, since=now - timedelta(hours=_SKIP_HOURS))
        shown = cases_shown(connection, cases, actor=actor)
    drawn = False
    for case in _for(shown, actor, skipped, lead=lead):
        if case.key.case_id in taken or case.key.case_id == besides:
            continue
        if not drawn:
            drawn = True
            if (again := draw_check(workspace, actor=actor, place_of=case)) is not None:
                return again
        try:
            return claim_shown(workspace, case.key, actor=actor, lead=lead)
        except StateError:
            continue  # somebody was quicker, or it was answered since the order was read
    return None


def _for(cases: Sequence[WaitingCase], actor: str, skipped: Sequence[str], *, lead: bool) -> Iterator[WaitingCase]:
    """The cases for this person in order: what was assigned to them first, what they skipped last, what they were
    unsure of or decided never, nor what is assigned to somebody else; leads get what that person may not have."""
    passed = [case for case in cases if case.passed_on is not None and case.passed_on.assigned_to is not None]
    yield from (case for case in passed if case.is_for(actor) and case.key.case_id not in skipped)
    others = (case for case in cases if case.is_anybodys or (lead and case.is_nobodys))
    yield from (case for case in others if case.is_for(actor, lead=lead) and case.key.case_id not in skipped)
    late = [case for case in cases if skipped and case.key.case_id in skipped and case.is_for(actor, lead=lead)]
    yield from sorted(late, key=lambda case: skipped.index(case.key.case_id))
