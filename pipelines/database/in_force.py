"""Whose opt-out is in force: the one condition used by all code that shows, compares or acts.

An opt-out ends with its consent, ``subjects.expires_at``. The end is read off the clock each time and never stored: the
state stays ``active``, and a renewal, or a clock that is right again, finds everything as it was (I12). Older versions
stored the state ``expired``: such an opt-out is over in the same way until it is renewed.
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
    """Return the condition on ``subjects`` that one is accepted, not withdrawn, and its consent lasts."""
    return sa.and_(subjects.c.state == ACTIVE, subjects.c.expires_at > now)


def has_ended(now: datetime) -> sa.ColumnElement[bool]:
    """Return the condition on ``subjects`` that one was not withdrawn but its consent is over; it can be renewed."""
    return sa.or_(sa.and_(subjects.c.state == ACTIVE, subjects.c.expires_at <= now), subjects.c.state == EXPIRED)


def state_at(now: datetime) -> sa.ColumnElement[str]:
    """Return a column with the state of ``subjects`` to show now: ``expired`` for an active one whose consent is
    over."""
    return sa.case((has_ended(now), EXPIRED), else_=subjects.c.state)


def rests(of: sa.FromClause, now: datetime) -> sa.ColumnElement[bool]:
    """Return the condition on a table ``of`` with a ``subject_id`` that the subject's consent is over."""
    ended: sa.Select[Any] = sa.select(subjects.c.subject_id).where(subjects.c.subject_id == of.c.subject_id)
    return ended.where(has_ended(now)).correlate(of).exists()
