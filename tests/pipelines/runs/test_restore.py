"""An older database undoes nothing unseen: it stops every command, and nobody who ended comes back with it (I12)."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result

from embeddings.errors import ConfigError, CorruptionError, NotReadyError
from pipelines.cases.ending import erase, withdraw
from pipelines.cases.requests import reject_request
from pipelines.cli import main
from pipelines.database import get_state
from pipelines.database.tables import audit as chain
from pipelines.database.tables import runs, subject_keys, subjects, templates
from pipelines.home import audit
from pipelines.home.clock import doubt
from pipelines.home.workspace import Workspace, create_workspace, open_unchecked, open_workspace
from pipelines.runs.restore import accept, compare
from pipelines.runs.verify import verify
from tests.conftest import KEY, Clock, environment_for, use_fakes
from tests.fakes import person
from tests.platform_actions import ask_for_removal, enrol

REASON = "the disk failed"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Somebody active, somebody to erase, somebody to withdraw and somebody to reject; and a copy of the database."""
    with opened(tmp_path / "home", create=True) as workspace:
        for number in range(3):
            enrol(workspace, person(number))
        ask_for_removal(workspace, person(3))
    back_up(tmp_path / "home")
    return tmp_path / "home"


def opened(home: Path, *, create: bool = False) -> Workspace:
    make = create_workspace if create else open_workspace
    return use_fakes(make(environment_for(home), now=Clock()))


def back_up(home: Path) -> None:
    with (
        closing(sqlite3.connect(home / "likeness.db")) as source,
        closing(sqlite3.connect(home.parent / "backup.db")) as target,
    ):
        source.backup(target)


def put_back(home: Path) -> None:
    for leaving in home.glob("likeness.db*"):
        leaving.unlink()
    shutil.copy(home.parent / "backup.db", home / "likeness.db")


def people(workspace: Workspace) -> dict[str, str]:
    with workspace.database.read() as connection:
        rows = connection.execute(sa.select(subjects.c.subject_id, subjects.c.state))
        return {row.subject_id: row.state for row in rows}


def end_three(home: Path) -> dict[str, str]:
    """Erase, withdraw and reject one each; the states after it."""
    with opened(home) as workspace:
        (one, two, _), (asked,) = (
            sorted(name for name, state in people(workspace).items() if state == wanted)
            for wanted in ("active", "pending")
        )
        erase(workspace, one, actor="tester")
        withdraw(workspace, two, actor="tester")
        with workspace.database.read() as connection:
            query = sa.text("SELECT request_id FROM requests WHERE subject_id = :asked")
            request_id = connection.execute(query, {"asked": asked}).scalar_one()
        reject_request(workspace, request_id, reason="no", actor="tester")
        return people(workspace)


def run(home: Path, *command: str) -> Result:
    return CliRunner().invoke(main, [*command, "--home", str(home)], env={"LIKENESS_KEY": KEY})


@pytest.fixture
def restored(home: Path) -> tuple[Path, dict[str, str]]:
    """A home with an old copy of its database, and the states that this lacks."""
    ended = end_three(home)
    put_back(home)
    return home, ended


@pytest.mark.parametrize("command", [("status",), ("hits",), ("verify",), ("init",), ("subject", "list"), ("rescan",)])
def test_i12_an_older_database_stops_every_command(restored: tuple[Path, dict[str, str]], command: tuple[str]) -> None:
    told = run(restored[0], *command)
    assert told.exit_code == 1
    assert "older than what this home remembers" in told.stderr
    assert "restore --accept" in told.stderr


def test_restore_says_what_the_older_copy_lacks_and_changes_nothing(restored: tuple[Path, dict[str, str]]) -> None:
    home, _ = restored
    with open_unchecked(environment_for(home), now=Clock()) as workspace, workspace:
        found = compare(workspace)
        assert list(people(workspace).values()).count("active") == 3
    assert not found.agrees
    assert found.to_end == 3
    assert found.transactions[0] < found.transactions[1]
    assert found.registry_version[0] < found.registry_version[1]
    assert found.audit_rows[0] < found.audit_rows[1]
    assert (found.altered, found.problems) == ((), ())
    assert run(home, "restore").exit_code == 1


