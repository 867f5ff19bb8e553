"""The policy file: its schema, its reader, and the bands that its sections give.

Knows no database and no evidence.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import pydantic
from pydantic import ConfigDict, Field, TypeAdapter

from embeddings.errors import ConfigError, NotReadyError
from embeddings.strict_toml import parse_toml, read_toml
from indexes.thresholds import Thresholds, published_agreement, published_thresholds
from pipelines.settings.config import explain
from pipelines.settings.scanning import Positive, WholeHours

Verdict = Literal["takedown", "review", "clear"]
Band = Literal["strong", "review"]
Level = Literal["suggestive", "mature", "explicit"]
Similarity = Annotated[float, Field(gt=-1, lt=1)]
Share = Annotated[float, Field(gt=0, le=1)]
Limit = Annotated[int, Field(ge=0, le=2**53)]
_FORBID = ConfigDict(extra="forbid")


@dataclass(frozen=True, slots=True)
class BandSettings:
    """Thresholds that replace a pack's published ones."""

    __pydantic_config__: ClassVar[ConfigDict] = _FORBID
    review: Similarity
    strong: Similarity


@dataclass(frozen=True, slots=True)
class TextSettings:
    """Which names are strong evidence, and what becomes of the others where there is nothing else."""

    __pydantic_config__: ClassVar[ConfigDict] = _FORBID
    strong_places: frozenset[str]
    strong_matches: frozenset[str]
    weak_alone: Literal["review", "clear"]


@dataclass(frozen=True, slots=True)
class TakedownSettings:
    """When a takedown is automatic, and by when it has to be done."""

    __pydantic_config__: ClassVar[ConfigDict] = _FORBID
    distinct_images: Positive
    duplicate_distance: Annotated[int, Field(ge=0, le=128)]
    hours: WholeHours
    named: bool
    exact: frozenset[Literal["sha256", "payload", "pdq"]]


@dataclass(frozen=True, slots=True)
class CopySettings:
    """What a picture that a person confirmed says of pictures that look like it.

    ``face_share``: from which share of its area on the confirmed face stands for the whole picture.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _FORBID
    face_share: Share


@dataclass(frozen=True, slots=True)
class MatureSettings:
    """From which rating on a context is mature, and what follows."""

    __pydantic_config__: ClassVar[ConfigDict] = _FORBID
    level: Level
    hours: WholeHours
    strong_face_alone: bool


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """What makes a model a likeness model."""

    __pydantic_config__: ClassVar[ConfigDict] = _FORBID
    distinct_images: Positive
    share: Share
    named: bool
    generator_block: bool


@dataclass(frozen=True, slots=True)
class PooledSettings:
    """What the faces of several pictures show together: by itself, and beside other evidence about the model."""

    __pydantic_config__: ClassVar[ConfigDict] = _FORBID
    alone: Literal["review", "clear"]
    corroborates: bool


@dataclass(frozen=True, slots=True)
class MadeBySettings:
    """What becomes of a picture that only says of itself that a confirmed model made it."""

    __pydantic_config__: ClassVar[ConfigDict] = _FORBID
    alone: Literal["review", "clear"]


@dataclass(frozen=True, slots=True)
class BountySettings:
    """What becomes of a bounty that asks for somebody registered."""

    __pydantic_config__: ClassVar[ConfigDict] = _FORBID
    named: Literal["review", "takedown"]


@dataclass(frozen=True, slots=True)
class BreakerSettings:
    """How many automatic messages may be sent within ``hours``. 0: any number."""

    __pydantic_config__: ClassVar[ConfigDict] = _FORBID
    hours: WholeHours
    subject: Limit
    uploader: Limit
    run: Limit
    day: Limit


@dataclass(frozen=True, slots=True)
class EnrolmentSettings:
    """How much of the platform a new person may hit."""

    __pydantic_config__: ClassVar[ConfigDict] = _FORBID
    min_items: Positive
    second_approval_items: Positive
    second_approval_share: Share
    refuse_share: Share


@dataclass(frozen=True, slots=True)
class SecondOpinionSettings:
    """What a second network's opinion of a face decides.

    ``corroboration``: what an automatic act that rests on a face needs of it: ``none`` nothing, ``not_denied`` that it
    does not say no, ``agreed`` that it says yes. ``rank``: whether what it denies is listed last. ``thresholds``: by
    network, in place of the published ones.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _FORBID
    corroboration: Literal["none", "not_denied", "agreed"]
    rank: bool
    thresholds: dict[str, Similarity] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DecisionSettings:
    """How long a decision can be undone before anything is sent."""

    __pydantic_config__: ClassVar[ConfigDict] = _FORBID
    undo_minutes: Annotated[int, Field(ge=0, le=366 * 24 * 60)]


