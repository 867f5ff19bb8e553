"""What takes a wrong reference away follows the hit on the screen as keys move through the evidence."""

from __future__ import annotations

import sqlalchemy as sa

from pipelines.database.tables import hits
from pipelines.home.workspace import Workspace
from pipelines.reviewing.queue import waiting_cases
from tests.pipelines.web.browsing import Coming


def test_the_act_on_a_reference_is_there_for_faces_alone_whichever_way_keys_move(
    platform: Workspace, come: Coming
) -> None:
    with platform.database.write() as tx:
        tx.execute(sa.update(hits).where(hits.c.item_id == "m-b.png").values(tier="exact", template_id=None))
    with platform.database.read() as connection:
        (case,) = (case for case in waiting_cases(connection, platform) if case.key.about == "m-1")
    page = come("lea", "lead")
    page.goto("/cases")
    page.click(f"form[action='/cases/{case.key.case_id}/claim'] button")
    page.wait_for_selector("#evidence")
    act = page.locator("#main form.quietly button", has_text="This reference is wrong")
    order = [line.get_attribute("data-rests-on") for line in page.locator("#evidence li").all()]
    assert sorted(map(str, order)) == ["", "reference"]
    assert act.is_visible() is bool(order[0])
    page.keyboard.press("j")
    page.wait_for_selector("#evidence li:nth-child(2).current")
    assert act.is_visible() is bool(order[1])
    page.keyboard.press("k")
    page.wait_for_selector("#evidence li:nth-child(1).current")
    assert act.is_visible() is bool(order[0])
