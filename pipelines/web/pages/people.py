"""People who opted out: the list by opaque ids, and each with references, names, requests and what was found."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from typing import Final

from starlette.responses import Response

from pipelines.cases.contributions import NamesOpened, names_bring, references_bring
from pipelines.cases.findings import About
from pipelines.cases.requests import list_requests, standing_of
from pipelines.database.in_force import ACTIVE, EXPIRED
from pipelines.registry.renewal import RENEWED, renew
from pipelines.registry.subjects import SubjectRow, list_subjects
from pipelines.reviewing.pictures import show_reference
from pipelines.runs.searched import Searched, searched_for
from pipelines.runs.today import people_waiting
from pipelines.web.access import day_of, sees_answers
from pipelines.web.pages.cases import cases_of, veil
from pipelines.web.pages.pictures import picture_of
from pipelines.web.pages.records import read_record
from pipelines.web.record_words import DONE
from pipelines.web.routes import EVERY_ROLE, OFFICERS, MissingError, Routes, Visit

ROUTES: Final = Routes()
_LISTED: Final = 200
_STATES: Final = ("active", "pending", "expired", "withdrawn", "rejected", "erased")


@ROUTES.route("GET", "/people", roles=EVERY_ROLE, nav="People")
def people_page(visit: Visit) -> Response:
    """Everybody in the registry by opaque id; who has waiting cases first, then whose opt-out ends first."""
    asked = visit.query.get("state", "active")
    with visit.workspace.database.read() as connection:
        every = list_subjects(connection)
    waiting = {one.subject_id: one for one in people_waiting(cases_of(visit))}
    found = [row for row in every if asked not in _STATES or row.state == asked]
    found.sort(key=lambda row: (row.subject_id not in waiting, row.expires_at, row.subject_id))
    return visit.page(
        "people.html.j2", people=found[:_LISTED], count=len(found), waiting=waiting, asked=asked, states=_STATES
    )


@ROUTES.route("GET", "/people/{subject_id}", roles=EVERY_ROLE)
def person_page(visit: Visit, subject_id: str) -> Response:
    """One person without name or face: a record that can be printed. ``references=shown``: with their photographs."""
    return _page(visit, subject_of(visit, subject_id), None)


@ROUTES.route("POST", "/people/{subject_id}/names", roles=OFFICERS)
def names(visit: Visit, subject_id: str) -> Response:
    """The same with names, consent and case, and what each name brings. The look is recorded first."""
    row = subject_of(visit, subject_id)
    return _page(visit, row, names_bring(visit.workspace, row.subject_id, actor=visit.actor))


@ROUTES.route("GET", "/people/{subject_id}/references/{reference_id}", roles=OFFICERS)
def reference(visit: Visit, subject_id: str, reference_id: str) -> Response:
    """A reference of this person, cropped as it was enrolled. The look is recorded first."""
    row, how = subject_of(visit, subject_id), veil(visit, revealed=True)
    return picture_of(
        lambda: show_reference(visit.workspace, row.subject_id, reference_id, actor=visit.actor, veil=how)
    )


@ROUTES.route("POST", "/people/{subject_id}/renew", roles=OFFICERS)
def renew_page(visit: Visit, subject_id: str) -> Response:
    """Let an opt-out go on until the end of a day."""
    row = subject_of(visit, subject_id)
    ends = datetime.combine(day_of(visit.form.get("until", "")), time(), UTC) + timedelta(days=1)
    consent = visit.form.get("consent", "").strip() or None
    renew(visit.workspace, row.subject_id, expires_at=ends, actor=visit.actor, consent=consent)
    visit.something_was_done()
    return visit.go(f"/people/{row.subject_id}")


def searched_of(visit: Visit, subject_id: str) -> Searched:
    """How far a person has been searched for, as it was some seconds ago."""

    def read() -> Searched:
        with visit.workspace.database.read() as connection:
            return searched_for(connection, visit.workspace, subject_id)

    return visit.desk.remembered.read(visit.workspace, f"searched {subject_id}", read)


def subject_of(visit: Visit, subject_id: str) -> SubjectRow:
    """The person of this id. Raises :class:`MissingError`."""
    with visit.workspace.database.read() as connection:
        found = list_subjects(connection, subject_id=subject_id)
    if not found:
        raise MissingError("no such person")
    return found[0]


def _page(visit: Visit, row: SubjectRow, opened: NamesOpened | None) -> Response:
    officer, now = visit.is_officer, visit.workspace.now()
    with visit.workspace.database.read() as connection:
        asked = [standing_of(one, now=now) for one in list_requests(connection, subject_id=row.subject_id)]
        references = references_bring(connection, visit.workspace, row.subject_id)
    searched = searched_of(visit, row.subject_id)
    if not sees_answers(visit):
        references = [replace(one, brought=one.brought.without_answers) for one in references]
        opened = _without_answers(opened) if opened else None
    cases = (case for case in cases_of(visit) if case.key.subject_id == row.subject_id)
    return visit.page(
        "person.html.j2",
        person=row,
        requests=asked,
        references=references,
        searched=searched,
        waiting=next(iter(people_waiting(cases)), None),
        record=read_record(visit, About(subject_id=row.subject_id)),
        opened=opened,
        officer=officer,
        pictures=officer and visit.query.get("references") == "shown",
        renewable=officer and row.state in RENEWED,
        changeable=officer and row.state in (ACTIVE, EXPIRED),
        judges=visit.judges,
        done=DONE.get(visit.query.get("done", "")),
    )


def _without_answers(opened: NamesOpened) -> NamesOpened:
    names = tuple(replace(one, brought=one.brought.without_answers) for one in opened.names)
    return replace(opened, names=names, unexplained=opened.unexplained.without_answers)
