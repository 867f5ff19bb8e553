"""Puts numbers into sentences. Items not looked at are always mentioned, and never rounded away (I1)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final, Literal

from pipelines.cases.requests import RemovalRequest
from pipelines.hits.verdicts import ModelVerdict
from pipelines.intake.texts import name_of_place
from pipelines.report.facts import CoverageFacts, HeldCount, PartialFacts, ReportFacts, ReportHit
from pipelines.runs.day_checks import APPROVABLE
from pipelines.takedown.outbox import BLOCK, DEAD

Tone = Literal["danger", "warning", "info"]

MESSAGE_STATES: Final = {
    "pending": "waiting to be sent",
    "held": "held for a second pair of eyes",
    "leased": "being sent",
    "done": "acknowledged",
    "dead": "could not be delivered",
    "withdrawn": "withdrawn",
}

HELD_REASONS: Final[dict[str, str]] = {
    "hit_rate": "too many of that day's items are hits",
    "breaker_subject": "too many for one person",
    "breaker_uploader": "too many against one uploader",
    "breaker_run": "too many in one run",
    "breaker_day": "too many within a day",
}
"""The alert's words for each reason why a message is held."""

_FINGERPRINTS: Final = {
    "sha256": "same file (SHA-256) as confirmed content",
    "payload": "same tensors (payload hash) as confirmed content",
    "pdq": "near-duplicate (PDQ) of confirmed content",
}


@dataclass(frozen=True, slots=True)
class Alert:
    """A line at the top of the page. ``lead`` says what is wrong, ``text`` what it means; ``act``: what somebody has to
    do about it, a command or the words of a link to ``where``; None: nobody has to."""

    tone: Tone
    lead: str
    text: str
    act: str | None = None
    where: str | None = None


def number(count: int, one: str, many: str | None = None) -> str:
    """``1 item``, ``1,204 items``."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def percent(part: int, whole: int) -> str:
    """Format a share in per cent to one decimal such that only the whole is 100 % and only nothing is 0 %."""
    if part >= whole:
        return "100 %"
    tenths = math.floor(1000 * part / whole)
    return "under 0.1 %" if tenths == 0 and part else f"{tenths / 10:g} %"


def title(day: date | None) -> str:
    """Return the page's title."""
    return f"Match report, {day.day} {day:%B %Y}" if day else "Match report, all days"


def headline(facts: ReportFacts) -> str:
    """Summarise the report in one sentence."""
    counts = facts.counts
    if not counts.items:
        received = f"on {facts.day.isoformat()} (UTC)" if facts.day else "so far"
        return f"Nothing was received {received}: no item is in the ledger, so nothing was scanned."
    parts = [f"{counts.scanned:,} of {number(counts.items, 'item')} scanned"]
    if counts.hits:
        persons = number(counts.persons, "person", "people")
        parts.append(f"{persons} found in {number(counts.hit_items, 'item')}")
        parts.append(number(counts.takedowns, "takedown"))
        parts.append(f"{counts.review:,} for review")
        if counts.likeness_models:
            parts.append(number(counts.likeness_models, "likeness model"))
    else:
        parts.append("nobody found" if facts.coverage.complete else "nobody found so far")
    return f"{', '.join(parts)}, {coverage_phrase(facts.coverage)}."


def coverage_phrase(coverage: CoverageFacts) -> str:
    """Describe coverage in a few words; without a percentage if there is nobody to look for."""
    if not coverage.persons:
        return "nobody to look for"
    return f"coverage {percent(coverage.settled, coverage.pairs)}"


def missing(coverage: CoverageFacts) -> list[str]:
    """Describe what is not compared, in sentences; empty when nothing is missing."""
    sentences = []
    if coverage.pending:
        verb = "is" if coverage.pending == 1 else "are"
        sentences.append(f"{number(coverage.pending, 'item')} {verb} pending: not scanned, compared with nobody.")
    if coverage.waiting:
        verb = "waits" if coverage.waiting == 1 else "wait"
        persons = "1 person" if coverage.waiting_for == 1 else f"up to {coverage.waiting_for:,} people"
        sentences.append(f"{number(coverage.waiting, 'scanned item')} {verb} to be compared with {persons}.")
    return sentences


