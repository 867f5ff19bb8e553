"""Counts what withdrawing or erasing a subject would take away, before anybody does it. Reads only."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from embeddings.errors import StateError
from pipelines.database.in_force import state_at
from pipelines.database.tables import hits, outbox, requests, seeds, subjects, templates
from pipelines.database.times import moment
from pipelines.hits.counting import live_hits
from pipelines.takedown.outbox import not_taken_back


@dataclass(frozen=True, slots=True)
class Leaving:
    """What is stored about a subject. ``messages_unsent`` would never be sent; ``messages_sent`` would get a withdrawal
    event each; ``requests``, the unfinished ones, would be withdrawn. Erasing destroys ``templates`` and ``seeds``."""

    subject_id: str
    state: str
    hits: int
    messages_unsent: int
    messages_sent: int
    requests: int
    templates: int
    seeds: int

    def in_words(self, *, erasing: bool) -> str:
        """Describe the counts in one sentence, to ask for a confirmation."""
        kept = self.state in ("withdrawn", "erased", "rejected")
        taken = (
            f"{self.hits} hits stop counting, {self.messages_unsent} messages will never be sent, "
            f"{self.messages_sent} that were sent get a withdrawal event, {self.requests} requests are withdrawn"
        )
        gone = f"{self.templates} templates, {self.seeds} seeds, names, consent record and key are destroyed for good"
        parts = [*([] if kept else [taken]), *([gone] if erasing else [])]
        return f"{self.subject_id} ({self.state}): {'; '.join(parts) or 'nothing changes'}."


def foresee_end(connection: Connection, subject_id: str) -> Leaving:
    """Count what ending this subject would take away. Raises :class:`StateError` if there is none of this id."""
    state = connection.execute(
        sa.select(state_at(moment(connection))).where(subjects.c.subject_id == subject_id)
    ).scalar()
    if state is None:
        raise StateError("there is no such subject")

    def count(source: sa.FromClause, *conditions: sa.ColumnElement[bool]) -> int:
        return int(connection.execute(sa.select(sa.func.count()).select_from(source).where(*conditions)).scalar_one())

    standing = sa.and_(outbox.c.subject_id == subject_id, not_taken_back())
    return Leaving(
        subject_id=subject_id,
        state=str(state),
        hits=count(live_hits().where(hits.c.subject_id == subject_id).subquery()),
        messages_unsent=count(outbox, standing, outbox.c.attempts == 0),
        messages_sent=count(outbox, standing, outbox.c.attempts > 0),
        requests=count(requests, requests.c.subject_id == subject_id, requests.c.state.in_(("open", "accepted"))),
        templates=count(templates, templates.c.subject_id == subject_id),
        seeds=count(seeds, seeds.c.subject_id == subject_id, seeds.c.revoked_at.is_(None)),
    )
