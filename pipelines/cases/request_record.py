"""Reads removal requests: the record of each, and its present state. :mod:`pipelines.cases.requests` changes them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from embeddings.errors import StateError
from pipelines.cases.impact import Impact
from pipelines.database.tables import requests
from pipelines.judging.request_progress import STATES as STATES
from pipelines.judging.request_progress import UNFINISHED, OpenWork, RequestState, open_work, state_of


@dataclass(frozen=True, slots=True)
class RemovalRequest:
    """A request without anything personal. ``state``: its present state, one of :data:`STATES`; ``open``: the work left
    once its search is finished, None before that and after completion.

    ``received_at``: when it reached the platform, from which ``due_at`` counts; ``completed_at``: None until a run has
    recorded the completion; ``ended_at``: when it was rejected or withdrawn. ``first_approval``: the first of two
    people to accept it; ``impact``: what that person saw, else what the last preview measured.
    """

    request_id: str
    subject_id: str
    state: RequestState
    attempt: int
    received_at: datetime
    opened_at: datetime
    due_at: datetime
    previewed_at: datetime | None
    accepted_at: datetime | None
    searched_at: datetime | None
    completed_at: datetime | None
    ended_at: datetime | None
    first_approval: str | None
    impact: Impact | None
    open: OpenWork | None

    @property
    def awaits_decision(self) -> bool:
        """Whether nobody, or one of two, has accepted it, and nobody has rejected it."""
        return self.state in ("received", "previewed")

    @property
    def is_finished(self) -> bool:
        """Whether it is completed, rejected or withdrawn, so that no deadline runs."""
        return self.state not in UNFINISHED

    def is_overdue(self, now: datetime) -> bool:
        """Whether the deadline is past and the request is not finished."""
        return not self.is_finished and self.due_at < now

    @property
    def is_late(self) -> bool:
        """Whether it was completed after its deadline."""
        return self.completed_at is not None and self.completed_at > self.due_at


@dataclass(frozen=True, slots=True)
class Standing:
    """A request as lists show it. ``hours_left``: until it is due, negative when overdue; None once it is finished.
    ``late``: it was completed after its deadline."""

    request_id: str
    subject_id: str
    state: RequestState
    overdue: bool
    late: bool
    hours_left: float | None
    received_at: datetime
    due_at: datetime
    completed_at: datetime | None
    open: OpenWork | None


def standing_of(request: RemovalRequest, *, now: datetime) -> Standing:
    """Return a request with the time left until its deadline."""
    same = ("request_id", "subject_id", "state", "received_at", "due_at", "completed_at", "open")
    left = None if request.is_finished else round((request.due_at - now).total_seconds() / 3600, 2)
    values = {name: getattr(request, name) for name in same}
    return Standing(**values, overdue=request.is_overdue(now), late=request.is_late, hours_left=left)


def get_request(connection: Connection, request_id: str) -> RemovalRequest:
    """One request. Raises :class:`StateError` if there is none of this id."""
    row = connection.execute(sa.select(requests).where(requests.c.request_id == request_id)).first()
    if row is None:
        raise StateError("there is no such request")
    return _from_rows(connection, [row])[0]


def list_requests(
    connection: Connection, *, state: str | None = None, subject_id: str | None = None
) -> list[RemovalRequest]:
    """List requests, the most urgent first; ``state``: only those in this state now, ``subject_id``: of this person."""
    query = sa.select(requests).order_by(requests.c.due_at, requests.c.request_id)
    if subject_id is not None:
        query = query.where(requests.c.subject_id == subject_id)
    rows = connection.execute(query).all()
    return [one for one in _from_rows(connection, rows) if state in (None, one.state)]


def unfinished_requests(connection: Connection) -> list[RemovalRequest]:
    """List the unfinished requests, the most urgent first."""
    query = sa.select(requests).where(requests.c.state.in_(("open", "accepted")))
    rows = connection.execute(query.order_by(requests.c.due_at, requests.c.request_id)).all()
    return [one for one in _from_rows(connection, rows) if not one.is_finished]


def _from_rows(connection: Connection, rows: Sequence[Row[Any]]) -> list[RemovalRequest]:
    work = open_work(connection, rows)
    return [_from_row(row, work.get(row.request_id)) for row in rows]


def _from_row(row: Row[Any], work: OpenWork | None) -> RemovalRequest:
    same = ("request_id", "subject_id", "attempt", "opened_at", "due_at", "previewed_at", "accepted_at", "searched_at")
    values: dict[str, Any] = {name: row._mapping[name] for name in (*same, "first_approval")}
    return RemovalRequest(
        **values,
        state=state_of(row, work),
        received_at=row.received_at or row.opened_at,
        completed_at=row.completed_at if row.state == "completed" else None,
        ended_at=row.completed_at if row.state in ("rejected", "withdrawn") else None,
        impact=Impact(**json.loads(row.impact)) if row.impact else None,
        open=work,
    )