def looked_at_in_part(partial: PartialFacts) -> list[str]:
    """Describe items that were scanned in part, and listings with faults."""
    sentences = []
    if partial.frames_sampled:
        sentences.append(f"{number(partial.frames_sampled, 'animation')} scanned by some of their frames, not all.")
    if partial.faces_dropped:
        sentences.append(f"{number(partial.faces_dropped, 'picture')} with more faces than are kept per frame.")
    if partial.damaged:
        words = ", ".join(f"{_words_of(note)} {count:,}" for note, count in partial.damaged.items())
        sentences.append(f"Damaged or odd files that were scanned as far as others read them: {words}.")
    if partial.listing_problems:
        words = ", ".join(f"{word.replace('_', ' ')} {count:,}" for word, count in partial.listing_problems.items())
        sentences.append(f"Problems in the listing: {words}.")
    return sentences


def _words_of(note: str) -> str:
    kind, _, reason = note.partition(":")
    where = {"odd_header": "header: ", "texts": "texts: "}.get(kind, "")
    return where + reason.replace("_", " ")


def alerts(facts: ReportFacts) -> list[Alert]:
    """What is to be known of the page itself, the gravest first; nothing on a good day."""
    return sorted((*_approved(facts), *_incomplete(facts), *_outgrown(facts)), key=_gravest_first)


def needs(facts: ReportFacts, *, blocked_page: str) -> list[Alert]:
    """What needs a person, the gravest first, each with what to do. ``blocked_page``: the name of that page's file."""
    found = (
        *(*_stopped(facts, blocked_page), *_stuck(facts), *_late_requests(facts)),
        *(*_ending(facts), *_to_decide(facts), *_to_accept(facts)),
    )
    return sorted(found, key=_gravest_first)


def _gravest_first(alert: Alert) -> int:
    return ("danger", "warning", "info").index(alert.tone)


def _stopped(facts: ReportFacts, blocked_page: str) -> Iterator[Alert]:
    """Tell the checks that stopped the day, whether anybody may approve it, and other days that are stopped."""
    for name, text in facts.stopped_by.items():
        way = "until the cause is gone, or somebody approves it: `likeness day approve`"
        rest = way if name in APPROVABLE else "until the cause is gone"
        words = f"{name.replace('_', ' ')} failed: {text}. The night goes no further {rest}."
        yield Alert("danger", "Blocked.", words, "blocked days", blocked_page)
    own = {facts.day.isoformat()} if facts.day and facts.stopped_by else set()
    if others := [row for row in facts.blocked if row.day not in own]:
        verb = "is" if len(others) == 1 else "are"
        text = f"{number(len(others), 'other day' if own else 'day')} {verb} stopped by a check."
        yield Alert("danger", "Blocked days.", text, "look", blocked_page)


def _to_decide(facts: ReportFacts) -> Iterator[Alert]:
    if facts.counts.review:
        text = f"{number(facts.counts.review, 'item')} of this page wait for somebody's decision."
        text = text.replace("item of this page wait ", "item of this page waits ")
        yield Alert("info", "To decide.", text, "likeness review")


def _to_accept(facts: ReportFacts) -> Iterator[Alert]:
    if waiting := sum(request.awaits_decision for request in facts.requests):
        verb = "waits" if waiting == 1 else "wait"
        text = f"{number(waiting, 'removal request')} {verb} to be accepted or rejected."
        yield Alert("info", "To accept.", text, "requests", "#requests")


def _approved(facts: ReportFacts) -> Iterator[Alert]:
    if facts.approved_by:
        text = f"Checks of this day failed, and {facts.approved_by} let it go on. What was held is held."
        yield Alert("warning", "Approved.", text)


