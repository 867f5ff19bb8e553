"""Settings of :mod:`pipelines.calibration`: what thresholds aim at, and when they are fitted again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field

from pipelines.settings.scanning import FORBID, Positive, Share


@dataclass(frozen=True, slots=True)
class CalibrationConfig:
    """What ``likeness calibrate`` aims at: the false positive identification rate, per face of a stranger, at the
    review and at the strong threshold, each held with ``confidence``. Of more than ``max_comparisons`` that a folder
    gives, so many are drawn. ``pooled_pictures``: of one person, in each pool that is measured. ``points``: of the DET
    curve. ``outgrown_factor``: times its gallery that make it lapse (:mod:`pipelines.home.calibration_cover`).
    ``follow_registry``: whether thresholds by strangers are fitted again when the registry outgrows them
    (:mod:`pipelines.calibration.following`); ``from_platform``: whether the strangers are faces of this platform where
    nothing is calibrated.
    """

    __pydantic_config__: ClassVar[ConfigDict] = FORBID
    fpir: Share = 0.01
    strong_fpir: Share = 0.001
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    max_comparisons: Positive = 5_000_000
    pooled_pictures: Annotated[int, Field(ge=2, le=100)] = 3
    points: Annotated[int, Field(ge=10, le=1000)] = 120
    outgrown_factor: Annotated[float, Field(ge=1, le=1000)] = 2.0
    follow_registry: bool = True
    from_platform: bool = False
