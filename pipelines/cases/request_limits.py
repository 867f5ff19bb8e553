"""Daily limits on removal requests and on the searches of the whole platform that they cause.

Everybody may ask for removal, and each request costs the embedding of its references and, when it is previewed, a
search of everything. So the requests of one contact and of all contacts in a UTC day are limited. One fact in ``state``
counts those of the present day, by a MAC of the contact, so that no contact is stored in clear. Refusals are counted
too, and ``likeness status`` shows them. A clock that jumps begins a new count and undoes nothing.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace

from sqlalchemy.engine import Connection

from embeddings.errors import LimitError
from pipelines.database import get_state, set_state
from pipelines.home.workspace import Workspace

_FACT = "request_counts"


@dataclass(frozen=True, slots=True)
class RequestCounts:
    """Numbers of requests, previews and refusals on one UTC day."""

    day: str
    opened: int = 0
    previewed: int = 0
    refused: int = 0
    contacts: dict[str, int] = field(default_factory=dict, repr=False)
    """Requests by the MAC of their contact."""


def requests_today(connection: Connection, workspace: Workspace) -> RequestCounts:
    """Return the counts of the present day."""
    day = workspace.now().date().isoformat()
    stored = json.loads(get_state(connection, _FACT) or "{}")
    return RequestCounts(**stored) if stored.get("day") == day else RequestCounts(day)


def require_room(workspace: Workspace, *, contact: str) -> None:
    """Raise :class:`LimitError`, and count the refusal, if this contact may open no request now.

    To be called before references are read, because reading them is expensive.
    """
    with workspace.database.read() as connection:
        problem = _no_room(requests_today(connection, workspace), workspace, contact)
    if problem:
        _refuse(workspace, problem)


def count_opened(tx: Connection, workspace: Workspace, *, contact: str) -> None:
    """Count a request in the transaction that opens it. Raises :class:`LimitError` if there is no room for it."""
    counts = requests_today(tx, workspace)
    problem = _no_room(counts, workspace, contact)
    if problem:
        raise LimitError(problem)
    name = _name(workspace, contact)
    contacts = counts.contacts | {name: counts.contacts.get(name, 0) + 1}
    _store(tx, replace(counts, opened=counts.opened + 1, contacts=contacts))


def count_preview(workspace: Workspace) -> None:
    """Count a search of the platform for a request before it begins. Raises :class:`LimitError` beyond the limit."""
    most = workspace.config.registry.max_previews_per_day
    with workspace.database.write() as tx:
        counts = requests_today(tx, workspace)
        room = counts.previewed < most
        if room:
            _store(tx, replace(counts, previewed=counts.previewed + 1))
    if not room:
        _refuse(
            workspace,
            f"requests were weighed against the platform {most} times today: go on tomorrow (UTC), or raise "
            "registry.max_previews_per_day",
        )


def _no_room(counts: RequestCounts, workspace: Workspace, contact: str) -> str | None:
    config = workspace.config.registry
    if counts.opened >= config.max_requests_per_day:
        return (
            f"{counts.opened} removal requests were opened today: go on tomorrow (UTC), or raise "
            "registry.max_requests_per_day"
        )
    mine = counts.contacts.get(_name(workspace, contact), 0)
    if mine >= config.max_requests_per_contact:
        return (
            f"this contact opened {mine} removal requests today: go on tomorrow (UTC), or raise "
            "registry.max_requests_per_contact"
        )
    return None


def _refuse(workspace: Workspace, problem: str) -> None:
    with workspace.database.write() as tx:
        counts = requests_today(tx, workspace)
        _store(tx, replace(counts, refused=counts.refused + 1))
    raise LimitError(problem)


def _store(tx: Connection, counts: RequestCounts) -> None:
    set_state(tx, _FACT, json.dumps(asdict(counts), sort_keys=True))


def _name(workspace: Workspace, contact: str) -> str:
    return workspace.sealer.text_mac(f"request contact\0{workspace.now().date()}\0{contact}")[:32]
