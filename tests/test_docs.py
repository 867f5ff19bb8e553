"""The documents say what there is: every command, make target, variable and setting that they name exists."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path

import click
import pytest

import pipelines.home.workspace
from pipelines.cli import main
from pipelines.home.workspace import Workspace, open_workspace
from pipelines.settings.config import Config
from tests.conftest import Clock, use_fakes
from tests.fakes import person, picture
from tests.platform_actions import enrol, upload

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = {path.name: path.read_text(encoding="utf-8") for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"))}


def commands(group: click.Group = main, prefix: str = "") -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", command


def test_every_command_is_documented() -> None:
    table = DOCUMENTS["commands.md"].split("| command | what it does |", 1)[1].split("\n\n", 1)[0]
    rows = [re.findall(r"`([^`]+)`", line.split("|")[1]) for line in table.splitlines() if line.startswith("| `")]
    listed = {name for row in rows for other in row for name in (other, f"{row[0].split()[0]} {other}")}
    assert {name for name, _ in commands()} <= listed


@pytest.mark.parametrize(
    ("name", "command"), list(commands()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_every_command_has_help_json_home_and_config(name: str, command: click.Command) -> None:
    options = {option for parameter in command.params for option in parameter.opts}
    assert {"--json", "--home", "--config"} <= options
    assert command.help


def test_commands_that_documents_show_exist() -> None:
    for document, text in DOCUMENTS.items():
        for line in re.findall(r"^    likeness ([a-z][^\n]*)", text, flags=re.MULTILINE):
            command: click.Command = main
            for word in line.split():
                if isinstance(command, click.Group) and word in command.commands:
                    command = command.commands[word]
            assert command is not main, f"{document}: likeness {line}"
            alone = not isinstance(command, click.Group) or command.invoke_without_command
            assert alone, f"{document}: likeness {line}"


def test_the_readme_opens_with_the_two_commands_and_is_short() -> None:
    lines = [line.strip() for line in README.splitlines() if line.startswith("    ")]
    assert lines[0].startswith("make sweep")
    assert lines[1].startswith("make test")
    assert len(README.splitlines()) <= 150


@pytest.mark.any_database
def test_the_example_of_the_readme_runs_and_prints_a_hit(
    workspace: Workspace,
    uploads: Path,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    subject = enrol(workspace, person(1))
    upload(uploads, "one.png", picture(person(1)))
    environment = workspace.environment
    monkeypatch.setattr(
        pipelines.home.workspace, "open_workspace", lambda _: use_fakes(open_workspace(environment, now=clock))
    )
    code = README.split("## From Python", 1)[1].split("\n## ", 1)[0]
    lines = "\n".join(line.removeprefix("    ") for line in code.splitlines())
    exec(compile(lines.replace("/data/uploads", str(uploads)), "README.md", "exec"), {})
    assert f"one.png {subject} face" in capsys.readouterr().out


def test_make_targets_that_the_documents_name_exist() -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    for document in ("README.md", "CONTRIBUTING.md"):
        named = set(re.findall(r"^    make (\w+)|`make (\w+)", DOCUMENTS[document], flags=re.MULTILINE))
        words = {word for pair in named for word in pair if word}
        assert words
        assert words <= targets, document


def test_variables_that_the_documents_name_are_read() -> None:
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "pipelines").rglob("*.py"))
    for text in DOCUMENTS.values():
        for name in set(re.findall(r"LIKENESS_[A-Z_]+[A-Z]", text)):
            assert name in source, name


def test_settings_that_are_shown_exist() -> None:
    shown = DOCUMENTS["settings.md"].split("# Settings", 1)[1].split("| variable", 1)[0]
    section = Config()
    for line in shown.splitlines():
        if match := re.match(r"    \[(\w+)\]", line):
            section = getattr(Config(), match[1])
            assert is_dataclass(section)
        elif match := re.match(r"    (\w+) = ", line):
            assert match[1] in {field.name for field in fields(section)}, line


def test_links_between_documents_lead_somewhere() -> None:
    for document in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")):
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text(encoding="utf-8")):
            assert (document.parent / target).exists(), f"{document.name} -> {target}"


def test_files_that_documents_name_exist() -> None:
    for document, text in DOCUMENTS.items():
        for path in re.findall(r"`((?:pipelines|embeddings|indexes|tests)/[\w/]+\.(?:py|toml))`", text):
            assert (ROOT / path).exists(), f"{document} names {path}"
