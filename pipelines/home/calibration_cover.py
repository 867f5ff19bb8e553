"""The gallery size that a calibration is for, and from which size on the calibration is no longer in force.

A threshold fitted for one template is not in force for forty (I11): FPIR = 1 - (1 - FMR)^N. A calibration holds its
targets up to the number of templates that its data support. Up to ``calibration.outgrown_factor`` times that number it
stays in force, and status, report and check say that it is outgrown; beyond, the higher of its own and the published
thresholds count, and where nothing is published every run stops. Two people may accept a larger gallery than the data
support, and the audit chain names them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from indexes.det import most_templates
from indexes.thresholds import Thresholds
from pipelines.database.in_force import is_in_force
from pipelines.database.tables import subjects, templates
from pipelines.home.calibrations import Calibration, Operating


@dataclass(frozen=True, slots=True)
class Cover:
    """The gallery beside a calibration, in templates. ``templates``: in the gallery; ``borne``: supported by the data;
    ``accepted``: accepted by two people, if any; ``most``: up to which the calibration is in force."""

    templates: int
    borne: int
    accepted: int | None
    most: int

    @property
    def fits(self) -> bool:
        """Whether both targets hold."""
        return self.templates <= self.borne

    @property
    def lapsed(self) -> bool:
        """Whether the gallery has outgrown the calibration so far that it is not in force, although it was put in
        force."""
        return self.templates > self.most


def cover_of(calibration: Calibration, *, templates: int, accepted: int | None, factor: float) -> Cover:
    """Compare a gallery of ``templates`` with the one that a calibration is for, by the thresholds that it states."""
    stated = [own for own in (calibration.review, calibration.strong) if own.point.threshold is not None]
    borne = min((_borne(own) for own in stated), default=0)
    return Cover(templates, borne, accepted, int(max(borne, accepted or 0) * factor))


def _borne(own: Operating) -> int:
    if own.point.fmr is None or own.point.fmr.upper >= 1:
        return 0
    return most_templates(own.point.fmr.upper, target_fpir=own.target_fpir)


def stricter(calibrated: Thresholds, published: Thresholds) -> Thresholds:
    """Return the thresholds that replace an outgrown calibration: the higher of each."""
    return Thresholds(
        review=max(calibrated.review, published.review),
        strong=max(calibrated.strong, published.strong),
        source=f"{published.source}; or above, by the outgrown calibration {calibrated.calibration_id}",
    )


def count_templates(connection: Connection, *, model_id: str, now: datetime) -> int:
    """Templates of these models that faces are compared with now. The canary's make no hits and do not count."""
    query = (
        sa.select(sa.func.count())
        .select_from(templates.join(subjects, subjects.c.subject_id == templates.c.subject_id))
        .where(templates.c.model_id == model_id, is_in_force(now))
    )
    return int(connection.execute(query).scalar_one())
