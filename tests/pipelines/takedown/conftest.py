"""Fixtures of the delivery tests: a clock near the real time, which the processes and receivers use, and a receiver."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.takedown.receiver import Receiver
from tests.pipelines.takedown.delivering import SECRET, Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    with Receiver("127.0.0.1", 0, [SECRET], log_path=tmp_path / "cases.jsonl") as running:
        yield running
