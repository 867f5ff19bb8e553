"""The sample platform of ``make sweep``: uploads with a known truth, made from photographs in installed packages.

::

    photographs ──> variants, encoding ──> cases ──> build_platform ──> uploads/ references/
                                         └──> expectation ──> truth

Also the supply of images for benchmarks (:func:`generate_variants`). Knows no database, no model and no pipeline.
"""

from __future__ import annotations

from pipelines.sample.platform import build_platform
from pipelines.sample.truth import (
    ALPHA,
    BETA,
    GAMMA,
    PHASES,
    Expected,
    Phase,
    PlantedSubject,
    PlantedUpload,
    SamplePlatform,
)
from pipelines.sample.variants import generate_variants

__all__ = [
    "ALPHA",
    "BETA",
    "GAMMA",
    "PHASES",
    "Expected",
    "Phase",
    "PlantedSubject",
    "PlantedUpload",
    "SamplePlatform",
    "build_platform",
    "generate_variants",
]
