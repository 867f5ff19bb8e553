"""A server of files for items behind URLs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.pipelines.intake.model_server import ModelServer


@pytest.fixture
def server() -> Iterator[ModelServer]:
    """Serves what a test gives it, on this machine."""
    with ModelServer() as running:
        yield running