def _incomplete(facts: ReportFacts) -> Iterator[Alert]:
    coverage, counts = facts.coverage, facts.counts
    if not counts.items:
        lead = "Nothing was received."
        yield Alert("warning", lead, "This page is not a clean bill: check that the source was listed for this day.")
        return
    if not coverage.persons:
        yield Alert("danger", "Nobody was looked for.", "The registry has no active person.")
    elif coverage.settled < coverage.pairs:
        gap = number(coverage.pairs - coverage.settled, "pair")
        text = f"{gap} of {coverage.pairs:,} not compared yet. What is not listed here is not clean."
        yield Alert("danger", "Incomplete.", " ".join([text, *missing(coverage)]))
    if counts.unjudged:
        verb = "awaits" if counts.unjudged == 1 else "await"
        yield Alert("warning", "Not all judged.", f"{number(counts.unjudged, 'hit')} {verb} a verdict.")
    if earlier := counts.hits_by_earlier_models:
        text = f"{number(earlier, 'hit')} made by earlier models: in force, not confirmed by the models in force."
        yield Alert("warning", "Earlier models.", text)
    if not facts.runs:
        yield Alert("warning", "No run is on record.", "Nothing says which models looked at these items.")
    elif facts.runs[0].finished_at is None:
        text = "It is still running, or was cut off. The next run takes up what is left."
        yield Alert("warning", "The latest run has not finished.", text)


def _stuck(facts: ReportFacts) -> Iterator[Alert]:
    overdue = sum(count.overdue for count in facts.messages)
    if overdue:
        text = f"{number(overdue, 'takedown')} past the deadline without an acknowledgement."
        yield Alert("danger", "Overdue.", text, "likeness dispatch")
    dead = sum(count.messages for count in facts.messages if count.state == DEAD)
    if dead:
        text = f"{number(dead, 'message')} could not be delivered; revive or settle."
        yield Alert("danger", "Not delivered.", text, "likeness outbox list --state dead")
    if facts.held:
        restricts = "Until a second person has looked, none of them restricts anything."
        yield Alert("warning", "Held.", f"{held_words(facts.held)}. {restricts}", "likeness outbox list")


def held_words(held: Sequence[HeldCount]) -> str:
    """How many messages are held and why: ``3 takedowns (too many hits on their day), 1 generator block (...)``."""
    parts = []
    for count in held:
        what = "generator block" if count.action == BLOCK else count.action.replace("_", " ")
        why = HELD_REASONS.get(count.reason, count.reason.replace("_", " ") or "no reason on record")
        parts.append(f"{number(count.messages, what)} ({why})")
    return ", ".join(parts)


def _late_requests(facts: ReportFacts) -> Iterator[Alert]:
    late = sum(request.is_overdue(facts.written_at) for request in facts.requests)
    if late:
        yield Alert(
            "danger", "Overdue.", f"{number(late, 'removal request')} past the deadline.", "requests", "#requests"
        )


def _outgrown(facts: ReportFacts) -> Iterator[Alert]:
    if facts.fit.outgrown:
        yield Alert(
            "warning", "More false hits than asked for.", f"{facts.fit.remark[0].upper()}{facts.fit.remark[1:]}."
        )


def _ending(facts: ReportFacts) -> Iterator[Alert]:
    found = facts.endings
    if urgent := sum(one.days_left <= found.urgent_days for one in found.soon):
        verb = "ends" if urgent == 1 else "end"
        text = f"{number(urgent, 'opt-out')} {verb} within {number(found.urgent_days, 'day')}: renew who goes on."
        yield Alert("warning", "Ending.", text, "opt-outs that end", "#endings")
    if found.resting:
        verb = "rests" if found.resting == 1 else "rest"
        text = f"{number(found.resting, 'message')} {verb} until an opt-out that is over is renewed or withdrawn."
        yield Alert("warning", "Not sent.", text, "likeness subject list --state expired")


