"""The command line with the real models, from ``init`` to ``erase``: exit codes, ``--json``, errors without tracebacks.

One home is filled once; the tests read it, or add to it what no other test looks at.
"""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from PIL import Image, ImageOps
from skimage import data

from pipelines.cli import main
from pipelines.takedown.receiver import Receiver
from tests.conftest import KEY
from tests.pipelines.takedown.delivering import SECRET
from tests.platform_actions import upload
from tests.searching import in_clear

NAME = "Testina Examplesdaughter"
SWEEP_FIELDS = {
    *("items", "faces", "clean", "hit", "no_face", "unscannable", "fetch_failed", "hits", "takedowns", "review"),
    *("coverage", "seconds", "images_per_second"),
}
HIT_FIELDS = {
    *("hit_id", "item_id", "subject_id", "tier", "score", "threshold", "reference_id", "face_box", "model_id"),
    *("policy_version", "verdict", "view"),
}


@dataclass
class Home:
    """A home folder, the uploads beside it, and what the filling said."""

    folder: Path
    receiver: Receiver

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def source(self) -> str:
        return f"directory:{self.folder / 'uploads'}"

    def photograph(self, name: str) -> str:
        return str(self.folder / name)

    def run(self, *arguments: str, **variables: str | None) -> Result:
        environment: dict[str, str | None] = {
            "LIKENESS_HOME": str(self.home),
            "LIKENESS_KEY": KEY,
            "LIKENESS_TAKEDOWN_URL": self.receiver.url,
            "LIKENESS_TAKEDOWN_SECRET": SECRET,
        }
        return CliRunner().invoke(main, list(arguments), env=environment | variables)

    def done(self, *arguments: str) -> Any:
        """Run with ``--json``, require success, and return what was printed."""
        result = self.run(*arguments, "--json")
        assert result.exit_code == 0, result.stderr
        return json.loads(result.stdout)