def test_i12_who_was_erased_withdrawn_or_rejected_does_not_come_back_with_an_older_copy(
    restored: tuple[Path, dict[str, str]],
) -> None:
    home, ended = restored
    assert run(home, "restore", "--accept", "--reason", REASON).exit_code == 0
    with opened(home) as workspace:
        assert people(workspace) == ended
        gone = {name for name, state in ended.items() if state in ("erased", "rejected")}
        with workspace.database.read() as connection:
            for table in (templates, subject_keys):
                assert not gone & set(connection.execute(sa.select(table.c.subject_id)).scalars())
        assert all(finding.ok for finding in verify(workspace) if finding.check != "model files")
    assert REASON.encode() not in (home / "likeness.db").read_bytes()
    assert run(home, "restore").exit_code == 0


def test_accepting_an_older_copy_is_a_row_of_the_chain_and_needs_a_reason(
    restored: tuple[Path, dict[str, str]],
) -> None:
    home, _ = restored
    assert run(home, "restore", "--accept").exit_code == 2
    with open_unchecked(environment_for(home), now=Clock()) as workspace, workspace:
        before = compare(workspace)
        with pytest.raises(ConfigError, match="why"):
            accept(workspace, reason=" ", actor="tester")
        accept(workspace, reason=REASON, actor="tester")
        with workspace.database.read() as connection:
            (row,) = connection.execute(sa.select(chain).where(chain.c.action == "state.restore"))
            assert f'"registry_remembered": {before.registry_version[1]}' in row.facts
            assert row.actor == "tester"
            assert int(get_state(connection, "registry_version") or 0) > before.registry_version[1]  # three ended again
            audit.verify(connection, workspace.sealer)


def test_a_version_of_the_registry_is_not_used_twice_after_a_restore(home: Path) -> None:
    with opened(home) as workspace:
        enrol(workspace, person(7))
        with workspace.database.read() as connection:
            newest = int(get_state(connection, "registry_version") or 0)
    put_back(home)
    assert run(home, "restore", "--accept", "--reason", REASON).exit_code == 0
    with opened(home) as workspace:
        later = enrol(workspace, person(8))
        with workspace.database.read() as connection:
            query = sa.select(subjects.c.version).where(subjects.c.subject_id == later)
            assert connection.execute(query).scalar_one() == newest + 1


@pytest.mark.parametrize("name", ["likeness.witness", "likeness.witness.ended"])
@pytest.mark.parametrize("how", ["gone", "altered", "empty", "another home's"])
def test_i12_a_witness_that_is_gone_or_altered_stops_every_command(home: Path, name: str, how: str) -> None:
    ended = end_three(home)
    file = home / name
    if how == "gone":
        file.unlink()
    elif how == "another home's":
        with opened(home.parent / "other", create=True) as other:
            erase(other, enrol(other, person(1)), actor="tester")
        file.write_bytes((home.parent / "other" / name).read_bytes()[:-2] + b'0"}')
    else:
        file.write_bytes(b"" if how == "empty" else file.read_bytes().replace(b"1", b"2", 1))
    if name == "likeness.witness" or how == "gone":
        for command in ("status", "init"):
            assert run(home, command).exit_code == 1
    else:
        assert run(home, "verify").exit_code == 1
    assert run(home, "restore", "--accept", "--reason", REASON).exit_code == 0
    with opened(home) as workspace:
        assert people(workspace) == ended
        assert len(workspace.seal.witness.read_ended()) == 3


def test_i12_a_lost_witness_stops_a_home_on_each_kind_of_database(workspace: Workspace) -> None:
    workspace.seal.witness.path.unlink()
    with pytest.raises(CorruptionError, match="is gone"):
        open_workspace(workspace.environment)
    with pytest.raises(CorruptionError, match="is gone"):
        enrol(workspace, person(1))


