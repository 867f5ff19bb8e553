"""What may be personal need not stand in the command line, where every account and the shell's history see it (I8)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from pipelines.cli import main
from pipelines.cli.persons import ReferenceFiles
from pipelines.cli.private_text import MOST_BYTES, text_option

PERSONAL = {"--name", "--alias", "--exclude", "--contact", "--consent", "--note", "--text"}
"""Options whose text may be personal, wherever they occur; ``--reason`` is one where it is free text."""


@click.command(cls=ReferenceFiles)
@text_option("--name", "name", required=True, help="A name.")
@text_option("--alias", "aliases", many=True, help="Another.")
@text_option("--note", "note", lines=True, help="A note.")
@click.option("--reference", multiple=True)
def probe(**given: object) -> None:
    """Say what arrived."""
    click.echo(json.dumps(given))


def run(*arguments: str, given: str | None = None) -> Result:
    return CliRunner().invoke(probe, list(arguments), input=given)


def arrived(*arguments: str, given: str | None = None) -> dict[str, object]:
    result = run(*arguments, given=given)
    assert result.exit_code == 0, result.output
    found: dict[str, object] = json.loads(result.stdout)
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "name").write_text("\ufeff  Testina Examplesdaughter\r\n", encoding="utf-8")
    (tmp_path / "aliases").write_text("T. Examplesdaughter\n\nTestina E.\n", encoding="utf-8")
    return tmp_path


def test_a_name_comes_from_words_from_a_file_or_from_standard_input(folder: Path) -> None:
    for result in (
        arrived("--name", "Testina Examplesdaughter"),
        arrived("--name-file", str(folder / "name")),
        arrived("--name", "-", given="Testina Examplesdaughter\n"),
        arrived("--name-file", "-", given="Testina Examplesdaughter\n"),
    ):
        assert result == {"name": "Testina Examplesdaughter", "aliases": [], "note": None, "reference": []}


def test_aliases_come_one_a_line_beside_those_in_words(folder: Path) -> None:
    aliases = ["T. Examplesdaughter", "Testina E."]
    assert arrived("--name", "x", "--alias-file", str(folder / "aliases"))["aliases"] == aliases
    assert arrived("--name", "x", "--alias", "-", given="\n".join(aliases))["aliases"] == aliases
    both = arrived("--name", "x", "--alias", "a", "b", "--alias-file", str(folder / "aliases"))
    assert both["aliases"] == ["a", "b", *aliases]


def test_a_note_may_have_several_lines_and_a_name_may_not() -> None:
    assert arrived("--name", "x", "--note", "-", given="one\ntwo\n")["note"] == "one\ntwo"
    assert "several lines" in run("--name", "-", given="one\ntwo\n").output


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "Missing option '--name' or '--name-file'"),
        (["--name", "x", "--name-file", "name"], "give either"),
        (["--name", "-", "--note", "-"], "cannot both read standard input"),
        (["--name", "-", "--alias", "-"], "cannot both read standard input"),
        (["--name-file", "none"], "does not exist"),
        (["--name-file", "long"], "more than"),
        (["--name-file", "empty"], "nothing in it"),
        (["--name-file", "latin"], "not UTF-8"),
    ],
)
def test_what_cannot_be_read_is_a_usage_error(
    arguments: list[str], complaint: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    (folder / "long").write_bytes(b"x" * (MOST_BYTES + 1))
    (folder / "empty").write_bytes(b" \n")
    (folder / "latin").write_bytes("Zdeňka".encode("iso-8859-2"))
    result = run(*arguments, given="Testina\n")
    assert result.exit_code == 2
    assert complaint in result.output


def test_i8_every_option_for_personal_text_can_be_kept_out_of_the_command_line() -> None:
    for path, command in commands(main):
        options = {option for parameter in command.params for option in parameter.opts}
        free = {
            option.opts[0]
            for option in command.params
            if not isinstance(option.type, click.Choice)  # one of our own words
            if option.opts[0] in PERSONAL or (option.opts[0] == "--reason" and path != "decide")
        }
        assert {f"{option}-file" for option in free} <= options, path


def commands(command: click.Command, path: str = "") -> Iterator[tuple[str, click.Command]]:
    if not isinstance(command, click.Group):
        yield path, command
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        below = command.get_command(context, name)
        assert below is not None
        yield from commands(below, f"{path} {name}".strip())


def test_i8_no_example_puts_a_name_into_the_command_line() -> None:
    root = Path(__file__).parents[3]
    for document in (root / "README.md", *root.glob("docs/*.md")):
        lines = [line for line in document.read_text(encoding="utf-8").splitlines() if line.startswith("    likeness")]
        assert not [line for line in lines if any(f"{option} " in line for option in ("--name", "--alias", "--note"))]
