"""Delivery to the configured service: one pass, and a comparison afterwards. Command line and Dagster call it."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import replace

import sqlalchemy as sa

from embeddings.errors import ConfigError, StateError
from pipelines.database.tables import outbox
from pipelines.decisions.stuck import require_second_person
from pipelines.home import audit
from pipelines.home.clock import acts
from pipelines.home.progress import Progress, silent
from pipelines.home.workspace import Workspace
from pipelines.judging.request_progress import settle_requests
from pipelines.takedown.cases import fetch_open_keys
from pipelines.takedown.client import HttpTakedownClient
from pipelines.takedown.dispatcher import DispatchSummary, dispatch
from pipelines.takedown.leases import resume_endpoint
from pipelines.takedown.outbox import release_held, revive
from pipelines.takedown.reconcile import Reconciliation, reconcile


@acts
def deliver(workspace: Workspace, *, progress: Progress = silent) -> DispatchSummary:
    """Attempt every due message once.

    Raises :class:`ConfigError` when no takedown service is configured, or when the policy's time for undoing decisions
    is longer than ``takedown.longest_wait_seconds``.
    """
    if workspace.policy.settings.decisions.undo_minutes * 60 > workspace.config.takedown.longest_wait_seconds:
        raise ConfigError("takedown.longest_wait_seconds must not be less than the policy's undo_minutes")
    with open_client(workspace) as client:
        summary = dispatch(
            workspace.database,
            client,
            config=workspace.config.takedown,
            failpoints=workspace.failpoints,
            now=workspace.now,
            owner=f"{socket.gethostname()}:{os.getpid()}",
            progress=lambda attempts: progress("send", attempts, 0),
        )
        summary = replace(summary, host=client.host)
    with workspace.database.write() as tx:
        settle_requests(tx, now=workspace.now())
    return summary


@acts
def intervene(
    workspace: Workspace, *, release_ids: Sequence[str], revive_ids: Sequence[str], resume: bool, actor: str
) -> None:
    """Release and revive messages, and resume a stopped endpoint, before a pass; each act leaves an audit row.

    Raises :class:`StateError` for a message that is not held or not dead, and :class:`DeniedError` for a release by who
    decided what a message follows from.
    """
    now = workspace.now()
    with workspace.database.write() as tx:
        held = tx.execute(sa.select(outbox).where(outbox.c.message_id.in_(release_ids))).all()
        require_second_person(tx, held, actor=actor)
        for act, message_ids, move in (("release", release_ids, release_held), ("revive", revive_ids, revive)):
            for message_id in message_ids:
                if not move(tx, message_id):
                    raise StateError(f"cannot {act} a message: there is none of this id in that state")
                audit.append(tx, workspace.sealer, actor=actor, action=f"message.{act}", now=now, message_id=message_id)
        if resume:
            resume_endpoint(tx)
            audit.append(tx, workspace.sealer, actor=actor, action="endpoint.resume", now=now)


def compare_with_service(workspace: Workspace) -> Reconciliation:
    """Ask the service which cases are open and compare. Raises :class:`NotReadyError` when it does not say."""
    url = workspace.environment.takedown_cases_url
    if not url:
        raise ConfigError("set LIKENESS_TAKEDOWN_CASES_URL to the service's list of open cases")
    opened = fetch_open_keys(url, config=workspace.config.takedown, head=workspace.config.exchange)
    with workspace.database.read() as connection:
        return reconcile(connection, opened)


def open_client(workspace: Workspace) -> HttpTakedownClient:
    """Return the client of the configured takedown service."""
    environment = workspace.environment
    if not environment.takedown_url or not environment.takedown_secrets:
        raise ConfigError("set LIKENESS_TAKEDOWN_URL and LIKENESS_TAKEDOWN_SECRET (whsec_...) to deliver takedowns")
    return HttpTakedownClient(
        environment.takedown_url,
        environment.takedown_secrets,
        timeout_seconds=workspace.config.takedown.timeout_seconds,
        max_answer_bytes=workspace.config.takedown.max_answer_bytes,
        head=workspace.config.exchange,
        now=workspace.now,
    )
