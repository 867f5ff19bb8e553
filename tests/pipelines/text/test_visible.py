"""What other people wrote reaches a terminal, a pipe or a page as text that shows what it is (I9)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import pipelines.cli
from pipelines.cli import console, main
from pipelines.text.visible import visible, visible_json, visible_lines
from tests.source_code import called

HOSTILE = (
    "\x1b]0;owned\x07\x1b[2J",  # sets a title, clears the screen
    "\x9b31mred",  # the same without ESC: a C1 control
    "fdp.\u202egpj",
    "in\u2066side\u2069",
    "zero\u200bwidth\u200d\ufeff",
    "two\nlines\rback",
    "line\u2028separator",
    "tag\U000e0041ged",
    "tab\tbed",
    "del\x7fete",
    "[red]not markup[/red] :smile:",
)


def harmless(shown: str) -> bool:
    """Whether a terminal prints every character as itself; line ends are the program's own."""
    return all(line.isprintable() for line in shown.split("\n"))


@given(st.text())
def test_i9_shown_text_prints_as_itself_whatever_was_written(text: str) -> None:
    assert visible(text).isprintable()
    assert harmless(visible_lines(text).replace("\t", ""))
    assert not text.isprintable() or visible(text) == text


@given(st.text())
def test_i9_json_keeps_every_character_and_shows_none_that_hides(text: str) -> None:
    encoded = visible_json(json.dumps({"item_id": text}, ensure_ascii=False))
    assert encoded.isprintable()
    assert json.loads(encoded) == {"item_id": text}


@pytest.mark.parametrize("stored", HOSTILE)
@pytest.mark.parametrize("as_json", [False, True])
def test_i9_no_stored_text_reaches_a_terminal_as_it_is(
    stored: str, as_json: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    console.emit([{"item_id": stored, "tiers": [stored], stored: {stored: stored}}], as_json=as_json)
    console.emit({"item_id": stored, stored: {stored: stored}}, as_json=as_json)
    console.say(f"warning: {stored}", err=True)
    with console.progress(as_json=False) as report:
        report(stored, 1, 1, stored)
    printed = capsys.readouterr()
    assert harmless(printed.out)
    assert harmless(printed.err)
    if as_json:
        first, _second = printed.out.splitlines()
        assert json.loads(first)[0]["item_id"] == stored


@pytest.mark.parametrize("stored", [text for text in HOSTILE if not text.isprintable()])
def test_i9_an_error_about_an_argument_quotes_it_harmlessly(stored: str, tmp_path: Path) -> None:
    for arguments in (["look", "hit", "--to", str(tmp_path / stored / "x"), stored], [stored], ["status", stored]):
        result = CliRunner().invoke(main, [*arguments, "--home", str(tmp_path)])
        assert result.exit_code == 2
        assert harmless(result.output.replace("\t", "")), arguments


def test_i9_markup_in_an_id_is_not_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    console.emit([{"item_id": "[red]x[/red]:smile:"}], as_json=False)
    assert "[red]x[/red]:smile:" in capsys.readouterr().out


def test_every_command_prints_through_the_console_alone() -> None:
    folder = Path(pipelines.cli.__file__).parent
    direct = {
        (path.name, call.lineno)
        for path in folder.glob("*.py")
        if path.name not in ("console.py", "spoken.py")
        for name, call in called(path)
        if name in PRINTING
    }
    assert direct == set()


PRINTING = {"print", "click.echo", "click.secho", "sys.stdout.write", "sys.stderr.write", "rich.print", "Console"}


def test_i8_an_unforeseen_error_says_where_and_never_what_was_being_worked_on() -> None:
    program = (
        "import sys\nfrom pipelines.cli.spoken import report_unforeseen\nsys.excepthook = report_unforeseen\n"
        "def work(name):\n"
        "    try:\n        {}[name]\n"
        "    except KeyError as error:\n        raise ValueError('cannot read ' + name) from error\n"
        "work('Testina Examplesdaughter')\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "ValueError" in ended.stderr
    assert "in work" in ended.stderr
    assert "Testina" not in ended.stderr
    assert "cannot read" not in ended.stderr


def test_i8_the_command_line_reports_unforeseen_errors_without_their_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    seen: list[object] = []
    probe = click.command("probe")(lambda: seen.append(sys.excepthook))
    monkeypatch.setitem(main.commands, "probe", probe)
    CliRunner().invoke(main, ["probe"])
    assert seen != [sys.__excepthook__]


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8"])
def test_what_the_terminals_encoding_lacks_is_spelt_out_and_json_stays_valid(encoding: str) -> None:
    program = (
        "from pipelines.cli import console, spoken\nspoken.prepare_streams()\n"
        "for as_json in (True, False):\n    console.emit([{'item_id': 'žluť-日本'}], as_json=as_json)\n"
        "console.say('žluť-日本', err=True)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"},
        capture_output=True,
        check=True,
    )
    assert json.loads(ended.stdout.splitlines()[0].decode(encoding)) == [{"item_id": "žluť-日本"}]
    shown = ended.stderr.decode(encoding).strip()
    assert shown == ("žluť-日本" if encoding == "utf-8" else "\\u017elu\\u0165-\\u65e5\\u672c")
