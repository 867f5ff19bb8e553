"""Who acted is what the kernel says of the process, and no variable or option says otherwise."""

from __future__ import annotations

import ast
import os
import pwd
from pathlib import Path

import pytest
import sqlalchemy as sa

from embeddings.errors import InputError
from pipelines.database import tables
from pipelines.home import actors, audit
from pipelines.home.workspace import Workspace
from pipelines.orchestration.automation import SERVICE
from tests.source_code import dotted, imported, nodes_of
from tests.test_layout import PACKAGES, modules

CHOSEN_BY_THE_CALLER = ("LOGNAME", "USER", "LNAME", "USERNAME", "SUDO_USER", "SUDO_UID", "HOME")


def test_an_account_is_known_by_its_uid_whatever_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    before = actors.account()
    for name in CHOSEN_BY_THE_CALLER:
        monkeypatch.setenv(name, "4242")
    assert actors.account() == before == f"uid:{os.getuid()}:{pwd.getpwuid(os.getuid()).pw_name}"
    assert actors.service(SERVICE) == f"uid:{os.getuid()}:dagster"


def test_an_account_without_an_entry_is_known_by_its_uid_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    assert actors.account() == f"uid:{os.getuid()}"


@pytest.mark.parametrize(
    ("one", "other", "two"),
    [
        ("uid:1:alice", "uid:1:bob", False),
        ("uid:1:alice", "uid:1", False),
        ("uid:1:alice", "uid:01:alice", False),
        ("uid:1:alice", "uid:1:dagster", False),
        ("uid:1:alice", "uid:2:alice", True),
        ("uid:1:alice", "alice", False),
        ("uid:1:alice", "bob", False),
        ("alice", "bob", True),
        ("alice", " ALICE", False),
        ("alice", "\uff41lice", False),
    ],
)
def test_two_people_are_two_only_when_that_is_certain(one: str, other: str, two: bool) -> None:
    assert actors.are_two_people(one, other) is actors.are_two_people(other, one) is two


@pytest.mark.parametrize("actor", ["", "  ", "ann\n", "\x1b[2J", "uid:", "uid:x:ann", "uid:4242:ann", "a" * 257])
def test_nobody_acts_under_no_name_or_under_the_account_of_another(workspace: Workspace, actor: str) -> None:
    with pytest.raises(InputError), workspace.database.write() as tx:
        audit.append(tx, workspace.sealer, actor=actor, action="test", now=workspace.now())
    with workspace.database.read() as connection:
        actions = connection.execute(sa.select(tables.audit.c.action)).scalars().all()
    assert actions == ["state.seal"]  # of making the home


def test_no_module_asks_the_environment_who_somebody_is() -> None:
    for package in PACKAGES:
        for path in modules(package):
            assert "getpass" not in set(imported(path)), path
            assert not {"os.getlogin", "os.path.expanduser", "Path.home"} & dotted(path), path
            assert not set(CHOSEN_BY_THE_CALLER) & words(path), path


def words(path: Path) -> set[str]:
    """The strings of a module."""
    return {node.value for node in nodes_of(path) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
