"""Settings of :mod:`pipelines.home.clock`: how far the clock may be from the last time that a run recorded."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field

from pipelines.settings.scanning import FORBID, Seconds


@dataclass(frozen=True, slots=True)
class ClockConfig:
    """A clock more than ``backward_minutes`` behind or ``forward_days`` ahead of the last recorded time stops every
    command that acts, until somebody sets it right or says that it is right. Hosts may differ by ``backward_minutes``.

    ``record_seconds``: how far the clock has to move on before its time is recorded again.
    """

    __pydantic_config__: ClassVar[ConfigDict] = FORBID
    backward_minutes: Annotated[float, Field(gt=0, le=1440)] = 10.0
    forward_days: Annotated[float, Field(gt=0, le=3660)] = 30.0
    record_seconds: Seconds = 60.0

    @property
    def tolerance(self) -> timedelta:
        """How much two hosts' clocks may differ."""
        return timedelta(minutes=self.backward_minutes)

    @property
    def ahead(self) -> timedelta:
        """How far the clock may be ahead of the last recorded time: how long nothing may have run."""
        return timedelta(days=self.forward_days)
