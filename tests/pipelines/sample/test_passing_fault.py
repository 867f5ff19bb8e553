"""The sample's server with a bad night: seen as it is while it lasts, and made up for."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipelines.home.workspace import Workspace, create_workspace
from pipelines.sample import passing_fault
from pipelines.sample.passing_fault import survive_a_login_page
from tests.conftest import environment_for, use_fakes
from tests.fakes import person, picture
from tests.platform_actions import enrol


@pytest.fixture
def platform(tmp_path: Path) -> Any:
    """A platform of one picture."""
    (tmp_path / "a.png").write_bytes(picture(person(1)))
    shown = {"kind": "image", "expected_faces": 1, "path": "a.png", "day": date(2026, 2, 27)}
    planted = SimpleNamespace(**shown, expected={"withdrawal": SimpleNamespace(status="hit")})
    return SimpleNamespace(folder=tmp_path, uploads=tmp_path, planted=[planted])


@pytest.fixture
def home(tmp_path: Path) -> Workspace:
    """On the real clock, as the sample is: it waits for its second."""
    workspace = use_fakes(create_workspace(environment_for(tmp_path / "home")))
    enrol(workspace, person(1))
    return workspace


def test_the_item_is_scanned_when_its_server_is_itself_again(home: Workspace, platform: Any) -> None:
    assert survive_a_login_page(home, platform) == []
    home.close()


def test_a_server_that_never_comes_to_itself_is_said(home: Workspace, platform: Any) -> None:
    (platform.folder / "a.png").write_bytes(passing_fault.LOGIN_PAGE)
    problems = survive_a_login_page(home, platform)
    assert ["itself again" in problem for problem in problems] == [True]
    home.close()
