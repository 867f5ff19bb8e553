"""Whatever is damaged, lost, swapped or forged in the store is an error with a name, never "no match" (I7).

Each case damages a copy of one prepared home and lets the sweep (of a new picture), the rescan (for a new subject) and
the verification loose on it.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from embeddings.errors import ConfigError, CorruptionError, LikenessError, NotReadyError
from pipelines.cli import main
from pipelines.hits.listing import list_hits
from pipelines.home.workspace import Workspace, open_workspace
from pipelines.policy import BandSettings
from pipelines.runs.rescan import rescan
from pipelines.runs.sweep import list_source, sweep
from pipelines.runs.verify import verify
from tests.conftest import KEY, Clock, environment_for, fresh_workspace, use_fakes
from tests.examples import examples
from tests.fakes import person, picture
from tests.platform_actions import DAY, enrol, source_of, upload
from tests.platform_facts import failing

EXAMPLES = examples(30)
OLD = {f"{number}.png": (number % 3, 10 + number) for number in range(6)}


@dataclass(frozen=True)
class Store:
    """A home and its uploads, to be damaged."""

    home: Path
    uploads: Path

    @property
    def database(self) -> Path:
        return self.home / "likeness.db"

    def shards(self) -> list[Path]:
        return sorted((self.home / "corpus").glob("*.parquet"))

    def sql(self, statement: str, *values: object) -> None:
        """Change the database behind everybody's back."""
        with closing(sqlite3.connect(self.database, isolation_level=None)) as connection:
            assert connection.execute(statement, values).rowcount > 0

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.database)) as connection:
            return connection.execute(query).fetchall()

    def open(self, **variables: str) -> Workspace:
        return use_fakes(open_workspace(environment_for(self.home, **variables), now=Clock()))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Three compared shards, two subjects with two templates in all, hits with verdicts, an audit chain."""
    folder = tmp_path_factory.mktemp("prepared")
    store = Store(folder / "home", folder / "uploads")
    store.uploads.mkdir()
    with use_fakes(fresh_workspace(store.home, now=Clock())) as workspace:
        workspace.config = replace(workspace.config, sweep=replace(workspace.config.sweep, shard_items=2))
        enrol(workspace, person(0))
        enrol(workspace, person(1))
        for name, crowd in OLD.items():
            upload(store.uploads, name, picture(*map(person, crowd)))
        sweep(workspace, source_of(store.uploads), day=None)
        assert [finding for finding in verify(workspace) if not finding.ok and finding.check != "model files"] == []
    upload(store.uploads, "new.png", picture(person(1), person(2)), received=DAY + timedelta(days=1))
    return store


@pytest.fixture
def store(prepared: Store, tmp_path: Path) -> Store:
    shutil.copytree(prepared.home, tmp_path / "home")
    return replace(prepared, home=tmp_path / "home")


def new_sweep(workspace: Workspace, store: Store) -> None:
    sweep(workspace, source_of(store.uploads), day=None)


def new_rescan(workspace: Workspace, store: Store) -> None:
    """For somebody who is in every shard."""
    enrol(workspace, person(2))
    rescan(workspace)


Act = Callable[[Workspace, Store], None]


def assert_stops(
    store: Store, act: Act, check: str | None, kind: type[LikenessError] = CorruptionError, match: str | None = None
) -> None:
    """``act`` ends in an error of this kind, and ``likeness verify`` fails and names the check."""
    with store.open() as workspace:
        if check:
            assert check in failing(workspace)
        with pytest.raises(kind, match=match):
            act(workspace, store)
    if check:
        told = CliRunner().invoke(main, ["verify", "--json", "--home", str(store.home)], env={"LIKENESS_KEY": KEY})
        assert told.exit_code == 1
        assert f'"check": "{check}", "ok": false' in told.stdout


def test_the_prepared_store_is_sound_and_both_runs_find_what_there_is(store: Store) -> None:
    with store.open() as workspace:
        new_sweep(workspace, store)
        new_rescan(workspace, store)
        assert failing(workspace) == set()
        with workspace.database.read() as connection:
            assert len(list_hits(connection)) == 8


# Shards


def cut_short(store: Store) -> None:
    os.truncate(store.shards()[0], store.shards()[0].stat().st_size - 1)


def empty(store: Store) -> None:
    os.truncate(store.shards()[0], 0)


def remove(store: Store) -> None:
    store.shards()[0].unlink()


def rename(store: Store) -> None:
    store.shards()[0].rename(store.shards()[0].with_name("another.parquet"))


def swap(store: Store) -> None:
    first, second, *_ = store.shards()
    one, other = first.read_bytes(), second.read_bytes()
    first.write_bytes(other)
    second.write_bytes(one)


def copy_over(store: Store) -> None:
    shutil.copy(store.shards()[0], store.shards()[1])


def make_a_folder_of_it(store: Store) -> None:
    shard = store.shards()[0]
    shard.unlink()
    shard.mkdir()


@pytest.mark.parametrize("damage", [cut_short, empty, remove, rename, swap, copy_over, make_a_folder_of_it])
def test_i7_a_damaged_shard_file_stops_the_rescan(store: Store, damage: Callable[[Store], None]) -> None:
    damage(store)
    assert_stops(store, new_rescan, "manifest and shards")


@settings(max_examples=EXAMPLES)
@given(which=st.integers(0, 2), place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_i7_any_flipped_bit_in_a_shard_stops_the_rescan(
    prepared: Store, tmp_path_factory: pytest.TempPathFactory, which: int, place: float, bit: int
) -> None:
    with a_copy(prepared, tmp_path_factory) as store:
        shard = store.shards()[which]
        damaged = bytearray(shard.read_bytes())
        damaged[int(place * len(damaged))] ^= 1 << bit
        shard.write_bytes(damaged)
        with store.open() as workspace:
            assert failing(workspace) == {"manifest and shards"}
            make_every_pair_due(workspace)
            with pytest.raises(CorruptionError, match=f"shard {shard.stem}"):
                rescan(workspace)


@contextmanager
def a_copy(prepared: Store, factory: pytest.TempPathFactory) -> Iterator[Store]:
    """As the fixture ``store``, for each example."""
    home = factory.mktemp("copy") / "home"
    shutil.copytree(prepared.home, home)
    yield replace(prepared, home=home)
    shutil.rmtree(home)


def make_every_pair_due(workspace: Workspace) -> None:
    """By a lower threshold than that of the sweep."""
    bands = {"opencv-zoo": BandSettings(review=0.3, strong=0.5)}
    lower = replace(workspace.policy.settings, bands=bands)
    workspace.policy = replace(workspace.policy, settings=lower, version="lower")  # type: ignore[misc]


# The manifest

MANIFEST = {
    "shard_id": "'0123456789abcdef0123456789abcdef'",
    "model_id": "'another-model'",
    "dimension": "dimension + 1",
    "path": "'../likeness.db'",
    "sha256": "replace(sha256, substr(sha256, 1, 1), '0') || 'x'",
    "bytes": "bytes + 1",
    "faces": "faces - 1",
    "covered_version": "covered_version + 1",
    "covered_threshold": "covered_threshold - 0.1",
    "seal": "(SELECT max(seal) FROM shards)",
}


@pytest.mark.parametrize("act", [new_sweep, new_rescan])
@pytest.mark.parametrize("column", MANIFEST)
def test_i7_an_altered_manifest_row_stops_every_run(store: Store, column: str, act: Act) -> None:
    store.sql(f"UPDATE shards SET {column} = {MANIFEST[column]} WHERE seal = (SELECT min(seal) FROM shards)")
    assert_stops(store, act, "manifest and shards")


@pytest.mark.parametrize("act", [new_sweep, new_rescan])
def test_i7_a_deleted_manifest_row_stops_every_run(store: Store, act: Act) -> None:
    store.sql("DELETE FROM shards WHERE seal = (SELECT min(seal) FROM shards)")
    assert_stops(store, act, "manifest and shards", match="does not list")


def test_i7_an_emptied_manifest_stops_the_rescan(store: Store) -> None:
    store.sql("DELETE FROM shards")
    assert_stops(store, new_rescan, "manifest and shards", match="does not list")


# The registry


def flip(column: str, table: str) -> Callable[[Store], None]:
    def damage(store: Store) -> None:
        ((rowid, sealed), *_) = store.rows(f"SELECT rowid, {column} FROM {table}")
        damaged = bytearray(sealed)
        damaged[len(sealed) // 2] ^= 1
        store.sql(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", bytes(damaged), rowid)

    return damage


def swapped(column: str, table: str) -> Callable[[Store], None]:
    def damage(store: Store) -> None:
        (one, first), (two, second) = store.rows(f"SELECT rowid, {column} FROM {table}")[:2]
        store.sql(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", second, one)
        store.sql(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", first, two)

    return damage


def statement(text: str) -> Callable[[Store], None]:
    return lambda store: store.sql(text)


REGISTRY = {
    "a template's bit": (flip("sealed_vector", "templates"), "templates", CorruptionError),
    "two templates swapped": (swapped("sealed_vector", "templates"), "templates", CorruptionError),
    "two templates' owners swapped": (swapped("subject_id", "templates"), "templates", CorruptionError),
    "two keys swapped": (swapped("wrapped_key", "subject_keys"), "templates", CorruptionError),
    "a key's bit": (flip("wrapped_key", "subject_keys"), "templates", CorruptionError),
    "an empty template": (statement("UPDATE templates SET sealed_vector = x''"), "templates", CorruptionError),
    "another dimension": (statement("UPDATE templates SET dimension = 31"), "templates", CorruptionError),
    "a key lost": (
        statement("DELETE FROM subject_keys WHERE rowid = (SELECT min(rowid) FROM subject_keys)"),
        "templates",
        CorruptionError,
    ),
    "another model's name": (statement("UPDATE templates SET model_id = 'fake-2'"), "templates", NotReadyError),
    "templates lost": (
        statement("DELETE FROM templates WHERE rowid = (SELECT min(rowid) FROM templates)"),
        "registry",
        NotReadyError,
    ),
    "no version": (statement("DELETE FROM state WHERE name = 'registry_version'"), "registry", NotReadyError),
    "an older version": (
        statement("UPDATE state SET value = '0' WHERE name = 'registry_version'"),
        "registry",
        CorruptionError,
    ),
}


@pytest.mark.parametrize("case", REGISTRY)
def test_i7_a_damaged_registry_stops_the_sweep(store: Store, case: str) -> None:
    damage, check, kind = REGISTRY[case]
    damage(store)
    assert_stops(store, new_sweep, check, kind)
    with store.open() as workspace, workspace.database.read() as connection:
        assert [row.item_id for row in list_hits(connection) if row.item_id == "new.png"] == []
        status = connection.execute(sa.text("SELECT status FROM items WHERE item_id = 'new.png'")).scalar()
        assert status in (None, "pending")


# The audit chain

AUDIT = {
    "another actor": "UPDATE audit SET actor = 'nobody' WHERE seq = 1",
    "another deed": "UPDATE audit SET action = 'subject.view' WHERE seq = 2",
    "other facts": "UPDATE audit SET facts = '{}' WHERE seq = 1",
    "another time": "UPDATE audit SET at = '2025-01-01 00:00:00.000000' WHERE seq = 2",
    "a row less": "DELETE FROM audit WHERE seq = 1",
    "cut off at the end": "DELETE FROM audit WHERE seq = (SELECT max(seq) FROM audit)",
    "all of it gone": "DELETE FROM audit",
    "its head gone": "DELETE FROM state WHERE name = 'audit_head'",
}


@pytest.mark.parametrize("case", AUDIT)
def test_i7_a_change_to_the_audit_chain_is_found(store: Store, case: str) -> None:
    store.sql(AUDIT[case])
    with store.open() as workspace:
        assert (
            {"audit chain", "sealed rows"}
            <= failing(workspace)
            <= {"audit chain", "sealed rows", "registry and audit chain"}
        )
    told = CliRunner().invoke(main, ["verify", "--home", str(store.home)], env={"LIKENESS_KEY": KEY})
    assert told.exit_code == 1
    assert "audit chain" in told.stdout


# Keys and files


def test_i7_another_key_opens_nothing(store: Store) -> None:
    other = {"LIKENESS_KEY": "A" * 43 + "="}
    with pytest.raises(ConfigError, match="not the one this home was made with"):
        open_workspace(environment_for(store.home, **other))
    told = CliRunner().invoke(main, ["verify", "--home", str(store.home)], env=other)
    assert told.exit_code == 2


def test_i7_an_item_record_that_was_altered_stops_the_sweep(store: Store) -> None:
    with store.open() as workspace:
        list_source(workspace, source_of(store.uploads), day=None)
    sealed = store.rows("SELECT sealed_record FROM items WHERE item_id = '0.png'")[0][0]
    store.sql("UPDATE items SET sealed_record = ? WHERE item_id = 'new.png'", sealed)
    assert_stops(store, new_sweep, None)


@settings(max_examples=EXAMPLES)
@given(place=st.floats(0, 1, exclude_max=True), garbage=st.sampled_from([b"\x00", b"\xff", None]))
def test_i7_a_page_of_garbage_in_the_database_is_an_error_with_a_name_or_changes_nothing(
    prepared: Store, tmp_path_factory: pytest.TempPathFactory, place: float, garbage: bytes | None
) -> None:
    with a_copy(prepared, tmp_path_factory) as store:
        ((size,),) = store.rows("PRAGMA page_size")
        page = int(place * (store.database.stat().st_size // size))
        with store.database.open("r+b") as file:
            file.seek(page * size)
            file.write(garbage * size if garbage else os.urandom(size))
        stopped = [named_error(store, act) for act in (new_sweep, new_rescan, lambda workspace, _: failing(workspace))]
        told = CliRunner().invoke(main, ["verify", "--home", str(store.home)], env={"LIKENESS_KEY": KEY})
        assert isinstance(told.exception, SystemExit | None), told.exception
        if told.exit_code == 0:  # a page that nothing is read from
            assert not any(stopped)
            with store.open() as workspace, workspace.database.read() as connection:
                assert len(list_hits(connection)) == 8
        else:
            assert told.exit_code == 1


def named_error(store: Store, act: Callable[[Workspace, Store], object]) -> bool:
    """Whether ``act`` ended in an error on purpose; any other exception is the test's failure."""
    try:
        with store.open() as workspace:
            act(workspace, store)
    except LikenessError:
        return True
    return False
