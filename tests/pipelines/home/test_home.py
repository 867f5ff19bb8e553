"""A home is one folder under one key, and only its owner's."""

from __future__ import annotations

from pathlib import Path

import pytest

from embeddings.errors import ConfigError
from pipelines.corpus.turns import remove_leavings, turn, writing
from pipelines.home.sealing import KeyFileWarning
from pipelines.home.workspace import Workspace, create_workspace, key_file, open_workspace
from pipelines.runs.compaction import compact
from pipelines.runs.sweep import sweep
from pipelines.runs.verify import verify
from pipelines.settings.environment import read_environment
from tests.conftest import environment_for, use_fakes
from tests.fakes import person, picture
from tests.platform_actions import enrol, source_of, upload


@pytest.mark.parametrize("name", ["a?mode=memory", "a%20b", "a#b", "a b", "a&b;c", "%(x)s", "ä'\"e"])
def test_a_home_is_the_folder_of_exactly_that_name(tmp_path: Path, name: str) -> None:
    home, uploads = tmp_path / name / "home", tmp_path / name / "uploads"
    uploads.mkdir(parents=True)
    with use_fakes(create_workspace(environment_for(home))) as workspace:
        enrol(workspace, person(1))
        upload(uploads, "one.png", picture(person(1)))
        assert sweep(workspace, source_of(uploads), day=None).hits == 1
        compact(workspace)
    with use_fakes(open_workspace(environment_for(home))) as workspace:
        assert all(finding.ok for finding in verify(workspace) if finding.check != "model files")
    assert (home / "likeness.db").stat().st_size > 0
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_init_without_the_key_of_an_existing_home_writes_nothing(tmp_path: Path) -> None:
    home = tmp_path / "home"
    create_workspace(environment_for(home)).close()
    before = sorted(path.name for path in home.iterdir())
    with pytest.raises(ConfigError, match="LIKENESS_KEY"):
        create_workspace(read_environment({}, home=home))
    assert not key_file(home).exists()
    (home / "likeness.db").unlink()  # the witness still says that there was a home
    with pytest.raises(ConfigError, match="LIKENESS_KEY"):
        create_workspace(read_environment({}, home=home))
    assert sorted(path.name for path in home.iterdir()) == before


def test_init_with_another_key_changes_nothing(tmp_path: Path) -> None:
    home = tmp_path / "home"
    create_workspace(environment_for(home)).close()
    before = (home / "likeness.db").read_bytes()
    other = "b" * 43 + "="
    with pytest.raises(ConfigError, match="not the one"):
        create_workspace(environment_for(home, LIKENESS_KEY=other))
    assert (home / "likeness.db").read_bytes() == before


@pytest.mark.parametrize(("mode", "allowed"), [(0o755, "0"), (0o750, "0"), (0o720, "0"), (0o707, "1"), (0o702, "1")])
def test_a_home_that_others_can_get_at_is_refused_with_what_to_run(tmp_path: Path, mode: int, allowed: str) -> None:
    home = tmp_path / "the home"
    create_workspace(environment_for(home)).close()
    home.chmod(mode)
    for make in (create_workspace, open_workspace):
        with pytest.raises(ConfigError, match=r"chmod 7[05]0 '.*/the home'"):
            make(environment_for(home, LIKENESS_GROUP_ACCESS=allowed))
    home.chmod(0o750)
    open_workspace(environment_for(home, LIKENESS_GROUP_ACCESS="1")).close()


def test_a_key_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    environment = read_environment({}, home=tmp_path / "home")
    with pytest.warns(KeyFileWarning):
        create_workspace(environment).close()
    key_file(environment.home).chmod(0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        open_workspace(environment)
    open_workspace(read_environment({"LIKENESS_GROUP_ACCESS": "1"}, home=environment.home)).close()
    key_file(environment.home).chmod(0o604)
    with pytest.raises(ConfigError, match="by others"):
        open_workspace(read_environment({"LIKENESS_GROUP_ACCESS": "1"}, home=environment.home))


def test_a_home_of_another_account_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create_workspace(environment_for(tmp_path / "home")).close()
    owner = (tmp_path / "home").stat().st_uid
    monkeypatch.setattr("os.geteuid", lambda: owner + 1)
    with pytest.raises(ConfigError, match="belongs to another account"):
        open_workspace(environment_for(tmp_path / "home"))


def test_i6_a_file_that_somebody_is_still_writing_is_no_leaving(workspace: Workspace) -> None:
    workspace.corpus.folder.mkdir(parents=True, exist_ok=True)
    file = workspace.corpus.folder / ".shard.parquet.1.tmp"
    file.write_bytes(b"half")
    with turn(workspace):
        with writing(workspace):  # a worker whose driver was killed, and with it the driver's turn
            assert remove_leavings(workspace) == 0
        assert file.exists()
        assert remove_leavings(workspace) == int(workspace.database.is_sqlite)  # PostgreSQL's workers may be anywhere
