"""Whether the gallery is still as small as its thresholds were calibrated for.

Every template is one more chance for a stranger's face to be taken for somebody: FPIR = 1 - (1 - FMR)^N. A gallery that
grows past its calibration makes more false accusations than were asked for, without anything else changing.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from indexes.det import fpir, most_templates
from pipelines.calibration.store import calibration_in_force
from pipelines.database.tables import subjects, templates
from pipelines.database.times import moment
from pipelines.in_force import is_in_force
from pipelines.workspace import Workspace


@dataclass(frozen=True, slots=True)
class GalleryFit:
    """The gallery beside the calibration in force. Without one all that can be said is where thresholds come from.

    ``templates``: of active subjects, of the models in force. ``most_templates``: how many the threshold in force
    allows. ``fpir_upper``: the bound of the FPIR with the present ones.
    """

    threshold: float
    threshold_source: str
    calibration_id: str | None
    templates: int
    most_templates: int | None
    target_fpir: float | None
    fpir_upper: float | None

    @property
    def outgrown(self) -> bool:
        """More false positives than were asked for have to be expected."""
        return self.most_templates is not None and self.templates > self.most_templates

    @property
    def remark(self) -> str:
        """In a sentence."""
        if self.most_templates is None:
            return f"thresholds are not calibrated for these models and this gallery ({self.threshold_source})"
        numbers = f"{self.templates} templates, {self.most_templates} allowed by FPIR {self.target_fpir:g}"
        if not self.outgrown:
            return f"the gallery fits its calibration: {numbers}"
        return f"the gallery has outgrown its calibration: {numbers}; FPIR may be {self.fpir_upper:.2g}. Calibrate anew"


def read_fit(connection: Connection, workspace: Workspace) -> GalleryFit:
    """Compare the gallery with the calibration in force, at the threshold in force: the policy's if it has bands."""
    thresholds = workspace.thresholds_at(connection)
    calibration = calibration_in_force(connection, workspace.sealer, model_id=workspace.model_id)
    count = count_templates(connection, workspace)
    if calibration is None:
        return GalleryFit(thresholds.review, thresholds.source, None, count, None, None, None)
    bound = calibration.fmr_bound(thresholds.review)
    return GalleryFit(
        threshold=thresholds.review,
        threshold_source=thresholds.source,
        calibration_id=calibration.calibration_id,
        templates=count,
        most_templates=most_templates(bound, target_fpir=calibration.review.target_fpir),
        target_fpir=calibration.review.target_fpir,
        fpir_upper=fpir(bound, templates=count),
    )


def count_templates(connection: Connection, workspace: Workspace) -> int:
    """Templates of the models in force that faces are compared with now. The canary's make no hits and do not count."""
    query = (
        sa.select(sa.func.count())
        .select_from(templates.join(subjects, subjects.c.subject_id == templates.c.subject_id))
        .where(
            templates.c.model_id == workspace.model_id,
            is_in_force(moment(connection)),
        )
    )
    return int(connection.execute(query).scalar_one())
