"""Serving the pages on this machine: one process, many threads, in front of it a proxy where others are to reach it."""

from __future__ import annotations

from collections.abc import Callable

from embeddings.errors import ConfigError, NotReadyError
from pipelines.home.long_lived import KeptWorkspace
from pipelines.home.workspace import Workspace, open_workspace
from pipelines.settings.environment import Environment

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def require_fit(workspace: Workspace, host: str) -> None:
    """Raise :class:`ConfigError` where passwords would cross a network in clear."""
    if host not in LOOPBACK and not workspace.config.review.https:
        raise ConfigError(
            f"the pages listen on {host} only behind a proxy with https: set review.https, and review.hosts to the "
            "names by which they are called"
        )


def serve(environment: Environment, *, host: str, port: int, ready: Callable[[str], None]) -> None:
    """Serve until interrupted. ``port`` 0: a free one; ``ready`` is told the address.

    Raises :class:`NotReadyError` without the extra ``review``.
    """
    try:
        import uvicorn

        from pipelines.web.app import create_app
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("pipelines"):
            raise
        raise NotReadyError(
            f"the pages need the extra `review` (pip install 'likeness[review]'): no {error.name}"
        ) from None
    kept = KeptWorkspace(open_workspace)
    app = create_app(lambda: kept.workspace(environment))
    config = uvicorn.Config(
        app, host=host, port=port, proxy_headers=False, server_header=False, access_log=False, log_level="warning"
    )
    server = uvicorn.Server(config)
    socket = config.bind_socket()
    name = f"[{host}]" if ":" in host else host
    try:
        ready(f"http://{name}:{socket.getsockname()[1]}")
        server.run(sockets=[socket])
    finally:
        socket.close()
        kept.close()
