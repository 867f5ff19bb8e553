"""What the tests read of a platform: statuses, hits, verdicts, messages, coverage, and whether everything holds."""

from __future__ import annotations

import sqlalchemy as sa

from pipelines.database.tables import items, outbox, verdicts
from pipelines.hits.listing import Hit, list_hits
from pipelines.home.workspace import Workspace
from pipelines.intake.ledger import Scope
from pipelines.runs.sweep import measure_coverage
from pipelines.runs.verify import verify


def statuses(workspace: Workspace, *, live: bool = False) -> dict[str, str]:
    """The status of each item, or of those that are live."""
    query = sa.select(items.c.item_id, items.c.status).where(*([items.c.live] if live else []))
    with workspace.database.read() as connection:
        return {row.item_id: row.status for row in connection.execute(query)}


def hits_in_force(workspace: Workspace) -> list[Hit]:
    """The hits that are shown, the strongest first."""
    with workspace.database.read() as connection:
        return list_hits(connection)


def verdict_of(workspace: Workspace, item_id: str, subject_id: str | None = None) -> tuple[str, str] | None:
    """The verdict on an item (and a subject), and its rule; None: there is none."""
    own = [verdicts.c.item_id == item_id, *([verdicts.c.subject_id == subject_id] if subject_id else [])]
    with workspace.database.read() as connection:
        row = connection.execute(sa.select(verdicts.c.verdict, verdicts.c.rule).where(*own)).one_or_none()
    return (row.verdict, row.rule) if row else None


def messages(workspace: Workspace) -> list[tuple[str, str, str]]:
    """Action, item and state of every message, sorted."""
    query = sa.select(outbox.c.action, outbox.c.item_id, outbox.c.state)
    with workspace.database.read() as connection:
        return sorted((row.action, row.item_id, row.state) for row in connection.execute(query))


def messages_of(workspace: Workspace, *actions: str) -> list[tuple[str, str]]:
    """Item and state of every message of these actions, or of all, sorted."""
    return sorted(
        (item_id, state) for action, item_id, state in messages(workspace) if not actions or action in actions
    )


def coverage(workspace: Workspace) -> float:
    """The share of all pairs of an item and a person that were compared."""
    with workspace.database.read() as connection:
        return measure_coverage(connection, workspace, Scope(None, None)).fraction


def failing(workspace: Workspace) -> set[str]:
    """The checks of ``likeness verify`` that do not hold, but for files of models that no fake has."""
    return {finding.check for finding in verify(workspace) if not finding.ok} - {"model files"}
