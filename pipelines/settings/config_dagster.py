"""Settings of what Dagster shows: ``[dagster]``. Read when its code is loaded
(:mod:`pipelines.orchestration.load_time`)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Annotated, ClassVar, Final

from pydantic import ConfigDict, Field

from pipelines.settings.scanning import FORBID

EARLIEST_DAY: Final = date(2000, 1, 1)
"""No partition is before it: a broken date must not make ten thousand of them. Every night takes older items too."""
_OWNER: Final = r"^(team:[A-Za-z0-9][A-Za-z0-9._-]*|[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,})$"
_URL: Final = r"^$|^https?://[A-Za-z0-9.\-\[\]:]+(/[A-Za-z0-9._~/-]*)?$"
Owner = Annotated[str, Field(max_length=200, pattern=_OWNER)]


@dataclass(frozen=True, slots=True)
class DagsterConfig:
    """``owners``: who answers for the assets, as ``team:NAME`` or a mail address. ``first_day``: of the partitions,
    while there is no item; from then on they begin with the first item's day. ``url``: where people reach Dagster's web
    server, so that pages can link to its runs; empty: they do not.
    """

    __pydantic_config__: ClassVar[ConfigDict] = FORBID
    owners: Annotated[tuple[Owner, ...], Field(max_length=20)] = ("team:trust-and-safety",)
    first_day: Annotated[date, Field(ge=EARLIEST_DAY, le=date(2999, 12, 31))] = date(2022, 1, 1)
    url: Annotated[str, Field(max_length=500, pattern=_URL)] = ""

    def run_url(self, run_id: str) -> str | None:
        """The address of a run; None without a web server."""
        return f"{self.url.rstrip('/')}/runs/{run_id}" if self.url else None
