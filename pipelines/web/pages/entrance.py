"""Coming in and going out: the login and an invitation."""

from __future__ import annotations

import re
from typing import Final

from markupsafe import Markup
from starlette.responses import Response

from embeddings.errors import DeniedError, InputError
from pipelines.accounts.accounts import accept_invitation, invited_by
from pipelines.accounts.factors import as_typed, provisioning_uri
from pipelines.accounts.sessions import end_session, log_in
from pipelines.web import access
from pipelines.web.routes import ANYBODY, EVERY_ROLE, MissingError, Routes, Visit

ROUTES: Final = Routes()
_LOCAL: Final = re.compile(r"/(?:[A-Za-z0-9_~.-]++(?:/[A-Za-z0-9_~.-]++)*+/?)?")
"""Addresses that a login may lead to: ours, and nothing that a browser reads as another host's. What a repeat
has taken it never gives back, so that none takes long to refuse."""
_LONGEST: Final = 200
"""Characters of such an address."""


@ROUTES.route("GET", "/login", roles=ANYBODY)
def login_page(visit: Visit) -> Response:
    """The form of a login."""
    _require_local(visit)
    if visit.user is not None:
        return visit.go("/")
    return visit.page("login.html.j2", next=_next(visit.query.get("next", "/")), name="", problem=None)


@ROUTES.route("POST", "/login", roles=ANYBODY)
def login(visit: Visit) -> Response:
    """Begin a session, or say that something was wrong, and not what."""
    _require_local(visit)
    name = visit.form.get("name", "").strip().lower()
    try:
        token = log_in(visit.workspace, name, password=visit.form.get("password", ""), totp=visit.form.get("code", ""))
    except DeniedError as error:
        again = {"next": _next(visit.form.get("next", "/")), "name": name[:128], "problem": str(error)}
        return visit.page("login.html.j2", status=403, **again)
    response = visit.go(_next(visit.form.get("next", "/")))
    access.set_cookie(response, access.SESSION_COOKIE, token, visit.workspace)
    access.drop_cookie(response, access.PAGE_COOKIE, visit.workspace)
    return response


@ROUTES.route("POST", "/logout", roles=EVERY_ROLE)
def logout(visit: Visit) -> Response:
    """End this session."""
    if visit.who.session_id is not None:
        end_session(visit.workspace, visit.who.session_id, actor=visit.actor)
    response = visit.go("/login")
    access.drop_cookie(response, access.SESSION_COOKIE, visit.workspace)
    return response


@ROUTES.route("GET", "/invitation", roles=ANYBODY)
def invitation_page(visit: Visit) -> Response:
    """Where the code of an invitation is typed."""
    _require_local(visit)
    return visit.page("invitation.html.j2", invited=None, problem=None)


@ROUTES.route("POST", "/invitation", roles=ANYBODY)
def accept(visit: Visit) -> Response:
    """Show an invited person their second factor; then take password and code, and let them in."""
    _require_local(visit)
    code = visit.form.get("invitation", "")
    with visit.workspace.database.read() as connection:
        try:
            invited = invited_by(connection, visit.workspace, code)
        except DeniedError as error:
            return visit.page("invitation.html.j2", status=403, invited=None, problem=str(error))
    problem = None
    if "password" in visit.form:
        try:
            if visit.form["password"] != visit.form.get("again"):
                raise InputError("the two passwords are not the same")
            accept_invitation(visit.workspace, code, password=visit.form["password"], totp=visit.form.get("code", ""))
            return visit.go("/login")
        except (DeniedError, InputError) as error:
            problem = str(error)
    facts = {"name": invited.name, "secret": as_typed(invited.secret), "qr": _qr(invited.secret, invited.name)}
    return visit.page(
        "invitation.html.j2", status=400 if problem else 200, invited=facts, invitation=code, problem=problem
    )


def _qr(secret: bytes, name: str) -> Markup:
    """The QR code of a second factor as SVG, drawn here, loaded from nowhere."""
    import segno

    drawn = segno.make(provisioning_uri(secret, name), error="m")
    return Markup(drawn.svg_inline(scale=4, border=2, svgclass="qr", lineclass=None, omitsize=False))  # noqa: S704


def _next(address: str) -> str:
    known = len(address) <= _LONGEST and _LOCAL.fullmatch(address) and not address.startswith("/login")
    return address if known else "/"


def _require_local(visit: Visit) -> None:
    if visit.workspace.config.review.by_proxy:
        raise MissingError("a proxy says who somebody is")
