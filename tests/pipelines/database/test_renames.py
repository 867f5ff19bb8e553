"""A home of the schema before columns were renamed comes to this one with its rows, and under a seal that holds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import alembic.command
import pytest
import sqlalchemy as sa

from pipelines.database import Database, _alembic_config
from pipelines.database.tables import metadata
from pipelines.home import state_seal
from pipelines.home.upgrade import upgrade
from pipelines.home.workspace import Workspace
from tests.fakes import person, picture
from tests.platform_actions import NAME, enrol, night, say, upload
from tests.platform_facts import failing

RENAMED = {
    "examined": {"rules_id": "matcher_id"},
    "hits": {"content_key": "content_sha256", "found_by_id": "model_id"},
    "verdicts": {"content_key": "content_sha256"},
    "outbox": {"content_key": "content_sha256"},
    "decisions": {"content_key": "content_sha256", "found_by_id": "model_id"},
}

LATER = {"hits": {"alone_score", "pictures", "seconds"}}
"""Columns that came after the renaming."""
SHARED = {
    table: [one.name for one in metadata.tables[table].columns if one.name not in LATER.get(table, set())]
    for table in RENAMED
}


@pytest.fixture
def platform(workspace: Workspace, uploads: Path) -> Workspace:
    """Faces and a name that were found and judged, decided, and told to the service."""
    enrol(workspace, person(1))
    for number in (1, 2):
        upload(uploads, f"{number}.png", picture(person(1), person(40 + number)), parent_model="m", title=NAME)
    night(workspace, uploads)
    say(workspace, "1.png")
    return workspace


@pytest.fixture
def database(platform: Workspace) -> Iterator[Database]:
    """The platform's database as another process opens it, without a seal."""
    opened = Database(platform.database.url.render_as_string(hide_password=False), busy_timeout_seconds=60)
    yield opened
    opened.close()


def columns_of(database: Database) -> dict[str, set[str]]:
    """Table -> the columns that the database has."""
    with database.read() as connection:
        there = sa.inspect(connection)
        return {table: {one["name"] for one in there.get_columns(table)} for table in there.get_table_names()}


def rows(database: Database, names: dict[str, dict[str, str]]) -> dict[str, list[str]]:
    """Table -> its rows in the columns that versions 0013 and 0014 share, by the names given for them."""
    found = {}
    with database.read() as connection:
        for table, renamed in names.items():
            columns = [sa.column(renamed.get(name, name)) for name in SHARED[table]]
            found[table] = sorted(map(repr, connection.execute(sa.select(*columns).select_from(sa.table(table)))))
    return found


def test_i12_renamed_columns_keep_their_rows_and_the_seal_over_them_holds(
    platform: Workspace, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    present: dict[str, dict[str, str]] = {table: {} for table in RENAMED}
    before = rows(database, present)
    assert all(before.values()), "there is something to keep in each table"
    alembic.command.downgrade(_alembic_config(database), "0013")
    assert rows(database, RENAMED) == before
    there, sealed = columns_of(database), json.loads(state_seal._column_names())
    for part, names in sealed.items():
        table = part.partition(".")[0]
        earlier_names = [RENAMED.get(table, {}).get(name, name) for name in names] + ["shard_id"] * (part == "hits")
        sealed[part] = [name for name in earlier_names if name in there.get(table, set())]
    sealed = {part: names for part, names in sealed.items() if names}
    with monkeypatch.context() as earlier, database.write() as tx:  # as the earlier version left it
        earlier.setattr(state_seal, "_column_names", lambda: json.dumps(sealed))
        head = platform.seal.read(tx)
        known, ended = platform.seal.seal_all(tx, after=head.counter if head else 0)
    platform.seal.witness.advance(known, ended=ended)
    upgrade(database, platform.sealer, platform.seal, now=platform.now())
    assert rows(database, present) == before
    assert failing(platform) == set()
