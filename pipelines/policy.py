"""The policy: a readable TOML file, and the pure function that turns evidence into a verdict.

Knows no database: it is given the evidence of one item and one subject together with what the item's model shows
elsewhere, and answers with a verdict, the rule that made it, and a statement of reasons (I10).
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import pydantic
from pydantic import ConfigDict, Field, TypeAdapter

from embeddings.errors import ConfigError, NotReadyError
from indexes.calibration import Thresholds, published_thresholds
from pipelines.config import explain
from pipelines.config_embedding import Positive

Verdict = Literal["takedown", "review", "clear"]
Band = Literal["strong", "review"]
Similarity = Annotated[float, Field(gt=-1, lt=1)]
Fraction = Annotated[float, Field(gt=0, le=1)]
_FORBID = ConfigDict(extra="forbid")


@dataclass(frozen=True, slots=True)
class BandSettings:
    """Thresholds that replace a pack's published ones."""

    __pydantic_config__: ClassVar[ConfigDict] = _FORBID
    review: Similarity
    strong: Similarity


@dataclass(frozen=True, slots=True)
class TakedownSettings:
    """When a takedown is automatic, and by when it has to be done."""

    __pydantic_config__: ClassVar[ConfigDict] = _FORBID
    distinct_images: Positive
    duplicate_distance: Annotated[int, Field(ge=0, le=128)]
    hours: Positive


@dataclass(frozen=True, slots=True)
class EnrolmentSettings:
    """How much of today's platform a new subject may hit before a second person has to agree, or nobody may.

    Shares are of the scannable items, and count from ``min_items`` of them.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _FORBID
    second_approval_items: Positive = 1000
    second_approval_share: Fraction = 0.01
    refuse_share: Fraction = 0.05
    min_items: Positive = 200


@dataclass(frozen=True, slots=True)
class PolicyFile:
    """The file's schema."""

    __pydantic_config__: ClassVar[ConfigDict] = _FORBID
    version: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+$")]
    takedown: TakedownSettings
    bands: dict[str, BandSettings] = field(default_factory=dict)
    enrolment: EnrolmentSettings = field(default_factory=EnrolmentSettings)


@dataclass(frozen=True, slots=True)
class Policy:
    """A loaded policy. ``version`` is the file's own word for it and the first 12 hex digits of its SHA-256."""

    version: str
    settings: PolicyFile

    def has_thresholds(self, pack: str) -> bool:
        """Whether there are any for a pack that is not calibrated."""
        try:
            self.thresholds(pack)
        except NotReadyError:
            return False
        return True

    def thresholds(self, pack: str, *, calibrated: Thresholds | None = None) -> Thresholds:
        """The bands in force for a pack, with where they come from: the policy's own, else the calibration's, else
        the published ones."""
        bands = self.settings.bands.get(pack)
        if bands is None:
            return calibrated or published_thresholds(pack)
        return Thresholds(review=bands.review, strong=bands.strong, source=f"policy {self.version}")


@dataclass(frozen=True, slots=True)
class FaceEvidence:
    """One face hit, as far as the policy looks at it. ``pdq``: 64 hex digits or None."""

    hit_id: str
    item_id: str
    content_sha256: str
    score: float
    threshold: float
    threshold_source: str
    band: Band
    template_id: str
    model_id: str
    pdq: str | None


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the policy says of one item and one subject."""

    verdict: Verdict
    rule: str
    best_score: float
    distinct_images: int
    reasons: dict[str, Any]


def load_policy(path: Path | None) -> Policy:
    """The policy in ``path``, or the packaged default. Raises ``ConfigError`` saying which entry is wrong."""
    name = str(path) if path else "the packaged policy"
    try:
        data = path.read_bytes() if path else resources.files("pipelines").joinpath("policy.toml").read_bytes()
        settings = TypeAdapter(PolicyFile).validate_python(tomllib.loads(data.decode("utf-8")))
    except OSError as error:
        raise ConfigError(f"cannot read the policy {name}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{name} is not valid TOML: {error}") from error
    except pydantic.ValidationError as error:
        raise ConfigError(f"{name}: {explain(error)}") from None
    for pack, bands in settings.bands.items():
        if bands.strong < bands.review:
            raise ConfigError(f"{name}: bands.{pack}: strong ({bands.strong}) is below review ({bands.review})")
    return Policy(version=f"{settings.version}-{hashlib.sha256(data).hexdigest()[:12]}", settings=settings)


def band_of(score: float, thresholds: Thresholds) -> Band:
    """Which band a score at or above ``thresholds.review`` falls in."""
    return "strong" if score >= thresholds.strong else "review"


def judge(
    evidence: Sequence[FaceEvidence],
    *,
    model_evidence: Sequence[FaceEvidence],
    policy: Policy,
    calibration_id: str | None = None,
) -> Judgement:
    """Judge one item for one subject. ``calibration_id``: whose thresholds gave the bands; it is stated only.

    ``evidence``: the item's own hits (at least one). ``model_evidence``: all hits of the same subject in the pictures
    of the same parent model, this item's included; without a parent model, the item's own.
    """
    # By band first: between hits of two models, their scores alone decide nothing.
    best = max(evidence, key=lambda hit: (hit.band == "strong", hit.score, hit.hit_id))
    rule_settings = policy.settings.takedown
    strong = [hit for hit in model_evidence if hit.band == "strong"]
    distinct = count_distinct(strong, duplicate_distance=rule_settings.duplicate_distance)
    verdict: Verdict = "review"
    if best.band != "strong":
        rule = "face_above_review_threshold"
    elif distinct >= rule_settings.distinct_images:
        verdict, rule = "takedown", "strong_face_in_distinct_images"
    else:
        rule = "strong_face_uncorroborated"
    reasons = _statement(best, verdict, rule, distinct, policy) | {"calibration_id": calibration_id}
    return Judgement(verdict=verdict, rule=rule, best_score=best.score, distinct_images=distinct, reasons=reasons)


def count_distinct(evidence: Sequence[FaceEvidence], *, duplicate_distance: int) -> int:
    """How many different pictures the evidence comes from; re-encodings and repeats of one count once.

    Pictures are joined greedily in order of content digest, so that the count does not depend on arrival. A picture
    without a hash counts as distinct from every other content.
    """
    pictures = {hit.content_sha256: hit.pdq for hit in evidence}
    kept: list[int] = []
    unhashed = 0
    for _, pdq in sorted(pictures.items()):
        if pdq is None:
            unhashed += 1
            continue
        bits = int(pdq, 16)
        if all((bits ^ other).bit_count() > duplicate_distance for other in kept):
            kept.append(bits)
    return len(kept) + unhashed


def _statement(best: FaceEvidence, verdict: Verdict, rule: str, distinct: int, policy: Policy) -> dict[str, Any]:
    """The statement of reasons: opaque ids, numbers and fixed words only (I8)."""
    return {
        "verdict": verdict,
        "rule": rule,
        "decided_by": "automated means",
        "ground": "likeness of a person who opted out",
        "tier": "face",
        "hit_id": best.hit_id,
        "reference_id": best.template_id,
        "score": round(best.score, 4),
        "threshold": best.threshold,
        "threshold_source": best.threshold_source,
        "band": best.band,
        "distinct_images": distinct,
        "distinct_images_needed": policy.settings.takedown.distinct_images,
        "model_id": best.model_id,
        "policy_version": policy.version,
    }
