"""Settings of where items come from: what listings say, and how content behind URLs is fetched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from pydantic import ConfigDict

from pipelines.settings.scanning import FORBID, Seconds
from pipelines.sources import FetchSettings, Kind


@dataclass(frozen=True, slots=True)
class FetchConfig(FetchSettings):
    """How items behind URLs are fetched. No host is allowed until it is listed.

    ``"cdn.example"`` allows ports 80 (http) and 443 (https) of that very host; another port needs ``"host:port"``.
    """

    __pydantic_config__: ClassVar[ConfigDict] = FORBID
    timeout_seconds: Seconds = 30.0
    allowed_hosts: tuple[str, ...] = ()
    allow_private_addresses: bool = False


@dataclass(frozen=True, slots=True)
class SourcesConfig:
    """What listings say. ``kinds``: a platform's own names for kinds of items, in any case, beside those known already
    (docs/sources.md): ``{ "Motion preset" = "model" }``.
    """

    __pydantic_config__: ClassVar[ConfigDict] = FORBID
    kinds: Mapping[str, Kind] = field(default_factory=dict)
