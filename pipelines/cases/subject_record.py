"""Compares the state of each subject and request with the audit chain.

The seal shows that a table was altered; this names the row, and its right state, for whoever repairs it.
"""

from __future__ import annotations

import json
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from embeddings.errors import CorruptionError
from pipelines.database.tables import audit, requests, subjects

_SUBJECT: Final = {
    "subject.activate": "active",
    "subject.withdrawn": "withdrawn",
    "subject.expired": "expired",
    "subject.rejected": "rejected",
}
_REQUEST: Final = {
    "request.open": "open",
    "request.first_approval": "open",
    "request.accept": "accepted",
    "request.retry": "accepted",
    "request.reject": "rejected",
}
_LATER: Final = {"open": ("withdrawn",), "accepted": ("completed", "withdrawn")}
"""States that a request reaches without an audit row of its own: by a rescan, and when its subject ends."""


def verify_subjects(connection: Connection) -> str:
    """Compare tables and chain; return what agrees, in words. Raises :class:`CorruptionError` where they differ.

    :func:`pipelines.home.audit.verify` checks the chain itself.
    """
    told, asked = _told(connection)
    people = {row.subject_id: row.state for row in connection.execute(sa.select(subjects))}
    for subject_id, state in people.items():
        if told.get(subject_id) != state:
            raise CorruptionError(f"subject {subject_id} is {state}, the audit chain says {told.get(subject_id)}")
    if lost := told.keys() - people.keys():
        raise CorruptionError(f"{len(lost)} subjects of the audit chain are missing")
    wanted = {row.request_id: row.state for row in connection.execute(sa.select(requests))}
    for request_id, state in wanted.items():
        known = asked.get(request_id, "nothing")
        if state != known and state not in _LATER.get(known, ()):
            raise CorruptionError(f"request {request_id} is {state}, the audit chain says {known}")
    if lost := asked.keys() - wanted.keys():
        raise CorruptionError(f"{len(lost)} requests of the audit chain are missing")
    return f"{len(people)} subjects and {len(wanted)} requests as the audit chain tells them"


def _told(connection: Connection) -> tuple[dict[str, str], dict[str, str]]:
    """Return the states of subjects and of requests, by id, as the chain tells them."""
    people: dict[str, str] = {}
    asked: dict[str, str] = {}
    actions = ("subject.add", "subject.renew", "subject.erase", *_SUBJECT, *_REQUEST)
    for row in connection.execute(sa.select(audit).where(audit.c.action.in_(actions)).order_by(audit.c.seq)):
        facts = json.loads(row.facts)
        subject_id = facts["subject_id"]
        if row.action in _REQUEST:
            asked[facts["request_id"]] = _REQUEST[row.action]
        elif row.action == "subject.add" or row.action == "subject.renew":
            people[subject_id] = facts["state"]
        elif row.action in _SUBJECT:
            people[subject_id] = _SUBJECT[row.action]
        elif people.get(subject_id) != "rejected":  # a rejection erases as well, and stays one
            people[subject_id] = "erased"
    return people, asked
