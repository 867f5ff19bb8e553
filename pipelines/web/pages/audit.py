"""The audit chain: who did what, and whether it is whole."""

from __future__ import annotations

from datetime import date
from typing import Final

from starlette.responses import Response

from embeddings.errors import CorruptionError
from pipelines.home import audit
from pipelines.home.audit_export import list_audit
from pipelines.web.access import day_of
from pipelines.web.routes import AUDITORS, LEADS, Routes, Visit

ROUTES: Final = Routes()
_AT_ONCE: Final = 200
_FILTERS: Final = ("since", "until", "actor", "action", "subject")


@ROUTES.route("GET", "/audit", roles=AUDITORS | LEADS, nav="Audit")
def audit_page(visit: Visit) -> Response:
    """Rows of the chain, the newest first, by what the address asks for."""
    return _page(visit, None)


@ROUTES.route("POST", "/audit/verify", roles=AUDITORS | LEADS)
def verify_chain(visit: Visit) -> Response:
    """Check every MAC from the first row to the end, and say what holds."""
    try:
        with visit.workspace.database.read() as connection:
            rows = audit.verify(connection, visit.workspace.sealer)
        return _page(visit, (True, f"{rows:,} rows in an unbroken chain, whose end is the one on record."))
    except CorruptionError as error:
        return _page(visit, (False, str(error)))


def _page(visit: Visit, verified: tuple[bool, str] | None) -> Response:
    asked = {name: visit.query.get(name, "").strip() for name in _FILTERS}
    with visit.workspace.database.read() as connection:
        found = list_audit(
            connection,
            since=_day(asked["since"]),
            until=_day(asked["until"]),
            actor=asked["actor"] or None,
            action=asked["action"] or None,
            subject_id=asked["subject"] or None,
            limit=_AT_ONCE + 1,
        )
    return visit.page(
        "audit.html.j2", rows=found[:_AT_ONCE], more=len(found) > _AT_ONCE, asked=asked, verified=verified
    )


def _day(text: str) -> date | None:
    return day_of(text) if text else None
