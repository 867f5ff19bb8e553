"""How strong one face hit is, once somebody has answered without knowing: what it rests on, and what such scores mean.

Read for one hit at a time, because every template in force is opened for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pipelines.home.calibrations import calibration_in_force
from pipelines.home.workspace import Workspace
from pipelines.matching.margins import Margin, measure_margin

_MOST_POINTS: Final = 80


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """At a score: the share of mated comparisons that reach it (None: there were none), and of impostor ones."""

    score: float
    mated: float | None
    impostors: float


@dataclass(frozen=True, slots=True)
class Strength:
    """What a score rests on. ``curve``: by the calibration in force for the models that found it; empty without one.

    ``strangers``: at most so large a share of the calibration's impostor comparisons scores this high.
    """

    margin: Margin
    curve: tuple[CurvePoint, ...] = ()
    strangers: float | None = None


def measure_strength(workspace: Workspace, hit_id: str, *, score: float, found_by_id: str) -> Strength | None:
    """What a hit rests on; None: it is no face. ``score`` and ``found_by_id``: of the hit."""
    margin = measure_margin(workspace, hit_id)
    if margin is None:
        return None
    with workspace.database.read() as connection:
        calibration = calibration_in_force(connection, workspace.sealer, model_id=found_by_id)
    if calibration is None or not calibration.points:
        return Strength(margin)
    points = sorted(calibration.points, key=lambda point: point.threshold)
    step = -(-len(points) // _MOST_POINTS)
    curve = tuple(
        CurvePoint(point.threshold, None if point.fnmr is None else 1 - point.fnmr, point.fmr)
        for point in points[::step]
    )
    return Strength(margin, curve, calibration.fmr_bound(score))
