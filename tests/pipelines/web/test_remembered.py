"""What takes long to read is remembered for some seconds, and never past what somebody did."""

from __future__ import annotations

from datetime import date

import pytest

from pipelines.home.workspace import Workspace
from pipelines.web.remembered import Remembered
from tests.conftest import Clock
from tests.fakes import person
from tests.pipelines.web.visiting import visitor
from tests.platform_actions import enrol


def test_a_value_is_read_again_after_some_seconds_and_after_something_was_done(
    workspace: Workspace, clock: Clock
) -> None:
    remembered, reads = Remembered(), iter(range(10))

    def read() -> int:
        return remembered.read(workspace, "name", lambda: next(reads))

    assert (read(), read()) == (0, 0)
    clock.forward(seconds=workspace.config.review.queue_seconds)
    assert (read(), read()) == (1, 1)
    remembered.forget()
    assert (read(), read()) == (2, 2)


def test_what_was_read_while_somebody_did_something_is_not_kept(workspace: Workspace) -> None:
    remembered = Remembered()

    def read_slowly() -> str:
        remembered.forget()  # by another thread
        return "before"

    assert remembered.read(workspace, "name", read_slowly) == "before"
    assert remembered.read(workspace, "name", lambda: "after") == "after"


def test_a_renewal_has_what_was_remembered_read_anew(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    subject_id, forgotten = enrol(workspace, person(1), days=20), list[int]()
    officer = visitor(workspace, "otto", ["registry_officer"])
    monkeypatch.setattr(Remembered, "forget", lambda self: forgotten.append(1))
    until = {"until": date(2026, 9, 1).isoformat()}
    assert officer.post(f"/people/{subject_id}/renew", until).status_code == 303
    assert forgotten == [1]
