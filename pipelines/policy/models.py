"""The rules for a model (or bounty) and one person, over all evidence of it and of its pictures. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal

from pipelines.policy.evidence import BOUNTIES, Context, Evidence, count_distinct, of_tier, tiers_of
from pipelines.policy.items import priority_of
from pipelines.policy.schema import Policy

ModelVerdict = Literal["likeness_model", "suspected", "clear"]


@dataclass(frozen=True, slots=True)
class ModelJudgement:
    """What the policy says of one model and one person."""

    verdict: ModelVerdict
    rule: str
    images: int
    images_with_face: int
    distinct_images: int
    best_score: float | None
    median_score: float | None
    tiers: str
    rating: str
    generator_block: bool
    priority: int
    hours: int
    reasons: dict[str, Any]


def judge_model(
    model: str, evidence: Sequence[Evidence], *, images: int, context: Context, bounty: bool, policy: Policy
) -> ModelJudgement:
    """Judge one model for one person.

    ``evidence``: of the model's own item and of its pictures. ``images``: how many pictures of it there are to look
    at. ``context``: of its most mature one. ``bounty``: it is a bounty, which no generator can be asked for.
    """
    settings = policy.settings
    faces = [hit for hit in of_tier(evidence, "face") if hit.band is not None]
    best_by_item: dict[str, float] = {}
    for hit in faces:
        best_by_item[hit.item_id] = max(hit.score, best_by_item.get(hit.item_id, hit.score))
    strong = of_tier(faces, "face", strong=True)
    distinct = count_distinct(strong, duplicate_distance=settings.takedown.duplicate_distance)
    strong_items = len({hit.item_id for hit in strong})
    images = max(images, len(best_by_item))
    own = [hit for hit in evidence if hit.item_id == model]
    named = bool(of_tier(evidence, "header", "text", strong=True))
    verdict: ModelVerdict = "likeness_model"
    if any(hit.confirmed for hit in own):
        rule = "confirmed_by_person"
    elif any(hit.place in settings.takedown.exact for hit in of_tier(own, "exact", strong=True)):
        rule = "copy_of_confirmed"
    elif distinct >= settings.model.distinct_images and strong_items >= settings.model.share * images:
        rule = "strong_face_in_distinct_images"
    elif strong and named and settings.model.named:
        rule = "strong_face_with_name"
    elif any(hit.kind in BOUNTIES for hit in of_tier(own, "text", strong=True)):
        verdict, rule = "suspected", "bounty_names_person"
    elif any(hit.band is not None for hit in evidence):
        verdict, rule = "suspected", "some_evidence"
    else:
        verdict, rule = "clear", "below_review_threshold"
    likeness = verdict == "likeness_model"
    scores = sorted(best_by_item.values())
    judgement = ModelJudgement(
        verdict=verdict,
        rule=rule,
        images=images,
        images_with_face=len(best_by_item),
        distinct_images=distinct,
        best_score=scores[-1] if scores else None,
        median_score=median(scores) if scores else None,
        tiers=tiers_of(evidence),
        rating=context.level,
        generator_block=likeness and settings.model.generator_block and not bounty,
        priority=priority_of(context, likeness_model=likeness),
        hours=settings.mature.hours if context.mature else settings.takedown.hours,
        reasons={},
    )
    judgement.reasons.update(_facts(judgement, evidence, named=named, policy=policy))
    return judgement


def _facts(judgement: ModelJudgement, evidence: Sequence[Evidence], *, named: bool, policy: Policy) -> dict[str, Any]:
    """The statement of reasons: numbers, opaque ids and fixed words (I8)."""
    needed = policy.settings.model
    return {
        "verdict": judgement.verdict,
        "rule": judgement.rule,
        "decided_by": "a person" if judgement.rule == "confirmed_by_person" else "automated means",
        "ground": "likeness of a person who opted out",
        "tiers": judgement.tiers.split(),
        "named": named,
        "images": judgement.images,
        "images_with_face": judgement.images_with_face,
        "distinct_images": judgement.distinct_images,
        "distinct_images_needed": needed.distinct_images,
        "share_needed": needed.share,
        "best_score": judgement.best_score,
        "median_score": judgement.median_score,
        "hits": len(evidence),
        "rating": judgement.rating,
        "policy_version": policy.version,
    }
