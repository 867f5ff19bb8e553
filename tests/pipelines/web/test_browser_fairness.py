"""Agreement in a real browser, and a decided case that is judged by keys like any other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.decisions.log import list_decisions
from pipelines.home.workspace import Workspace
from pipelines.runs.sweep import sweep
from tests.conftest import Clock
from tests.fakes import person, picture
from tests.pipelines.calibration.stored import in_force
from tests.pipelines.web.browsing import Coming, require_accessible
from tests.pipelines.web.test_browser import begin, decide, fill, press
from tests.platform_actions import enrol, source_of, upload

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
    ann.wait_for_load_state("networkidle")
    ann.context.close()
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
    bob.context.close()
    lea = come("lea", "lead", color_scheme=scheme)
    lea.goto("/fairness")
    require_accessible(lea)
    with lea.expect_navigation():
        lea.click("text=undo, and judge it anew")
    assert lea.locator("#main").get_attribute("data-case") == decided


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_sheet_is_answered_but_for_the_marked_and_undone(
    workspace: Workspace, uploads: Path, come: Coming, scheme: str
) -> None:
    enrol(workspace, person(1))
    for number in range(6):
        upload(uploads, f"{number}.png", picture(person(1), (100 + number, 50, 7)), uploader="u-1")
    sweep(workspace, source_of(uploads), day=None)
    ann = come("ann", "reviewer", color_scheme=scheme)
    ann.goto("/sheets")
    require_accessible(ann)
    ann.click("text=by this uploader")
    assert ann.locator(".tiles input").count() == 6
    require_accessible(ann)
    ann.locator(".tiles input").nth(2).check()
    ann.click(".answers button[value=reject]")
    assert "all but the 1 marked" in ann.inner_text("main")
    assert "u-1 (5)" in ann.inner_text(".effect")
    require_accessible(ann)
    ann.click("button:has-text('decide 5 pictures')")
    ann.wait_for_selector("#toast .undo")
    with workspace.database.read() as connection:
        made = list_decisions(connection, standing=True)
    assert len(made) == 5
    assert len({one.batch_id for one in made}) == 1
    with ann.expect_navigation():
        ann.click("#toast button")
    with workspace.database.read() as connection:
        assert list_decisions(connection, standing=True) == []
