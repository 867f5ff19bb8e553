"""What a page is: a function of a :class:`Visit`, declared with its method, path and roles in one place.

    ROUTES = Routes()

    @ROUTES.route("GET", "/cases/{case_id}", roles=JUDGES)
    def case_page(visit: Visit, case_id: str) -> Response: ...

There is no other way to add a route, so a test can list who may ask for what, and fails on a route that it does not
know. A function gets text from outside in ``visit.query`` and ``visit.form`` alone, and answers with
``visit.page(template, **facts)``, ``visit.go(address)`` or a response of its own. Errors of :mod:`embeddings.errors`
become pages in :mod:`pipelines.web.app`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, Literal, Protocol

from starlette.datastructures import ImmutableMultiDict
from starlette.responses import HTMLResponse, RedirectResponse, Response

from pipelines.accounts.preferences import Preferences, read_preferences
from pipelines.accounts.roles import ANSWERING_FOR_PEOPLE, JUDGING, ROLES, Role
from pipelines.exploring.thresholds import ScoresKept
from pipelines.home.workspace import Workspace
from pipelines.reviewing.queue import Queue
from pipelines.web.remembered import Remembered

Method = Literal["GET", "POST"]
Page = Callable[..., Response]
"""(visit, **path parameters) -> response. Runs in a thread of its own."""

ANYBODY: Final = frozenset[Role | None]({None, *ROLES})
"""Also whoever has not come in."""
EVERY_ROLE: Final = frozenset[Role | None](ROLES)
JUDGES: Final = frozenset[Role | None](JUDGING)
READERS: Final = frozenset[Role | None]({"viewer", *JUDGING})
LEADS: Final = frozenset[Role | None]({"lead"})
OFFICERS: Final = frozenset[Role | None](ANSWERING_FOR_PEOPLE)
AUDITORS: Final = frozenset[Role | None]({"auditor"})


class MissingError(Exception):
    """What was asked for is not there, or not for this person: they learn no more than that."""


@dataclass(frozen=True, slots=True)
class User:
    """Who asks. ``actor``: as decisions and the audit chain have it; ``session_id`` None: a proxy vouches for them."""

    name: str
    actor: str
    roles: frozenset[Role]
    session_id: str | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one path. ``nav``: its name in the navigation, if it is there; ``takes_file``: a form may bring a
    file, which is in memory alone."""

    method: Method
    path: str
    roles: frozenset[Role | None]
    page: Page
    nav: str | None = None
    takes_file: bool = False


class Routes:
    """The routes of one subject."""

    def __init__(self) -> None:
        self._routes: list[Route] = []

    def route(
        self,
        method: Method,
        path: str,
        *,
        roles: frozenset[Role | None],
        nav: str | None = None,
        takes_file: bool = False,
    ) -> Callable[[Page], Page]:
        """Declare a page."""

        def declare(page: Page) -> Page:
            self._routes.append(Route(method, path, roles, page, nav, takes_file))
            return page

        return declare

    def __iter__(self) -> Iterator[Route]:
        return iter(self._routes)


class Renderer(Protocol):
    """What makes a page of a template."""

    def render(self, template: str, visit: Visit, facts: dict[str, Any]) -> str:
        """The whole page as text."""


@dataclass(frozen=True, slots=True)
class Desk:
    """What all visits share: how pages are made, the order of cases, the scores that thresholds are weighed by, and
    what is ``remembered`` for some seconds because it takes long to read."""

    renderer: Renderer
    queue: Queue
    nav: tuple[Route, ...]
    scores: ScoresKept = field(default_factory=ScoresKept)
    remembered: Remembered = field(default_factory=Remembered)


@dataclass(frozen=True)
class Visit:
    """One request, once it is known who asks and that they may.

    ``csrf``: what every form of this person has to bring back. ``query`` and ``form`` are from outside: text, any
    number of each; ``file``: bytes of the one file that a form brought, on routes that take one.
    """

    desk: Desk
    workspace: Workspace
    user: User | None
    method: str
    path: str
    query: ImmutableMultiDict[str, str]
    form: ImmutableMultiDict[str, str]
    csrf: str
    wants_json: bool = False
    file: bytes | None = field(default=None, repr=False)

    @property
    def actor(self) -> str:
        """Who asks, for whatever is done in their name."""
        return self.who.actor

    @property
    def who(self) -> User:
        """Who asks, on routes that are not for anybody."""
        if self.user is None:
            raise MissingError("nobody has come in")
        return self.user

    def something_was_done(self) -> None:
        """Have what waits read anew."""
        self.desk.remembered.forget()
        self.desk.queue.cases(self.workspace, fresh=True)

    def has(self, *roles: Role) -> bool:
        """Whether the person has any of these roles."""
        return self.user is not None and bool(self.user.roles & set(roles))

    @property
    def judges(self) -> bool:
        """Whether the person judges cases."""
        return self.has(*JUDGING)

    @property
    def is_lead(self) -> bool:
        """Whether the person is a lead."""
        return self.has("lead")

    @property
    def is_officer(self) -> bool:
        """Whether the person may see who somebody is."""
        return self.has(*ANSWERING_FOR_PEOPLE)

    @cached_property
    def preferences(self) -> Preferences:
        """How the person likes the pages."""
        config = self.workspace.config.review
        if self.user is None:
            return Preferences(blur=config.blur, grey=config.grey, keys_on=False)
        with self.workspace.database.read() as connection:
            return read_preferences(connection, self.user.actor, config)

    def page(self, template: str, *, status: int = 200, **facts: Any) -> Response:
        """A page of a template."""
        return HTMLResponse(self.desk.renderer.render(template, self, facts), status_code=status)

    def go(self, address: str) -> Response:
        """Send the browser to another page of ours, after something was done."""
        return RedirectResponse(address, status_code=303)
