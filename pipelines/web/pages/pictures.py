"""Pictures of a case, and its sentences by themselves: each a look, on record before it leaves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from markupsafe import escape
from starlette.responses import JSONResponse, Response

from pipelines.decisions.looks import reveal_all
from pipelines.reviewing.case import is_shown, other_pictures
from pipelines.reviewing.checks import check_of
from pipelines.reviewing.masking import masked_passage
from pipelines.reviewing.pictures import NOT_SHOWN, Shown, Veil, show_face, show_other, show_reference, show_whole
from pipelines.text.visible import visible
from pipelines.web.pages.cases import own_claim, veil
from pipelines.web.routes import JUDGES, MissingError, Routes, Visit

ROUTES: Final = Routes()
_LACKING: Final = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 320 320" width="320" height="320">'
    '<rect width="320" height="320" fill="#e8e8e4"/><text x="160" y="156" text-anchor="middle" font-size="15" '
    'font-family="sans-serif" fill="#4a4a46">cannot be shown</text><text x="160" y="180" text-anchor="middle" '
    'font-size="12" font-family="sans-serif" fill="#4a4a46">{}</text></svg>'
)


@ROUTES.route("GET", "/cases/{case_id}/hits/{hit_id}/face", roles=JUDGES)
def face(visit: Visit, case_id: str, hit_id: str) -> Response:
    """The face of a hit with its margin; ``small`` for the grid, ``ahead`` for a case that is not shown yet."""
    _require_shown(visit, case_id, hit_id)
    how, ahead, small = veil_asked(visit), visit.query.get("ahead") == "1", visit.query.get("small") == "1"
    return picture_of(lambda: show_face(visit.workspace, hit_id, actor=visit.actor, veil=how, ahead=ahead, small=small))


@ROUTES.route("GET", "/cases/{case_id}/hits/{hit_id}/whole", roles=JUDGES)
def whole(visit: Visit, case_id: str, hit_id: str) -> Response:
    """The whole picture with the face framed, as the source gives it now."""
    _require_shown(visit, case_id, hit_id)
    return picture_of(lambda: show_whole(visit.workspace, hit_id, actor=visit.actor, veil=veil_asked(visit)))


@ROUTES.route("GET", "/cases/{case_id}/references/{reference_id}", roles=JUDGES)
def reference(visit: Visit, case_id: str, reference_id: str) -> Response:
    """A reference of the case's person."""
    subject_id, how = own_claim(visit, case_id).key.subject_id, veil(visit, revealed=True)
    ahead = visit.query.get("ahead") == "1"
    return picture_of(
        lambda: show_reference(visit.workspace, subject_id, reference_id, actor=visit.actor, veil=how, ahead=ahead)
    )


@ROUTES.route("GET", "/cases/{case_id}/others/{handle}", roles=JUDGES)
def other(visit: Visit, case_id: str, handle: str) -> Response:
    """A picture of the same model that no hit of the case is in."""
    claim = own_claim(visit, case_id)
    with visit.workspace.database.read() as connection:
        found = other_pictures(connection, claim.key, check_of(connection, claim))
    known = {one.handle: one.item_id for one in found}
    if handle not in known:
        raise MissingError("no such picture")
    return picture_of(
        lambda: show_other(visit.workspace, claim.key, known[handle], actor=visit.actor, veil=veil_asked(visit))
    )


@ROUTES.route("GET", "/cases/{case_id}/hits/{hit_id}/sentence", roles=JUDGES)
def sentence(visit: Visit, case_id: str, hit_id: str) -> Response:
    """The sentence that a name stands in, for a script: before, term and after."""
    _require_shown(visit, case_id, hit_id)
    clear = visit.query.get("shown") == "clear"
    opened = reveal_all(visit.workspace, [hit_id], actor=visit.actor, shown="clear" if clear else "masked")
    found = opened.get(hit_id)
    if found is None or found.passage is None:
        raise MissingError("no sentence")
    passage = found.passage if clear else masked_passage(found.passage)
    return JSONResponse([visible(part) for part in (passage.before, passage.term, passage.after)])


def _require_shown(visit: Visit, case_id: str, hit_id: str) -> None:
    """Raise :class:`MissingError` unless a hit is one of those that the person's own case shows."""
    claim = own_claim(visit, case_id)
    with visit.workspace.database.read() as connection:
        shown = is_shown(connection, claim.key, check_of(connection, claim), hit_id)
    if not shown:
        raise MissingError("no such hit in this case")


def veil_asked(visit: Visit) -> Veil:
    """How the address asks for a picture; by itself as the person prefers."""
    asked = visit.query.get("shown")
    if asked == "blurred":
        return "blurred"
    return veil(visit, revealed=asked in ("clear", "grey") or not visit.preferences.blur)


def picture_of(show: Callable[[], Shown]) -> Response:
    """A picture as an answer; one that says why where there is nothing to show."""
    try:
        return Response(show().jpeg, media_type="image/jpeg")
    except NOT_SHOWN as error:
        words = str(escape(visible(str(error))[:80]))
        return Response(_LACKING.format(words), media_type="image/svg+xml")
