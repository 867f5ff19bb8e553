"""Delivery as command line and Dagster both start it: the configured service, and one pass of the dispatcher."""

from __future__ import annotations

import os
import socket

from embeddings.errors import ConfigError
from pipelines.progress import Progress, silent
from pipelines.takedown.client import HttpTakedownClient
from pipelines.takedown.dispatcher import DispatchSummary, dispatch
from pipelines.workspace import Workspace


def deliver(workspace: Workspace, *, progress: Progress = silent) -> DispatchSummary:
    """Attempt every due message once. Raises :class:`ConfigError` when no takedown service is configured."""
    with open_client(workspace) as client:
        return dispatch(
            workspace.database,
            client,
            config=workspace.config.takedown,
            failpoints=workspace.failpoints,
            now=workspace.now,
            owner=f"{socket.gethostname()}:{os.getpid()}",
            progress=lambda attempts: progress("send", attempts, 0),
        )


def open_client(workspace: Workspace) -> HttpTakedownClient:
    """The client of the configured takedown service."""
    environment = workspace.environment
    if not environment.takedown_url or not environment.takedown_secrets:
        raise ConfigError("set LIKENESS_TAKEDOWN_URL and LIKENESS_TAKEDOWN_SECRET (whsec_...) to deliver takedowns")
    return HttpTakedownClient(
        environment.takedown_url,
        environment.takedown_secrets,
        timeout_seconds=workspace.config.takedown.timeout_seconds,
        now=workspace.now,
    )
