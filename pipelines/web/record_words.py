"""Facts -> words of the pages of requests, people, uploaders and models, and of the first page."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import quote

from markupsafe import Markup

from pipelines.cases.findings import FindingCounts
from pipelines.cases.history import HistoryEvent
from pipelines.report.words import HELD_REASONS as HELD_REASONS
from pipelines.report.words import number
from pipelines.takedown.effects import Effect

DONE: Final = {
    "released": "Released. The next dispatch sends what was held.",
    "discarded": "Discarded. The verdicts wait for people again.",
    "revived": "On its way again. The next dispatch sends it.",
    "approved": "Approved, with these figures and no worse ones. The next night completes the day; what is held stays "
    "held.",
    "removed": "Taken away. What rested on it alone is gone or taken back; a rescan is due.",
}
"""What an act did, by its word in the address."""
EFFECTS: Final[dict[Effect, str]] = {
    "planned": "not sent yet",
    "held": "held",
    "sent": "sent, not answered yet",
    "refused": "refused, sent again",
    "dead": "given up",
    "acknowledged": "acknowledged",
    "withdrawn": "taken back",
}
STATES: Final = {
    "received": "nobody has accepted it yet",
    "previewed": "somebody has seen what it would hit; it waits to be accepted",
    "accepted": "the person is being searched for",
    "searched": "searched; items or hits still wait to be looked at",
    "under_review": "hits wait for a person to decide",
    "acting": "everything is decided; messages are not all acknowledged",
    "completed": "everything is decided and acknowledged",
    "rejected": "rejected; what came with it is destroyed",
    "withdrawn": "the opt-out ended before it was completed",
}
"""Of a request, in words."""
REMEDIES: Final = {
    "not_covered": "the next rescan, or likeness rescan --pending",
    "item_pending": "the next night, or likeness sweep",
    "not_examined": "the next rescan, or likeness rescan --pending",
    "not_judged": "the next night, or likeness sweep",
}
"""What makes up for missing coverage, by its cause."""
MISSING: Final = {
    "not_covered": ("pair of an item and a person not compared", "pairs of an item and a person not compared"),
    "item_pending": ("item not scanned", "items not scanned"),
    "not_examined": ("item not searched for every name and copy", "items not searched for every name and copy"),
    "not_judged": ("hit without a verdict", "hits without a verdict"),
}
_OPEN: Final = {
    "unscanned": "not scanned yet",
    "unjudged": "without a verdict",
    "undecided": "to decide",
    "held": "held",
    "unsent": "not sent yet",
    "unacknowledged": "not acknowledged",
    "dead": "given up",
}
_EVENTS: Final = {
    "enrolled": "entered into the registry",
    "consent_over": "the consent was over",
    "reference_added": "reference added",
    "uploaded": "uploaded",
    "deleted": "deleted from the platform",
    "found_by_sweep": "found by a night",
    "found_by_rescan": "found by a rescan",
    "decided_confirm": "decided: same person",
    "decided_reject": "decided: not them",
    "decided_unsure": "unsure",
    "undone_confirm": "“same person” undone or replaced",
    "undone_reject": "“not them” undone or replaced",
    "undone_unsure": "“unsure” replaced",
    "takedown_written": "takedown asked for",
    "takedown_acknowledged": "takedown acknowledged",
    "generator_block_written": "generator block asked for",
    "generator_block_acknowledged": "generator block acknowledged",
    "withdrawal_written": "withdrawal written",
    "withdrawal_acknowledged": "withdrawal acknowledged",
}
_LONGEST: Final = 1000
"""Characters of an address to a platform's id; of a longer one there is no link."""


def event(one: HistoryEvent) -> str:
    """What happened, in words, with how many."""
    known = _EVENTS.get(one.what, one.what.replace("_", " "))
    return f"{known} ({one.count})" if one.count > 1 else known


def left_words(left: dict[str, int]) -> str:
    """What a request waits for: ``3 to decide, 1 held``."""
    return ", ".join(f"{count} {_OPEN[name]}" for name, count in left.items() if count)


def verdict_words(verdict: str | None) -> str:
    """What the policy makes of something."""
    known = {"takedown": "takedown", "review": "waits for a person", "clear": "left alone"}
    return known.get(verdict, verdict.replace("_", " ")) if verdict else "not weighed yet"


def age(moment: datetime | None, now: datetime) -> str:
    """``5 min``, ``3 h``, ``12 days``; empty without a moment."""
    if moment is None:
        return ""
    minutes = max(0, int((now - moment) / timedelta(minutes=1)))
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 72 * 60 else f"{minutes // 1440} days"


def day_age(day: str, now: datetime) -> str:
    """How long ago a day began: ``2 days``."""
    return age(datetime.fromisoformat(day).replace(tzinfo=UTC), now)


def days_left(days: int) -> str:
    """When an opt-out ends."""
    return "over" if days <= 0 else "within a day" if days == 1 else f"in {days} days"


def minutes(seconds: float | None) -> str:
    """How long something took."""
    if seconds is None:
        return "no end so far"
    return (
        f"{seconds:.0f} s"
        if seconds < 120
        else f"{seconds / 60:.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:.1f} h"
    )


def place(kind: str, wanted: str | None) -> Markup | None:
    """The address of an uploader's or a model's page; None without an id, or for one that no address holds."""
    if not wanted:
        return None
    encoded = quote(wanted, safe="", errors="replace")
    return Markup(f"/{kind}s?id={encoded}") if len(encoded) <= _LONGEST else None  # noqa: S704  quoted, every character


def summary(counts: FindingCounts) -> str:
    """Found, decided, removed: in a sentence."""
    if not counts.items and not sum(counts.effects.values()):
        return "Nothing was found."
    done, asked = counts.effects["acknowledged"], sum(counts.effects.values()) - counts.effects["withdrawn"]
    found = f"{number(counts.items, 'item')} with {number(counts.hits, 'hit')} on the platform now"
    return f"{found}; of {number(asked, 'message')} to the takedown service {done} acknowledged."
