"""What people ask to be written goes into a new file of their own, or nowhere."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from embeddings.errors import ConfigError, StateError
from indexes.durable import durable_file
from pipelines.cli import main
from pipelines.home.private_files import open_private, publish
from pipelines.takedown.receiver import Receiver
from tests.pipelines.takedown.delivering import SECRET

Obstacle = Callable[[Path], None]


def a_file(path: Path) -> None:
    path.write_bytes(b"somebody's")


def a_link(path: Path) -> None:
    path.with_name("elsewhere").write_bytes(b"somebody's")
    path.symlink_to("elsewhere")


def a_dangling_link(path: Path) -> None:
    path.symlink_to("nowhere")


def a_fifo(path: Path) -> None:
    os.mkfifo(path)


def a_folder(path: Path) -> None:
    path.mkdir()


def state_of(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every entry with its kind and content."""
    return {
        entry.name: (entry.lstat().st_mode, entry.read_bytes() if stat.S_ISREG(entry.lstat().st_mode) else b"")
        for entry in folder.iterdir()
    }


@pytest.mark.parametrize("make", [a_file, a_link, a_dangling_link, a_fifo, a_folder])
@pytest.mark.parametrize("overwrite", [False, True])
def test_i8_whatever_is_there_stays_as_it_was(make: Obstacle, overwrite: bool, tmp_path: Path) -> None:
    path = tmp_path / "look.png"
    make(path)
    before = state_of(tmp_path)
    if overwrite and make is a_file:
        publish(path, lambda file: file.write(b"new"), overwrite=True)
        assert path.read_bytes() == b"new"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        return
    with pytest.raises(StateError, match="name a"):
        publish(path, lambda file: file.write(b"new"), overwrite=overwrite)
    assert state_of(tmp_path) == before


def test_i8_a_name_taken_in_the_meantime_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "look.png"
    opening = os.open

    def taken_first(name: Path, *arguments: int) -> int:
        if name == path:
            a_dangling_link(path)
        return opening(name, *arguments)

    monkeypatch.setattr(os, "open", taken_first)
    with pytest.raises(StateError, match="link"):
        publish(path, lambda file: file.write(b"face"), overwrite=False)
    assert not (tmp_path / "nowhere").exists()


def test_a_write_that_fails_leaves_no_new_file(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        publish(tmp_path / "look.png", lambda file: 1 // 0, overwrite=False)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="none does not exist"):
        publish(tmp_path / "none" / "look.png", lambda file: file.write(b""), overwrite=False)


@pytest.mark.parametrize("make", [a_link, a_dangling_link, a_fifo])
def test_i8_nothing_is_appended_through_a_link_or_into_a_fifo(make: Obstacle, tmp_path: Path) -> None:
    path = tmp_path / "cases.jsonl"
    make(path)
    before = state_of(tmp_path)
    with pytest.raises(StateError, match="never written to"), open(path, "ab", opener=open_private):
        pass
    with pytest.raises(StateError, match="never written to"):
        Receiver("127.0.0.1", 0, [SECRET], log_path=path)
    assert state_of(tmp_path) == before


@pytest.mark.parametrize(
    "text", [b"my notes", b"{}", b"{}\n", b"my notes\nand more\n", b"[1]\n", json.dumps([1]).encode()]
)
def test_a_file_that_is_no_log_of_cases_is_not_cut_off(text: bytes, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(text)
    with pytest.raises(ConfigError, match=r"name another file"):
        Receiver("127.0.0.1", 0, [SECRET], log_path=path)
    assert path.read_bytes() == text


def test_i8_a_planted_temporary_name_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / f".shard.{os.getpid()}.tmp").symlink_to(victim)
    with durable_file(tmp_path / "shard", before_rename=lambda: None) as file:
        file.write(b"sealed")
    assert victim.read_bytes() == b"precious"


def test_every_option_that_writes_a_file_is_one_that_was_looked_at() -> None:
    """A new option of this kind has to write through `pipelines.home.private_files`, and be named here."""
    writing = {
        (" ".join(path), option.opts[0])
        for path, command in commands(main)
        for option in command.params
        if isinstance(option, click.Option)
        and isinstance(option.type, click.Path)
        and not option.type.exists
        and option.opts[0] not in ("--home", "--config", "--policy", "--image")
    }
    assert writing == {
        ("look", "--to"),
        ("calibrate", "--plot"),
        ("calibrate", "--worst-pairs"),
        ("calibration show", "--plot"),
        ("receiver", "--log"),
        ("report", "--out"),
    }


def commands(command: click.Command, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], click.Command]]:
    """Every command with the words that call it."""
    found = [(path, command)]
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            found += commands(below, (*path, name)) if below else []
    return found


@pytest.mark.parametrize("make", [a_file, a_link, a_dangling_link, a_fifo])
def test_i8_look_refuses_a_taken_name_before_it_looks(make: Obstacle, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    make(tmp_path / "look.png")
    before = state_of(tmp_path)
    arguments = ["look", "hit_x", "--to", str(tmp_path / "look.png"), "--home", str(tmp_path / "home")]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1
    assert "look.png" in result.output
    assert state_of(tmp_path) == before
