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
from pipelines.reviewing.claims import CaseClaim, claim_case, open_claims, skipped_since
from pipelines.reviewing.queue import Queue, WaitingCase, waiting_case

_SKIP_HOURS: Final = 12
"""How long a case that somebody skipped comes last for them."""


def claim_next(workspace: Workspace, queue: Queue, *, actor: str, besides: str | None = None) -> CaseClaim | None:
    """The case that this person has claimed already, else the first that waits for them; None: nothing waits.

    ``besides``: the case on their screen, to which this one is the next.
    """
    with workspace.database.read() as connection:
        for claim in open_claims(connection, actor=actor, now=workspace.now()):
            if claim.case_id == besides:
                continue
            case = waiting_case(connection, workspace, claim.key)
            if check_of(connection, claim) or (case is not None and case.is_for(actor)):
                return claim
    for fresh in (False, True):
        first = _claim_first(workspace, queue.cases(workspace, fresh=fresh), actor=actor, besides=besides)
        if first is not None:
            return first
    return None


def _claim_first(
    workspace: Workspace, cases: Sequence[WaitingCase], *, actor: str, besides: str | None
) -> CaseClaim | None:
    """Claim the first of these cases that is free, is for this person, and still waits."""
    with workspace.database.read() as connection:
        now = workspace.now()
        taken = {claim.case_id for claim in open_claims(connection, now=now)}
        skipped = skipped_since(connection, actor=actor, since=now - timedelta(hours=_SKIP_HOURS))
    drawn = False
    for case in _for(cases, actor, skipped):
        if case.key.case_id in taken or case.key.case_id == besides:
            continue
        if not drawn:
            drawn = True
            if (again := draw_check(workspace, actor=actor, place_of=case)) is not None:
                return again
        try:
            return claim_case(workspace, case.key, actor=actor)
        except StateError:
            continue  # somebody was quicker, or it was answered since the order was read
    return None


def _for(cases: Sequence[WaitingCase], actor: str, skipped: Sequence[str]) -> Iterator[WaitingCase]:
    """The cases for this person in order: what they skipped comes last, what they were unsure of or decided never."""
    mine = [case for case in cases if case.is_for(actor)]
    yield from (case for case in mine if case.key.case_id not in skipped)
    yield from sorted(
        (case for case in mine if case.key.case_id in skipped), key=lambda case: skipped.index(case.key.case_id)
    )
