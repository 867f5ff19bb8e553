"""``decide``, ``decisions``, ``look``, ``hits show``, ``statement`` and ``transparency`` as people call them."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path

import click
import pytest

from pipelines.cli import main
from pipelines.cli.decisions import decide
from pipelines.cli.typed import typed_again
from pipelines.hits.listing import list_hits
from pipelines.home.workspace import Workspace
from pipelines.runs.sweep import sweep
from tests.fakes import person, picture
from tests.pipelines.cli.conftest import Run, done
from tests.platform_actions import NAME, enrol, source_of, upload

pytestmark = pytest.mark.any_database


@pytest.fixture
def hits(workspace: Workspace, uploads: Path) -> list[str]:
    """Three pictures of somebody registered, awaiting review."""
    enrol(workspace, person(1))
    for number in range(3):
        crowd = picture(person(1), person(50 + number))
        upload(uploads, f"{number}.png", crowd, parent_model=f"m-{number}", uploader=f"u-{number % 2}")
    sweep(workspace, source_of(uploads), day=None)
    with workspace.database.read() as connection:
        return [hit.hit_id for hit in sorted(list_hits(connection), key=lambda hit: hit.item_id)]


def test_one_hit_is_decided_listed_and_undone(run: Run, hits: list[str]) -> None:
    told = done(run("decide", hits[0], "confirm", "--reason", "same_person", "--json"))
    assert (told["decisions"], told["takedowns"], told["undo_until"] is not None) == (1, 1, True)
    (listed,) = done(run("decisions", "list", "--standing", "--json"))
    assert (listed["decision"], listed["reason"], listed["hit_id"]) == ("confirm", "same_person", hits[0])
    assert "same_person" in run("decisions", "list").stdout
    undone = done(run("decide", "--undo", told["batch_id"], "--json"))
    assert (undone["decisions"], undone["withdrawn"]) == (1, 1)
    assert done(run("decisions", "list", "--standing", "--json")) == []
    assert run("decide", "--undo", told["batch_id"]).exit_code == 1


def test_several_hits_are_decided_at_once(run: Run, hits: list[str]) -> None:
    assert done(run("decide", *hits, "reject", "--reason", "other_person", "--json"))["decisions"] == 3
    assert done(run("hits", "--json")) == []


def test_a_query_is_previewed_and_then_acted_on_if_nothing_changed(run: Run, hits: list[str]) -> None:
    chosen = ("decide", "--tier", "face", "--uploader", "u-0", "confirm", "--reason", "same_person")
    preview = run(*chosen, "--json")
    shown = json.loads(preview.stdout)
    assert (shown["hits"], shown["items"], shown["takedowns"], shown["by_uploader"]) == (2, 2, 2, {"u-0": 2})
    command = preview.stderr.partition("nothing is decided yet: ")[2].strip()
    assert command.startswith("likeness decide --reason same_person --uploader u-0 --tier face --yes --expect ")
    assert done(run("decisions", "list", "--json")) == []
    words = shlex.split(command)[1:]
    refused = run(*words[:-2], "0" * 32, words[-1])
    assert (refused.exit_code, "look at the preview again" in refused.stderr) == (1, True)
    assert done(run(*words, "--json"))["decisions"] == 2


def test_a_number_to_expect_is_refused_with_what_to_do(run: Run, hits: list[str]) -> None:
    chosen = ("decide", "--tier", "face", "confirm", "--reason", "same_person", "--yes", "--expect", "3")
    refused = run(*chosen)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "run the preview" in " ".join(refused.stderr.split())
    assert done(run("decisions", "list", "--json")) == []


HOSTILE = "u'\x1b[2J\u202e\\$(touch x) \U000e0001"


def test_the_command_to_repeat_says_the_same_to_a_shell_and_nothing_to_a_terminal(run: Run, hits: list[str]) -> None:
    preview = run("decide", "--uploader=" + HOSTILE, "--tier=face", "reject", "--reason=other_person", "--note=-x")
    assert (preview.exit_code, "no hit is chosen" in preview.stderr) == (0, True)
    context = click.Context(decide, parent=click.Context(main, info_name="likeness"), info_name="decide")
    with context:
        decide.parse_args(context, ["--uploader=" + HOSTILE, "--tier=face", "reject", "--reason=other_person"])
        command = typed_again(context, yes=True, expect="0" * 32)
    assert command.isprintable()
    told = subprocess.run(
        ["bash", "-c", f"export LC_ALL=C.UTF-8; set -- {command.partition(' ')[2]}; printf '%s\\0' \"$@\""],
        capture_output=True,
        check=True,
    )
    words = told.stdout.decode().split("\0")[:-1]
    assert words[words.index("--uploader") + 1] == HOSTILE
    assert words[-3:] == ["--expect", "0" * 32, "reject"]


def test_a_note_is_shown_when_asked_for(run: Run, hits: list[str]) -> None:
    done(run("decide", hits[0], "unsure", "--reason", "low_quality", "--note", "look at the ear", "--json"))
    (listed,) = done(run("decisions", "list", "--json"))
    assert "ear" not in json.dumps(listed)
    assert done(run("decisions", "note", listed["decision_id"], "--json"))["note"] == "look at the ear"


USAGE = {
    "no word": ("decide",),
    "a word that does not exist": ("decide", "HIT", "perhaps", "--reason", "same_person"),
    "no reason": ("decide", "HIT", "confirm"),
    "a reason for something else": ("decide", "HIT", "confirm", "--reason", "other_person"),
    "hits and a query": ("decide", "HIT", "confirm", "--reason", "same_person", "--tier", "face"),
    "everything there is": ("decide", "confirm", "--reason", "same_person", "--max", "5"),
    "acting blindly": ("decide", "--tier", "face", "confirm", "--reason", "same_person", "--yes"),
    "undoing and deciding": ("decide", "HIT", "confirm", "--undo", "batch_1"),
    "a look that goes nowhere": ("look", "HIT"),
    "half a period": ("transparency", "--from", "2026-03-01"),
    "a period turned round": ("transparency", "--from", "2026-03-02", "--to", "2026-03-01"),
}


@pytest.mark.parametrize("case", USAGE)
def test_wrong_usage_exits_2_and_decides_nothing(run: Run, hits: list[str], case: str) -> None:
    result = run(*(hits[0] if word == "HIT" else word for word in USAGE[case]))
    assert (result.exit_code, result.stdout) == (2, ""), result.exception
    assert "Traceback" not in result.stderr
    assert done(run("decisions", "list", "--json")) == []


def test_a_look_is_written_for_its_owner_alone(run: Run, hits: list[str], tmp_path: Path) -> None:
    target = tmp_path / "look.png"
    target.write_bytes(b"open to all")
    target.chmod(0o644)
    told = done(run("look", hits[0], "--to", str(target), "--overwrite", "--reference", "--json"))
    assert (told["bytes"], target.stat().st_mode & 0o777) == (target.stat().st_size, 0o600)
    assert target.read_bytes().startswith(b"\x89PNG")


def test_a_hit_is_shown_with_everything_that_explains_it(run: Run, hits: list[str]) -> None:
    shown = done(run("hits", "show", hits[0], "--json"))
    assert (shown["facts"]["hit_id"], shown["in_force"], shown["verdict"]) == (hits[0], True, "review")
    assert "term" not in shown
    refused = run("hits", "show", hits[0], "--reveal")
    assert (refused.exit_code, "no term" in refused.stderr) == (1, True)
    assert hits[0] in run("hits", "show", hits[0]).stdout


def test_a_statement_is_printed_as_a_letter_and_as_data(run: Run, hits: list[str]) -> None:
    done(run("decide", hits[0], "confirm", "--reason", "same_person", "--json"))
    letter = run("statement", "0.png")
    assert letter.exit_code == 0
    assert {"Restriction:", "Ground:", "Redress:"} <= set(letter.stdout.split())
    (data,) = done(run("statement", "0.png", "--json"))
    assert data["automated_decision"] == "AUTOMATED_DECISION_NOT_AUTOMATED"
    assert NAME not in letter.stdout + json.dumps(data)
    assert run("statement", "1.png").exit_code == 1


def test_the_transparency_summary_is_printed(run: Run, hits: list[str]) -> None:
    told = done(run("transparency", "--from", "2026-03-01", "--to", "2026-03-01", "--json"))
    assert told["hits"] == {"face": 3}
    assert run("transparency", "--from", "2026-03-01", "--to", "2026-03-01").exit_code == 0
