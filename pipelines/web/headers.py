"""What every answer says to browsers, and which names these pages answer to: around everything else.

Nothing is loaded from anywhere else, framed, cached or guessed at. Written as plain ASGI, so that no page, error or
file can be without it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipelines.settings.config_review import ReviewConfig
from pipelines.web.access import is_known_host

LOGGER: Final = logging.getLogger(__name__)
_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        *(f"{what} 'self'" for what in ("style-src", "script-src", "img-src", "connect-src", "form-action")),
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
_ALWAYS: Final = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=(), browsing-topics=()",
    "x-robots-tag": "noindex, nofollow",
}


class Guarded:
    """An application behind the headers and the list of hosts. ``config``: read anew for every request."""

    def __init__(self, app: ASGIApp, config: Callable[[], ReviewConfig]) -> None:
        self._app = app
        self._config = config

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse a host that is not ours."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        app = self._app
        try:
            config = await run_in_threadpool(self._config)  # opens the home, which may take a moment
        except Exception as error:  # noqa: BLE001  the answer says nothing of the home, whoever asks
            LOGGER.error("%s while the home was opened", type(error).__name__)
            config, app = ReviewConfig(), PlainTextResponse("these pages are not ready", status_code=503)

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _ALWAYS.items():
                    headers[name] = value
                headers.setdefault("cache-control", "no-store")
                if config.https:
                    headers["strict-transport-security"] = "max-age=63072000"
            await send(message)

        if app is self._app and not is_known_host(Headers(scope=scope).get("host", ""), config):
            app = PlainTextResponse("these pages are not called by this name (setting review.hosts)", status_code=421)
        await app(scope, receive, guarded)
