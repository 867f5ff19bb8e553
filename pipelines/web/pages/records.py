"""What the pages of a request, a person, an uploader and a model show alike: found, removed, acknowledged, history."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from pipelines.cases.findings import (
    About,
    FindingCounts,
    LinkedItem,
    ToldMessage,
    count_findings,
    list_findings,
    list_told,
)
from pipelines.cases.history import HistoryEvent, read_history
from pipelines.web.access import sees_answers
from pipelines.web.routes import Visit

LISTED: Final = 100
"""Rows of each kind on a page."""


@dataclass(frozen=True, slots=True)
class CaseRecord:
    """Counts of everything; of items, messages and events the first :data:`LISTED`.

    ``judged`` False: nothing in it says what the policy or people made of a hit.
    """

    judged: bool
    counts: FindingCounts
    found: tuple[LinkedItem, ...]
    told: tuple[ToldMessage, ...]
    history: tuple[HistoryEvent, ...]


def read_record(visit: Visit, about: About) -> CaseRecord:
    """Read in one transaction what a record shows this person."""
    judged = sees_answers(visit)
    with visit.workspace.database.read() as connection:
        counts = count_findings(connection, about)
        told = list_told(connection, about, limit=LISTED)
        found = tuple(list_findings(connection, about, limit=LISTED, judged=judged))
        history = tuple(read_history(connection, about, limit=LISTED, judged=judged))
    if not judged:
        counts = replace(counts, confirmed=None, undecided=None, rejected=None)
        told = [replace(one, decided_by=None) for one in told]
    return CaseRecord(judged, counts, found, tuple(told), history)
