"""README says what there is: every command, every make target, every variable and every setting it names exists."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path

import click
import pytest

from pipelines.cli import main
from pipelines.settings.config import Config

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def commands(group: click.Group = main, prefix: str = "") -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", command


def test_every_command_is_in_the_readme() -> None:
    table = README.split("| command | what it does |", 1)[1].split("\n\n", 1)[0]
    for name, _ in commands():
        assert all(f"`{word}" in table or f"{word}`" in table for word in name.split()), name


@pytest.mark.parametrize(
    ("name", "command"), list(commands()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_every_command_has_help_json_home_and_config(name: str, command: click.Command) -> None:
    options = {option for parameter in command.params for option in parameter.opts}
    assert {"--json", "--home", "--config"} <= options
    assert command.help


def test_the_readme_opens_with_the_two_commands() -> None:
    lines = [line.strip() for line in README.splitlines() if line.startswith("    ")]
    assert lines[0].startswith("make sweep")
    assert lines[1].startswith("make test")


def test_make_targets_that_the_documents_name_exist() -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    for document in ("README.md", "CONTRIBUTING.md"):
        named = set(re.findall(r"make (\w+)", (ROOT / document).read_text(encoding="utf-8")))
        assert named & {"sweep", "test", "check", "dev"}
        assert {
            name for name in named if name in targets or name in ("sweep", "test", "check", "dev", "format")
        } <= targets


def test_variables_that_the_readme_names_are_read() -> None:
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "pipelines").rglob("*.py"))
    for name in set(re.findall(r"LIKENESS_[A-Z_]+[A-Z]", README)):
        assert name in source, name


def test_settings_that_the_readme_shows_exist() -> None:
    shown = README.split("### Settings", 1)[1].split("| variable", 1)[0]
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
