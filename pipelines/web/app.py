"""The application: every page behind who may ask for it, errors as pages, and nothing that is not declared.

A request is identified, weighed against the roles of its route and, where it changes something, against forgery; then
its page runs in a thread, because the library below waits for a database and for pixels. An unforeseen error is shown
and logged by its kind and place, never by its message, which may hold what somebody uploaded (I8).
"""

from __future__ import annotations

import logging
import secrets
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import replace
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qsl, quote

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import ImmutableMultiDict
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from embeddings.errors import ConfigError, DeniedError, InputError, ItemError, LikenessError, StateError
from pipelines.home.workspace import Workspace
from pipelines.reviewing.queue import Queue
from pipelines.web import access
from pipelines.web.headers import Guarded
from pipelines.web.pages import ALL_ROUTES
from pipelines.web.render import page_templates
from pipelines.web.routes import Desk, MissingError, Route, Visit
from pipelines.web.uploads import MULTIPART, kind_of, read_upload

LOGGER: Final = logging.getLogger(__name__)
MOST_FORM: Final = 1 << 16
"""Bytes of a form."""
_MOST_FIELDS: Final = 1000
_STATUS: Final[tuple[tuple[type[Exception], int], ...]] = (
    (MissingError, 404),
    (DeniedError, 403),
    (InputError, 400),
    (ItemError, 404),
    (StateError, 409),
    (ConfigError, 503),
    (LikenessError, 503),
)
"""What each kind of error is as an answer; the first that fits."""


