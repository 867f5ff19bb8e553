"""The queue, and one case: what waits, whose it is, and everything that is shown of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, get_args

from starlette.responses import Response

from embeddings.errors import InputError, StateError
from pipelines.decisions.decide import REASONS, Answer, Word
from pipelines.decisions.log import word_of_batch
from pipelines.decisions.looks import reveal_all
from pipelines.evidence.passages import Passage
from pipelines.reviewing.answering import Foreseen, first_reason, foresee
from pipelines.reviewing.case import CaseFacts, CaseHit, HitScore, read_case, read_scores
from pipelines.reviewing.checks import Check, check_of
from pipelines.reviewing.claims import (
    CaseClaim,
    judged_since,
    last_decided,
    note_look,
    open_claim,
    open_claims,
)
from pipelines.reviewing.masking import masked_passage
from pipelines.reviewing.next_case import claim_next
from pipelines.reviewing.notes import CaseNote, notes_on, open_notes, passed_on
from pipelines.reviewing.passing_on import judges
from pipelines.reviewing.pictures import Veil
from pipelines.reviewing.queue import CaseKey, PassedOn, WaitingCase
from pipelines.reviewing.shown import cases_shown, claim_shown
from pipelines.reviewing.strength import Strength, measure_strength
from pipelines.web import words
from pipelines.web.access import sees_scores
from pipelines.web.addresses import Address, address_of
from pipelines.web.routes import JUDGES, READERS, MissingError, Routes, Visit

ROUTES: Final = Routes()
_NEXT_SHOWN: Final = 6
_LISTED: Final = 200
_SENTENCES: Final = 12
"""Of a case, opened at once: each is a look at what somebody wrote."""
_HIT_ID: Final = re.compile(r"hit_[0-9a-f]{1,64}")
_PAUSE: Final = timedelta(minutes=10)
"""Without a decision for so long, somebody has had a break."""


@ROUTES.route("GET", "/cases", roles=READERS, nav="Cases")
def queue_page(visit: Visit) -> Response:
    """What waits, in order; whose each is; and the way to the next. ``show=passed``: what was passed on to somebody."""
    with visit.workspace.database.read() as connection:
        now = visit.workspace.now()
        claimed = {claim.case_id: claim for claim in open_claims(connection, now=now)}
    cases = cases_of(visit)
    passed = [case for case in cases if case.passed_on is not None]
    only_passed = visit.query.get("show") == "passed"
    mine = [claim for claim in claimed.values() if claim.actor == visit.actor]
    return visit.page(
        "cases.html.j2",
        cases=(passed if only_passed else cases)[:_LISTED],
        waiting=len(cases),
        passed=len(passed),
        only_passed=only_passed,
        claimed=claimed,
        mine=mine,
        people=len({case.key.subject_id for case in cases}),
        judges=visit.judges,
        last=last_decision(visit),
        rest=break_due(visit),
    )


@ROUTES.route("POST", "/cases/next", roles=JUDGES)
def next_case(visit: Visit) -> Response:
    """Claim the next case, and go there. ``besides``: the case on the screen, for which this one is fetched ahead."""
    besides = visit.form.get("besides")
    claim = claim_next(visit.workspace, visit.desk.queue, actor=visit.actor, besides=besides, lead=visit.is_lead)
    if claim is None:
        return visit.go("/cases")
    return visit.go(f"/cases/{claim.case_id}{'?ahead=1' if besides else ''}")


@ROUTES.route("POST", "/cases/{case_id}/claim", roles=JUDGES)
def claim_page(visit: Visit, case_id: str) -> Response:
    """Claim this very case."""
    with visit.workspace.database.read() as connection:
        claim = open_claim(connection, case_id, now=visit.workspace.now())
    if claim is None:
        claim_shown(visit.workspace, key_of(visit, case_id), actor=visit.actor, lead=visit.is_lead)
    elif claim.actor != visit.actor:
        raise StateError("somebody else works on this case")
    return visit.go(f"/cases/{case_id}")


@ROUTES.route("GET", "/cases/{case_id}", roles=JUDGES)
def case_page(visit: Visit, case_id: str) -> Response:
    """One case that this person has claimed. What is chosen on it stands in the address."""
    claim = own_claim(visit, case_id)
    ahead = visit.query.get("ahead") == "1"
    with visit.workspace.database.read() as connection:
        check = check_of(connection, claim)
        facts = read_case(connection, claim.key, check)
        passed = passed_on(connection, key=claim.key).get(claim.key)
        notes = notes_on(connection, case_id)
        colleagues = judges(connection) if visit.is_lead else []
    if not facts.hits:
        return visit.page("case_gone.html.j2", status=410, last=last_decision(visit))
    view = CaseView.of(visit, claim, facts, check)
    if not ahead:
        note_look(visit.workspace, claim)
    scores = _scores(visit, claim, facts)
    foreseen, problem = view.foreseen(visit)
    return visit.page(
        "case.html.j2",
        claim=claim,
        facts=facts,
        view=view,
        sentences=_sentences(visit, facts, view, ahead=ahead),
        scores=scores,
        strength=_strength(visit, view.hit, scores),
        foreseen=foreseen,
        problem=problem,
        case=check.case if check else next(iter(_waiting(visit, case_id)), None),
        next_cases=_next_cases(visit, case_id),
        passed=passed,
        notes=_notes(visit, claim, notes, passed, ahead=ahead),
        colleagues=colleagues,
        last=last_decision(visit),
        rest=break_due(visit),
        ahead=ahead,
    )


@ROUTES.route("POST", "/cases/{case_id}/shown", roles=JUDGES)
def case_shown(visit: Visit, case_id: str) -> Response:
    """Note that a case that was fetched ahead is on the screen now."""
    note_look(visit.workspace, own_claim(visit, case_id))
    return Response(status_code=204)


def own_claim(visit: Visit, case_id: str) -> CaseClaim:
    """The person's open claim on a case. Whoever has none learns nothing of the case."""
    with visit.workspace.database.read() as connection:
        claim = open_claim(connection, case_id, now=visit.workspace.now())
    if claim is None or claim.actor != visit.actor:
        raise MissingError("not this person's case")
    return claim


