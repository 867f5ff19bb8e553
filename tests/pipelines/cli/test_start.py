"""Commands that only read the database start without loading models, Arrow, or what draws and searches."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from pipelines.cli import PLACES, main
from pipelines.cli.lazy import LazyGroup
from tests.conftest import KEY

ROOT = Path(__file__).parents[3]
NEVER = {
    *("alembic", "cv2", "dagster", "faiss", "google.protobuf", "httpcore", "httpx", "insightface", "jinja2"),
    *("numkong", "onnx", "onnxruntime", "openvino", "pyarrow", "ray", "scipy", "skimage", "torch"),
}
NEVER_FOR_HELP = NEVER | {"PIL", "cryptography", "numpy", "pydantic", "rich", "simplejpeg", "sqlalchemy"}
COUNTING = """
import contextlib, json, sys
from pipelines.cli import main
with contextlib.suppress(SystemExit):
    main(sys.argv[1:])
print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""


def loaded(*arguments: str, home: Path | None = None) -> set[str]:
    """The modules that a command of its own process has loaded by its end, whether or not it found anything."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "LIKENESS_KEY": KEY}
    environment |= {"LIKENESS_HOME": str(home)} if home else {}
    done = subprocess.run([sys.executable, "-c", COUNTING, *arguments], env=environment, capture_output=True, text=True)
    assert "Traceback" not in done.stderr, done.stderr
    return set(json.loads(done.stderr.splitlines()[-1]))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home of an empty platform."""
    from pipelines.home.workspace import create_workspace
    from tests.conftest import environment_for

    folder = tmp_path_factory.mktemp("start") / "home"
    with create_workspace(environment_for(folder)):
        return folder


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]])
def test_help_loads_no_more_than_the_command_line_itself(arguments: list[str]) -> None:
    modules = loaded(*arguments)
    assert not modules & NEVER_FOR_HELP
    assert not {name for name in modules if name.startswith(("embeddings", "indexes"))}


@pytest.mark.parametrize(
    "arguments",
    [
        ["status"],
        ["hits"],
        ["hits", "show", "hit_none"],
        ["verdicts"],
        ["decide", "hit_none", "confirm", "--reason", "same_person"],
        ["decide", "--subject", "sub_none", "confirm", "--reason", "same_person"],
        ["decisions", "list"],
        ["look", "hit_none", "--to", "face.png"],
        ["request", "list"],
        ["subject", "list"],
    ],
    ids=" ".join,
)
def test_a_command_that_reads_the_database_loads_no_models_and_no_arrow(home: Path, arguments: list[str]) -> None:
    assert not loaded(*arguments, home=home) & NEVER


def commands_of(group: click.Group) -> list[tuple[str, Any, click.Command]]:
    places = group.places if isinstance(group, LazyGroup) else {}
    found = [(name, places.get(name), command) for name, command in group.commands.items()]
    return found + [entry for _, _, one in found if isinstance(one, click.Group) for entry in commands_of(one)]


def test_the_lines_of_the_help_are_those_of_the_commands() -> None:
    assert set(main.commands) == set(PLACES) == set(main.list_commands(click.Context(main)))
    for name, place, command in commands_of(main):
        assert command.name == name
        if place is not None:
            assert command.get_short_help_str(10**6) == place.help, name


def test_a_command_that_there_is_not_is_a_usage_error_and_one_that_is_added_is_shown() -> None:
    group = LazyGroup("group", places=PLACES)
    assert group.get_command(click.Context(group), "nonsense") is None
    group.add_command(click.Command("added", help="Say something."))
    assert "added" in group.commands
    assert "Say something." in group.get_help(click.Context(group))
    assert len(group.commands) == len(PLACES) + 1
