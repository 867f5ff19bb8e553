"""Whether the gallery is still as small as its thresholds were calibrated for.

Every template is one more chance for a stranger's face to be taken for somebody: FPIR = 1 - (1 - FMR)^N. A gallery that
grows past its calibration makes more false accusations than were asked for, without anything else changing.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.engine import Connection

from indexes.det import fpir, most_templates
from pipelines.database.times import moment
from pipelines.home.calibration_cover import count_templates
from pipelines.home.calibrations import STRANGERS, calibration_in_force
from pipelines.home.workspace import Workspace


@dataclass(frozen=True, slots=True)
class GalleryFit:
    """The gallery beside the calibration in force. Without one all that can be said is where thresholds come from.

    ``templates``: of active subjects, of the models in force. ``most_templates``: how many the threshold in force
    allows. ``fpir_upper``: the bound of the FPIR with the present ones. ``lapsed``: there are so many that the
    calibration is not in force any more; ``accepted_templates``: for how many two people put it in force all the same.
    ``by_strangers``: whether nobody labelled what it was measured on.
    """

    threshold: float
    threshold_source: str
    calibration_id: str | None
    templates: int
    most_templates: int | None
    target_fpir: float | None
    fpir_upper: float | None
    accepted_templates: int | None = None
    lapsed: bool = False
    by_strangers: bool = False

    @property
    def outgrown(self) -> bool:
        """Whether more false positives than were asked for have to be expected."""
        return self.lapsed or (self.most_templates is not None and self.templates > self.most_templates)

    @property
    def remark(self) -> str:
        """The fit in a sentence."""
        if self.most_templates is None:
            return (
                f"thresholds are not calibrated for these models and this gallery ({self.threshold_source}): "
                "`likeness calibration background` needs pictures of strangers and no labels; --platform needs neither"
            )
        if self.lapsed:
            return (
                f"the calibration has lapsed and is outgrown: it is for far fewer templates than the {self.templates} "
                f"there are, and {self.threshold:g} counts ({self.threshold_source}). Calibrate anew"
            )
        numbers = f"{self.templates} templates, {self.most_templates} allowed by FPIR {self.target_fpir:g}"
        numbers += ", by strangers alone, who do not say how often somebody registered is missed" * self.by_strangers
        if not self.outgrown:
            return f"the gallery fits its calibration: {numbers}"
        return f"the gallery has outgrown its calibration: {numbers}; FPIR may be {self.fpir_upper:.2g}. Calibrate anew"


def read_fit(connection: Connection, workspace: Workspace) -> GalleryFit:
    """Compare the gallery with the calibration in force, at the threshold in force: the policy's if it has bands."""
    thresholds = workspace.thresholds_at(connection)
    calibration = calibration_in_force(connection, workspace.sealer, model_id=workspace.model_id)
    count = count_templates(connection, model_id=workspace.model_id, now=moment(connection))
    if calibration is None:
        return GalleryFit(thresholds.review, thresholds.source, None, count, None, None, None)
    bound, covered = calibration.fmr_bound(thresholds.review), workspace.cover_at(connection, calibration)
    return GalleryFit(
        threshold=thresholds.review,
        threshold_source=thresholds.source,
        calibration_id=calibration.calibration_id,
        templates=count,
        most_templates=most_templates(bound, target_fpir=calibration.review.target_fpir),
        target_fpir=calibration.review.target_fpir,
        fpir_upper=fpir(bound, templates=count),
        accepted_templates=covered.accepted,
        lapsed=covered.lapsed and not workspace.policy.has_bands(workspace.pack_name),
        by_strangers=calibration.kind in STRANGERS,
    )
