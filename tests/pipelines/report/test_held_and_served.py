"""The page counts every message that is held, blocks too, says why, and lists the requests that were served (I11)."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import sqlalchemy as sa

from pipelines.database.tables import requests
from pipelines.home.workspace import Workspace
from pipelines.report import write_report
from tests.pipelines.report.reading import read_page, section
from tests.pipelines.report.rows import DAY, NOW, add_item, add_request, add_shard, add_subject, add_takedown


def fill(workspace: Workspace) -> None:
    with workspace.database.write() as tx:
        add_subject(tx, "sub_a", version=1)
        add_shard(tx, workspace, covered_version=1)
        add_item(tx, "one", parent_model="m")
        add_item(tx, "two", parent_model="m")
        add_takedown(tx, "one", "sub_a", state="held", last_result="held:hit_rate")
        add_takedown(tx, "two", "sub_a", state="held", last_result="held:breaker_subject")
        # The model itself is not listed: only its pictures say that the block is of this day.
        block = {"action": "generator.block", "content_key": "", "state": "held"}
        add_takedown(tx, "m", "sub_a", **block, last_result="held:breaker_subject")


def test_i11_held_blocks_are_counted_and_the_reasons_are_said(workspace: Workspace, folder: Path) -> None:
    fill(workspace)
    page = read_page(write_report(workspace, day=DAY, folder=folder).html)
    (alert,) = [alert.text for alert in page.all("p", class_="alert") if "Held." in alert.text]
    assert "1 takedown (too many of that day's items are hits)" in alert
    assert "1 takedown (too many for one person)" in alert
    assert "1 generator block (too many for one person)" in alert
    assert "none of them restricts anything" in alert
    rows = [row.text for row in section(page, "messages").all("tr")[1:]]
    assert any(row.startswith("generator.block held") and row.endswith("1") for row in rows)


def test_a_page_of_another_day_says_nothing_of_them(workspace: Workspace, folder: Path) -> None:
    fill(workspace)
    page = read_page(write_report(workspace, day=DAY - timedelta(days=1), folder=folder).html)
    assert not any("Held." in alert.text for alert in page.all("p", class_="alert"))


def test_i11_the_requests_that_were_served_that_day_are_listed(workspace: Workspace, folder: Path) -> None:
    with workspace.database.write() as tx:
        add_subject(tx, "sub_a", version=1)
        add_shard(tx, workspace, covered_version=1)
        for number, days in enumerate((0, 1, 2)):
            add_request(tx, f"req_{number}", "sub_a", hours=5, state="completed")
            own = sa.update(requests).where(requests.c.request_id == f"req_{number}")
            tx.execute(own.values(completed_at=NOW - timedelta(days=days)))
    yesterday = (NOW - timedelta(days=1)).date()
    text = section(read_page(write_report(workspace, day=yesterday, folder=folder / "a").html), "requests").text
    assert "1 request served on this day: req_1" in text
    everything = section(read_page(write_report(workspace, day=None, folder=folder / "b").html), "requests").text
    assert "1 request served today: req_0" in everything
    before = NOW.date() - timedelta(days=9)
    nothing = section(read_page(write_report(workspace, day=before, folder=folder / "c").html), "requests").text
    assert "None was served on this day" in nothing
