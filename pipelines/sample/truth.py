"""What the sample platform contains and what a correct pipeline makes of it.

Owns the vocabulary of planted cases. Knows no pictures, no database and no model.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final, Literal

from pipelines.sources import Kind

ALPHA: Final = "alpha"
"""Label of the subject that is registered from the start."""
BETA: Final = "beta"
"""Label of the subject whose removal request comes after both nightly runs."""


@dataclass(frozen=True, slots=True)
class Expected:
    """One upload at one moment. A subject that is not in ``takedown`` is to be reviewed."""

    status: str
    """The ledger's status, in full."""
    subjects: frozenset[str] = frozenset()
    """Labels of the subjects that a hit names."""
    takedown: frozenset[str] = frozenset()
    """Those of ``subjects`` for whom the verdict is ``takedown``."""

    def verdict(self, subject: str) -> Literal["takedown", "review", "clear"]:
        """What the policy makes of this upload and ``subject``."""
        if subject not in self.subjects:
            return "clear"
        return "takedown" if subject in self.takedown else "review"


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
    expected_after_sweep: Expected
    """After the nightly runs of both days."""
    expected_after_rescan: Expected
    """After the second subject's request was accepted as well."""


@dataclass(frozen=True, slots=True)
class PlantedSubject:
    """A person for the registry."""

    label: str
    name: str
    references: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class SamplePlatform:
    """A platform on disk: ``uploads`` is a directory source."""

    folder: Path
    uploads: Path
    days: tuple[date, date]
    registered: PlantedSubject
    """In the registry before the first run."""
    requested: PlantedSubject
    """Asks for removal after both runs."""
    planted: tuple[PlantedUpload, ...]
    """In the order of item ids."""

    @property
    def source_uri(self) -> str:
        """What :func:`pipelines.sources.open_source` takes."""
        return f"directory:{self.uploads}"