@dataclass(frozen=True, slots=True)
class StatementSettings:
    """The operator's own words in a statement of reasons."""

    __pydantic_config__: ClassVar[ConfigDict] = _FORBID
    ground: str
    territorial_scope: str
    redress: str
    contact: str


@dataclass(frozen=True, slots=True)
class PolicyFile:
    """The file's schema."""

    __pydantic_config__: ClassVar[ConfigDict] = _FORBID
    version: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+$")]
    text: TextSettings
    takedown: TakedownSettings
    copies: CopySettings
    mature: MatureSettings
    model: ModelSettings
    pooled: PooledSettings
    made_by: MadeBySettings
    bounty: BountySettings
    breakers: BreakerSettings
    enrolment: EnrolmentSettings
    second_opinion: SecondOpinionSettings
    decisions: DecisionSettings
    statement: StatementSettings
    bands: dict[str, BandSettings] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Policy:
    """A loaded policy. ``version``: the file's own word for it and 12 hex digits of the SHA-256 of what is in force."""

    version: str
    settings: PolicyFile

    def has_bands(self, pack: str) -> bool:
        """Whether the policy has bands of its own for a pack, which go before any calibration."""
        return pack in self.settings.bands

    def has_thresholds(self, pack: str) -> bool:
        """Whether the policy or the publisher has thresholds for a pack that is not calibrated."""
        return self.thresholds_or_none(pack) is not None

    def thresholds_or_none(self, pack: str) -> Thresholds | None:
        """Return what the policy or the publisher states for a pack that is not calibrated; None: nothing."""
        try:
            return self.thresholds(pack)
        except NotReadyError:
            return None

    def thresholds(self, pack: str, *, calibrated: Thresholds | None = None) -> Thresholds:
        """Return the bands in force for a pack, with where they come from: the policy's own, else the calibration's,
        else the published ones."""
        bands = self.settings.bands.get(pack)
        if bands is None:
            return calibrated or published_thresholds(pack)
        return Thresholds(review=bands.review, strong=bands.strong, source=f"policy {self.version}")

    def agreement(self, network: str) -> tuple[float, str]:
        """Return the score from which a second network agrees, and its source: the policy, else its publisher.

        Raises :class:`NotReadyError` for a network without a threshold.
        """
        own = self.settings.second_opinion.thresholds.get(network)
        if own is not None:
            return own, f"policy {self.version}"
        try:
            return published_agreement(network)
        except NotReadyError:
            raise NotReadyError(
                f"the second network {network} has no threshold: state one under [second_opinion.thresholds] in the "
                "policy"
            ) from None

    def text_band(self, place: str, match: str) -> Band:
        """Return the band of a name found at ``place`` by the rule ``match``."""
        text = self.settings.text
        return "strong" if place in text.strong_places and match in text.strong_matches else "review"


def load_policy(path: Path | None) -> Policy:
    """Return the policy in ``path``, or the packaged default. Raises ``ConfigError`` saying which entry is wrong."""
    name = str(path) if path else "the packaged policy"
    packaged = resources.files("pipelines.policy").joinpath("default.toml").read_bytes()
    try:
        own, data = read_toml(path) if path else (parse_toml(packaged), packaged)
        missing = {key: value for key, value in parse_toml(packaged).items() if key not in own}
        settings = _policy_file().validate_python(own | _sections(missing))
    except OSError as error:
        raise ConfigError(f"cannot read the policy {name}: {error.strerror}") from error
    except pydantic.ValidationError as error:
        raise ConfigError(f"{name}: {explain(error)}") from None
    except ValueError as error:
        raise ConfigError(f"{name} is not valid TOML: {error}") from error
    _require_sense(name, settings)
    digest = hashlib.sha256(data + (packaged if _sections(missing) else b"")).hexdigest()
    return Policy(version=f"{settings.version}-{digest[:12]}", settings=settings)


@functools.cache  # pydantic builds the schema once
def _policy_file() -> TypeAdapter[PolicyFile]:
    return TypeAdapter(PolicyFile)


def _sections(entries: dict[str, Any]) -> dict[str, Any]:
    """Return the sections that a file may leave to the packaged policy: all but version and bands."""
    return {key: value for key, value in entries.items() if key not in ("version", "bands")}


def _require_sense(name: str, settings: PolicyFile) -> None:
    for pack, bands in settings.bands.items():
        if bands.strong < bands.review:
            raise ConfigError(f"{name}: bands.{pack}: strong ({bands.strong}) is below review ({bands.review})")
    enrolment = settings.enrolment
    if enrolment.refuse_share < enrolment.second_approval_share:
        raise ConfigError(
            f"{name}: enrolment: refuse_share ({enrolment.refuse_share}) is below second_approval_share "
            f"({enrolment.second_approval_share}): nobody could approve"
        )


def band_of(score: float, thresholds: Thresholds) -> Band:
    """Return the band of a score at or above ``thresholds.review``."""
    return "strong" if score >= thresholds.strong else "review"
