"""Whose opt-out is in force: the one condition that everything goes by which shows, compares or acts.

An opt-out ends with its consent, ``subjects.expires_at``. That is read off the clock each time and never stored: the
state stays ``active``, and a renewal, or a clock that is right again, finds everything as it was (I12). Homes from
before that have opt-outs whose stored state is ``expired``: they are over in the same way until they are renewed.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from pipelines.database.tables import subjects

ACTIVE: Final = "active"
EXPIRED: Final = "expired"
"""The stored state of opt-outs that older versions ended; and the word for every opt-out whose consent is over."""


def is_in_force(now: datetime) -> sa.ColumnElement[bool]:
    """Condition on ``subjects``: accepted, not withdrawn, and the consent lasts."""
    return sa.and_(subjects.c.state == ACTIVE, subjects.c.expires_at > now)


def has_ended(now: datetime) -> sa.ColumnElement[bool]:
    """Condition on ``subjects``: nobody withdrew it, and the consent is over. A renewal brings it back."""
    return sa.or_(sa.and_(subjects.c.state == ACTIVE, subjects.c.expires_at <= now), subjects.c.state == EXPIRED)


def state_at(now: datetime) -> sa.ColumnElement[str]:
    """The state of ``subjects`` as it is to be called now: ``expired`` for an active one whose consent is over."""
    return sa.case((has_ended(now), EXPIRED), else_=subjects.c.state)


def rests(of: sa.FromClause, now: datetime) -> sa.ColumnElement[bool]:
    """Condition on a table with a ``subject_id``: the consent of that subject is over."""
    ended: sa.Select[Any] = sa.select(subjects.c.subject_id).where(subjects.c.subject_id == of.c.subject_id)
    return ended.where(has_ended(now)).correlate(of).exists()
