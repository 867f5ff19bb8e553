"""Facts -> words of the pages: what kind of evidence a hit is, how much time is left, what each reason means."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from pipelines.accounts.preferences import KEYS
from pipelines.decisions.decide import REASONS, Word
from pipelines.home.actors import ON_PAGES, identity_of
from pipelines.intake.texts import name_of_place
from pipelines.policy import Policy
from pipelines.report.words import number as number
from pipelines.reviewing.case import CaseHit
from pipelines.reviewing.notes import NoteKind
from pipelines.reviewing.queue import PassedOn, WaitingCase

ANSWERS: Final[dict[Word, str]] = {"confirm": "same person", "reject": "not them", "unsure": "unsure"}
NOTES: Final[dict[NoteKind, str]] = {"comment": "wrote", "escalation": "asked a lead", "assignment": "gave it to"}
HARMS: Final = ("", "mature", "minor?")
"""By :attr:`WaitingCase.harm`."""
URGENT: Final = timedelta(hours=6)
_PLACES: Final = {
    "sha256": "the same file as confirmed content",
    "payload": "the same tensors as confirmed content",
    "pdq": "looks like confirmed content",
}
_TIERS: Final = {
    "face": "face",
    "pooled_face": "faces together",
    "exact": "copy",
    "made_by": "made with a confirmed model",
    "header": "name in model file",
    "text": "name in text",
}
"""What kind of evidence a tier is."""


@dataclass(frozen=True, slots=True)
class Reason:
    """A reason beside its button. ``meaning``: what the policy makes of it."""

    word: str
    name: str
    meaning: str


def reasons(policy: Policy, answer: Word, *, harm: int) -> list[Reason]:
    """The reasons for an answer, with what follows in the policy's own numbers. ``harm``: of the case."""
    settings = policy.settings
    hours = settings.mature.hours if harm else settings.takedown.hours
    undo = settings.decisions.undo_minutes
    sent = f"A takedown, due in {hours} h, sent {undo} minutes after you decide."
    share = f"{settings.copies.face_share:.0%}"
    again = "Remembered: this content does not come back for this person until it or the models change."
    meanings = {
        "same_person": f"{sent} The same file is taken down from now on; a picture that looks the same, where the face "
        f"fills at least {share} of it.",
        "named_person": f"{sent} The text or file names this person; pictures are not spoken of.",
        "copy_of_confirmed": f"{sent} Seen to be a copy of what was confirmed before.",
        "reproduces_person": f"{sent} You have tried the model and it reproduces this person: its file and its tensors "
        "are taken down from now on.",
        "other_person": f"Somebody else who looks alike, or has the same name. {again}",
        "not_a_likeness": f"Nobody's likeness: an object, a pattern, a word that means something else. {again}",
        "bad_reference": f"The reference does not show this person well enough to compare with. {again}",
        "consented": f"The person has agreed to this use, and that is on record. {again}",
        "parody_or_satire": f"Recognisable, and permitted as parody or satire. {again}",
        "public_interest": f"Recognisable, and permitted because the public has an interest in it. {again}",
        "low_quality": "Too little can be seen. It stays in review, for somebody else.",
        "needs_second_opinion": "You want somebody else to look. It stays in review, for somebody else.",
    }
    return [Reason(word, word.replace("_", " "), meanings[word]) for word in REASONS[answer]]


def left(due_at: datetime, now: datetime) -> str:
    """``5 h``, ``40 min``, ``3 days``, ``late by 2 h``."""
    late, minutes = due_at < now, abs(due_at - now) // timedelta(minutes=1)
    hours = minutes // 60
    text = f"{minutes} min" if hours < 1 else f"{hours} h" if hours < 72 else f"{hours // 24} days"
    return f"late by {text}" if late else text


def is_urgent(due_at: datetime, now: datetime) -> bool:
    """Whether little time is left, or none."""
    return due_at - now < URGENT


def ago(moment: datetime, now: datetime) -> str:
    """``8 s ago``, ``5 min ago``."""
    seconds = max(0, int((now - moment).total_seconds()))
    return (
        f"{seconds} s ago"
        if seconds < 90
        else f"{seconds // 60} min ago"
        if seconds < 5400
        else f"{seconds // 3600} h ago"
    )


def evidence_kind(hit: CaseHit) -> str:
    """What kind of evidence a hit is, in a word; beside a name there are the words that it stands in."""
    return _TIERS[hit.tier].removeprefix("name in ")


def evidence(hit: CaseHit) -> str:
    """Where it was found."""
    if hit.tier == "pooled_face":
        return "in the picture, together with others of the model"
    if hit.tier == "face":
        return "in frame " + str(hit.frame) if hit.frame else "in the picture"
    if hit.tier == "exact":
        return _PLACES.get(hit.place or "", "the same fingerprint as confirmed content")
    if hit.tier == "made_by":
        return f"its file names the {name_of_place(hit.place)} of a confirmed model"
    return name_of_place(hit.place or "text")


def case_kinds(case: WaitingCase) -> str:
    """What a waiting case rests on: ``6 items: face, name in text``."""
    return f"{number(case.items, 'item')}: {tier_words(case.tiers)}"


def tier_words(tiers: tuple[str, ...]) -> str:
    """Kinds of evidence: ``face, name in text``."""
    return ", ".join(_TIERS[tier] for tier in tiers)


def scope(hits: int, marked: int) -> str:
    """What an answer is for."""
    if marked:
        return f"for {number(marked, 'marked hit')}"
    return f"for all {hits} hits" if hits != 1 else "for this hit"


def person_short(subject_id: str) -> str:
    """A subject's id, short enough to tell people on a screen apart: ``User 95d9``."""
    return f"Person {subject_id.rpartition('_')[2][:4]}"


def place(rank: int) -> str:
    """``1st``, ``2nd``, ``11th``."""
    ending = "th" if 10 <= rank % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(rank % 10, "th")
    return f"{rank:,}{ending}"


def one_in(share: float) -> str:
    """``1 in 2,000``: how rare a share is."""
    return f"1 in {int(1 / share):,}" if share > 0 else "none"


def somebody(actor: str) -> str:
    """Who acted, as people call them: an account of these pages by its name."""
    return actor.removeprefix(ON_PAGES)


def passed_on(passed: PassedOn, actor: str) -> str:
    """Whom a case was passed on to: ``for a lead, asked by ann``, ``given to you``."""
    parts = []
    if passed.escalated_by is not None:
        parts.append(f"for a lead, asked by {_you_or(passed.escalated_by, actor)}")
    if passed.assigned_to is not None:
        parts.append(f"given to {_you_or(passed.assigned_to, actor)}")
    return "; ".join(parts)


def _you_or(somebodys: str, actor: str) -> str:
    return "you" if identity_of(somebodys) == identity_of(actor) else somebody(somebodys)


def key_words() -> list[tuple[str, str]]:
    """What each key does, by its name in the preferences."""
    return [(name, words) for name, (_, words) in KEYS.items()]
