"""Who is this, by a picture that is looked at and not kept; and what pictures show, by a text."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from embeddings.errors import ConfigError, InputError, UnscannableError, WeightsError
from pipelines.exploring.recognising import recognise
from pipelines.scan.search import search_text
from pipelines.web.pages.explore import tabs
from pipelines.web.routes import JUDGES, OFFICERS, Routes, Visit

ROUTES: Final = Routes()
_MOST_FOUND: Final = 50
_MOST_TEXT: Final = 500


@ROUTES.route("GET", "/explore/picture", roles=OFFICERS)
def picture_page(visit: Visit) -> Response:
    """The form for a picture."""
    return visit.page("picture.html.j2", found=None, problem=None, tabs=tabs(visit))


@ROUTES.route("POST", "/explore/picture", roles=OFFICERS, takes_file=True)
def who_is_this(visit: Visit) -> Response:
    """Look at a picture, and forget it."""
    if not visit.file:
        raise InputError("choose a picture first")
    try:
        found = recognise(visit.workspace, visit.file, actor=visit.actor)
    except UnscannableError as error:
        problem = f"This cannot be looked at: {error.reason.replace('_', ' ')}."
        return visit.page("picture.html.j2", status=400, found=None, problem=problem, tabs=tabs(visit))
    return visit.page("picture.html.j2", found=found, problem=None, tabs=tabs(visit))


@ROUTES.route("GET", "/explore/text", roles=JUDGES)
def text_page(visit: Visit) -> Response:
    """The form for a text. What is searched for is in no address, because it may be a name."""
    return visit.page("text_search.html.j2", found=None, problem=None, tabs=tabs(visit))


@ROUTES.route("POST", "/explore/text", roles=JUDGES)
def search_by_text(visit: Visit) -> Response:
    """Live items whose pictures are nearest to a text."""
    text, found, problem = visit.form.get("text", "").strip(), None, None
    if not 1 <= len(text) <= _MOST_TEXT:
        raise InputError(f"a text to search by has 1 to {_MOST_TEXT} characters")
    try:
        found = search_text(visit.workspace, text, limit=_MOST_FOUND, actor=visit.actor)
    except (WeightsError, ConfigError) as error:
        problem = str(error)
    return visit.page("text_search.html.j2", found=found, problem=problem, tabs=tabs(visit))
