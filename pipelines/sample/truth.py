"""What the sample platform contains and what a correct pipeline makes of it.

Owns the vocabulary of planted cases. Knows no pictures, no database, no model and no policy: what each rule means is
said here a second time, so that the two can differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final, Literal

from pipelines.sources import Kind

ALPHA: Final = "alpha"
"""Label of the subject that is registered from the start."""
BETA: Final = "beta"
"""Label of the subject whose removal request comes after both nightly runs, and who withdraws consent in the end."""
GAMMA: Final = "gamma"
"""Label of the poisoned request: a face that fills a creator's model, in the name of somebody who is not its owner."""

Verdict = Literal["takedown", "review", "clear"]
Tier = Literal["exact", "face", "header", "text"]
Phase = Literal["nights", "request", "decisions", "poison", "withdrawal"]
PHASES: Final[tuple[Phase, ...]] = ("nights", "request", "decisions", "poison", "withdrawal")
"""After the nightly runs of both days; after the second subject's request; after an analyst's decisions and the rescan
they cause; after the poisoned request; after the second subject has withdrawn and the poisoned one was thrown out."""

VERDICTS: Final[Mapping[str, Verdict]] = {
    "confirmed_by_person": "takedown",
    "copy_of_confirmed": "takedown",
    "strong_face_in_distinct_images": "takedown",
    "strong_face_with_name": "takedown",
    "bounty_names_person": "review",
    "strong_face_uncorroborated": "review",
    "face_above_review_threshold": "review",
    "name_in_header": "review",
    "name_in_text": "review",
    "resembles_confirmed": "review",
    "weak_name_alone": "review",
    "rejected_by_person": "clear",
}
"""Rules that the sample's own policy makes verdicts by. Two more only fire under its other policy."""


@dataclass(frozen=True, slots=True)
class ItemFinding:
    """The true finding on one upload and one subject. ``tiers``: of the evidence in force, none once rejected."""

    rule: str
    tiers: frozenset[Tier]
    mature: bool = False
    """Whether it is rated mature, and so comes first and has the shorter deadline."""

    @property
    def verdict(self) -> Verdict:
        """The verdict that the rule gives."""
        return VERDICTS[self.rule]


@dataclass(frozen=True, slots=True)
class ModelFinding:
    """The true finding on one model (or bounty) and one subject; ``block``: whether the generator is to be blocked."""

    verdict: Literal["likeness_model", "suspected"]
    rule: str
    block: bool = False


@dataclass(frozen=True, slots=True)
class Expected:
    """The truth about one upload after one phase."""

    status: str
    """The ledger's status, in full."""
    findings: Mapping[str, ItemFinding]
    """Findings by label; a subject that is not in it has no verdict."""

    @property
    def subjects(self) -> frozenset[str]:
        """Labels of the subjects with a hit in force."""
        return frozenset(label for label, finding in self.findings.items() if finding.tiers)

    @property
    def faces(self) -> frozenset[str]:
        """Labels of the subjects whose face is to be found."""
        return frozenset(label for label, finding in self.findings.items() if "face" in finding.tiers)

    def verdict(self, subject: str) -> Verdict:
        """Return the policy's verdict on this upload and ``subject``."""
        return self.findings[subject].verdict if subject in self.findings else "clear"


@dataclass(frozen=True, slots=True)
class PlantedUpload:
    """One upload with its truth."""

    item_id: str
    path: str
    """Relative to the uploads folder."""
    day: date
    """UTC day it was received on."""
    case: str
    """Short name of what is special about it, unique."""
    kind: Kind
    uploader: str | None
    parent_model: str | None
    expected_faces: int | None
    """Faces over all frames; None where that is not part of the case."""
    faint: bool
    """Whether its face scores between the two thresholds."""
    expected: Mapping[Phase, Expected]


@dataclass(frozen=True, slots=True)
class PlantedSubject:
    """A person for the registry."""

    label: str
    names: tuple[str, ...]
    """The full name first, then aliases."""
    exclusions: tuple[str, ...]
    references: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class SamplePlatform:
    """A platform on disk: ``uploads`` is a directory source."""

    folder: Path
    uploads: Path
    days: tuple[date, date]
    registered: PlantedSubject
    """The person in the registry before the first run."""
    requested: PlantedSubject
    """The person who asks for removal after both runs."""
    poisoned: PlantedSubject
    """The person whose request would empty somebody's model."""
    planted: tuple[PlantedUpload, ...]
    """In the order of item ids."""
    models: Mapping[Phase, Mapping[tuple[str, str], ModelFinding]]
    """(model or bounty, label) -> its truth."""

    @property
    def source_uri(self) -> str:
        """The URI that :func:`pipelines.sources.open_source` takes."""
        return f"directory:{self.uploads}"

    @property
    def subjects(self) -> tuple[PlantedSubject, ...]:
        """Everybody who is ever registered."""
        return self.registered, self.requested, self.poisoned

    def item(self, case: str) -> str:
        """Return the item id of a planted case."""
        return next(upload.item_id for upload in self.planted if upload.case == case)