@dataclass(frozen=True, slots=True)
class CaseView:
    """What is chosen on a case's page, all of it from the address: the hit and the reference that stand side by side,
    how pictures are shown, which hits are marked, and the answer that is being weighed."""

    case_id: str
    hit: CaseHit
    reference: str | None
    revealed: bool
    whole: bool
    veil: Veil
    only: tuple[str, ...]
    answer: Word | None
    reason: str | None
    facts: CaseFacts
    hits: tuple[CaseHit, ...]
    check: Check | None

    @classmethod
    def of(cls, visit: Visit, claim: CaseClaim, facts: CaseFacts, check: Check | None) -> CaseView:
        """Read the address; what makes no sense there is as if it were not said."""
        by_id = {hit.hit_id: hit for hit in facts.hits}
        hit = by_id.get(visit.query.get("hit", ""), facts.hits[0])
        wanted = visit.query.get("reference", hit.reference_id)
        reference = wanted if wanted in facts.references else hit.reference_id
        if reference is None and facts.references and hit.has_picture and hit.tier in ("exact", "made_by"):
            reference = facts.references[0]
        revealed = visit.query.get("shown") == "clear" or not visit.preferences.blur
        answer = visit.query.get("answer") if sees_scores(visit, claim) else None
        known: Word | None = answer if answer in get_args(Word) else None  # type: ignore[assignment]
        only = tuple(hit_id for hit_id in dict.fromkeys(visit.query.getlist("only")) if hit_id in by_id)
        chosen = tuple(by_id[hit_id] for hit_id in only) or facts.hits
        reason = visit.query.get("reason")
        if known is not None and reason not in REASONS[known]:
            reason = first_reason(known, {one.tier for one in chosen})
        return cls(
            case_id=claim.case_id,
            hit=hit,
            reference=reference,
            revealed=revealed,
            whole=visit.query.get("view") == "whole" and hit.width is not None,
            veil=veil(visit, revealed=revealed),
            only=only,
            answer=known,
            reason=reason,
            facts=facts,
            hits=chosen,
            check=check,
        )

    def address(self, **changed: Any) -> Address:
        """The page with something else chosen."""
        kept = {
            "hit": self.hit.hit_id if self.hit is not self.facts.hits[0] else None,
            "reference": self.reference if self.reference != self.hit.reference_id else None,
            "shown": "clear" if self.revealed else None,
            "view": "whole" if self.whole else None,
            "only": list(self.only),
            "answer": self.answer,
            "reason": self.reason,
        }
        return address_of(f"/cases/{self.case_id}", {**kept, **changed})

    def toggled(self, hit_id: str) -> list[str]:
        """The marked hits with this one marked, or not any more."""
        return [one for one in self.only if one != hit_id] if hit_id in self.only else [*self.only, hit_id]

    def beside(self, step: int) -> str | None:
        """The reference that many after the one that is shown."""
        known = self.facts.references
        if self.reference not in known or len(known) < 2:
            return None
        return known[(known.index(self.reference) + step) % len(known)]

    @property
    def number(self) -> int:
        """Of the reference that is shown, from 1 on; 0: none."""
        known = self.facts.references
        return known.index(self.reference) + 1 if self.reference in known else 0

    def foreseen(self, visit: Visit) -> tuple[Foreseen | None, str | None]:
        """What the answer would do, if one is being weighed, or why it cannot be given."""
        if self.answer is None or self.reason is None:
            return None, None
        answer = Answer(self.answer, self.reason, visit.actor)
        try:
            return foresee(visit.workspace, self.facts.key, answer, only=self.only, check=self.check), None
        except StateError as error:
            return None, str(error)


def veil(visit: Visit, *, revealed: bool) -> Veil:
    """How this person's pictures come."""
    if not revealed:
        return "blurred"
    return "grey" if visit.preferences.grey else "clear"


