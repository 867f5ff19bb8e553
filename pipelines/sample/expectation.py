"""From planted cases to the truth about each upload and each model after each phase.

What an analyst decides is fixed here, with what has to follow from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from pipelines.sample.case import CORROBORATED, LIKENESS, NAMED, SECOND, SPLIT, STYLE, Case
from pipelines.sample.truth import ALPHA, BETA, GAMMA, PHASES, Expected, ItemFinding, ModelFinding, Phase, Tier

REGISTERED: Final[Mapping[Phase, frozenset[str]]] = {
    "nights": frozenset({ALPHA}),
    "request": frozenset({ALPHA, BETA}),
    "decisions": frozenset({ALPHA, BETA}),
    "poison": frozenset({ALPHA, BETA, GAMMA}),
    "withdrawal": frozenset({ALPHA}),
}

CONFIRMED: Final[Mapping[str, str]] = {
    "lora-confirmed": "reproduces_person",
    "confirmed-face": "same_person",
    "pasted-face": "same_person",
    "lora-forged": "named_person",
}
"""Case -> the reason why the analyst confirms it."""
REJECTED: Final = "original"
REVERSED: Final = "reversed-face"
"""Confirmed, delivered, and then taken back."""
SECOND_THOUGHTS: Final = "second-thoughts"
"""Confirmed and taken back before anything was sent."""

_NONE: Final[frozenset[Tier]] = frozenset()
_DECIDED: Final[Mapping[str, ItemFinding]] = {
    "lora-confirmed": ItemFinding("confirmed_by_person", frozenset({"exact", "header"})),
    "lora-cleaned": ItemFinding("copy_of_confirmed", frozenset({"exact"})),
    "confirmed-face": ItemFinding("confirmed_by_person", frozenset({"exact", "face"})),
    # A decision holds for the content, so the same bytes are confirmed as well, and all three rejected ones rejected.
    "confirmed-same-bytes": ItemFinding("confirmed_by_person", frozenset({"exact", "face"})),
    "confirmed-reencoded": ItemFinding("copy_of_confirmed", frozenset({"exact", "face"})),
    # The confirmed face does not fill its picture, and is not visible in this one.
    "confirmed-hidden": ItemFinding("resembles_confirmed", frozenset({"exact"})),
    "pasted-face": ItemFinding("confirmed_by_person", frozenset({"exact", "face"})),
    "pasted-again": ItemFinding("copy_of_confirmed", frozenset({"exact", "face"})),
    "pasted-original": ItemFinding("resembles_confirmed", frozenset({"exact"})),
    "lora-forged": ItemFinding("confirmed_by_person", frozenset({"exact", "header"})),
    **dict.fromkeys((REJECTED, "duplicate-bytes", "duplicate-bytes-later"), ItemFinding("rejected_by_person", _NONE)),
}
"""The findings on the first subject in these cases from the decisions on."""

SIMULATED: Final[Mapping[str, tuple[str, str]]] = {
    "faint-face": ("clear", "below_review_threshold"),
    "mature-face": ("takedown", "strong_face_in_mature_context"),
    "confirmed-reencoded": ("review", "strong_face_uncorroborated"),
    "pasted-again": ("review", "strong_face_uncorroborated"),
    "alias-alone": ("clear", "weak_name_alone"),
    "header-comment": ("clear", "weak_name_alone"),
    **dict.fromkeys(("bounty-text", "bounty-picture", "bounty-reply"), ("takedown", "bounty_names_person")),
}
"""Every verdict on an upload that the sample's other policy would change after the decisions, and its rule."""

_DISTINCT: Final = ModelFinding("likeness_model", "strong_face_in_distinct_images", block=True)
_NAMED: Final = ModelFinding("likeness_model", "strong_face_with_name", block=True)
_MODELS: Final[Mapping[tuple[str, str], ModelFinding]] = {
    (LIKENESS, ALPHA): _DISTINCT,
    (SPLIT, ALPHA): _DISTINCT,
    (SECOND, BETA): _DISTINCT,
    (STYLE, GAMMA): _DISTINCT,
    (NAMED, ALPHA): _NAMED,
    ("upload-thumbnail-face-named", ALPHA): _NAMED,
    # No generator can be asked for a bounty.
    ("upload-bounty-face", ALPHA): ModelFinding("likeness_model", "strong_face_with_name"),
}
_DECIDED_MODELS: Final[Mapping[tuple[str, str], ModelFinding]] = {
    ("upload-lora-confirmed", ALPHA): ModelFinding("likeness_model", "confirmed_by_person", block=True),
    ("upload-lora-cleaned", ALPHA): ModelFinding("likeness_model", "copy_of_confirmed", block=True),
    ("upload-lora-forged", ALPHA): ModelFinding("likeness_model", "confirmed_by_person", block=True),
}
_BOUNTIES: Final = ("bounty", "bounty_entry")


def expected(case: Case, phase: Phase) -> Expected:
    """Return the truth about one case after one phase."""
    findings = {
        label: _finding(case, label)
        for label in sorted(REGISTERED[phase])
        if label in case.shows or label in case.names
    }
    if case.name in _DECIDED and PHASES.index(phase) >= PHASES.index("decisions"):
        findings[ALPHA] = _DECIDED[case.name]
    shown = Expected(case.status, findings)
    return Expected("hit" if shown.subjects and case.status in ("clean", "no_face") else case.status, findings)


def expected_models(cases: Sequence[Case], phase: Phase) -> dict[tuple[str, str], ModelFinding]:
    """(model or bounty, label) -> its truth after one phase."""
    found: dict[tuple[str, str], ModelFinding] = {}
    for case in cases:
        model = group_of(case)
        of_case = expected(case, phase)
        for label in of_case.subjects if model else ():
            asked = case.kind in _BOUNTIES and "text" in of_case.findings[label].tiers
            said = ModelFinding("suspected", "bounty_names_person" if asked else "some_evidence")
            if PHASES.index(phase) >= PHASES.index("decisions"):
                said = _DECIDED_MODELS.get((model, label), said)
            found[model, label] = _MODELS.get((model, label), said)
    return found


def group_of(case: Case) -> str:
    """Return the model or bounty that a case belongs to or is; empty for a picture by itself."""
    return case.model or (item_id(case) if case.kind != "image" else "")


def item_id(case: Case) -> str:
    """Return the item id of a case whose side-car can be read."""
    return case.item_id or f"upload-{case.name}"


def _finding(case: Case, label: str) -> ItemFinding:
    named: Iterable[Tier] = {case.names[label]} if label in case.names else ()
    tiers = frozenset[Tier](("face",) if label in case.shows else ()) | frozenset(named)
    return ItemFinding(case.rules.get(label) or _usual_rule(case, label), tiers, mature=case.nsfw_level is not None)


def _usual_rule(case: Case, label: str) -> str:
    """The rule that a case's strong face, its name, or both lead to by themselves."""
    if label in case.shows:
        if case.model is not None and CORROBORATED.get(case.model) == label:
            return "strong_face_in_distinct_images"
        return "strong_face_with_name" if label in case.names else "strong_face_uncorroborated"
    return "bounty_names_person" if case.kind in _BOUNTIES else f"name_in_{case.names[label]}"
