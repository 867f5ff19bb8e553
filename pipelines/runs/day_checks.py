"""The checks of a day before it is acted on: the shares of items that were fetched, read and hit.

Each check counts how many of a day's items failed it. A failed check stops the day if the day has enough items for a
share to mean something, and may be approved by a person (:mod:`pipelines.runs.days`). The canary and total coverage are
not among them: nobody may approve that a known face is not found, or that items were not looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from sqlalchemy.engine import Connection

from pipelines.home.workspace import Workspace
from pipelines.intake.ledger import Scope, UnreadableCounts, count_statuses, count_unreadable, scanner_faults
from pipelines.judging import hit_rate
from pipelines.settings.config import SweepConfig

FETCHED: Final = "content_could_be_fetched"
READ: Final = "content_could_be_read"
SCANNER: Final = "scanner_is_in_order"
HIT_RATE: Final = "hit_rate_is_plausible"
APPROVABLE: Final = (FETCHED, READ, SCANNER, HIT_RATE)
"""Checks whose failure a person may approve, in the order in which a night comes to them."""


@dataclass(frozen=True, slots=True)
class DayCheck:
    """One check of one day: ``failing`` of ``total`` things; up to the share ``limit`` it passes.

    ``blocking``: a failure stops the day; with few items it is only a warning.
    """

    name: str
    passed: bool
    blocking: bool
    failing: int
    total: int
    limit: float
    description: str

    @property
    def share(self) -> float:
        """Share of things that failed."""
        return self.failing / self.total if self.total else 0.0

    @property
    def stops(self) -> bool:
        """Whether the check stops the day, unless somebody approves it."""
        return self.blocking and not self.passed

    @property
    def figures(self) -> dict[str, int]:
        """The figures that an approval covers."""
        return {"failing": self.failing, "total": self.total}


def check_day(connection: Connection, workspace: Workspace, scope: Scope) -> dict[str, DayCheck]:
    """Run every check of :data:`APPROVABLE` on the live items in scope; return them by name."""
    config = workspace.config.sweep
    statuses = count_statuses(connection, scope)
    checks = (
        _fetched(statuses, config),
        _read(count_unreadable(connection, scope), config),
        _scanner(statuses, config),
        _hit_rate(statuses, config),
    )
    return {check.name: check for check in checks}


def _fetched(statuses: Mapping[str, int], config: SweepConfig) -> DayCheck:
    total = sum(statuses.values())
    failed = sum(count for status, count in statuses.items() if status.startswith("fetch_failed:"))
    words = f"{failed} of {total} items could not be fetched"
    return _weighed(FETCHED, failed, total, config.max_fetch_failed_rate, words, config)


def _read(found: UnreadableCounts, config: SweepConfig) -> DayCheck:
    reasons = ", ".join(f"{count} {reason}" for reason, count in found.reasons.items())
    words = f"{found.unreadable} of {found.items} items could not be read" + (f": {reasons}" if reasons else "")
    return _weighed(READ, found.unreadable, found.items, config.max_unscannable_rate, words, config)


def _scanner(statuses: Mapping[str, int], config: SweepConfig) -> DayCheck:
    """Check scanner faults: one item is a warning, many stop the day."""
    total, failed = sum(statuses.values()), scanner_faults(statuses)
    return DayCheck(
        name=SCANNER,
        passed=not failed,
        blocking=total >= config.min_items_for_rates and failed > config.max_scanner_fault_rate * total,
        failing=failed,
        total=total,
        limit=config.max_scanner_fault_rate,
        description=f"{failed} of {total} items made the scanner fail: see their status, and the log",
    )


def _hit_rate(statuses: Mapping[str, int], config: SweepConfig) -> DayCheck:
    hit = statuses.get("hit", 0)
    scannable = hit + statuses.get("clean", 0) + statuses.get("no_face", 0)
    words = f"{hit} of {scannable} scannable items are hits, at most {config.max_hit_rate:.0%} is plausible"
    weighed = _weighed(HIT_RATE, hit, scannable, config.max_hit_rate, words, config)
    # The same comparison holds the messages of the day.
    return replace(weighed, passed=(hit_rate(statuses, at_least=1) or 0.0) <= config.max_hit_rate)


def _weighed(name: str, failing: int, total: int, limit: float, words: str, config: SweepConfig) -> DayCheck:
    return DayCheck(
        name=name,
        passed=failing <= limit * total,
        blocking=total >= config.min_items_for_rates,
        failing=failing,
        total=total,
        limit=limit,
        description=words,
    )
