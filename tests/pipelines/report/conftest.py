from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.home.workspace import Workspace
from tests.conftest import fresh_workspace
from tests.pipelines.report.rows import NOW


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    """An empty, migrated home; its clock stands still at noon."""
    with fresh_workspace(tmp_path / "home", now=lambda: NOW, made=NOW) as opened:
        yield opened


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "reports"
