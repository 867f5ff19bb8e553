"""How far the people who judge agree, and what they disagree on: for who leads. Nobody is ranked."""

from __future__ import annotations

from datetime import timedelta
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
    with visit.workspace.database.read() as connection:
        figures = read_figures(connection, since=visit.workspace.now() - FIGURES_OF)
        open_ones = read_disagreements(connection)
    own = [one.batch_id for one in open_ones if identity_of(one.decided_by) == identity_of(visit.actor)]
    return visit.page(
        "fairness.html.j2", figures=figures, disagreements=open_ones, own=own, config=visit.workspace.config.review
    )
