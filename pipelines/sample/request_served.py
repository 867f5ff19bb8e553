"""A removal request from its receipt to the last acknowledgement, with a service that refuses at first.

Swept after everything else has been scored: the second person, who had withdrawn, asks again. Her request is completed
when every hit is decided and the service has acknowledged every message, and at no moment before.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer

from pipelines.cases.requests import accept_request, get_request, preview_request
from pipelines.decisions.decide import decide
from pipelines.hits.listing import list_hits
from pipelines.home.workspace import Workspace
from pipelines.judging.request_progress import RequestState
from pipelines.runs.alarms import read_alarms
from pipelines.runs.delivery import deliver
from pipelines.runs.rescan import rescan
from pipelines.sample.people import ACTOR, ask_for_removal, deliver_later
from pipelines.sample.policies import UNDO_MINUTES
from pipelines.sample.truth import SamplePlatform


def serve_a_request(workspace: Workspace, platform: SamplePlatform) -> Iterator[str]:
    """Take one request through its states; yield what came out wrong, in words."""
    request_id, subject_id = ask_for_removal(workspace, platform.requested)
    yield from _differs(workspace, request_id, "opened", "received")
    preview_request(workspace, request_id, actor=ACTOR)
    yield from _differs(workspace, request_id, "previewed", "previewed")
    accept_request(workspace, request_id, actor=ACTOR)
    yield from _differs(workspace, request_id, "accepted", "accepted")
    rescan(workspace, request_id=request_id)
    yield from _differs(workspace, request_id, "searched for", "under_review")
    deliver(workspace)
    yield from _differs(workspace, request_id, "delivered and undecided", "under_review")
    decide(workspace, _waiting(workspace, subject_id)[:1], decision="confirm", reason="same_person", actor="analyst")
    rescan(workspace)  # finds copies of confirmed content, which are taken down as well
    while waiting := _waiting(workspace, subject_id):  # a decision may leave another hit of its item for review
        decide(workspace, waiting, decision="reject", reason="consented", actor="analyst")
    yield from _differs(workspace, request_id, "decided", "acting")
    with _refusing(workspace):
        refused = deliver_later(workspace)
    if refused.all_acknowledged or refused.sent:
        yield "a service that refuses everything was said to have acknowledged something"
    yield from _differs(workspace, request_id, "refused by the service", "acting")
    if not deliver_later(workspace, minutes=2 * UNDO_MINUTES).all_acknowledged:  # the pause after a refusal is over
        yield "a service that was itself again refused a message"
    deliver(workspace)
    yield from _differs(workspace, request_id, "acknowledged", "completed")
    for alarm in read_alarms(workspace):
        if alarm.cause.startswith(("request", "message_overdue", "message_dead")):
            yield f"after the request was served: {alarm.cause}: {alarm.detail}"


def _waiting(workspace: Workspace, subject_id: str) -> list[str]:
    """The hits of a person that somebody has to decide."""
    with workspace.database.read() as connection:
        return [hit.hit_id for hit in list_hits(connection, subject_id=subject_id, verdict="review")]


def _differs(workspace: Workspace, request_id: str, when: str, wanted: RequestState) -> Iterator[str]:
    with workspace.database.read() as connection:
        request = get_request(connection, request_id)
    if request.state != wanted:
        yield f"a request that was {when} is {request.state} ({request.open}), expected {wanted}"


@contextmanager
def _refusing(workspace: Workspace) -> Iterator[None]:
    """Put a service that answers 404 to everything in place of the configured one."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    environment = workspace.environment
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/takedowns"
        workspace.environment = replace(environment, takedown_url=url)
        try:
            yield
        finally:
            workspace.environment = environment
            server.shutdown()
            thread.join()
