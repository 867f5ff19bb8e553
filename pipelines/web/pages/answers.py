"""Answering a case: the first answer, the decision with what it would do, skipping, and undoing."""

from __future__ import annotations

from typing import Final, get_args
from urllib.parse import urlencode

from starlette.responses import JSONResponse, Response

from embeddings.errors import InputError
from pipelines.decisions.decide import Answer, Word
from pipelines.reviewing.answering import answer_case, take_back
from pipelines.reviewing.claims import note_answer, release
from pipelines.web import words
from pipelines.web.access import expected_digest
from pipelines.web.pages.cases import marked_hits, own_claim
from pipelines.web.routes import JUDGES, Routes, Visit

ROUTES: Final = Routes()


@ROUTES.route("POST", "/cases/{case_id}/answer", roles=JUDGES)
def answer(visit: Visit, case_id: str) -> Response:
    """Note the first answer, given without the score, and show what it would do. Decides nothing."""
    claim, word = own_claim(visit, case_id), _word(visit)
    note_answer(visit.workspace, claim, word)
    kept = {name: visit.form[name] for name in ("hit", "reference", "shown", "view") if visit.form.get(name)}
    only = list(marked_hits(visit.form.getlist("only")))
    query = urlencode({**kept, "only": only, "answer": word}, doseq=True)
    return visit.go(f"/cases/{case_id}?{query}")


@ROUTES.route("POST", "/cases/{case_id}/decide", roles=JUDGES)
def decide(visit: Visit, case_id: str) -> Response:
    """Decide the case, if it would do what the page showed, and go to the next."""
    own_claim(visit, case_id)
    note = visit.form.get("note", "").strip() or None
    given = Answer(_word(visit), visit.form.get("reason", ""), visit.actor, note)
    expect = expected_digest(visit)
    claim, summary = answer_case(
        visit.workspace, case_id, given, expect=expect, only=marked_hits(visit.form.getlist("only"))
    )
    visit.desk.queue.forget(claim.key)
    visit.desk.remembered.forget()
    if not visit.wants_json:
        return visit.go("/cases")
    return JSONResponse(
        {
            "words": words.ANSWERS[given.decision],
            "batch": summary.batch_id,
            "hits": summary.hits,
            "takedowns": summary.takedowns,
        }
    )


@ROUTES.route("POST", "/cases/{case_id}/skip", roles=JUDGES)
def skip(visit: Visit, case_id: str) -> Response:
    """Give the case back unanswered: it comes last for this person."""
    own_claim(visit, case_id)
    release(visit.workspace, case_id, actor=visit.actor, outcome="skipped")
    return JSONResponse({"words": "skipped"}) if visit.wants_json else visit.go("/cases")


@ROUTES.route("POST", "/decisions/{batch_id}/undo", roles=JUDGES)
def undo(visit: Visit, batch_id: str) -> Response:
    """Take a decision back, and go to its case if nobody else has it."""
    claim = take_back(visit.workspace, batch_id, actor=visit.actor, anybodys=visit.is_lead)
    visit.something_was_done()
    return visit.go(f"/cases/{claim.case_id}" if claim else "/cases")


def _word(visit: Visit) -> Word:
    word = visit.form.get("word")
    if word not in get_args(Word):
        raise InputError("an answer is confirm, reject or unsure")
    return word  # type: ignore[return-value]
