"""Settings of the analysts' pages (:mod:`pipelines.web`): who may come in, and how judging is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field

from embeddings.errors import ConfigError
from pipelines.settings.scanning import FORBID, WholeHours

Minutes = Annotated[int, Field(gt=0, le=7 * 24 * 60)]
Share = Annotated[float, Field(ge=0, le=0.5)]
Word = Annotated[str, Field(max_length=253)]


@dataclass(frozen=True, slots=True)
class ReviewConfig:
    """``hosts``: names, beside those of this machine, by which the pages may be called; every other one is refused, so
    that none can be pointed at them. ``https``: they are reached by https, through a proxy, and cookies are sent over
    nothing else.

    ``proxy_addresses``: from which a proxy's word is taken for who somebody is: ``account_header`` names the account,
    ``roles_header`` lists roles. Without them accounts are local (``likeness account add``).

    A session ends after ``idle_minutes`` without a request, and after ``session_hours`` in any case; an invitation
    after ``invitation_hours``. A case is claimed for ``lease_minutes``. ``blur`` and ``grey``: how pictures are shown
    until somebody asks for more, unless a person prefers otherwise. ``hide_scores``: until the first answer.
    ``break_minutes``: of judging without a pause, after which one is suggested. ``queue_seconds``: after which the
    order of waiting cases is read again.

    ``golden_share``: of the cases that a person gets, how many were settled long ago; ``second_look_share``: of the
    decisions, how many somebody else judges again without knowing it. ``settled_days``: after which a decision that
    stands is settled.
    """

    __pydantic_config__: ClassVar[ConfigDict] = FORBID
    hosts: tuple[Word, ...] = ()
    https: bool = False
    proxy_addresses: tuple[Word, ...] = ()
    account_header: Word = ""
    roles_header: Word = ""
    idle_minutes: Minutes = 30
    session_hours: WholeHours = 12
    invitation_hours: WholeHours = 48
    lease_minutes: Minutes = 20
    blur: bool = True
    grey: bool = True
    hide_scores: bool = True
    break_minutes: Minutes = 50
    queue_seconds: Annotated[int, Field(ge=1, le=3600)] = 20
    golden_share: Share = 0.03
    second_look_share: Share = 0.05
    settled_days: Annotated[int, Field(ge=1, le=365)] = 7

    def __post_init__(self) -> None:
        named = (bool(self.proxy_addresses), bool(self.account_header), bool(self.roles_header))
        if any(named) and not all(named):
            raise ConfigError("review.proxy_addresses, account_header and roles_header go together")

    @property
    def by_proxy(self) -> bool:
        """Whether a proxy says who somebody is."""
        return bool(self.proxy_addresses)

    @property
    def checks(self) -> bool:
        """Whether decided cases are looked at again."""
        return self.golden_share > 0 or self.second_look_share > 0

    @property
    def lease(self) -> timedelta:
        """How long a case is claimed."""
        return timedelta(minutes=self.lease_minutes)
