from __future__ import annotations

import pytest

from pipelines.sources import FetchSettings


@pytest.fixture
def settings() -> FetchSettings:
    return FetchSettings(timeout_seconds=5.0, allowed_hosts=(), allow_private_addresses=False)
