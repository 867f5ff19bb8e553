"""The threshold explorer: what another review threshold would change. It changes nothing by itself."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from embeddings.errors import InputError
from pipelines.exploring.thresholds import weigh_threshold
from pipelines.web.histogram import draw_histogram
from pipelines.web.pages.explore import tabs
from pipelines.web.routes import AUDITORS, LEADS, Routes, Visit

ROUTES: Final = Routes()


@ROUTES.route("GET", "/explore/thresholds", roles=LEADS | AUDITORS)
def thresholds_page(visit: Visit) -> Response:
    """Stored scores by what people said of them, and what the threshold in the address would change."""
    in_force = visit.workspace.thresholds
    threshold = _threshold(visit.query.get("review", ""), in_force.review)
    stored = visit.desk.scores.read(visit.workspace)
    effect = weigh_threshold(visit.workspace, stored, threshold)
    return visit.page(
        "thresholds.html.j2",
        effect=effect,
        stored=stored,
        chart=draw_histogram(stored.histogram()),
        strong=max(in_force.strong, threshold),
        pack=visit.workspace.pack_name,
        tabs=tabs(visit),
    )


def _threshold(text: str, otherwise: float) -> float:
    if not text.strip():
        return otherwise
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 < value < 1.0:
        raise InputError("a threshold is a number between 0 and 1, such as 0.42")
    return round(value, 4)
