"""The database: migrations, transactions, locks, and what happens to a damaged or foreign file."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from embeddings.errors import CorruptionError, NotReadyError
from pipelines.database import HEAD, MIGRATIONS, Database, get_state, insert_missing, set_state, tables


def test_the_migrations_make_exactly_the_tables_of_the_code(database: Database) -> None:
    with database.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, tables.metadata) == []


def test_the_newest_revision_is_the_one_the_code_names(database: Database) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD == database.revision()


def test_migrating_twice_changes_nothing(database: Database) -> None:
    with database.write() as tx:
        set_state(tx, "fact", "kept")
    database.migrate()
    database.require_current()
    with database.read() as connection:
        assert get_state(connection, "fact") == "kept"


def test_a_database_without_tables_says_what_to_run(empty_url: str) -> None:
    empty = Database(empty_url, busy_timeout_seconds=5)
    with pytest.raises(NotReadyError, match="likeness init"), empty.read() as connection:
        get_state(connection, "fact")
    with pytest.raises(NotReadyError, match="likeness init"):
        empty.require_current()
    empty.close()


def test_a_file_that_is_no_database_is_a_typed_error(tmp_path: Path) -> None:
    path = tmp_path / "likeness.db"
    path.write_bytes(b"certainly not a database" * 1000)
    database = Database(f"sqlite:///{path}", busy_timeout_seconds=1)
    with pytest.raises(CorruptionError, match="damaged"), database.read() as connection:
        get_state(connection, "fact")
    database.close()


def test_writers_never_interleave(database: Database) -> None:
    with database.write() as tx:
        set_state(tx, "count", "0")

    def add_fifty() -> None:
        for _ in range(50):
            with database.write() as tx:
                set_state(tx, "count", str(int(get_state(tx, "count") or 0) + 1))

    threads = [threading.Thread(target=add_fifty) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.read() as connection:
        assert get_state(connection, "count") == "200"


def test_a_failed_write_leaves_nothing(database: Database) -> None:
    def write_half() -> None:
        with database.write() as tx:
            set_state(tx, "fact", "half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    with database.read() as connection:
        assert get_state(connection, "fact") is None


def test_a_reader_keeps_its_picture_while_others_write(database: Database) -> None:
    with database.write() as tx:
        set_state(tx, "fact", "old")
    with database.read() as connection:
        assert get_state(connection, "fact") == "old"
        with database.write() as tx:
            set_state(tx, "fact", "new")
        assert get_state(connection, "fact") == "old"


def test_a_named_lock_is_held_by_one_at_a_time(database: Database) -> None:
    inside: list[int] = []
    most: list[int] = []

    def enter() -> None:
        for _ in range(10):
            with database.exclusive("work"):
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=enter) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (max(most), len(most)) == (1, 30)


def test_whether_a_lock_is_held_can_be_seen_without_taking_it(database: Database) -> None:
    assert not database.is_held("work")
    with database.exclusive("work"):
        assert database.is_held("work")
        assert not database.is_held("other work")
    assert not database.is_held("work")
    with database.exclusive("work"):
        pass


def test_only_missing_rows_are_inserted_and_counted(database: Database) -> None:
    rows = [{"name": f"n{i}", "value": "1"} for i in range(1200)]
    with database.write() as tx:
        assert insert_missing(tx, tables.state, rows[:700]) == 700
        assert insert_missing(tx, tables.state, rows) == 500
        assert insert_missing(tx, tables.state, rows) == 0


def test_times_keep_their_moment_and_naive_ones_are_refused(database: Database) -> None:
    moment = datetime(2026, 5, 1, 3, 4, 5, 678901, tzinfo=UTC)
    row = {"run_id": "r", "kind": "sweep", "model_id": "m", "policy_version": "p", "registry_version": 1}
    with database.write() as tx:
        tx.execute(sa.insert(tables.runs).values(**row, started_at=moment))
    with database.read() as connection:
        assert connection.execute(sa.select(tables.runs.c.started_at)).scalar_one() == moment
    with pytest.raises((ValueError, sa.exc.StatementError)), database.write() as tx:
        tx.execute(sa.insert(tables.runs).values(**(row | {"run_id": "s"}), started_at=datetime(2026, 5, 1)))


def test_i8_scrubbing_clears_every_table_that_holds_something_of_a_person(database: Database) -> None:
    """Its own list of tables was once behind the schema: what pools and second opinions held was not cleared."""
    with database.write() as tx:
        set_state(tx, "of a person", "x" * 100)
    said: list[str] = []
    sa.event.listen(database.engine, "before_cursor_execute", lambda *call: said.append(str(call[2])))
    database.scrub()
    vacuumed = {words.removeprefix("VACUUM ") for words in said if words.startswith("VACUUM ")}
    if database.is_sqlite:
        log = Path(f"{database.url.database}-wal")
        assert not log.exists() or log.stat().st_size == 0
    else:
        assert vacuumed >= {"pools", "second_opinions", "templates", "subject_keys", "hits", "items", "kept_evidence"}
        sealed = {table.name for table in tables.metadata.sorted_tables for c in table.c if "sealed" in c.name}
        assert vacuumed >= sealed
