"""How far the people who judge agree, and what they disagree on: for who leads. Nobody is ranked."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from starlette.responses import Response

from pipelines.home.actors import identity_of
from pipelines.reviewing.agreement import read_disagreements, read_figures
from pipelines.web.routes import LEADS, Routes, Visit

ROUTES: Final = Routes()
FIGURES_OF: Final = timedelta(days=90)
"""How far back the figures reach."""


@ROUTES.route("GET", "/fairness", roles=LEADS, nav="Fairness")
def fairness_page(visit: Visit) -> Response:
    """Everybody's figures by name, and decisions that somebody who saw the case again would have made otherwise."""
    now, told = visit.workspace.now(), own_until(visit)
    with visit.workspace.database.read() as connection:
        figures = read_figures(connection, since=now - FIGURES_OF, until=now, earlier={visit.actor: told})
        known = read_disagreements(connection)
    shown = [one for one in known if one.answered_by != visit.actor or one.answered_at <= told]
    own = [one.batch_id for one in shown if identity_of(one.decided_by) == identity_of(visit.actor)]
    return visit.page(
        "fairness.html.j2",
        figures=figures,
        disagreements=shown,
        own=own,
        config=visit.workspace.config.review,
    )


def own_until(visit: Visit) -> datetime:
    """Until when somebody is told how their own answers agree: a while ago, or they would learn which case it was."""
    return visit.workspace.now() - timedelta(days=visit.workspace.config.review.settled_days)
