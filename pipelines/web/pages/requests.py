"""Removal requests: the list, and each with its clock, what was searched, found, removed and acknowledged."""

from __future__ import annotations

from dataclasses import asdict
from typing import Final

from starlette.responses import Response

from embeddings.errors import StateError
from pipelines.cases.findings import About
from pipelines.cases.requests import (
    Contact,
    RemovalRequest,
    get_request,
    list_requests,
    reveal_contacts,
    standing_of,
)
from pipelines.judging.request_progress import STATES
from pipelines.web.pages.people import searched_of
from pipelines.web.pages.records import read_record
from pipelines.web.routes import EVERY_ROLE, OFFICERS, MissingError, Routes, Visit

ROUTES: Final = Routes()
_LISTED: Final = 200


@ROUTES.route("GET", "/requests", roles=EVERY_ROLE, nav="Requests")
def requests_page(visit: Visit) -> Response:
    """Requests by the time left; finished ones only if the address asks for them."""
    asked = visit.query.get("state", "")
    with visit.workspace.database.read() as connection:
        every = list_requests(connection)
    found = [one for one in every if (one.state == asked if asked in STATES else not one.is_finished)]
    now = visit.workspace.now()
    return visit.page(
        "requests.html.j2",
        requests=[standing_of(one, now=now) for one in found[:_LISTED]],
        count=len(found),
        every=len(every),
        asked=asked,
        states=STATES,
    )


@ROUTES.route("GET", "/requests/{request_id}", roles=EVERY_ROLE)
def request_page(visit: Visit, request_id: str) -> Response:
    """One request: a record that can be printed."""
    return _page(visit, _request(visit, request_id), None)


@ROUTES.route("POST", "/requests/{request_id}/contact", roles=OFFICERS)
def contact(visit: Visit, request_id: str) -> Response:
    """The same with contact and case reference. The look is recorded first."""
    found = _request(visit, request_id)
    return _page(visit, found, reveal_contacts(visit.workspace, [found.request_id], actor=visit.actor))


def _request(visit: Visit, request_id: str) -> RemovalRequest:
    with visit.workspace.database.read() as connection:
        try:
            return get_request(connection, request_id)
        except StateError:
            raise MissingError("no such request") from None


def _page(visit: Visit, request: RemovalRequest, opened: dict[str, Contact] | None) -> Response:
    about = About(subject_id=request.subject_id, request_id=request.request_id, listed_by=request.searched_at)
    searched = searched_of(visit, request.subject_id)
    return visit.page(
        "request.html.j2",
        request=request,
        standing=standing_of(request, now=visit.workspace.now()),
        left={name: count for name, count in asdict(request.open).items() if count} if request.open else {},
        searched=searched,
        record=read_record(visit, about),
        opened=opened is not None,
        contact=(opened or {}).get(request.request_id),
        officer=visit.is_officer,
    )
