"""A server with a passing fault: it answers with a login page first, and with the picture at the second try.

The sample's own uploads are files, which have no passing faults. So one more item lies behind a URL of a server on the
loopback, swept after everything else has been scored; the pause before the second try is shortened to a second.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Final

from pipelines.home.workspace import Workspace
from pipelines.runs.sweep import SweepSummary, sweep
from pipelines.sample.truth import PlantedUpload, SamplePlatform
from pipelines.settings.config import FetchConfig

LOGIN_PAGE: Final = b"<!doctype html><title>Sign in</title><form action='/login' method='post'></form>\n"
_FIRST_PAUSE: Final = 1.0
"""Seconds before the second try."""


def survive_a_login_page(workspace: Workspace, platform: SamplePlatform) -> list[str]:
    """Sweep one item during and after the fault; return what came out wrong, in words."""
    shown = next(upload for upload in platform.planted if _shows_somebody(upload))
    answers = [LOGIN_PAGE, (platform.uploads / shown.path).read_bytes()]
    config = workspace.config
    with _serving(answers) as port:
        fetch = FetchConfig(allowed_hosts=(f"127.0.0.1:{port}",), allow_private_addresses=True)
        hours = (_FIRST_PAUSE / 3600, *config.sweep.retry_hours[1:])
        workspace.config = replace(config, fetch=fetch, sweep=replace(config.sweep, retry_hours=hours))
        try:
            source = _manifest(platform.folder, shown, port)
            first = sweep(workspace, source, day=None)
            time.sleep(_FIRST_PAUSE)
            second = sweep(workspace, source, day=None)
        finally:
            workspace.config = config
    return [
        *_differs("while the server sent a login page", first, {"unscannable": 1, "unsettled": 1, "hit": 0}),
        *_differs("when the server was itself again", second, {"unscannable": 0, "unsettled": 0, "hit": 1}),
    ]


def _shows_somebody(upload: PlantedUpload) -> bool:
    return upload.kind == "image" and upload.expected_faces == 1 and upload.expected["withdrawal"].status == "hit"


def _manifest(folder: Path, shown: PlantedUpload, port: int) -> str:
    path = folder / "behind-a-url.jsonl"
    url = f"http://127.0.0.1:{port}/picture"
    row = {"id": "behind-a-url", "kind": "image", "url": url, "received_at": shown.day.isoformat()}
    path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    return f"manifest:{path}"


def _differs(when: str, summary: SweepSummary, expected: dict[str, int]) -> list[str]:
    found = {name: int(getattr(summary, name)) for name in expected}
    return [] if found == expected else [f"an item behind a URL, {when}: {found} instead of {expected}"]


@contextmanager
def _serving(answers: list[bytes]) -> Iterator[int]:
    """Run a server that gives one answer after the other and then repeats the last; yield its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = answers.pop(0) if len(answers) > 1 else answers[0]
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()
