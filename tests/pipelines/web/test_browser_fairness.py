"""Agreement in a real browser, and a decided case that is judged by keys like any other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.home.workspace import Workspace
from tests.conftest import Clock
from tests.pipelines.calibration.stored import in_force
from tests.pipelines.web.browsing import Coming, require_accessible
from tests.pipelines.web.test_browser import begin, decide, fill, press

pytestmark = [pytest.mark.any_database, pytest.mark.slow]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_decided_case_is_judged_by_keys_and_a_lead_sees_who_disagrees(
    workspace: Workspace, uploads: Path, come: Coming, clock: Clock, scheme: str
) -> None:
    fill(workspace, uploads, 4)
    in_force(workspace, review=0.36, strong=0.6)
    shares = replace(workspace.config.review, golden_share=0.0, second_look_share=0.0)
    workspace.config = replace(workspace.config, review=shares)
    ann = come("ann", "reviewer")
    decided = begin(ann)
    decide(ann, "n")
    clock.forward(days=8)
    workspace.config = replace(workspace.config, review=replace(shares, golden_share=1.0))
    bob = come("bob", "reviewer", color_scheme=scheme)
    assert begin(bob) == decided
    press(bob, "y", then="#decide")
    bob.wait_for_selector("svg.curves")
    require_accessible(bob)
    with bob.expect_response(lambda response: response.url.endswith("/decide")) as told:
        bob.keyboard.press("Enter")
    assert told.value.status == 200
    bob.wait_for_selector("#toast .undo")
    bob.goto("/you")
    require_accessible(bob)
    lea = come("lea", "lead", color_scheme=scheme)
    lea.goto("/fairness")
    require_accessible(lea)
    with lea.expect_navigation():
        lea.click("text=undo, and judge it anew")
    assert lea.locator("#main").get_attribute("data-case") == decided
