"""The messages as an operator sees them: listed, released and discarded, by id or by a query with a preview."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import sqlalchemy as sa

from embeddings.errors import DeniedError
from pipelines.database.tables import outbox
from pipelines.decisions.decide import decide
from pipelines.decisions.messages import MessageQuery, act_on, act_on_chosen, list_messages, preview
from pipelines.hits.listing import list_hits
from pipelines.home.workspace import Workspace
from pipelines.runs.delivery import intervene
from tests.conftest import Clock
from tests.pipelines.cases.requesting import (
    Run,
    audited,
    commands_on,
    deliver,
    fill,
    hold,
    messages,
    now_is,
    search_for,
    told,
)

pytestmark = pytest.mark.any_database


@pytest.fixture
def run(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Run:
    return commands_on(workspace, monkeypatch)


def test_the_list_of_messages_says_what_holds_them_and_whom_and_what_they_are_about(
    workspace: Workspace, uploads: Path, run: Run, clock: Clock
) -> None:
    fill(workspace, uploads, for_review=0)
    request = search_for(workspace)
    (block,) = hold(workspace, "breaker_subject", outbox.c.action == "generator.block")
    clock.forward(hours=50)
    rows = told(run("outbox", "list", "--json"))
    assert [row["state"] for row in rows] == ["held", "pending", "pending"]
    assert (rows[0]["message_id"], rows[0]["action"], rows[0]["item_id"]) == (block, "generator.block", "m")
    assert (rows[0]["held_by"], rows[0]["subject_id"], rows[0]["age_hours"], rows[0]["overdue"]) == (
        *("breaker_subject", request.subject_id),
        *(50.0, True),
    )
    assert block in run("outbox", "list", "--state", "held").stdout.replace("\n", "")
    counts = {
        ("--state", "held"): 1,
        ("--held-by", "breaker_subject"): 1,
        ("--held-by", "hit_rate"): 0,
        ("--subject", request.subject_id): 3,
        ("--subject", "sub_none"): 0,
        ("--item", "model-0.png"): 1,
        ("--action", "takedown"): 2,
        ("--older-than", "49"): 3,
        ("--older-than", "51"): 0,
        ("--limit", "2"): 2,
    }
    assert {options: len(told(run("outbox", "list", *options, "--json"))) for options in counts} == counts
    assert len(told(run("outbox", "list", "--overdue", "--json"))) == 3
    assert run("outbox", "list", "--state", "done").stdout == "nothing to show\n"
    cut = run("outbox", "list", "--limit", "2")
    assert "1 more messages are not shown" in cut.stderr
    deliver(workspace)
    assert [row["answer"] for row in told(run("outbox", "list", "--state", "done", "--json"))] == ["200", "200"]


def test_i11_releasing_by_a_query_does_what_the_preview_showed_or_nothing(
    workspace: Workspace, uploads: Path, run: Run
) -> None:
    fill(workspace, uploads, for_review=0)
    request = search_for(workspace)
    held = hold(workspace)
    chosen = ("outbox", "release", "--held-by", "breaker_subject")
    shown = run(*chosen, "--json")
    assert told(shown)["messages"] == 3
    assert told(shown)["by_action"] == {"takedown": 2, "generator.block": 1}
    assert told(run(*chosen, "--max", "2", "--json"))["left_out"] == 1
    digest = told(shown)["digest"]
    assert f"--yes --expect {digest}" in shown.stderr
    assert len(messages(workspace, outbox.c.state == "held")) == 3
    act_on(workspace, held[:1], "release", actor="tester")
    stale = run(*chosen, "--yes", "--expect", digest)
    assert (stale.exit_code, "not what the preview showed" in stale.stderr) == (1, True)
    assert len(messages(workspace, outbox.c.state == "held")) == 2
    digest = told(run(*chosen, "--json"))["digest"]
    done = told(run(*chosen, "--yes", "--expect", digest, "--json"))
    assert (done["act"], done["messages"]) == ("release", 2)
    assert {row.last_result for row in messages(workspace)} == {"released"}
    assert audited(workspace).count("message.release") == 3
    assert run(*chosen, "--yes", "--expect", digest).exit_code == 1
    deliver(workspace)
    assert now_is(workspace, request).state == "completed"


def test_i11_discarding_by_a_query_sends_nothing_and_asks_people(workspace: Workspace, uploads: Path, run: Run) -> None:
    fill(workspace, uploads, for_review=0)
    request = search_for(workspace)
    hold(workspace)
    chosen = ("outbox", "discard", "--subject", request.subject_id, "--reason", "wrong_person")
    digest = told(run(*chosen, "--json"))["digest"]
    done = told(run(*chosen, "--yes", "--expect", digest, "--json"))
    assert done == {"act": "discard", "messages": 3, "withdrawals": 0, "review": 2}
    assert audited(workspace).count("message.discard") == 3
    assert deliver(workspace).sent == 0
    assert now_is(workspace, request).state == "under_review"
    assert {hit["verdict"] for hit in told(run("hits", "--subject", request.subject_id, "--json"))} == {"review"}


def test_a_dead_letter_that_is_discarded_is_withdrawn_at_the_service(workspace: Workspace, uploads: Path) -> None:
    fill(workspace, uploads, for_review=0)
    search_for(workspace)
    with workspace.database.write() as tx:
        tx.execute(sa.update(outbox).values(state="dead", attempts=8, last_result="404"))
    query = MessageQuery(state="dead")
    seen = preview(workspace, query, "discard")
    done = act_on_chosen(workspace, query, "discard", expect=seen.digest, actor="tester", reason="settled_otherwise")
    assert (done.messages, done.withdrawals) == (3, 3)
    assert deliver(workspace).withdrawn == 3


@pytest.mark.parametrize(
    "arguments",
    [
        ("release",),
        ("release", "--yes", "--held-by", "hit_rate"),
        ("release", "msg_x", "--held-by", "hit_rate"),
        ("release", "--older-than", "-1"),
        ("discard", "msg_x"),
        ("discard", "msg_x", "--reason", "because"),
        ("discard", "--reason", "false_alarm"),
        ("list", "--state", "stuck"),
        ("list", "--limit", "0"),
        ("list", "--subject", ""),
    ],
    ids=" ".join,
)
def test_a_query_that_says_nothing_or_two_things_is_wrong_usage(run: Run, arguments: tuple[str, ...]) -> None:
    assert run("outbox", *arguments).exit_code == 2


def test_what_a_person_decided_is_not_discarded_and_what_is_not_held_not_released(
    workspace: Workspace, uploads: Path, run: Run
) -> None:
    fill(workspace, uploads, for_review=0)
    search_for(workspace)
    with workspace.database.write() as tx:
        tx.execute(sa.update(outbox).values(decided_by="human", state="held", last_result="held:hit_rate"))
    row = messages(workspace)[0]
    refused = run("outbox", "discard", row.message_id, "--reason", "false_alarm")
    assert (refused.exit_code, "undo the decision" in refused.stderr) == (1, True)
    assert preview(workspace, MessageQuery(held_by="hit_rate"), "discard").messages == 0
    assert run("outbox", "release", row.message_id).exit_code == 0
    assert run("outbox", "release", row.message_id).exit_code == 1
    assert run("dispatch", "--release", messages(workspace)[1].message_id).exit_code == 1  # nobody listens
    assert {row.state for row in messages(workspace)} == {"pending", "held"}


def test_messages_of_a_home_before_there_were_requests_are_listed(workspace: Workspace) -> None:
    with workspace.database.read() as connection:
        assert list_messages(connection, MessageQuery(), now=workspace.now()) == []


def test_what_somebody_decided_they_do_not_release_whichever_way_they_go(workspace: Workspace, uploads: Path) -> None:
    fill(workspace, uploads, for_review=2)
    search_for(workspace)
    with workspace.database.read() as connection:
        waiting = [hit.hit_id for hit in list_hits(connection, verdict="review")]
    decide(workspace, waiting, decision="confirm", reason="same_person", actor="account:ann")
    held = hold(workspace, "breaker_subject", outbox.c.decided_by == "human")
    assert len(held) >= 2
    for actor in ("account:ann", "uid:0:root" if os.getuid() == 0 else f"uid:{os.getuid()}"):
        with pytest.raises(DeniedError, match="somebody else releases it"):
            act_on(workspace, held, "release", actor=actor)
        with pytest.raises(DeniedError, match="somebody else releases it"):
            intervene(workspace, release_ids=held, revive_ids=[], resume=False, actor=actor)
    assert {row.state for row in messages(workspace, outbox.c.message_id.in_(held))} == {"held"}
    intervene(workspace, release_ids=held[:1], revive_ids=[], resume=False, actor="account:bob")
    assert act_on(workspace, held[1:], "release", actor="account:bob").messages == len(held) - 1
