"""Renewing an opt-out: its consent lasts longer and, if it had ended, the subject is compared with everything again.

A renewal before the end does not change what must be compared. A renewal after it does: items that came in between were
compared without this subject.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from embeddings.errors import InputError, StateError
from pipelines.database.in_force import ACTIVE, EXPIRED
from pipelines.database.tables import hits, subjects
from pipelines.home import audit
from pipelines.home.clock import acts
from pipelines.home.workspace import Workspace
from pipelines.registry.identities import require_short, seal_identity, unseal_identity
from pipelines.registry.subjects import put_in_force, require_sensible_end
from pipelines.registry.templates import open_subject_key

RENEWED = (ACTIVE, "pending", EXPIRED)
"""Stored states of a subject that can be renewed: nobody ended it."""


@acts
def renew(
    workspace: Workspace, subject_id: str, *, expires_at: datetime, actor: str, consent: str | None = None
) -> bool:
    """Extend the consent of a subject to ``expires_at``; return whether it had ended, so that a rescan is due.

    ``consent``: the reference of a new consent record. Raises :class:`InputError` for an end that is past or no later
    than the present one, :class:`EnrolmentError` for one beyond ``registry.most_consent_days``, and :class:`StateError`
    for a subject that was withdrawn, rejected or erased.
    """
    now = workspace.now()
    if expires_at <= now:
        raise InputError("the consent would have ended already: give a day to come")
    require_sensible_end(workspace, expires_at)
    require_short(consent, "the reference of the consent", most=workspace.config.registry.max_text)
    with workspace.database.write() as tx:
        row = require_renewable(tx, subject_id)
        if expires_at <= row.expires_at:
            raise InputError(f"it lasts until {row.expires_at:%Y-%m-%d %H:%M} UTC already: give a later day")
        anew = row.state != "pending" and (row.state == EXPIRED or row.expires_at <= now or row.lapsed_at is not None)
        values: dict[str, Any] = {"expires_at": expires_at, "told_days": None, "accepted_end": None}
        if consent is not None:
            values["sealed_identity"] = _with_consent(tx, workspace, row, consent)
        if anew:
            put_in_force(tx, subject_id, **values, ended_at=None)
        else:
            tx.execute(sa.update(subjects).where(subjects.c.subject_id == subject_id).values(**values))
        if row.state == EXPIRED:  # older versions cancelled its messages: judge its hits again
            tx.execute(sa.update(hits).where(hits.c.subject_id == subject_id).values(judged_at=None))
        audit.append(
            tx,
            workspace.sealer,
            actor=actor,
            action="subject.renew",
            now=now,
            subject_id=subject_id,
            state="pending" if row.state == "pending" else ACTIVE,
            ends=expires_at.isoformat(),
            had_ended=anew,
        )
    return anew


def require_renewable(tx: Connection, subject_id: str) -> Row[Any]:
    """Return the row of a subject that nobody ended. Raises :class:`StateError` for any other."""
    row = tx.execute(sa.select(subjects).where(subjects.c.subject_id == subject_id)).first()
    if row is None:
        raise StateError("there is no such subject")
    if row.state not in RENEWED:
        raise StateError(f"this subject is {row.state}: who asks again is added anew")
    return row


def _with_consent(tx: Connection, workspace: Workspace, row: Row[Any], consent: str) -> bytes:
    key = open_subject_key(tx, workspace.sealer, row.subject_id)
    identity = unseal_identity(key, row.sealed_identity, row.subject_id)
    return seal_identity(key, replace(identity, consent=consent), row.subject_id)
