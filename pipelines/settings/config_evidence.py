"""Settings of :mod:`pipelines.evidence.keeping`: what is kept of hits to look at, how large, and how long."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field

from pipelines.settings.scanning import FORBID, Days


@dataclass(frozen=True, slots=True)
class EvidenceConfig:
    """``keep_crops``: whether the face of a hit with its margin, or a small picture of the whole, is kept sealed; off,
    no more of them are, and those there are go when their time is over.

    A picture has at most ``long_side`` pixels on its longer side and ``picture_bytes`` as a JPEG of ``quality``; beyond
    ``total_bytes`` no more are kept. Of what a scan has read, ``recent_bytes`` stay in memory, so that they need not be
    fetched again for it; 0: everything is.

    What nothing was sent about goes ``lapsed_days`` after its hit was first seen not to be in force, everything else
    ``message_days`` after the last message about its item: as long as an uploader may complain (six months, Article 20
    of the DSA).
    """

    __pydantic_config__: ClassVar[ConfigDict] = FORBID
    keep_crops: bool = True
    long_side: Annotated[int, Field(ge=32, le=2048)] = 384
    quality: Annotated[int, Field(ge=10, le=95)] = 80
    picture_bytes: Annotated[int, Field(ge=8192, le=2**24)] = 65_536
    total_bytes: Annotated[int, Field(ge=0, le=2**53)] = 16 * 2**30
    recent_bytes: Annotated[int, Field(ge=0, le=2**40)] = 64 * 2**20
    lapsed_days: Days = 30
    message_days: Days = 184

    @property
    def after_lapse(self) -> timedelta:
        """How long the evidence of an item is kept that no message was sent about."""
        return timedelta(days=self.lapsed_days)

    @property
    def after_message(self) -> timedelta:
        """How long the evidence of an item is kept after the last message about it."""
        return timedelta(days=self.message_days)