def test_a_database_that_goes_back_under_a_working_process_stops_it(workspace: Workspace) -> None:
    table = sa.table("state", sa.column("name"), sa.column("value"))

    def every_fact() -> dict[str, str]:
        with workspace.database.read() as connection:
            return {row.name: row.value for row in connection.execute(sa.select(table))}

    before = every_fact()
    with workspace.database.write() as tx:
        audit.append(tx, workspace.sealer, actor="tester", action="test.first", now=workspace.now())
    engine = sa.create_engine(workspace.database.url)
    with engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM audit WHERE action = 'test.first'"))
        for name, value in before.items():
            connection.execute(sa.update(table).where(table.c.name == name).values(value=value))
    engine.dispose()
    with pytest.raises(CorruptionError, match="older"):
        enrol(workspace, person(1))


def test_the_witness_may_lie_anywhere_and_lag_behind(tmp_path: Path) -> None:
    home, elsewhere = tmp_path / "home", tmp_path / "other disk" / "w"
    home.mkdir(mode=0o700)
    (home / "likeness.toml").write_text(f'[database]\nwitness = "{elsewhere}"\n')
    with opened(home, create=True) as workspace:
        before = elsewhere.read_bytes()
        erase(workspace, enrol(workspace, person(1)), actor="tester")
    assert not list(home.glob("*.witness*"))
    newest = elsewhere.read_bytes()
    elsewhere.write_bytes(before)  # as if a process had been killed between its commits and its writes
    elsewhere.with_name("w.ended").unlink()
    with opened(home) as workspace:
        assert len(workspace.seal.witness.read_ended()) == 1
    assert elsewhere.read_bytes() == newest


def test_a_seal_that_was_stripped_off_is_not_made_anew(home: Path) -> None:
    with closing(sqlite3.connect(home / "likeness.db", isolation_level=None)) as connection:
        connection.execute("DELETE FROM state WHERE name = 'seal'")
    assert run(home, "init").exit_code == 1
    for file in home.glob("likeness.witness*"):
        file.unlink()
    told = run(home, "init")
    assert (told.exit_code, "seal over the database is gone" in told.stderr) == (1, True)


def as_before_the_seal(home: Path) -> None:
    """Make a home what an earlier version of this program left: no seal, no witness, the chain's end in clear."""
    with closing(sqlite3.connect(home / "likeness.db", isolation_level=None)) as connection:
        connection.execute("DELETE FROM state WHERE name IN ('seal', 'sealed_columns')")
        connection.execute("DELETE FROM audit")
        connection.execute("DELETE FROM state WHERE name = 'audit_head'")
    for file in home.glob("likeness.witness*"):
        file.unlink()


def test_a_home_of_an_earlier_version_is_sealed_once_by_init(tmp_path: Path) -> None:
    home = tmp_path / "home"
    opened(home, create=True).close()
    as_before_the_seal(home)
    with pytest.raises(NotReadyError, match="likeness init"):
        opened(home)
    for _ in range(2):
        with opened(home, create=True) as workspace, workspace.database.read() as connection:
            assert workspace.seal.altered(connection) == []
            actions = connection.execute(sa.select(chain.c.action)).scalars().all()
    assert actions == ["state.seal"]


def test_i12_sealing_an_earlier_home_under_a_wrong_clock_does_not_make_its_time_the_one_to_compare_with(
    tmp_path: Path,
) -> None:
    home, clock = tmp_path / "home", Clock()
    ran = {"run_id": "r", "kind": "sweep", "model_id": "m", "policy_version": "p", "registry_version": 0}
    with opened(home, create=True) as workspace, workspace.database.write() as tx:
        tx.execute(sa.insert(runs).values(**ran, started_at=clock()))
    as_before_the_seal(home)
    clock.forward(days=4000)
    with create_workspace(environment_for(home), now=clock) as workspace:
        assert "4000 days ahead" in (doubt(workspace) or "")


def test_an_altered_home_is_not_sealed_anew_by_a_change_of_the_schema(home: Path) -> None:
    with closing(sqlite3.connect(home / "likeness.db", isolation_level=None)) as connection:
        connection.execute("UPDATE subjects SET state = 'withdrawn'")
        connection.execute("UPDATE state SET value = '{}' WHERE name = 'sealed_columns'")
    assert run(home, "init").exit_code == 1
    told = run(home, "restore", "--json")
    assert told.exit_code == 1
    assert '"subjects"' in told.stdout
