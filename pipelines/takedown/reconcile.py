"""The nightly comparison of the cases that should be open at the takedown service with those that are.

:mod:`pipelines.takedown.cases` reads the service's list. Nothing is changed here: a difference is for a person to see.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from pipelines.database.tables import outbox
from pipelines.takedown.outbox import DONE, EFFECTS, WITHDRAWN


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """Keys of cases by what is wrong with them; each tuple is sorted."""

    wanted: int
    """takedowns and blocks acknowledged to us and not withdrawn"""
    missing: tuple[str, ...]
    """wanted, but the service has no open case"""
    unexpected: tuple[str, ...]
    """open at the service, though withdrawn (and the withdrawal acknowledged) or never ours"""
    unsettled: tuple[str, ...]
    """open at the service, and our own work on them is not finished: no fault, look again later"""

    @property
    def agrees(self) -> bool:
        """True when nothing is missing and nothing unexpected."""
        return not self.missing and not self.unexpected


def reconcile(connection: Connection, acknowledged_keys: Iterable[str]) -> Reconciliation:
    """Compare the outbox with the keys of the cases that are open at the service."""
    event = outbox.alias("event")
    joined = outbox.outerjoin(event, event.c.withdraws_key == outbox.c.key)
    query = sa.select(outbox.c.key, outbox.c.state, event.c.state.label("withdrawal")).select_from(joined)
    rows = connection.execute(query.where(outbox.c.action.in_(EFFECTS))).all()
    wanted = {row.key for row in rows if row.state == DONE and row.withdrawal is None}
    over = {row.key for row in rows if row.state in (DONE, WITHDRAWN) and row.withdrawal in (None, DONE)} - wanted
    ours = {row.key for row in rows}
    opened = set(acknowledged_keys)
    unexpected = (opened - ours) | (opened & over)
    return Reconciliation(
        wanted=len(wanted),
        missing=tuple(sorted(wanted - opened)),
        unexpected=tuple(sorted(unexpected)),
        unsettled=tuple(sorted(opened - wanted - unexpected)),
    )
