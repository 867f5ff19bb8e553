from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.home.workspace import Workspace, create_workspace
from pipelines.settings.environment import read_environment
from tests.pipelines.report.rows import NOW


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    """An empty, migrated home; its clock stands still at noon."""
    key = base64.b64encode(b"k" * 32).decode()
    environment = read_environment({"LIKENESS_KEY": key}, home=tmp_path / "home")
    with create_workspace(environment, now=lambda: NOW) as opened:
        yield opened


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "reports"
