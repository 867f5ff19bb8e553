"""What lies on the platform: an uploader, and a model (or bounty, or single item), each with its record.

Their ids are the platform's and may hold any character, so they stand in the query of an address.
"""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from pipelines.cases.findings import About, is_known, item_counts
from pipelines.hits.verdicts import list_model_verdicts
from pipelines.web.access import sees_answers
from pipelines.web.pages.records import read_record
from pipelines.web.routes import EVERY_ROLE, MissingError, Routes, Visit

ROUTES: Final = Routes()


@ROUTES.route("GET", "/uploaders", roles=EVERY_ROLE)
def uploader_page(visit: Visit) -> Response:
    """Whom an uploader's items link to, and what became of them."""
    wanted = visit.query.get("id", "")
    return _page(visit, "uploader", wanted, About(uploader=wanted) if wanted else None)


@ROUTES.route("GET", "/models", roles=EVERY_ROLE)
def model_page(visit: Visit) -> Response:
    """What a model and its pictures show of whom, and what became of it."""
    wanted = visit.query.get("id", "")
    return _page(visit, "model", wanted, About(model=wanted) if wanted else None)


def _page(visit: Visit, kind: str, wanted: str, about: About | None) -> Response:
    if about is None:
        raise MissingError("nothing is asked for")
    with visit.workspace.database.read() as connection:
        if not is_known(connection, about):
            raise MissingError("nothing of this id")
        counts = item_counts(connection, about)
        told = kind == "model" and sees_answers(visit)
        verdicts = list_model_verdicts(connection, model=wanted) if told else []
    return visit.page(
        "platform.html.j2", kind=kind, wanted=wanted, items=counts, verdicts=verdicts, record=read_record(visit, about)
    )
