"""How much of the platform one person has been compared with, for the page of a person or a request."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from pipelines.corpus.manifest import list_shards, uncovered
from pipelines.database.tables import items
from pipelines.database.times import moment
from pipelines.home.workspace import Workspace
from pipelines.intake.ledger import outdated
from pipelines.registry.subjects import active_versions


@dataclass(frozen=True, slots=True)
class Searched:
    """Live items, and with how many of them a person has been compared, or that have nothing to compare.

    ``pending``: not scanned yet. ``in_force``: False for somebody who is not in the registry (any more), with whom
    nothing is compared.
    """

    in_force: bool
    items: int
    compared: int
    pending: int

    @property
    def complete(self) -> bool:
        """Whether nothing is left to compare."""
        return self.in_force and self.compared == self.items


def searched_for(connection: Connection, workspace: Workspace, subject_id: str) -> Searched:
    """Count the live items that a person has been compared with by the models in force (I2)."""
    versions = active_versions(connection, now=moment(connection))
    own = {subject_id: versions[subject_id]} if subject_id in versions else {}
    listed = list_shards(connection, workspace.sealer)
    missing = uncovered(connection, listed, own, threshold=workspace.thresholds_at(connection).review)
    old = sa.func.coalesce(outdated(model_id=workspace.model_id), sa.false())
    query = sa.select(items.c.shard_id, items.c.status, old.label("old"), sa.func.count()).where(items.c.live)
    total = compared = pending = 0
    for shard_id, status, is_old, count in connection.execute(
        query.group_by(items.c.shard_id, items.c.status, sa.text("old"))
    ):
        total += int(count)
        waiting = shard_id is None and status == "pending"
        pending += int(count) * waiting
        compared += int(count) * bool(own and not (waiting or is_old or shard_id in missing))
    return Searched(in_force=bool(own), items=total, compared=compared, pending=pending)
