"""What ``dagster dev -w workspace.yaml`` loads."""

from __future__ import annotations

from dagster import Definitions

from pipelines.assets import ASSETS
from pipelines.automation import JOBS, SCHEDULES, SENSORS
from pipelines.checks import CHECKS
from pipelines.resources import LikenessHome

home = LikenessHome()
"""Opened by whatever runs first in this process and shared by everything after it."""

defs = Definitions(
    assets=ASSETS,
    asset_checks=CHECKS,
    jobs=JOBS,
    schedules=SCHEDULES,
    sensors=SENSORS,
    resources={"home": home},
)
