"""``audit list``, ``export`` and ``check``: who did what, and a file that shows if anything in it is not what was."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from embeddings.errors import CorruptionError, InputError, StateError
from pipelines.home import audit
from pipelines.home.audit_export import FORMATS, check_export, export_audit, list_audit
from pipelines.home.workspace import Workspace
from pipelines.registry.subjects import show_identity
from pipelines.text.spreadsheets import original
from tests.conftest import Clock
from tests.fakes import person
from tests.pipelines.cli.conftest import Run, done
from tests.platform_actions import NAME, enrol

FORMULA = "=cmd|' /C calc'!A0"


@pytest.fixture
def busy(workspace: Workspace, clock: Clock) -> tuple[Workspace, list[str]]:
    """Two people, enrolled on two days and looked at by three."""
    ids = [enrol(workspace, person(1))]
    clock.forward(days=2)
    ids.append(enrol(workspace, person(2)))
    for actor in ("ann", "bob", FORMULA):
        for subject_id in ids:
            show_identity(workspace, subject_id, actor=actor)
    return workspace, ids


def rows(workspace: Workspace, **chosen: Any) -> list[tuple[str, str, Any]]:
    with workspace.database.read() as connection:
        return [(row.action, row.actor, row.facts.get("subject_id")) for row in list_audit(connection, **chosen)]


def test_the_chain_is_listed_by_who_what_when_and_whom(busy: tuple[Workspace, list[str]], clock: Clock) -> None:
    workspace, (first, second) = busy
    assert rows(workspace, actor="ann") == [("subject.view", "ann", second), ("subject.view", "ann", first)]
    assert rows(workspace, actor="ANN ") == rows(workspace, actor="ann")
    assert {row[0] for row in rows(workspace, action="subject.view")} == {"subject.view"}
    assert {"subject.view"} < {row[0] for row in rows(workspace, action="subject")}
    assert rows(workspace, action="sub") == []
    assert {row[2] for row in rows(workspace, subject_id=first)} == {first}
    assert len(rows(workspace, subject_id=first)) == 4
    today = clock().date()
    assert {row[2] for row in rows(workspace, until=today, since=today, action="subject.add")} == {second}
    assert rows(workspace, limit=3) == rows(workspace)[:3]
    for empty in ("actor", "action", "subject_id"):
        with pytest.raises(InputError):
            rows(workspace, **{empty: ""})
    with pytest.raises(InputError):
        rows(workspace, limit=0)


def test_the_command_lists_and_says_that_there_is_more(busy: tuple[Workspace, list[str]], run: Run) -> None:
    listed = done(run("audit", "list", "--actor", "bob", "--json"))
    assert [(row["actor"], row["action"]) for row in listed] == [("bob", "subject.view")] * 2
    assert {"seq", "at", "actor", "action", "facts"} == listed[0].keys()
    short = run("audit", "list", "--limit", "2")
    assert short.exit_code == 0
    assert "there are more" in short.stderr
    for wrong in (("--since", "yesterday"), ("--limit", "0"), ("--actor", "")):
        assert run("audit", "list", *wrong).exit_code == 2


@pytest.mark.parametrize("suffix", FORMATS)
def test_an_exported_chain_can_be_checked_and_holds_every_row(
    busy: tuple[Workspace, list[str]], run: Run, tmp_path: Path, suffix: str
) -> None:
    workspace, _ = busy
    file = tmp_path / f"audit{suffix}"
    assert done(run("audit", "export", str(file), "--json"))["rows"] > 8
    assert file.stat().st_mode & 0o777 == 0o600
    assert NAME not in file.read_text(encoding="utf-8")
    assert "unbroken" in done(run("audit", "check", str(file), "--json"))["holds"]
    with workspace.database.read() as connection:
        assert audit.was_written(connection, "audit.export")
    again = run("audit", "export", str(file))
    assert again.exit_code == 1
    assert run("audit", "export", str(file), "--overwrite").exit_code == 0
    assert done(run("audit", "check", str(file), "--json"))


def test_a_spreadsheet_finds_no_formula_in_it(busy: tuple[Workspace, list[str]], tmp_path: Path) -> None:
    workspace, _ = busy
    export_audit(workspace, tmp_path / "audit.csv", actor="ann")
    with (tmp_path / "audit.csv").open(newline="", encoding="utf-8") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert not any(cell.startswith(("=", "+", "-", "@")) for cell in cells)
    assert FORMULA in {original(cell) for cell in cells}


def spoilt(lines: list[str], how: str) -> list[str]:
    """The lines of a file as somebody would have them."""
    if how == "changed":
        return [line.replace("ann", "bob") for line in lines]
    if how == "removed":
        return [*lines[:3], *lines[4:]]
    if how == "shortened":
        return [*lines[:-2], lines[-1]]
    if how == "cut off":
        return lines[:-1]
    if how == "swapped":
        return [*lines[:3], lines[4], lines[3], *lines[5:]]
    if how == "continued":
        return [*lines, lines[-2]]
    return ["what is this"]


@pytest.mark.parametrize("how", ["changed", "removed", "shortened", "cut off", "swapped", "continued", "nonsense"])
@pytest.mark.parametrize("suffix", FORMATS)
def test_a_file_that_somebody_changed_is_refused(
    busy: tuple[Workspace, list[str]], run: Run, tmp_path: Path, suffix: str, how: str
) -> None:
    workspace, _ = busy
    file = tmp_path / f"audit{suffix}"
    export_audit(workspace, file, actor="ann")
    lines = file.read_text(encoding="utf-8").splitlines()
    assert lines != spoilt(lines, how)
    file.write_text("\n".join(spoilt(lines, how)) + "\n", encoding="utf-8")
    with pytest.raises(CorruptionError):
        check_export(workspace, file)
    refused = run("audit", "check", str(file))
    assert refused.exit_code == 1
    assert "Traceback" not in refused.output


def test_a_file_of_another_home_is_refused_and_so_is_another_kind_of_file(
    busy: tuple[Workspace, list[str]], run: Run, tmp_path: Path
) -> None:
    workspace, _ = busy
    export_audit(workspace, tmp_path / "a.jsonl", actor="ann")
    show_identity(workspace, busy[1][0], actor="ann")
    assert check_export(workspace, tmp_path / "a.jsonl"), "the chain may have gone on"
    for command in ("export", "check"):
        assert run("audit", command, str(tmp_path / "a.xlsx")).exit_code == 2
    assert run("audit", "check", str(tmp_path / "nowhere.csv")).exit_code == 1
    (tmp_path / "link.csv").symlink_to(tmp_path / "a.jsonl")
    with pytest.raises(StateError):
        check_export(workspace, tmp_path / "link.csv")
    with pytest.raises(StateError):
        export_audit(workspace, tmp_path / "link.csv", actor="ann", overwrite=True)