def last_decision(visit: Visit) -> dict[str, Any] | None:
    """What undoing would take back, within the time for it."""
    now = visit.workspace.now()
    minutes = visit.workspace.policy.settings.decisions.undo_minutes
    with visit.workspace.database.read() as connection:
        claim = last_decided(connection, actor=visit.actor, since=now - timedelta(minutes=minutes))
    if claim is None or claim.batch_id is None or claim.ended_at is None:
        return None
    return {"claim": claim, "ago": words.ago(claim.ended_at, now), "words": _said(visit, claim)}


def break_due(visit: Visit) -> int | None:
    """For how many minutes this person has judged without a pause, once that is long."""
    config, now = visit.workspace.config.review, visit.workspace.now()
    with visit.workspace.database.read() as connection:
        ended = judged_since(connection, actor=visit.actor, since=now - timedelta(hours=12))
    begun = now
    for moment in reversed(ended):
        if begun - moment > _PAUSE:
            break
        begun = moment
    minutes = int((now - begun).total_seconds() // 60)
    return minutes if minutes >= config.break_minutes else None


def marked_hits(given: Sequence[str]) -> tuple[str, ...]:
    """The marked hits of a form. Raises :class:`InputError` for what cannot be a hit's id."""
    if any(not _HIT_ID.fullmatch(hit_id) for hit_id in given):
        raise InputError("a mark is on something that is no hit")
    return tuple(dict.fromkeys(given))


def _scores(visit: Visit, claim: CaseClaim, facts: CaseFacts) -> dict[str, HitScore]:
    """How strong the hits are, once the person has answered without knowing; else nothing."""
    if not sees_scores(visit, claim):
        return {}
    with visit.workspace.database.read() as connection:
        return read_scores(connection, [hit.hit_id for hit in facts.hits])


def _strength(visit: Visit, hit: CaseHit, scores: dict[str, HitScore]) -> Strength | None:
    """What the score of the hit on the screen rests on, where scores are shown."""
    if hit.hit_id not in scores or hit.tier != "face":
        return None
    score = scores[hit.hit_id].score
    return measure_strength(visit.workspace, hit.hit_id, score=score, found_by_id=hit.found_by_id)


def _sentences(visit: Visit, facts: CaseFacts, view: CaseView, *, ahead: bool) -> dict[str, Passage]:
    """Hit id -> the sentence that a name stands in, masked unless it is revealed. Each is a look, and recorded."""
    wanted = [hit.hit_id for hit in facts.sentences[:_SENTENCES]]
    if view.hit.has_sentence and view.hit.hit_id not in wanted:
        wanted.append(view.hit.hit_id)
    if not wanted:
        return {}
    how = {"shown": "clear" if view.revealed else "masked"} | ({"ahead": "yes"} if ahead else {})
    opened = reveal_all(visit.workspace, wanted, actor=visit.actor, **how)
    passages = {hit_id: one.passage or Passage("", one.term, "") for hit_id, one in opened.items()}
    return passages if view.revealed else {hit_id: masked_passage(one) for hit_id, one in passages.items()}


def _notes(
    visit: Visit, claim: CaseClaim, notes: list[CaseNote], passed: PassedOn | None, *, ahead: bool
) -> list[CaseNote]:
    """What colleagues wrote, with the texts once the person has answered, or where the case was passed on to them: a
    question has to be read, another's opinion only afterwards. Opening is a look, and recorded."""
    if passed is None and not sees_scores(visit, claim):
        return notes
    if not any(one.has_text for one in notes):
        return notes
    return open_notes(visit.workspace, claim.case_id, actor=visit.actor, **({"ahead": "yes"} if ahead else {}))


def _waiting(visit: Visit, case_id: str) -> list[WaitingCase]:
    return [case for case in visit.desk.queue.cases(visit.workspace) if case.key.case_id == case_id]


def cases_of(visit: Visit, *, fresh: bool = False) -> list[WaitingCase]:
    """What waits, in order, as this person may see it."""
    waiting = visit.desk.queue.cases(visit.workspace, fresh=fresh)
    with visit.workspace.database.read() as connection:
        return cases_shown(connection, waiting, actor=visit.actor)


def key_of(visit: Visit, case_id: str) -> CaseKey:
    """Whom and what a case of the list is about. Raises :class:`MissingError` for one that is not there."""
    for fresh in (False, True):
        for case in cases_of(visit, fresh=fresh):
            if case.key.case_id == case_id:
                return case.key
    raise MissingError("no such case waits")


def _next_cases(visit: Visit, case_id: str) -> list[WaitingCase]:
    """The first cases that are this person's or free and for them, after this one."""
    now = visit.workspace.now()
    with visit.workspace.database.read() as connection:
        taken = {claim.case_id for claim in open_claims(connection, now=now) if claim.actor != visit.actor}
    free = (
        case
        for case in cases_of(visit)
        if case.key.case_id not in taken | {case_id} and case.is_for(visit.actor, lead=visit.is_lead)
    )
    return [case for case, _ in zip(free, range(_NEXT_SHOWN), strict=False)]


def _said(visit: Visit, claim: CaseClaim) -> str:
    with visit.workspace.database.read() as connection:
        check = check_of(connection, claim)
        word = check.answer if check else word_of_batch(connection, claim.batch_id or "")
    return next((said for answer, said in words.ANSWERS.items() if answer == word), "decided")
