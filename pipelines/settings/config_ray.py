"""Settings of ``[ray]``: the engine that spreads the work over machines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field

from pipelines.settings.scanning import FORBID, Threads


@dataclass(frozen=True, slots=True)
class RayConfig:
    """For ``engine = "ray"``. ``address`` empty: ``workers`` processes on this machine; ``cpus``: cores of each.

    A task whose worker dies is begun again up to ``max_retries`` times.
    """

    __pydantic_config__: ClassVar[ConfigDict] = FORBID
    address: str = ""
    workers: Threads = 2
    cpus: Threads = 1
    max_retries: Annotated[int, Field(ge=0, le=1024)] = 3
