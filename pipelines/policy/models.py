"""The rules for a model (or bounty) and one person, over all evidence of it and of its pictures. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal

from pipelines.policy.evidence import (
    BOUNTIES,
    Context,
    Evidence,
    Witnessed,
    acting_faces,
    has_condemned_copy,
    of_tier,
    tiers_of,
)
from pipelines.policy.items import priority_of
from pipelines.policy.schema import Policy, PolicyFile

ModelVerdictWord = Literal["likeness_model", "suspected", "clear"]


@dataclass(frozen=True, slots=True)
class ModelJudgement:
    """The policy's judgement of one model and one person."""

    verdict: ModelVerdictWord
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


@dataclass(frozen=True, slots=True)
class _Found:
    """What the model's own uploader posted. ``strong``: pictures with a strong face that may act; ``model_named`` and
    ``picture_named``: a strong name stands in the model's own texts or header, or in a picture's; ``fills_share``: such
    faces are in enough of the ``images``. ``pooled``: different pictures that together show a strong face;
    ``pool_fills_share``: those are enough of them; ``pool_confirmed``: somebody confirmed what they show together."""

    images: int
    strong: int
    model_named: bool
    picture_named: bool
    fills_share: bool
    pooled: int
    pool_fills_share: bool
    pool_confirmed: bool

    @classmethod
    def of(cls, model: str, evidence: Sequence[Evidence], *, images: int, share: float) -> _Found:
        own = [hit for hit in evidence if hit.by_owner]
        names = of_tier(own, "header", "text", strong=True)
        strong = len({hit.item_id for hit in acting_faces(own)})
        images = max(images, strong)
        pooled = max((hit.pictures or 0 for hit in of_tier(own, "pooled_face", strong=True)), default=0)
        return cls(
            images=images,
            strong=strong,
            model_named=any(hit.item_id == model for hit in names),
            picture_named=any(hit.item_id != model for hit in names),
            fills_share=strong >= share * images,
            pooled=pooled,
            pool_fills_share=pooled >= share * images,
            pool_confirmed=any(hit.confirmed for hit in of_tier(own, "pooled_face")),
        )


def judge_model(
    model: str,
    evidence: Sequence[Evidence],
    *,
    images: int,
    own_images: int | None = None,
    context: Context,
    bounty: bool,
    policy: Policy,
    witnessed: Witnessed | None = None,
    calibration_id: str | None = None,
) -> ModelJudgement:
    """Judge one model for one person.

    ``evidence``: of the model's own item and of its pictures. ``images``: how many pictures of it there are to look
    at; ``own_images``: how many of them its own uploader posted [all]. ``context``: of its most mature one. ``bounty``:
    it is a bounty, which no generator can be asked for. ``witnessed``: of this evidence, where that was counted before.
    ``calibration_id``: whose thresholds gave the bands; it is stated only.

    Only what the model's own uploader posted can make it a likeness model; a share is one of their pictures alone, so
    that nobody else can raise or lower it. What others attach makes it ``suspected``.
    """
    settings = policy.settings
    best_by_item: dict[str, float] = {}
    for hit in of_tier(evidence, "face"):
        if hit.band is not None:
            best_by_item[hit.item_id] = max(hit.score, best_by_item.get(hit.item_id, hit.score))
    found = _Found.of(model, evidence, images=images if own_images is None else own_images, share=settings.model.share)
    witnessed = witnessed or Witnessed(evidence, duplicate_distance=settings.takedown.duplicate_distance)
    images = max(images, len(best_by_item))
    verdict, rule = _first_rule(model, evidence, found, witnessed, settings)
    likeness = verdict == "likeness_model"
    scores = sorted(best_by_item.values())
    judgement = ModelJudgement(
        verdict=verdict,
        rule=rule,
        images=images,
        images_with_face=len(best_by_item),
        distinct_images=witnessed.by_anybody,
        best_score=scores[-1] if scores else None,
        median_score=median(scores) if scores else None,
        tiers=tiers_of(evidence),
        rating=context.level,
        generator_block=likeness and settings.model.generator_block and not bounty,
        priority=priority_of(context, likeness_model=likeness),
        hours=settings.mature.hours if context.mature else settings.takedown.hours,
        reasons={},
    )
    judgement.reasons.update(_facts(judgement, evidence, found, witnessed.by_owner, policy))
    judgement.reasons["calibration_id"] = calibration_id
    return judgement


def _first_rule(
    model: str, evidence: Sequence[Evidence], found: _Found, witnessed: Witnessed, settings: PolicyFile
) -> tuple[ModelVerdictWord, str]:
    """Return the verdict of the first rule that holds, and the rule's name."""
    own = [hit for hit in evidence if hit.item_id == model]
    if found.pool_confirmed or any(hit.confirmed for hit in own):
        return "likeness_model", "confirmed_by_person"
    if has_condemned_copy(own, settings):
        return "likeness_model", "copy_of_confirmed"
    if witnessed.by_owner >= settings.model.distinct_images and found.fills_share:
        return "likeness_model", "strong_face_in_distinct_images"
    if found.strong and settings.model.named and (found.model_named or (found.picture_named and found.fills_share)):
        return "likeness_model", "strong_face_with_name"
    if settings.pooled.corroborates and _is_pool_corroborated(found, settings):
        return "likeness_model", "pooled_face_corroborated"
    if any(hit.kind in BOUNTIES for hit in of_tier(own, "text", strong=True)):
        return "suspected", "bounty_names_person"
    if settings.made_by.alone == "review" and any(hit.by_owner for hit in of_tier(evidence, "made_by")):
        return "suspected", "made_by_confirmed_model"
    if any(hit.band is not None for hit in evidence):
        return "suspected", "some_evidence"
    return "clear", "below_review_threshold"


def _is_pool_corroborated(found: _Found, settings: PolicyFile) -> bool:
    """Whether a strong pool of enough of the model's pictures meets other strong evidence about the model."""
    of_enough = found.pooled >= settings.model.distinct_images and found.pool_fills_share
    return of_enough and (found.strong > 0 or (found.model_named and settings.model.named))


def _facts(
    judgement: ModelJudgement, evidence: Sequence[Evidence], found: _Found, own_distinct: int, policy: Policy
) -> dict[str, Any]:
    """The statement of reasons: numbers, opaque ids and fixed words (I8). ``own_...``: by the model's own uploader."""
    needed = policy.settings.model
    return {
        "verdict": judgement.verdict,
        "rule": judgement.rule,
        "decided_by": "a person" if judgement.rule == "confirmed_by_person" else "automated means",
        "ground": "likeness of a person who opted out",
        "tiers": judgement.tiers.split(),
        "named": found.model_named or found.picture_named,
        "images": judgement.images,
        "own_images": found.images,
        "own_images_with_strong_face": found.strong,
        "own_distinct_images": own_distinct,
        "own_images_pooled": found.pooled,
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