def jpeg(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """Initialised, one subject, one accepted request for the same person, swept, rescanned."""
    folder = tmp_path_factory.mktemp("cli")
    uploads = folder / "uploads"
    uploads.mkdir()
    portrait = Image.fromarray(data.astronaut())
    for name, picture in {
        "a.png": portrait.crop((100, 0, 356, 256)),
        "b.png": ImageOps.mirror(portrait),
        "two.png": two_people(portrait),
        "nobody.png": Image.fromarray(data.coffee()),
    }.items():
        picture.save(folder / name)
    upload(uploads, "1.jpg", jpeg(portrait), parent_model="m")
    upload(uploads, "2.jpg", jpeg(ImageOps.mirror(portrait.crop((60, 0, 400, 300)))), parent_model="m")
    upload(uploads, "3.jpg", jpeg(Image.fromarray(data.coffee())))
    upload(uploads, "4.jpg", jpeg(portrait)[:200])
    (uploads / "5.jpg").symlink_to("nowhere.jpg")
    with Receiver("127.0.0.1", 0, [SECRET], log_path=None) as receiver:
        home = Home(folder, receiver)
        home.done("init")
        yield home


def two_people(portrait: Image.Image) -> Image.Image:
    """The same portrait twice, side by side."""
    wide = Image.new("RGB", (2 * portrait.width, portrait.height))
    wide.paste(portrait, (0, 0))
    wide.paste(ImageOps.mirror(portrait), (portrait.width, 0))
    return wide


@pytest.fixture(scope="module")
def story(filled: Home) -> dict[str, Any]:
    """The usual course of things, each step's answer by its name."""
    told: dict[str, Any] = {}
    references = ("--reference", filled.photograph("a.png"), filled.photograph("b.png"))
    told["empty"] = filled.run("sweep", "--source", filled.source)
    told["subject"] = filled.done("subject", "add", "--name", NAME, *references, "--consent", "c-1")
    told["sweep"] = filled.done("sweep", "--source", filled.source)
    reference = ("--reference", filled.photograph("b.png"))
    told["opened"] = filled.done("request", "open", "--name", NAME, *reference, "--contact", "case-1")
    told["early"] = filled.run("rescan", "--request", told["opened"]["request_id"])
    told["accepted"] = filled.done("request", "accept", told["opened"]["request_id"])
    told["rescan"] = filled.done("rescan", "--request", told["opened"]["request_id"])
    told["hits"] = filled.done("hits")
    told["dispatch"] = filled.done("dispatch")
    told["again"] = filled.done("dispatch")
    told["status"] = filled.done("status")
    told["verify"] = filled.done("verify")
    return told


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        yield (*path, name)
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


@pytest.mark.parametrize("command", [(), *commands(main)], ids=" ".join)
def test_every_command_has_help(command: tuple[str, ...]) -> None:
    result = CliRunner().invoke(main, [*command, "--help"])
    assert result.exit_code == 0
    assert "Usage:" in result.stdout
    assert result.stderr == ""


def test_init_can_be_repeated_and_changes_nothing(filled: Home) -> None:
    assert filled.done("init") == filled.done("init")


def test_an_empty_registry_fails_with_a_hint(story: dict[str, Any]) -> None:
    assert story["empty"].exit_code == 1
    assert story["empty"].stdout == ""
    assert "no active subject" in story["empty"].stderr


def test_adding_a_subject_with_two_references_after_one_option(story: dict[str, Any]) -> None:
    assert re.fullmatch(r"sub_[0-9a-f]+", story["subject"]["subject_id"])
    assert len(story["subject"]["reference_ids"]) == 2


def test_a_sweep_tells_every_count(story: dict[str, Any]) -> None:
    told = story["sweep"]
    assert told.keys() >= SWEEP_FIELDS
    found = {name: told[name] for name in ("items", "hit", "no_face", "unscannable", "fetch_failed", "clean")}
    assert found == {"items": 5, "hit": 2, "no_face": 1, "unscannable": 1, "fetch_failed": 1, "clean": 0}
    assert (told["hits"], told["takedowns"], told["review"], told["coverage"]) == (2, 2, 0, 1.0)


def test_a_request_tells_its_subject_and_its_deadline(story: dict[str, Any]) -> None:
    assert story["opened"].keys() >= {"request_id", "subject_id", "due_at"}
    assert story["opened"]["state"] == "received"
    assert story["opened"]["resembles"] == [story["subject"]["subject_id"]]
    assert story["accepted"]["state"] == "accepted"


def test_a_request_that_is_not_accepted_cannot_be_rescanned(story: dict[str, Any]) -> None:
    assert story["early"].exit_code == 1
    assert "accept it before rescanning" in story["early"].stderr


def test_a_rescan_finds_what_was_there_and_finishes_the_search_of_the_request(story: dict[str, Any]) -> None:
    told = story["rescan"]
    assert (told["subjects"], told["new_hits"], told["searched_requests"], told["coverage"]) == (1, 2, 1, 1.0)
    assert told["completed_requests"] == 0


def test_i10_hits_explain_themselves_and_can_be_filtered(filled: Home, story: dict[str, Any]) -> None:
    assert len(story["hits"]) == 4
    for hit in story["hits"]:
        assert hit.keys() >= HIT_FIELDS
        assert len(hit["face_box"]) == 4
        assert (hit["tier"], hit["verdict"], hit["threshold"] <= hit["score"] <= 1) == ("face", "takedown", True)
    mine = filled.done("hits", "--subject", story["subject"]["subject_id"], "--item", "1.jpg")
    assert [(hit["item_id"], hit["subject_id"]) for hit in mine] == [("1.jpg", story["subject"]["subject_id"])]
    assert filled.done("hits", "--day", "2001-01-01") == filled.done("hits", "--verdict", "clear") == []
    assert "nothing to show" in filled.run("hits", "--verdict", "clear").stdout


def test_i5_dispatch_delivers_each_takedown_once(filled: Home, story: dict[str, Any]) -> None:
    assert (story["dispatch"]["sent"], story["dispatch"]["pending"]) == (6, 0)
    assert story["again"]["sent"] == 0
    for action, number in (("takedown", 4), ("generator.block", 2)):
        keys = [case["key"] for case in filled.receiver.cases() if case["action"] == action]
        assert len(keys) == len(set(keys)) == number


def test_status_and_verify_agree_that_all_is_well(filled: Home, story: dict[str, Any]) -> None:
    status = story["status"]
    assert (status["items"], status["coverage"], status["pairs_missing"], status["hits_unjudged"]) == (5, 1.0, 0, 0)
    assert (status["outbox"]["done"], status["subjects_active"]) == (6, 2)
    assert all(check["ok"] for check in story["verify"])
    for command in ("status", "verify"):
        assert filled.run(command).exit_code == 0


def test_a_report_is_written_without_names(filled: Home, story: dict[str, Any]) -> None:
    out = filled.folder / "report"
    filled.done("report", "--out", str(out))
    files = [path for path in out.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} >= {".html", ".csv", ".parquet"}
    assert not any(in_clear(NAME.encode(), path.read_bytes()) for path in files)
    csv = b"".join(path.read_bytes() for path in files if path.suffix == ".csv")
    assert all(hit["subject_id"].encode() in csv for hit in story["hits"])


def test_lists_and_plain_output_for_people(filled: Home, story: dict[str, Any]) -> None:
    assert {row["state"] for row in filled.done("subject", "list")} >= {"active"}
    (request,) = [row for row in filled.done("request", "list") if row["request_id"] == story["opened"]["request_id"]]
    assert request["state"] == "completed"
    for command in (("subject", "list"), ("request", "list"), ("hits",)):
        result = filled.run(*command)
        assert result.exit_code == 0
        assert NAME not in result.stdout
    heading = filled.run("hits").stdout.splitlines()[0]
    assert "view" in heading
    assert "model id" in heading
    shown = filled.done("subject", "show", story["subject"]["subject_id"])
    assert (shown["names"], shown["consent"]) == ([NAME], "c-1")


def test_withdrawing_and_erasing_and_rejecting(filled: Home, story: dict[str, Any]) -> None:
    reference = ("--reference", filled.photograph("b.png"))
    added = filled.done("subject", "add", "--name", "Nobody", *reference, "--consent", "c", "--expires", "2099-12-31")
    assert filled.done("subject", "withdraw", added["subject_id"], "--yes")["state"] == "withdrawn"
    assert filled.done("subject", "erase", added["subject_id"], "--yes")["state"] == "erased"
    refused = filled.run("subject", "show", added["subject_id"])
    assert (refused.exit_code, refused.stderr) == (1, "error: this subject is erased: nothing personal is kept\n")
    opened = filled.done("request", "open", "--name", "Nobody", *reference, "--contact", "case-2")
    assert filled.done("request", "reject", opened["request_id"], "--reason", "no proof")["state"] == "rejected"
    assert filled.run("request", "accept", opened["request_id"]).exit_code == 1


FAILURES = {
    "two faces in a reference": (("two.png",), "several_faces"),
    "no face in a reference": (("nobody.png",), "no_face"),
}


@pytest.mark.parametrize("case", FAILURES)
def test_a_reference_that_is_no_portrait_fails_with_a_word_for_it(filled: Home, case: str) -> None:
    (name,), word = FAILURES[case]
    result = filled.run("subject", "add", "--name", "Nobody", "--reference", filled.photograph(name), "--consent", "c")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"error: {word}")


