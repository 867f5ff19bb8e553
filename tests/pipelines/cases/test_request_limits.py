"""A flood of removal requests ends at a stated limit, by contact and by day, and is seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from embeddings.errors import LimitError
from pipelines.cases.request_limits import require_room
from pipelines.cases.requests import RemovalRequest, accept_request, list_requests, open_request, preview_request
from pipelines.database import get_state
from pipelines.home.workspace import Workspace
from pipelines.runs.status import read_status
from tests.conftest import Clock
from tests.fakes import person
from tests.platform_actions import references


def limited(workspace: Workspace, **limits: int) -> Workspace:
    workspace.config = replace(workspace.config, registry=replace(workspace.config.registry, **limits))
    return workspace


def ask(workspace: Workspace, contact: str) -> RemovalRequest:
    read = references(workspace, person(1))
    return open_request(
        workspace, names=["Somebody Else"], references=read, contact=contact, consent=None, actor="tester"
    )


def count(workspace: Workspace) -> int:
    with workspace.database.read() as connection:
        return len(list_requests(connection))


def test_one_contact_may_open_so_many_requests_a_day_and_no_other_is_held_up(
    workspace: Workspace, clock: Clock
) -> None:
    limited(workspace, max_requests_per_contact=2)
    for _ in range(2):
        ask(workspace, "case-1")
    for attempt in (ask, lambda place, contact: require_room(place, contact=contact)):
        with pytest.raises(LimitError, match="max_requests_per_contact"):
            attempt(workspace, "case-1")
    ask(workspace, "case-2")
    assert count(workspace) == 3
    clock.forward(hours=12)
    ask(workspace, "case-1")
    assert read_status(workspace).requests_today == {"opened": 1, "previewed": 0, "refused": 0}


def test_all_contacts_together_may_open_so_many_and_what_is_refused_is_counted(workspace: Workspace) -> None:
    limited(workspace, max_requests_per_day=2)
    for number in range(5):
        if number < 2:
            ask(workspace, f"case-{number}")
        else:
            with pytest.raises(LimitError, match="max_requests_per_day"):
                ask(workspace, f"case-{number}")
    assert count(workspace) == 2
    assert read_status(workspace).requests_today == {"opened": 2, "previewed": 0, "refused": 3}


@pytest.mark.parametrize("act", [preview_request, accept_request])
def test_the_platform_is_searched_so_often_a_day_for_requests(workspace: Workspace, act: Callable[..., object]) -> None:
    request = ask(limited(workspace, max_previews_per_day=2), "case-1")
    for _ in range(2):
        preview_request(workspace, request.request_id, actor="tester")
    with pytest.raises(LimitError, match="max_previews_per_day"):
        act(workspace, request.request_id, actor="tester")
    assert count(workspace) == 1
    assert read_status(workspace).requests_today == {"opened": 1, "previewed": 2, "refused": 1}


def test_i8_a_contact_is_not_in_the_count_and_yesterday_s_are_forgotten(workspace: Workspace, clock: Clock) -> None:
    ask(workspace, "the contact's case")
    with workspace.database.read() as connection:
        counted = get_state(connection, "request_counts") or ""
    assert '"opened": 1' in counted
    assert "contact's case" not in counted
    clock.forward(days=1)
    ask(workspace, "another")
    with workspace.database.read() as connection:
        assert (get_state(connection, "request_counts") or "").count(": 1") == 2  # itself, and one contact
