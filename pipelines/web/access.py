"""Who asks, whether they may, and whether the request is one that they made: before any page is called.

Somebody is known by a session that a login began, or by the headers of a proxy, which are believed from the listed
addresses alone. What changes anything is a POST with the form's secret, from a page of our own (``Origin``).
"""

from __future__ import annotations

import hashlib
import secrets
from datetime import date
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from embeddings.errors import DeniedError, InputError
from pipelines.accounts.accounts import require_name
from pipelines.accounts.roles import known_roles
from pipelines.accounts.sessions import session_of
from pipelines.home.actors import on_pages
from pipelines.home.workspace import Workspace
from pipelines.reviewing.claims import CaseClaim
from pipelines.settings.config_review import ReviewConfig
from pipelines.text.shown import DIGITS
from pipelines.web.routes import Route, User, Visit

SESSION_COOKIE: Final = "likeness_session"
PAGE_COOKIE: Final = "likeness_page"
"""A random text by which forms are bound to a browser that has no session."""
FORM_FIELD: Final = "csrf"
FIRST_YEAR: Final = 1970
LAST_YEAR: Final = 2999
"""Of days from outside: years near 1 and 9999 overflow in other time zones."""
OWN_HOSTS: Final = ("localhost", "127.0.0.1", "[::1]")


def identify(request: Request, workspace: Workspace) -> tuple[User | None, str | None]:
    """Who asks, and the token of their session. (None, None): nobody who is known.

    Raises :class:`DeniedError` for a request that has to come through a proxy and does not.
    """
    config = workspace.config.review
    if config.by_proxy:
        return _vouched_for(request, config), None
    token = cookie_of(request, SESSION_COOKIE, config)
    session = session_of(workspace, token) if token else None
    if session is None:
        return None, None
    return User(session.account, session.actor, session.roles, session.session_id), token


def form_secret(known: str) -> str:
    """What the forms of this browser have to bring back. ``known``: the token of its session, or its page cookie."""
    return hashlib.sha256(f"form:{known}".encode()).hexdigest()


def may(user: User | None, route: Route) -> bool:
    """Whether this person may ask for the route at all; what it shows of which object, the page decides."""
    if None in route.roles:
        return True
    return user is not None and bool(user.roles & route.roles)


def require_own_form(request: Request, config: ReviewConfig, *, given: str, expected: str) -> None:
    """Raise :class:`DeniedError` unless the request comes from a form of ours that this browser was given."""
    require_own_origin(request, config)
    if not secrets.compare_digest(given.encode("utf-8", "replace"), expected.encode()):
        raise DeniedError("the form is not from this session: go back, load the page again, and repeat it")


def require_own_origin(request: Request, config: ReviewConfig) -> None:
    """Raise :class:`DeniedError` unless a browser says that the request comes from a page of ours."""
    own = f"{'https' if config.https else 'http'}://{request.headers.get('host', '')}"
    if request.headers.get("origin") != own:
        raise DeniedError("the request does not come from these pages")


def expected_digest(visit: Visit) -> str:
    """The digest of what a page showed, which its form brings back. Raises :class:`InputError` where it does not."""
    expect = visit.form.get("expect", "")
    if len(expect) != DIGITS:
        raise InputError("the form does not say what the page showed")
    return expect


def day_of(text: str) -> date:
    """A day from outside. Raises :class:`InputError` for a text that is none, or one at the edge of the calendar."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise InputError("a day is written as 2026-11-21") from None
    if not FIRST_YEAR <= day.year <= LAST_YEAR:
        raise InputError(f"a day lies in the years {FIRST_YEAR} to {LAST_YEAR}")
    return day


def cookie_of(request: Request, name: str, config: ReviewConfig) -> str | None:
    """Return the value of a cookie that these pages set, if the browser brings it."""
    return request.cookies.get(_cookie_name(name, config))


def set_cookie(response: Response, name: str, value: str, workspace: Workspace) -> None:
    """Set a cookie that no script reads and no other site sends; until the browser is closed."""
    config = workspace.config.review
    own = _cookie_name(name, config)
    response.set_cookie(own, value, httponly=True, samesite="strict", secure=config.https, path="/")


def drop_cookie(response: Response, name: str, workspace: Workspace) -> None:
    """Have the browser forget a cookie."""
    config = workspace.config.review
    own = _cookie_name(name, config)
    response.delete_cookie(own, httponly=True, samesite="strict", secure=config.https, path="/")


def _cookie_name(name: str, config: ReviewConfig) -> str:
    """Return the name under https that browsers take from this very host alone, so that no neighbour plants one."""
    return f"__Host-{name}" if config.https else name


def is_known_host(host: str, config: ReviewConfig) -> bool:
    """Whether a ``Host`` header names these pages. Another name may be one that somebody pointed at this machine."""
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() and not host.endswith("]") else host
    return name.lower() in (*OWN_HOSTS, *(own.lower() for own in config.hosts))


def _vouched_for(request: Request, config: ReviewConfig) -> User:
    address = request.client.host if request.client else ""
    if address not in config.proxy_addresses:
        raise DeniedError("these pages are reached through the proxy alone")
    names = request.headers.getlist(config.account_header)
    listed = request.headers.getlist(config.roles_header)
    if len(names) != 1 or len(listed) > 1:
        raise DeniedError("the proxy does not say who asks")
    try:
        if not names[0].isascii():  # lower case makes two names one beyond ASCII
            raise InputError("not ASCII")
        name = require_name(names[0].strip().lower())
    except InputError:
        raise DeniedError("the proxy names an account that cannot be one") from None
    words = "".join(listed).replace(",", " ").split()
    return User(name, on_pages(name), known_roles(words))


def sees_scores(visit: Visit, claim: CaseClaim) -> bool:
    """Tell whether the page of a case may show scores: after the first answer, or always where the settings say so."""
    return claim.first_answer is not None or not visit.workspace.config.review.hide_scores


def sees_lists_of_scores(visit: Visit) -> bool:
    """Tell whether lists may show scores, verdicts and decisions: to leads and auditors, or to everybody where the
    settings hide no scores."""
    return visit.has("lead", "auditor") or not visit.workspace.config.review.hide_scores


def sees_answers(visit: Visit) -> bool:
    """Tell whether records may show verdicts, rules and decisions: where lists may, and to registry officers who judge
    nothing themselves."""
    return sees_lists_of_scores(visit) or (visit.has("registry_officer") and not visit.has("reviewer"))