def test_two_references_of_two_people_fail(filled: Home) -> None:
    from importlib.util import find_spec

    spec = find_spec("insightface")
    assert spec is not None
    group = Image.open(Path(str(spec.origin)).parent / "data/images/t1.jpg")
    group.crop((60, 60, 280, 400)).save(filled.folder / "other.png")
    references = ("--reference", filled.photograph("a.png"), filled.photograph("other.png"))
    result = filled.run("subject", "add", "--name", "Nobody", *references, "--consent", "c")
    assert (result.exit_code, result.stderr[:15]) == (1, "error: disagree")


USAGE = {
    "a bad date": ("sweep", "--source", "directory:.", "--day", "yesterday"),
    "an unknown source": ("sweep", "--source", "ftp:somewhere"),
    "a folder that is not there": ("sweep", "--source", "directory:does-not-exist"),
    "no source": ("sweep",),
    "an option too many": ("sweep", "--source", "directory:.", "--all", "--day", "2026-01-01"),
    "two ways to rescan": ("rescan", "--pending", "--request", "req_1"),
    "an unknown command": ("swoop",),
    "an unknown option": ("status", "--loud"),
    "a missing reference": ("subject", "add", "--name", "Nobody", "--consent", "c"),
    "a reference that is not there": (
        "subject",
        "add",
        "--name",
        "Nobody",
        "--consent",
        "c",
        "--reference",
        "nowhere.png",
    ),
    "a bad expiry": ("subject", "add", "--name", "Nobody", "--consent", "c", "--reference", "a", "--expires", "soon"),
    "an unknown verdict": ("hits", "--verdict", "guilty"),
    "a configuration that is not there": ("status", "--config", "nowhere.toml"),
}


