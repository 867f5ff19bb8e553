"""Notes on a case, and passing it on: to leads, to one person, back to everybody."""

from __future__ import annotations

from typing import Final

from starlette.responses import JSONResponse, Response

from pipelines.reviewing.passing_on import assign, comment, escalate, hand_back
from pipelines.web.pages.cases import key_of, own_claim
from pipelines.web.routes import JUDGES, LEADS, MissingError, Routes, Visit

ROUTES: Final = Routes()


@ROUTES.route("POST", "/cases/{case_id}/comment", roles=JUDGES)
def comment_page(visit: Visit, case_id: str) -> Response:
    """Keep a note for colleagues."""
    comment(visit.workspace, own_claim(visit, case_id).key, _text(visit) or "", actor=visit.actor)
    return visit.go(f"/cases/{case_id}")


@ROUTES.route("POST", "/cases/{case_id}/escalate", roles=JUDGES)
def escalate_page(visit: Visit, case_id: str) -> Response:
    """Ask a lead to decide the case; it is no longer this person's."""
    escalate(visit.workspace, own_claim(visit, case_id).key, _text(visit) or "", actor=visit.actor)
    return _done(visit, "passed on to a lead")


@ROUTES.route("POST", "/cases/{case_id}/assign", roles=LEADS)
def assign_page(visit: Visit, case_id: str) -> Response:
    """Give the case to one person."""
    account = visit.form.get("account", "").strip()
    assign(visit.workspace, own_claim(visit, case_id).key, account, _text(visit), actor=visit.actor)
    return _done(visit, "given to one person")


@ROUTES.route("POST", "/cases/{case_id}/hand-back", roles=LEADS)
def hand_back_page(visit: Visit, case_id: str) -> Response:
    """Let everybody have the case again. Nobody needs to have claimed it: who asked a lead may take that back."""
    try:
        key = own_claim(visit, case_id).key
    except MissingError:
        key = key_of(visit, case_id)
    hand_back(visit.workspace, key, actor=visit.actor)
    return _done(visit, "back to everybody")


def _text(visit: Visit) -> str | None:
    return visit.form.get("text", "").strip() or None


def _done(visit: Visit, words: str) -> Response:
    return JSONResponse({"words": words}) if visit.wants_json else visit.go("/cases")
