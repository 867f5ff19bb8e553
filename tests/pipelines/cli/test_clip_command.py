"""CLIP weights by the command line: what is configured, on which terms, whether it is here, and fetching it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pipelines.cli import main
from pipelines.home.workspace import create_workspace, open_workspace
from tests.conftest import KEY, environment_for
from tests.embeddings.test_clip import folder

__all__ = ["folder"]  # a fixture: a small model with seeded random weights, as open_clip publishes them

Run = Callable[..., Result]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    create_workspace(environment_for(tmp_path / "home")).close()
    return tmp_path / "home"


@pytest.fixture
def run(home: Path) -> Run:
    def command(*arguments: str) -> Result:
        environment = {"LIKENESS_KEY": KEY, "LIKENESS_HOME": str(home)}
        return CliRunner().invoke(main, ["models", *arguments], env=environment)

    return command


def configure(home: Path, **settings: str) -> None:
    lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
    (home / "likeness.toml").write_text("\n".join(["[content]", *lines]))


def row(run: Run) -> dict[str, object]:
    (found,) = (row for row in json.loads(run("list", "--json").stdout) if row["pack"] == "clip")
    return dict(found)


def model_id(home: Path) -> str | None:
    with open_workspace(environment_for(home)) as workspace:
        return workspace.content_models.clip_model_id


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, folder: Path) -> list[str]:
    """open_clip's loader, whose hub has the small weights; the list says what was asked for."""
    from open_clip import pretrained

    asked: list[str] = []

    def download(source: dict[str, str], *, cache_dir: str) -> str:
        asked.append(source["hf_hub"])
        path = Path(cache_dir) / "open_clip_model.safetensors"
        path.write_bytes((folder / "open_clip_model.safetensors").read_bytes())
        return str(path)

    monkeypatch.setattr(pretrained, "download_pretrained", download)
    return asked


def test_the_configured_weights_are_listed_with_their_terms_and_whether_they_are_here(run: Run) -> None:
    assert row(run) == {
        "pack": "clip",
        "configured": True,
        "dimension": None,
        "detector": None,
        "recognizer": "ViT-B-32 laion2b_s34b_b79k",
        "licence": "MIT",
        "accepted": True,
        "files": "missing",
    }
    assert "laion2b_s34b_b79k" in run("list").stdout
    assert "laion/CLIP-ViT-B-32-laion2B-s34B-b79K" in run("licence", "clip").stdout
    assert run("licence", "clip", "--accept").exit_code == 2


def test_the_weights_are_fetched_once_with_their_terms_shown(run: Run, home: Path, hub: list[str]) -> None:
    assert model_id(home) is None
    first = json.loads(run("pull", "clip", "--json").stdout)
    assert first == {
        "pack": "clip",
        "weights": "ViT-B-32 laion2b_s34b_b79k",
        "licence": "MIT",
        "origin": "laion/CLIP-ViT-B-32-laion2B-s34B-b79K",
        "fetched": 1,
        "present": 0,
    }
    again = json.loads(run("pull", "clip", "--json").stdout)
    assert (again["fetched"], again["present"]) == (0, 1)
    assert hub == ["laion/CLIP-ViT-B-32-laion2B-s34B-b79K/"]
    assert row(run)["files"] == "downloaded"
    assert str(model_id(home)).startswith("clip-ViT-B-32-")


def test_another_model_and_tag_is_fetched_instead_and_its_terms_are_said_to_be_unknown(
    run: Run, home: Path, hub: list[str]
) -> None:
    configure(home, clip_model="ViT-B-16", clip_pretrained="laion2b_s34b_b88k")
    facts = json.loads(run("pull", "clip", "--json").stdout)
    assert (facts["fetched"], facts["licence"]) == (1, "as its publisher states: read it first")
    assert hub == ["laion/CLIP-ViT-B-16-laion2B-s34B-b88K/"]
    configure(home, clip_pretrained="unheard-of")
    unknown = run("pull", "clip")
    assert unknown.exit_code == 1
    assert "no such model and tag" in unknown.stderr


def test_a_hub_that_cannot_be_reached_is_a_clear_error_and_leaves_the_weights_missing(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from open_clip import pretrained

    def fail(*_: object, **__: object) -> str:
        raise ConnectionError("name resolution failed for hub.example, token abc")

    monkeypatch.setattr(pretrained, "download_pretrained", fail)
    result = run("pull", "clip")
    assert result.exit_code == 1
    assert "could not be downloaded (ConnectionError): check the connection to the model hub" in result.stderr
    assert "token" not in result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    assert row(run)["files"] == "missing"


def test_a_local_checkpoint_is_here_or_missing_and_never_downloaded(
    run: Run, home: Path, folder: Path, hub: list[str]
) -> None:
    configure(home, clip_checkpoint=str(folder))
    assert (row(run)["files"], row(run)["licence"]) == ("local checkpoint", "not known: a local checkpoint")
    assert json.loads(run("pull", "clip", "--json").stdout)["present"] == 1
    assert str(model_id(home)).startswith("clip-local-")
    configure(home, clip_checkpoint=str(folder / "elsewhere"))
    assert row(run)["files"] == "local checkpoint missing"
    result = run("pull", "clip")
    assert result.exit_code == 1
    assert "correct its path" in result.stderr
    assert hub == []


def test_a_checkpoint_of_another_format_is_said_to_be_unusable(run: Run, home: Path, tmp_path: Path) -> None:
    (tmp_path / "weights.npz").write_bytes(b"weights")
    configure(home, clip_checkpoint=str(tmp_path / "weights.npz"))
    assert str(row(run)["files"]).startswith("unusable: a CLIP checkpoint must be one of")


def test_clip_that_is_off_is_listed_as_not_configured(run: Run, home: Path) -> None:
    configure(home, clip="off")
    assert row(run)["configured"] is False
