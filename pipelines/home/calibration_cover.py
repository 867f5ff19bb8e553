"""How large a gallery a calibration is for, and when it has grown so far beyond that the calibration is not in force.

A threshold fitted for one template is not in force for forty (I11): FPIR = 1 - (1 - FMR)^N. Up to what its data bear a
calibration holds its targets. Up to ``calibration.outgrown_factor`` times that it stays in force, and status, report
and check say that it is outgrown; beyond that the higher of its own and the published thresholds count, and where
nothing is published every run stops. Two people may accept a larger gallery than the data bear, with their names to it.
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
    """The gallery beside a calibration. ``templates``: there are; ``borne``: its data bear; ``accepted``: that two
    people put it in force for, if they did; ``most``: beyond which it is not in force."""

    templates: int
    borne: int
    accepted: int | None
    most: int

    @property
    def fits(self) -> bool:
        """Both targets hold."""
        return self.templates <= self.borne

    @property
    def lapsed(self) -> bool:
        """The calibration is not in force, whatever was put in force."""
        return self.templates > self.most


def cover_of(calibration: Calibration, *, templates: int, accepted: int | None, factor: float) -> Cover:
    """Compare a gallery of so many templates with what a complete calibration is for."""
    borne = min(_borne(calibration.review), _borne(calibration.strong))
    return Cover(templates, borne, accepted, int(max(borne, accepted or 0) * factor))


def _borne(own: Operating) -> int:
    if own.point.fmr is None or own.point.fmr.upper >= 1:
        return 0
    return most_templates(own.point.fmr.upper, target_fpir=own.target_fpir)


def stricter(calibrated: Thresholds, published: Thresholds) -> Thresholds:
    """What counts in the place of an outgrown calibration: of each threshold the higher one."""
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