def create_app(opener: Callable[[], Workspace]) -> FastAPI:
    """The pages on whatever workspace ``opener`` gives for a request: its settings, its database, its clock."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    routes = tuple(ALL_ROUTES)
    desk = Desk(page_templates(), Queue(), nav=tuple(route for route in routes if route.nav))
    for route in routes:
        app.add_route(route.path, _endpoint(route, desk, opener), methods=[route.method], include_in_schema=False)

    async def not_served(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        return await run_in_threadpool(_refused, desk, opener, request, status)

    app.add_exception_handler(HTTPException, not_served)
    app.add_middleware(Guarded, config=lambda: opener().config.review)
    return app


def _endpoint(route: Route, desk: Desk, opener: Callable[[], Workspace]) -> Callable[[Request], Awaitable[Response]]:
    async def serve(request: Request) -> Response:
        form, file = ImmutableMultiDict[str, str](), None
        try:
            if request.method == "POST" and route.takes_file and kind_of(request) == MULTIPART:
                refused = await run_in_threadpool(_refused_unread, route, desk, opener, request)
                if refused is not None:
                    return refused
                form, file = await read_upload(request)
            elif request.method == "POST":
                form = await _form(request)
        except InputError as error:
            return await run_in_threadpool(_failed, desk, opener, request, error)
        return await run_in_threadpool(_serve, route, desk, opener, request, form, file)

    return serve


async def _form(request: Request) -> ImmutableMultiDict[str, str]:
    """The fields of a form. Raises :class:`InputError` for one that is too large or no form."""
    if kind_of(request) != "application/x-www-form-urlencoded":
        raise InputError("this is no form of these pages")
    data = bytearray()
    async for part in request.stream():
        data += part
        if len(data) > MOST_FORM:
            raise InputError(f"a form has at most {MOST_FORM:,} bytes")
    try:
        fields = parse_qsl(data.decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS, errors="strict")
    except ValueError:
        raise InputError("the form cannot be read") from None
    return ImmutableMultiDict(fields)


def _refused_unread(route: Route, desk: Desk, opener: Callable[[], Workspace], request: Request) -> Response | None:
    """The answer to somebody who may not send this, before their file is taken in; None: they may."""
    try:
        workspace = opener()
        visit = _visit(desk, workspace, request, ImmutableMultiDict())
        if not access.may(visit.user, route):
            return _turned_away(visit)
        access.require_own_origin(request, workspace.config.review)
    except Exception as error:  # noqa: BLE001  as in _serve
        return _failed(desk, opener, request, error)
    return None


def _serve(
    route: Route,
    desk: Desk,
    opener: Callable[[], Workspace],
    request: Request,
    form: ImmutableMultiDict[str, str],
    file: bytes | None = None,
) -> Response:
    try:
        workspace = opener()
        visit = replace(_visit(desk, workspace, request, form), file=file)
        if not access.may(visit.user, route):
            return _turned_away(visit)
        if request.method == "POST":
            given = form.get(access.FORM_FIELD, "")
            access.require_own_form(request, workspace.config.review, given=given, expected=visit.csrf)
        response = route.page(visit, **request.path_params)
        _remember_browser(request, response, workspace)
        return response
    except Exception as error:  # noqa: BLE001  every failure becomes a page, an unforeseen one a logged place
        return _failed(desk, opener, request, error)


def _visit(desk: Desk, workspace: Workspace, request: Request, form: ImmutableMultiDict[str, str]) -> Visit:
    user, token = access.identify(request, workspace)
    return Visit(
        desk=desk,
        workspace=workspace,
        user=user,
        method=request.method,
        path=request.url.path,
        query=ImmutableMultiDict(request.query_params.multi_items()),
        form=form,
        csrf=access.form_secret(token or _browser(request, workspace)),
        wants_json=request.headers.get("accept") == "application/json",
    )


def _browser(request: Request, workspace: Workspace) -> str:
    """The random text of a browser without a session: the one that it brings, or a new one for this request."""
    known = access.cookie_of(request, access.PAGE_COOKIE, workspace.config.review)
    if known is None:
        known = getattr(request.state, "browser", None) or secrets.token_urlsafe(24)
        request.state.browser = known
    return str(known)


def _remember_browser(request: Request, response: Response, workspace: Workspace) -> None:
    fresh = getattr(request.state, "browser", None)
    if fresh is not None and response.media_type == "text/html":
        access.set_cookie(response, access.PAGE_COOKIE, fresh, workspace)


def _turned_away(visit: Visit) -> Response:
    """For somebody who may not: to the entrance if they have not come in and only read."""
    if visit.user is None and visit.method == "GET" and not visit.wants_json:
        return visit.go(f"/login?next={quote(visit.path, safe='/')}")
    status = 401 if visit.user is None else 403
    return _error_page(
        visit, status, "You have to come in first." if status == 401 else "Your roles do not allow this."
    )


def _refused(desk: Desk, opener: Callable[[], Workspace], request: Request, status: int) -> Response:
    try:
        visit = _visit(desk, opener(), request, ImmutableMultiDict())
        return _error_page(visit, status, "There is no such page." if status == 404 else HTTPStatus(status).phrase)
    except Exception as error:  # noqa: BLE001  as in _serve
        return _failed(desk, opener, request, error)


def _failed(desk: Desk, opener: Callable[[], Workspace], request: Request, error: Exception) -> Response:
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
    words = str(error) if status != 500 else "This should not have happened. It is on record where."
    if status == 500:
        where = traceback.extract_tb(error.__traceback__)[-1]
        LOGGER.error("%s in %s line %s", type(error).__name__, where.name, where.lineno)
    if isinstance(error, MissingError):
        words = "It is not there (any more), or not for you."
    try:
        visit = _visit(desk, opener(), request, ImmutableMultiDict())
    except Exception:  # noqa: BLE001  without a workspace there is still an answer
        told = words if status not in (500, 503) else ""  # whoever asks: what is wrong with a home is the operator's
        return Response(f"{HTTPStatus(status).phrase}: {told}", status, media_type="text/plain")
    if status == 503 and visit.user is None:
        words = "These pages are not ready."
    return _error_page(visit, status, words)


def _error_page(visit: Visit, status: int, words: str) -> Response:
    if visit.wants_json:
        return JSONResponse({"error": words}, status_code=status)
    return visit.page("error.html.j2", status=status, phrase=HTTPStatus(status).phrase, problem=words)