@pytest.mark.parametrize("case", USAGE)
def test_wrong_usage_exits_2_and_says_so_on_standard_error(filled: Home, story: dict[str, Any], case: str) -> None:
    result = filled.run(*USAGE[case])
    assert result.exit_code == 2, result.exception
    assert result.stdout == ""
    assert "rror" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("command", ["sweep", "rescan", "hits", "status", "verify", "report", "dispatch"])
def test_everything_before_init_fails_with_a_hint(filled: Home, tmp_path: Path, command: str) -> None:
    source = ("--source", "directory:.") if command == "sweep" else ()
    result = filled.run(command, *source, "--home", str(tmp_path / "nothing"))
    assert (result.exit_code, result.stdout) == (1, "")
    assert "run `likeness init` first" in result.stderr


@pytest.mark.parametrize(
    ("variables", "word"),
    [
        ({"LIKENESS_KEY": "c2hvcnQ="}, "32 bytes"),
        ({"LIKENESS_KEY": "A" * 43 + "="}, "not the one"),
        ({"LIKENESS_KEY": None}, "likeness init"),
    ],
)
def test_a_wrong_key_is_a_setting_to_be_corrected(filled: Home, variables: dict[str, str | None], word: str) -> None:
    result = filled.run("status", **variables)
    assert (result.exit_code, result.stdout) == (2, "")
    assert word in result.stderr


def test_dispatch_without_an_address_is_a_setting_to_be_corrected(filled: Home) -> None:
    result = filled.run("dispatch", LIKENESS_TAKEDOWN_URL=None)
    assert result.exit_code == 2, result.stderr
    assert "LIKENESS_TAKEDOWN_URL" in result.stderr


def test_a_misspelt_setting_is_named(filled: Home, tmp_path: Path) -> None:
    settings = tmp_path / "likeness.toml"
    settings.write_text("[sweep]\nshard_itmes = 3\n", encoding="utf-8")
    result = filled.run("status", "--config", str(settings))
    assert result.exit_code == 2
    assert "sweep.shard_itmes" in result.stderr


def test_a_home_that_cannot_be_written_fails_without_a_traceback(filled: Home, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    result = filled.run("init", "--home", str(tmp_path / "file" / "home"))
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("error: the system refused")


def test_the_installed_command_and_the_receiver_work_as_processes(filled: Home, tmp_path: Path) -> None:
    script = Path(sys.executable).with_name("likeness")
    environment = os.environ | {"LIKENESS_TAKEDOWN_SECRET": SECRET, "LIKENESS_HOME": str(tmp_path / "home")}
    failed = subprocess.run([script, "status"], env=environment, capture_output=True, text=True)
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr.startswith("error: ")
    command = [script, "receiver", "--port", "0", "--json", "--log", tmp_path / "cases.jsonl"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = json.loads(process.stdout.readline())["url"]
            with urllib.request.urlopen(url.replace("/takedowns", "/cases")) as answer:
                assert json.load(answer)["counts"]["takedowns"] == 0
            sent = filled.run("dispatch", "--json", LIKENESS_TAKEDOWN_URL=url)
            assert sent.exit_code == 0
        finally:
            process.terminate()
