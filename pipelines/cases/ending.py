"""Ends an opt-out: withdraws the messages sent on the person's behalf and, on erasure, destroys their key."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from pipelines.database.registry_version import raise_version
from pipelines.database.tables import requests, seeds, subject_keys, subjects, templates
from pipelines.evidence.kept import forget_evidence
from pipelines.evidence.second_opinions import forget_second_opinions
from pipelines.hits.statuses import settle_subject
from pipelines.home import audit
from pipelines.home.workspace import Workspace
from pipelines.judging.request_progress import settle_requests
from pipelines.registry.subjects import require_state
from pipelines.reviewing.notes import forget_notes
from pipelines.takedown.outbox import withdraw as withdraw_messages


def withdraw(workspace: Workspace, subject_id: str, *, actor: str) -> None:
    """End an opt-out: matching stops, unsent takedowns are withdrawn, delivered ones get a withdrawal event."""
    with workspace.database.write() as tx:
        require_state(tx, subject_id, ("active", "pending", "expired"))
        end_subject(tx, workspace, subject_id, state="withdrawn", actor=actor)


def erase(workspace: Workspace, subject_id: str, *, actor: str) -> None:
    """Withdraw if need be, then destroy the subject's key, templates and identity, physically and at once.

    Raises :class:`StateError` when the bytes could not be removed from the disk yet (:meth:`Database.scrub`). Erasing
    an erased or rejected subject tries that again.
    """
    with workspace.database.write() as tx:
        state = require_state(tx, subject_id, ("active", "pending", "withdrawn", "expired", "erased", "rejected"))
        if state in ("active", "pending", "expired"):
            end_subject(tx, workspace, subject_id, state="withdrawn", actor=actor)
        if state not in ("erased", "rejected"):
            destroy(tx, workspace, subject_id, state="erased", actor=actor)
    workspace.database.scrub()


def end_subject(tx: Connection, workspace: Workspace, subject_id: str, *, state: str, actor: str) -> None:
    """Stop matching a subject and withdraw the messages about it."""
    now = workspace.now()
    settle_requests(tx, now=now)  # first, so that a finished request stays completed
    tx.execute(
        sa.update(subjects)
        .where(subjects.c.subject_id == subject_id)
        .values(state=state, version=raise_version(tx), ended_at=now)
    )
    tx.execute(
        sa.update(requests)
        .where(requests.c.subject_id == subject_id, requests.c.state.in_(("open", "accepted")))
        .values(state="withdrawn", completed_at=now)
    )
    withdraw_messages(tx, subject_id=subject_id, reason=f"subject_{state}", now=now)
    settle_subject(tx, subject_id)
    audit.append(tx, workspace.sealer, actor=actor, action=f"subject.{state}", now=now, subject_id=subject_id)


def destroy(tx: Connection, workspace: Workspace, subject_id: str, *, state: str, actor: str) -> None:
    """Delete key, templates, identity, seeds, kept evidence and notes. The opaque id stays, for the history."""
    forget_evidence(tx, subject_id)
    forget_second_opinions(tx, subject_id)
    forget_notes(tx, subject_id)
    tx.execute(sa.delete(seeds).where(seeds.c.subject_id == subject_id))
    tx.execute(sa.delete(templates).where(templates.c.subject_id == subject_id))
    tx.execute(sa.delete(subject_keys).where(subject_keys.c.subject_id == subject_id))
    tx.execute(sa.update(subjects).where(subjects.c.subject_id == subject_id).values(state=state, sealed_identity=None))
    audit.append(tx, workspace.sealer, actor=actor, action="subject.erase", now=workspace.now(), subject_id=subject_id)
