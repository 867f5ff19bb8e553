"""The sample's older manifest: listed again it undoes nothing, and where it does the sample says so."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipelines.home.workspace import Workspace
from pipelines.intake import listing
from pipelines.sample.older_listing import survive_an_older_listing
from tests.conftest import Clock, fresh_workspace, use_fakes
from tests.fakes import WHITE, person, picture
from tests.platform_actions import enrol


@pytest.fixture
def platform(tmp_path: Path) -> Any:
    """A platform of two pictures."""
    uploads = tmp_path / "uploads"
    uploads.mkdir()
    (uploads / "a.png").write_bytes(picture(person(1)))
    (uploads / "b.png").write_bytes(picture(WHITE))
    planted = [
        SimpleNamespace(kind="image", expected_faces=faces, path=path, expected={"withdrawal": status})
        for faces, path, status in (
            (1, "a.png", SimpleNamespace(status="hit")),
            (0, "b.png", SimpleNamespace(status="no_face")),
        )
    ]
    days = (date(2026, 2, 26), date(2026, 2, 27))
    return SimpleNamespace(folder=tmp_path, uploads=uploads, planted=planted, days=days)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Workspace]:
    with fresh_workspace(tmp_path / "home", now=Clock()) as workspace:
        enrol(use_fakes(workspace), person(1))
        yield workspace


def test_i12_nothing_is_undone_by_the_older_manifest(home: Workspace, platform: Any) -> None:
    assert survive_an_older_listing(home, platform) == []


def test_a_listing_that_undoes_a_deletion_and_a_change_is_said(
    home: Workspace, platform: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "weigh", lambda *_, **__: None)
    problems = survive_an_older_listing(home, platform)
    assert [problem for problem in problems if "revived" in problem or "reverted" in problem] == problems[1:]
    assert len(problems) == 3
