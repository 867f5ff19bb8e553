"""The first page: what needs a person, each thing with its count, its age and one act."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from pipelines.reviewing.claims import open_claims
from pipelines.runs.days import approve_day
from pipelines.runs.today import MissingCoverage, read_missing, read_today
from pipelines.web.access import day_of, expected_digest
from pipelines.web.nights_chart import draw_nights
from pipelines.web.pages.cases import cases_of
from pipelines.web.record_words import DONE
from pipelines.web.routes import EVERY_ROLE, LEADS, Routes, Visit

ROUTES: Final = Routes()


@ROUTES.route("GET", "/", roles=EVERY_ROLE, nav="Today")
def today_page(visit: Visit) -> Response:
    """What waits, the most pressing first, and the nights."""
    missing = visit.desk.remembered.read(visit.workspace, "missing coverage", lambda: _missing(visit))
    found = read_today(visit.workspace, cases_of(visit), missing=missing)
    with visit.workspace.database.read() as connection:
        claimed = {claim.case_id: claim for claim in open_claims(connection, now=visit.workspace.now())}
    return visit.page(
        "today.html.j2",
        today=found,
        charts=draw_nights(found.nights),
        dagster=visit.workspace.config.dagster,
        done=DONE.get(visit.query.get("done", "")),
        claimed=claimed,
        judges=visit.judges,
        leads=visit.is_lead,
    )


def _missing(visit: Visit) -> list[MissingCoverage]:
    with visit.workspace.database.read() as connection:
        return read_missing(connection, visit.workspace)


@ROUTES.route("POST", "/days/{day}/approve", roles=LEADS)
def approve(visit: Visit, day: str) -> Response:
    """Let a blocked day go on, with the figures that the page showed and no worse ones."""
    expect = expected_digest(visit)
    approve_day(visit.workspace, day_of(day), reason=visit.form.get("reason", ""), actor=visit.actor, expect=expect)
    visit.something_was_done()
    return visit.go("/?done=approved")