def rule_words(hit: ReportHit) -> str:
    """Describe the policy's rule behind a hit's verdict."""
    if hit.rule is None:
        return "no verdict yet"
    if hit.rule == "strong_face_in_distinct_images" and hit.distinct_images:
        return f"strong face in {number(hit.distinct_images, 'distinct image')}"
    known = {
        "strong_face_not_agreed": "strong face, the second network does not bear it out",
        "strong_face_uncorroborated": "strong face, no second distinct image",
        "strong_face_with_name": "strong face, and the person's name",
        "face_above_review_threshold": "face above the review threshold",
        "pooled_face_above_review_threshold": "faces of several pictures together",
        "copy_of_confirmed": "copy of confirmed content",
        "made_by_confirmed_model": "names a confirmed model as what made it",
        "message_discarded": "somebody discarded its takedown",
    }
    return known.get(hit.rule, hit.rule.replace("_", " "))


def second_words(hit: ReportHit) -> str:
    """What a second network says of a face; empty where none was asked."""
    if hit.second_opinion is None:
        return ""
    if hit.second_score is None or hit.second_threshold is None:
        return f"no second opinion: {hit.second_opinion.removeprefix('none:').replace('_', ' ')}"
    said = "agrees" if hit.second_opinion == "agrees" else "denies it"
    return f"second network {said}: {hit.second_score:.3f}, needed {hit.second_threshold:.3f}"


def model_rule_words(model: ModelVerdict) -> str:
    """Describe the policy's rule behind a verdict on a model."""
    return model.rule.replace("_", " ")


def evidence_words(hit: ReportHit) -> str:
    """Describe what a hit other than a face is and where it was found, without the term itself."""
    if hit.tier == "exact":
        return _FINGERPRINTS.get(hit.place or "", "same fingerprint")
    if hit.tier == "made_by":
        return f"names the {name_of_place(hit.place)} of a confirmed model"
    place = (hit.place or "unknown place").removeprefix("header:")
    return f"name in the header: {place}" if hit.tier == "header" else f"name in the {name_of_place(place)}"


def pool_words(hit: ReportHit) -> str:
    """Of a pooled face: with how many pictures it counts, and what it scores by itself."""
    alone = "not known" if hit.alone_score is None else f"{hit.alone_score:.3f}"
    return f"pooled from {number(hit.pictures or 0, 'distinct picture')}; this one alone {alone}"


def place_words(hit: ReportHit) -> str:
    """Where a name stands, or which copy it is, in a word or two: ``prompt``, ``header: ss_tag``, ``same file``."""
    if hit.tier == "exact":
        return {"sha256": "same file", "payload": "same tensors", "pdq": "near-duplicate"}.get(hit.place or "", "copy")
    if hit.tier == "made_by":
        return "confirmed model"
    place = hit.place or "unknown place"
    return f"header: {place.removeprefix('header:')}" if hit.tier == "header" else name_of_place(place)


def match_words(hit: ReportHit) -> str:
    """Describe the rule by which a hit was found."""
    return (hit.match or "").replace("_", " ")


def request_words(request: RemovalRequest) -> str:
    """Describe the state of a removal request, and what keeps it from being completed."""
    if request.awaits_decision:
        second = ", accepted by one person, a second one has to"
        return request.state + (second if request.first_approval else ", to be accepted or rejected")
    if request.open is None:
        return "accepted, search not finished"
    left = {name: getattr(request.open, name) for name in request.open.__dataclass_fields__}
    return ", ".join([request.state.replace("_", " "), *(f"{count:,} {name}" for name, count in left.items() if count)])


def time_left(due_at: datetime, now: datetime) -> str:
    """``31 h 5 min left``, ``overdue by 2 days 3 h``."""
    late = due_at < now
    left = now - due_at if late else due_at - now
    hours, minutes = divmod(left // timedelta(minutes=1), 60)
    days, rest = divmod(hours, 24)
    text = f"{days} days {rest} h" if hours >= 72 else f"{hours} h {minutes} min"
    return f"overdue by {text}" if late else f"{text} left"
