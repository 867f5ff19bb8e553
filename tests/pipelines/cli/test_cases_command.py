"""``cases`` as people call it: what colleagues wrote is read of cases that are in the reader's list."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.home.actors import account
from pipelines.home.workspace import Workspace
from pipelines.reviewing.passing_on import comment
from tests.conftest import Clock
from tests.pipelines.cli.conftest import Run, done
from tests.pipelines.reviewing.test_checks import always, decide_first, fill
from tests.pipelines.reviewing.test_checks_listed import given_again

pytestmark = pytest.mark.any_database

TEXT = "it is her brother"


def test_notes_are_read_of_a_case_in_the_list_and_not_by_who_decided_it(
    workspace: Workspace, uploads: Path, clock: Clock, run: Run
) -> None:
    fill(workspace, uploads)
    always(workspace)
    decided = decide_first(workspace, "reject", account())
    again = given_again(workspace, clock)
    assert again.key == decided.key
    comment(workspace, again.key, TEXT, actor="account:bob")
    refused = run("cases", "notes", again.case_id, "--json")
    assert refused.exit_code == 1
    assert TEXT not in refused.output
    other = done(run("cases", "list", "--json"))[0]["case_id"]
    done(run("cases", "note", other, "--note", TEXT, "--json"))
    (note,) = done(run("cases", "notes", other, "--json"))
    assert note["text"] == TEXT
