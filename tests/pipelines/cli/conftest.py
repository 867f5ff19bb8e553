"""Commands on the home of a test."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pipelines.cli import main
from pipelines.home.workspace import Workspace
from tests.conftest import KEY

Run = Callable[..., Result]


@pytest.fixture
def run(workspace: Workspace, database_url: str) -> Run:
    """Runs a command on the home of the test's workspace, without the fakes."""
    environment = {"LIKENESS_HOME": str(workspace.home), "LIKENESS_KEY": KEY, "LIKENESS_DATABASE_URL": database_url}
    return lambda *arguments: CliRunner().invoke(main, list(arguments), env=environment)


def done(result: Result) -> Any:
    """What a command that succeeded printed as JSON."""
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)
