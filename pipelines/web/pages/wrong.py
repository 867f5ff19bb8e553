""" "This reference is wrong" and "this alias is noise": one action, with what it would do shown first."""

from __future__ import annotations

import re
from typing import Final

from starlette.responses import Response

from embeddings.errors import InputError, StateError
from pipelines.cases.noise import Wrong, behind_hit, change_of
from pipelines.cases.subject_update import preview_update, update_subject
from pipelines.registry.subjects import show_identity
from pipelines.web.access import expected_digest, sees_answers
from pipelines.web.pages.people import subject_of
from pipelines.web.routes import OFFICERS, Routes, Visit

ROUTES: Final = Routes()
_PLACE: Final = re.compile(r"[0-9]{1,9}")
"""Of an alias: no text is so long that reading it as a number is refused, or takes long."""


@ROUTES.route("POST", "/people/{subject_id}/wrong", roles=OFFICERS)
def preview_page(visit: Visit, subject_id: str) -> Response:
    """What taking a reference or an alias away would do now. ``hit``: the one behind it, instead of naming either.

    Who may have yet to judge is not told what was confirmed, nor which verdicts change (``sees_answers``).
    An alias is shown, so the names are opened: a look that is recorded.
    """
    row, wrong = subject_of(visit, subject_id), _named(visit)
    if hit_id := visit.form.get("hit"):
        try:
            wrong = behind_hit(visit.workspace, row.subject_id, hit_id, actor=visit.actor)
        except StateError as error:
            raise InputError(str(error)) from None
    names = _names(visit, row.subject_id, wrong)
    change = change_of(names, wrong)
    shown = preview_update(visit.workspace, row.subject_id, change, actor=visit.actor)
    return visit.page(
        "wrong.html.j2",
        person=row,
        wrong=wrong,
        alias=names[wrong.alias] if wrong.alias else None,
        shown=shown,
        judged=sees_answers(visit),
    )


@ROUTES.route("POST", "/people/{subject_id}/wrong/remove", roles=OFFICERS)
def remove_page(visit: Visit, subject_id: str) -> Response:
    """Take it away, if that does what the page showed."""
    row, wrong = subject_of(visit, subject_id), _named(visit)
    expect = expected_digest(visit)
    change = change_of(_names(visit, row.subject_id, wrong), wrong)
    update_subject(visit.workspace, row.subject_id, change, actor=visit.actor, seen=expect)
    visit.something_was_done()
    return visit.go(f"/people/{row.subject_id}?done=removed")


def _names(visit: Visit, subject_id: str, wrong: Wrong) -> tuple[str, ...]:
    """The person's names where one of them is meant, which is a look; else nothing."""
    return () if wrong.alias is None else show_identity(visit.workspace, subject_id, actor=visit.actor).names


def _named(visit: Visit) -> Wrong:
    alias = visit.form.get("alias", "")
    return Wrong(visit.form.get("reference") or None, int(alias) if _PLACE.fullmatch(alias) else None)
