"""What the tests of removal requests share: a person on the platform, and what operators and the service do."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result
from sqlalchemy.engine import Row

from pipelines.cases.requests import RemovalRequest, accept_request, get_request
from pipelines.cli import main
from pipelines.database.tables import audit, outbox
from pipelines.decisions.decide import Word
from pipelines.decisions.decide import decide as decide_hits
from pipelines.hits.listing import list_hits
from pipelines.home.workspace import Workspace, open_workspace
from pipelines.runs.rescan import rescan
from pipelines.runs.sweep import sweep
from pipelines.takedown.client import Delivery, Outcome
from pipelines.takedown.dispatcher import DispatchSummary
from tests.conftest import KEY, use_fakes
from tests.fakes import WHITE, person, picture
from tests.pipelines.takedown.delivering import OK, SECRET, ScriptedClient, dispatch_once
from tests.platform_actions import ask_for_removal, enrol, source_of, upload

Run = Callable[..., Result]
WHO = 2
REFUSED = Delivery(Outcome.REJECTED, "404")
FAULT = Delivery(Outcome.RETRY, "500")
GONE = Delivery(Outcome.GONE, "410")
REASONS: dict[Word, str] = {"confirm": "same_person", "reject": "other_person", "unsure": "low_quality"}


def fill(workspace: Workspace, uploads: Path, *, taken_down: int = 2, for_review: int = 1) -> None:
    """Swept uploads: ``taken_down`` pictures of one model that a machine takes down, and others that people look at."""
    enrol(workspace, person(1))
    for number in range(taken_down):
        crowd = picture(person(WHO), person(50 + number))
        upload(uploads, f"model-{number}.png", crowd, parent_model="m")
    for number in range(for_review):
        upload(uploads, f"alone-{number}.png", picture(person(WHO), person(70 + number)), uploader=f"v-{number}")
    upload(uploads, "nobody.png", picture(WHITE))
    sweep(workspace, source_of(uploads), day=None)


def search_for(workspace: Workspace) -> RemovalRequest:
    """A request for the person, accepted and searched for."""
    request = ask_for_removal(workspace, person(WHO))
    accept_request(workspace, request.request_id, actor="tester")
    rescan(workspace)
    return now_is(workspace, request)


def now_is(workspace: Workspace, request: RemovalRequest) -> RemovalRequest:
    """The request as it is read now."""
    with workspace.database.read() as connection:
        return get_request(connection, request.request_id)


def decide(workspace: Workspace, request: RemovalRequest, item_id: str, word: Word) -> str:
    """What an analyst says of the hits of the person on an item; the batch."""
    with workspace.database.read() as connection:
        found = list_hits(connection, subject_id=request.subject_id, item_id=item_id)
    hit_ids = [hit.hit_id for hit in found]
    return str(decide_hits(workspace, hit_ids, decision=word, reason=REASONS[word], actor="ann").batch_id)


def deliver(workspace: Workspace, *answers: Delivery) -> DispatchSummary:
    """One pass, with the service's answers, the last of which repeats."""
    return dispatch_once(workspace.database, ScriptedClient(answers or (OK,)), workspace.now)


def messages(workspace: Workspace, *conditions: sa.ColumnElement[bool]) -> Sequence[Row[tuple[object, ...]]]:
    """Rows of the outbox, in the order of their writing."""
    with workspace.database.read() as connection:
        query = sa.select(outbox).where(*conditions).order_by(outbox.c.created_at, outbox.c.action, outbox.c.item_id)
        return connection.execute(query).all()


def hold(workspace: Workspace, word: str = "breaker_subject", *conditions: sa.ColumnElement[bool]) -> list[str]:
    """As a circuit breaker does it; the ids."""
    with workspace.database.write() as tx:
        waiting = sa.and_(outbox.c.state == "pending", *conditions)
        ids = list(tx.execute(sa.select(outbox.c.message_id).where(waiting)).scalars())
        tx.execute(sa.update(outbox).where(waiting).values(state="held", last_result=f"held:{word}"))
    return ids


def told(result: Result) -> Any:
    """What a command printed as JSON."""
    return json.loads(result.stdout)


def commands_on(workspace: Workspace, patch: pytest.MonkeyPatch) -> Run:
    """Commands run on the home of this workspace, with the fakes; ``url``: of the takedown service."""
    clock = workspace.clock.unwatched
    opening = "pipelines.cli.console.open_workspace"
    patch.setattr(opening, lambda environment: use_fakes(open_workspace(environment, now=clock)))

    def run(*arguments: str, url: str = "http://127.0.0.1:9/takedowns") -> Result:
        variables = {
            "LIKENESS_HOME": str(workspace.home),
            "LIKENESS_KEY": KEY,
            "LIKENESS_DATABASE_URL": workspace.database.url.render_as_string(hide_password=False),
            "LIKENESS_TAKEDOWN_URL": url,
            "LIKENESS_TAKEDOWN_SECRET": SECRET,
        }
        return CliRunner().invoke(main, list(arguments), env=variables)

    return run


def audited(workspace: Workspace) -> list[str]:
    """The actions of the audit chain."""
    with workspace.database.read() as connection:
        return list(connection.execute(sa.select(audit.c.action).order_by(audit.c.seq)).scalars())
