"""Fixtures of the delivery tests: a clock, and a receiver that goes by it."""

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
def receiver(tmp_path: Path, clock: Clock) -> Iterator[Receiver]:
    with Receiver("127.0.0.1", 0, [SECRET], log_path=tmp_path / "cases.jsonl", now=clock) as running:
        yield running
