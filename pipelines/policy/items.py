"""The rules for one item and one person, in the order in which they are asked. The first that holds gives the verdict.

Pure: the evidence comes in, a verdict with the rule's name and a statement of its facts goes out (I10).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from pipelines.policy.evidence import (
    BOUNTIES,
    Context,
    Evidence,
    Witnessed,
    acting_faces,
    has_condemned_copy,
    of_tier,
    tiers_of,
    witnesses,
)
from pipelines.policy.schema import Policy, PolicyFile, Verdict

_MOST_NAMED: Final = 20
"""Hits that a statement lists."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """The policy's judgement of one item and one person. ``hours``: until the deadline; ``best_score``: of its
    faces."""

    verdict: Verdict
    rule: str
    best_score: float | None
    distinct_images: int
    tiers: str
    decided_by: Literal["automated", "human"]
    priority: int
    hours: int
    reasons: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Case:
    """What the rules look at. ``own``: the item's evidence; ``known``: all evidence of its model that counts for it."""

    own: Sequence[Evidence]
    known: Sequence[Evidence]
    distinct: int
    context: Context
    settings: PolicyFile

    @property
    def strong_face(self) -> bool:
        return bool(of_tier(self.own, "face", strong=True))

    @property
    def acting_face(self) -> bool:
        """Whether a machine may act because of one: the second network does not stand against it."""
        return bool(acting_faces(self.own))

    @property
    def named(self) -> bool:
        return bool(of_tier(self.known, "header", "text", strong=True))

    @property
    def asked_for(self) -> bool:
        return any(hit.kind in BOUNTIES for hit in of_tier(self.own, "text", strong=True))

    @property
    def condemned_copy(self) -> bool:
        return has_condemned_copy(self.own, self.settings)


_Rule = tuple[str, Callable[[_Case], Verdict | None]]

_RULES: Final[tuple[_Rule, ...]] = (
    ("confirmed_by_person", lambda case: "takedown" if any(hit.confirmed for hit in case.own) else None),
    ("copy_of_confirmed", lambda case: "takedown" if case.condemned_copy else None),
    (
        "strong_face_in_distinct_images",
        lambda case: (
            "takedown" if case.acting_face and case.distinct >= case.settings.takedown.distinct_images else None
        ),
    ),
    (
        "strong_face_with_name",
        lambda case: "takedown" if case.acting_face and case.named and case.settings.takedown.named else None,
    ),
    (
        "strong_face_in_mature_context",
        lambda case: (
            "takedown" if case.acting_face and case.context.mature and case.settings.mature.strong_face_alone else None
        ),
    ),
    ("bounty_names_person", lambda case: case.settings.bounty.named if case.asked_for else None),
    ("strong_face_not_agreed", lambda case: "review" if case.strong_face and not case.acting_face else None),
    ("strong_face_uncorroborated", lambda case: "review" if case.strong_face else None),
    ("face_above_review_threshold", lambda case: "review" if _counted(case.own, "face") else None),
    (
        "pooled_face_above_review_threshold",
        lambda case: "review" if case.settings.pooled.alone == "review" and _counted(case.own, "pooled_face") else None,
    ),
    ("resembles_confirmed", lambda case: "review" if of_tier(case.own, "exact", strong=True) else None),
    (
        "made_by_confirmed_model",
        lambda case: "review" if case.settings.made_by.alone == "review" and of_tier(case.own, "made_by") else None,
    ),
    ("name_in_header", lambda case: "review" if of_tier(case.own, "header", strong=True) else None),
    ("name_in_text", lambda case: "review" if of_tier(case.own, "text", strong=True) else None),
    (
        "weak_name_alone",
        lambda case: case.settings.text.weak_alone if of_tier(case.own, "header", "text") else None,
    ),
    ("below_review_threshold", lambda case: "clear"),
)

RULES: Final = (*(name for name, _ in _RULES), "rejected_by_person", "message_discarded")
"""Every rule that a verdict may name. The last two are no rules of the policy: they stand where people rejected
everything, and where somebody decided that a machine's takedown shall not be sent."""


def _counted(evidence: Sequence[Evidence], tier: Literal["face", "pooled_face"]) -> bool:
    return any(hit.band is not None for hit in of_tier(evidence, tier))


