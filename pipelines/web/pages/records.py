"""What the pages of a request, a person, an uploader and a model show alike: found, removed, acknowledged, history."""

from __future__ import annotations

from dataclasses import dataclass
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
from pipelines.web.routes import Visit

LISTED: Final = 100
"""Rows of each kind on a page."""


@dataclass(frozen=True, slots=True)
class CaseRecord:
    """Counts of everything; of items, messages and events the first :data:`LISTED`."""

    counts: FindingCounts
    found: tuple[LinkedItem, ...]
    told: tuple[ToldMessage, ...]
    history: tuple[HistoryEvent, ...]


def read_record(visit: Visit, about: About) -> CaseRecord:
    """Read in one transaction what a record shows."""
    with visit.workspace.database.read() as connection:
        return CaseRecord(
            counts=count_findings(connection, about),
            found=tuple(list_findings(connection, about, limit=LISTED)),
            told=tuple(list_told(connection, about, limit=LISTED)),
            history=tuple(read_history(connection, about, limit=LISTED)),
        )
