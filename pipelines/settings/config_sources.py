"""Settings of where items come from: what listings say, and how content behind URLs is fetched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from pydantic import ConfigDict

from pipelines.exchange.limits import HeadLimits
from pipelines.settings.scanning import FORBID, Seconds
from pipelines.sources import FetchSettings, Kind


@dataclass(frozen=True, slots=True)
class FetchConfig:
    """How items behind URLs are fetched. No host is allowed until it is listed.

    ``"cdn.example"`` allows ports 80 (http) and 443 (https) of that very host; another port needs ``"host:port"``.
    """

    __pydantic_config__: ClassVar[ConfigDict] = FORBID
    timeout_seconds: Seconds = 30.0
    allowed_hosts: tuple[str, ...] = ()
    allow_private_addresses: bool = False

    def settings(self, head: HeadLimits) -> FetchSettings:
        """Return the settings in the form that sources take. ``head``: :meth:`ExchangeConfig.head`."""
        return FetchSettings(
            head=head,
            timeout_seconds=self.timeout_seconds,
            allowed_hosts=self.allowed_hosts,
            allow_private_addresses=self.allow_private_addresses,
            max_redirects=0,
        )


@dataclass(frozen=True, slots=True)
class SourcesConfig:
    """What listings say. ``kinds``: a platform's own names for kinds of items, in any case, beside those known already
    (docs/sources.md): ``{ "Motion preset" = "model" }``.
    """

    __pydantic_config__: ClassVar[ConfigDict] = FORBID
    kinds: Mapping[str, Kind] = field(default_factory=dict)