def judge(
    evidence: Sequence[Evidence],
    *,
    known: Sequence[Evidence],
    policy: Policy,
    context: Context | None = None,
    likeness_model: bool = False,
    distinct: int | None = None,
    calibration_id: str | None = None,
) -> Judgement:
    """Judge one item for one person. ``calibration_id``: whose thresholds gave the bands; it is stated only.

    ``evidence``: the item's own hits (at least one). ``known``: all hits of the same person in what belongs to the
    same model, this item's included; without a model, the item's own. Of these only :func:`witnesses` count.
    ``likeness_model``: what was made of the model. ``distinct``: in how many different pictures the witnesses have a
    strong face, where that was counted for another item of the same uploader already.
    """
    settings, context = policy.settings, context or Context()
    known = witnesses(known, uploader=evidence[0].uploader)
    if distinct is None:
        witnessed = Witnessed(known, duplicate_distance=settings.takedown.duplicate_distance)
        distinct = witnessed.by(evidence[0].uploader)
    case = _Case(evidence, known, distinct, context, settings)
    rule, verdict = next((name, found) for name, asked in _RULES if (found := asked(case)) is not None)
    leading = max(evidence, key=lambda hit: _weight(hit, rule))
    decided_by: Literal["automated", "human"] = "human" if rule == "confirmed_by_person" else "automated"
    faces = of_tier(evidence, "face")
    return Judgement(
        verdict=verdict,
        rule=rule,
        best_score=max((hit.score for hit in faces), default=None),
        distinct_images=distinct,
        tiers=tiers_of(evidence),
        decided_by=decided_by,
        priority=priority_of(context, likeness_model=likeness_model),
        hours=settings.mature.hours if context.mature else settings.takedown.hours,
        reasons=_statement(leading, evidence, verdict, rule, policy)
        | {
            "decided_by": "a person" if decided_by == "human" else "automated means",
            "distinct_images": distinct,
            "distinct_images_needed": settings.takedown.distinct_images,
            "rating": context.level,
            "likeness_model": likeness_model,
            "calibration_id": calibration_id,
        },
    )


def priority_of(context: Context, *, likeness_model: bool) -> int:
    """Higher is sooner: somebody who looks like a minor in mature content, mature content, likeness models."""
    return 4 * (context.mature and context.minor_looking) + 2 * context.mature + likeness_model


_LEADING_TIER: Final = {
    "copy_of_confirmed": "exact",
    "resembles_confirmed": "exact",
    "bounty_names_person": "text",
    "pooled_face_above_review_threshold": "pooled_face",
    "made_by_confirmed_model": "made_by",
}
_ORDER: Final = ("face", "pooled_face", "exact", "made_by", "header", "text")


def _weight(hit: Evidence, rule: str) -> tuple[bool, bool, int, bool, float, str]:
    """Sort key by relevance to the rule, then by band: scores of two models' hits cannot be compared alone."""
    speaks = hit.confirmed if rule == "confirmed_by_person" else hit.tier == _LEADING_TIER.get(rule, "face")
    return speaks, hit.band is not None, -_ORDER.index(hit.tier), hit.band == "strong", hit.score, hit.hit_id


def _statement(
    leading: Evidence, evidence: Sequence[Evidence], verdict: Verdict, rule: str, policy: Policy
) -> dict[str, Any]:
    """The statement of reasons: opaque ids, numbers and fixed words only (I8)."""
    return {
        "verdict": verdict,
        "rule": rule,
        "ground": "likeness of a person who opted out",
        "tier": leading.tier,
        "tiers": tiers_of(evidence).split(),
        "hit_id": leading.hit_id,
        "hit_ids": sorted(hit.hit_id for hit in evidence)[:_MOST_NAMED],
        "hits": len(evidence),
        "reference_id": leading.template_id,
        "seed_id": leading.seed_id,
        "confirmed_face_share": leading.seed_share,
        "confirmed_face_share_needed": policy.settings.copies.face_share if leading.tier == "exact" else None,
        "place": leading.place,
        "match": leading.match,
        "pool": leading.pool,
        "pictures": leading.pictures,
        "score": round(leading.score, 4),
        "threshold": leading.threshold,
        "threshold_source": leading.threshold_source,
        "band": leading.band,
        "second_opinion": asdict(leading.second) if leading.second else None,
        "model_id": leading.found_by_id,
        "policy_version": policy.version,
    }
