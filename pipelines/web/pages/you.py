"""One's own page: how pictures come, which keys do what, where one is logged in."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from pipelines.accounts.preferences import KEYS, Preferences, write_preferences
from pipelines.accounts.sessions import end_session, list_sessions
from pipelines.reviewing.agreement import read_figures
from pipelines.web.pages.fairness import FIGURES_OF, own_until
from pipelines.web.routes import EVERY_ROLE, Routes, Visit

ROUTES: Final = Routes()


@ROUTES.route("GET", "/you", roles=EVERY_ROLE)
def own_page(visit: Visit) -> Response:
    """What this person prefers, and their sessions."""
    with visit.workspace.database.read() as connection:
        own = list_sessions(connection, visit.who.name) if visit.who.session_id else []
        since = visit.workspace.now() - FIGURES_OF
        judges = visit.judges
        told = own_until(visit)
        figures = read_figures(connection, since=since, until=told, actor=visit.actor) if judges else []
    return visit.page(
        "you.html.j2",
        preferences=visit.preferences,
        sessions=own,
        config=visit.workspace.config.review,
        figures=figures,
    )


@ROUTES.route("POST", "/you", roles=EVERY_ROLE)
def keep_preferences(visit: Visit) -> Response:
    """Keep what this person prefers from now on; ``reset``: the organisation's defaults again."""
    config = visit.workspace.config.review
    saved = visit.preferences.saved
    chosen = Preferences(blur=config.blur, grey=config.grey, saved=saved)
    if "reset" not in visit.form:
        keys = {name: visit.form.get(f"key-{name}", chosen.keys[name]).strip() for name in KEYS}
        switches = {name: visit.form.get(name) == "1" for name in ("blur", "grey", "keys_on")}
        chosen = Preferences(**switches, keys=keys, saved=saved)
    write_preferences(visit.workspace, visit.actor, chosen)
    return visit.go("/you")


@ROUTES.route("POST", "/you/sessions/{session_id}/end", roles=EVERY_ROLE)
def end_own_session(visit: Visit, session_id: str) -> Response:
    """End one of one's own sessions; another person's is left alone."""
    end_session(visit.workspace, session_id, actor=visit.actor)
    return visit.go("/you")
