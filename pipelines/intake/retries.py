"""When a try that gave nothing is repeated, and when its status is settled.

A passing fault must not become a lasting status. A server may send a login page, a cut body or an error for an hour or
a day, so an item behind a URL is tried again both when its bytes could not be had and when they could not be read. Two
tries are at least the difference of two entries of ``sweep.retry_hours`` apart, however many runs there are meanwhile.
docs/retries.md has the table of reasons.

The reasons fall into four kinds:

- the operator's (:data:`OPERATORS_REASONS`): asked for at every run until a setting changes, and no try is counted;
- the listing's (:data:`LISTED_REASONS`): settled at once, since only another listing can change them;
- unreadable bytes of a local file: settled at once, since the file is what it is until the listing changes;
- everything else: tried again until the span is over.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, Final

import sqlalchemy as sa

from embeddings.errors import ConfigError
from pipelines.database.tables import items
from pipelines.home import audit
from pipelines.home.clock import acts
from pipelines.home.workspace import Workspace
from pipelines.settings.config import Config, SweepConfig

FAMILIES: Final = ("unscannable", "fetch_failed")
_REASON: Final = re.compile(r"((unscannable|fetch_failed):)?[a-z_]{1,32}")
OPERATORS_REASONS: Final = ("host_not_allowed", "address_not_allowed")
"""Fetches that fail until a setting is changed: they use up no try, so that the change brings the items in."""
LISTED_REASONS: Final = ("bad_url", "row_invalid", "no_content")
"""Reasons that the listing itself gives; every sweep reads it anew."""
WHOLE_REASONS: Final = ("too_many_pixels", "too_much_memory", "too_complex", "thumbnail")
"""Reasons that only a complete header gives, so that the same bytes twice are the file and no fault of the transfer.
Cut bytes or an unknown format prove nothing by coming twice: a login page is always the same."""


@dataclass(frozen=True, slots=True)
class Tries:
    """Tries in a row that gave nothing, and when the next is due; None: the status is settled, and no try follows."""

    failed: int
    again_at: datetime | None


def after_try(status: str, *, failed: int, remote: bool, same_bytes: bool, now: datetime, config: SweepConfig) -> Tries:
    """Return the tries after one that ended in ``status``, ``failed`` earlier ones in a row having given nothing.

    ``remote``: the content is behind a URL. ``same_bytes``: the bytes were those of the try before.
    """
    family, _, reason = status.partition(":")
    if family not in FAMILIES:
        return Tries(0, None)
    if reason in OPERATORS_REASONS:
        return Tries(failed, now)
    if reason in LISTED_REASONS or (family == "unscannable" and not remote):
        return Tries(failed + 1, None)
    hours = (0.0, *config.retry_hours)
    if failed + 1 >= len(hours):
        return Tries(failed + 1, None)
    if same_bytes and reason in WHOLE_REASONS and hours[failed] >= config.same_bytes_hours:
        return Tries(failed + 1, None)
    return Tries(failed + 1, now + timedelta(hours=hours[failed + 1] - hours[failed]))


def retry_is_due(column: sa.ColumnElement[Any], *, now: datetime, config: Config) -> sa.ColumnElement[bool]:
    """Return the condition that the next try, at the time in ``column``, is due. A null is never due.

    A time further ahead than the longest pause was written by a clock that was ahead, and is due as well.
    """
    hours = (0.0, *config.sweep.retry_hours)
    longest = max(after - before for before, after in pairwise(hours))
    return sa.or_(column <= now, column > now + timedelta(hours=longest) + config.clock.tolerance)


@acts
def ask_again(
    workspace: Workspace, conditions: Sequence[sa.ColumnElement[bool]], *, reason: str | None, actor: str
) -> int:
    """Have settled items that gave nothing tried again, from the first try on; return how many. Adds an audit row.

    ``conditions`` on ``items`` choose the items. ``reason``: only those with this reason in their status (``format``,
    or in full ``unscannable:format``). Raises :class:`ConfigError` for any other word.
    """
    if reason is not None and not _REASON.fullmatch(reason):
        raise ConfigError("a reason is a word that `likeness status` shows, such as format or fetch_failed:missing")
    gave_nothing = sa.or_(*(items.c.status.like(f"{family}:%") for family in FAMILIES))
    if reason is not None:
        gave_nothing = items.c.status.in_([reason, *(f"{family}:{reason}" for family in FAMILIES)])
    settled = sa.and_(*conditions, gave_nothing, items.c.retry_at.is_(None))
    now = workspace.now()
    with workspace.database.write() as tx:
        asked = tx.execute(sa.update(items).where(settled).values(attempts=0, retry_at=now)).rowcount
        facts = {"items": asked} | ({"reason": reason} if reason else {})
        audit.append(tx, workspace.sealer, actor=actor, action="items.retry", now=now, **facts)
    return int(asked)
