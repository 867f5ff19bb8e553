"""Dagster on disk, as ``dagster.yaml`` configures it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from dagster import DagsterInstance

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def instance_on_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DagsterInstance]:
    """An instance for all tests of a module."""
    folder = tmp_path_factory.mktemp("dagster")
    shutil.copy(ROOT / "dagster.yaml", folder)
    with DagsterInstance.from_config(str(folder)) as opened:
        yield opened
