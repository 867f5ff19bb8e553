"""The page says what the database says, and says what is missing."""

from __future__ import annotations

import csv
from datetime import timedelta
from pathlib import Path

from pipelines.home.workspace import Workspace
from pipelines.intake.ledger import Scope
from pipelines.report import PageLimits, write_report
from pipelines.runs.sweep import summarise
from pipelines.takedown.outbox import withdraw
from tests.command_lines import leaves
from tests.pipelines.report.reading import Element, hit_rows, read_page, section
from tests.pipelines.report.rows import (
    DAY,
    MODEL_ID,
    NOW,
    add_hit,
    add_item,
    add_model_verdict,
    add_request,
    add_run,
    add_shard,
    add_subject,
    add_takedown,
    content_of,
)

NOTES = {"threshold-1", "version-1"}


def fill(workspace: Workspace, *, covered_version: int | None = 2) -> None:
    """Twelve items, two people, five hits of every urgency, all compared unless ``covered_version`` says less."""
    with workspace.database.write() as tx:
        add_subject(tx, "sub_a", version=1)
        add_subject(tx, "sub_b", version=2)
        add_shard(tx, workspace, covered_version=covered_version)
        for number in range(3):
            add_item(tx, f"clean-{number}")
        add_item(tx, "empty", status="no_face")
        add_item(tx, "broken", status="unscannable:truncated")
        add_item(tx, "gone", status="fetch_failed:not_found")
        for name in ("taken-1", "taken-2", "stuck", "unsure", "weak", "fine"):
            add_item(tx, name, status="hit")
        for name in ("taken-1", "taken-2", "stuck"):
            add_hit(tx, workspace, name, "sub_a", score=0.8, verdict="takedown")
        add_takedown(tx, "taken-1", "sub_a", state="done")
        add_takedown(tx, "taken-2", "sub_a")
        add_takedown(tx, "stuck", "sub_a", state="held")
        add_hit(tx, workspace, "weak", "sub_a", score=0.41)
        add_hit(tx, workspace, "unsure", "sub_b", score=0.7)
        add_hit(tx, workspace, "fine", "sub_b", score=0.6, verdict="clear")
        add_run(tx, workspace, "run_1", day=DAY.isoformat())


def test_the_first_line_says_what_happened(workspace: Workspace, folder: Path) -> None:
    fill(workspace)
    page = read_page(write_report(workspace, day=DAY, folder=folder).html)
    (lead,) = page.all("p", class_="lead")
    expected = "10 of 12 items scanned, 2 people found in 6 items, 3 takedowns, 2 for review, coverage 100 %."
    assert lead.text == expected
    assert page.all("h1")[0].text == page.all("title")[0].text == "Match report, 20 November 2026"


def test_counts_equal_what_the_sweep_counts(workspace: Workspace, folder: Path) -> None:
    fill(workspace, covered_version=1)
    counts = write_report(workspace, day=DAY, folder=folder).counts
    summary = summarise(workspace, Scope(None, DAY), run_id="run_1")
    same = ("items", "faces", "hits", "takedowns", "review", "coverage", "statuses")
    assert {name: getattr(counts, name) for name in same} == {name: getattr(summary, name) for name in same}
    assert counts.scanned == summary.clean + summary.hit + summary.no_face


def test_statuses_on_the_page_equal_the_ledger(workspace: Workspace, folder: Path) -> None:
    fill(workspace)
    page = read_page(write_report(workspace, day=DAY, folder=folder).html)
    rows = section(page, "statuses").all("tr")[1:]
    shown = {row.all("th")[0].text: [cell.text for cell in row.all("td")] for row in rows}
    assert shown == {
        "hit": ["6", ""],
        "clean": ["3", ""],
        "no face": ["1", ""],
        "unscannable": ["1", "truncated 1"],
        "fetch failed": ["1", "not found 1"],
        "all": ["12", "9 faces"],
    }


def test_what_needs_a_decision_comes_first(workspace: Workspace, folder: Path) -> None:
    fill(workspace)
    page = read_page(write_report(workspace, day=DAY, folder=folder).html)
    order = [row.all("bdi")[0].text for row in hit_rows(page)]
    assert order == ["unsure", "fine", "weak", "stuck", "taken-1", "taken-2"]
    said = [row.all("span", class_="urgency")[0].text for row in hit_rows(page)]
    assert said == ["For review, strong", "Clear", "For review", "Takedown, stuck", "Takedown", "Takedown"]


def test_people_come_first_then_their_models_then_items(workspace: Workspace, folder: Path) -> None:
    with workspace.database.write() as tx:
        add_subject(tx, "sub_a", version=1)
        add_shard(tx, workspace, covered_version=1)
        for name, model, verdict in (
            ("a-1", "m-a", "takedown"),
            ("b-1", "m-b", "review"),
            ("b-2", "m-b", "clear"),
            ("alone", None, "review"),
        ):
            add_item(tx, name, status="hit", parent_model=model)
            add_hit(tx, workspace, name, "sub_a", score=0.4 if verdict == "review" else 0.8, verdict=verdict)
        add_model_verdict(tx, workspace, "m-a", "sub_a")
    page = read_page(write_report(workspace, day=DAY, folder=folder).html)
    table = page.all("table", class_="hits")[0]
    rows = [row.all("bdi")[0].text if row.all("bdi") else row.text for row in table.all("tr")[1:]]
    assert rows == ["Items of no model 1 item", "alone", "m-b", "b-1", "b-2", "m-a", "a-1"]
    assert "likeness model: face in distinct images, the face in 9 of 12 pictures" in table.text


def test_every_hit_explains_itself(workspace: Workspace, folder: Path) -> None:
    fill(workspace)
    page = read_page(write_report(workspace, day=DAY, folder=folder).html)
    (row,) = (row for row in hit_rows(page) if row.all("bdi")[0].text == "stuck")
    facts = ["0.800", "strong", "review 0.363 · strong 0.500", "strong face in 2 distinct images", "detector 0.910"]
    facts += [f"ref_{content_of('sub_a')[:20]}", "120 × 150 at 200, 100", "in 640 × 480 px", "frame 0, face 0"]
    facts += ["by sweep", "held for a second pair of eyes", "2026-11-22 12:00", "24 h 0 min left"]
    assert [fact for fact in facts if fact not in row.text] == []
    (face,) = row.all("rect", class_="face")
    assert (face.attributes["x"], face.attributes["y"]) == ("18.75", "9.38")
    assert MODEL_ID not in row.text, "versions are in the notes"
    linked = [page.all("li", id=(link.attributes["href"] or "")[1:]) for link in row.all("a")]
    (thresholds,), (versions,) = linked
    assert workspace.thresholds.source in thresholds.text
    assert MODEL_ID in versions.text
    assert workspace.policy.version in versions.text


def test_a_hit_shows_the_view_its_face_was_found_in_and_whether_earlier_models_made_it(
    workspace: Workspace, folder: Path
) -> None:
    with workspace.database.write() as tx:
        add_subject(tx, "sub_a")
        add_shard(tx, workspace, covered_version=1)
        for name in ("now", "before"):
            add_item(tx, name, status="hit")
        add_hit(tx, workspace, "now", "sub_a", view="turned 90", found_by_id=workspace.model_id)
        add_hit(tx, workspace, "before", "sub_a", found_by_id="old-pack-1")
    files = write_report(workspace, day=DAY, folder=folder)
    page = read_page(files.html)
    rows = {row.all("bdi")[0].text: row.text for row in hit_rows(page)}
    assert "seen turned 90" in rows["now"]
    notes = {name: note.text for name in rows for note in page.all("li", id=version_of(page, name))}
    assert "earlier models" not in notes["now"]
    assert "old-pack-1 (earlier models)" in notes["before"]
    assert files.counts.hits_by_earlier_models == 1
    assert any("1 hit made by earlier models" in alert.text for alert in page.all("p", class_="warning"))
    with files.csv.open(newline="", encoding="utf-8") as file:
        assert {row["item_id"]: row["view"] for row in csv.DictReader(file)} == {"now": "turned 90", "before": ""}


def test_incomplete_coverage_is_said_first_and_never_rounded_up(workspace: Workspace, folder: Path) -> None:
    fill(workspace, covered_version=1)
    with workspace.database.write() as tx:
        add_item(tx, "new", status="pending")
    page = read_page(write_report(workspace, day=DAY, folder=folder).html)
    alert = page.all("p", class_="danger")[0].text
    assert alert.startswith("Incomplete. 11 pairs of 26 not compared yet. What is not listed here is not clean.")
    assert "1 item is pending" in alert
    assert "9 scanned items wait to be compared with 1 person" in alert
    assert "coverage 57.6 %" in page.all("p", class_="lead")[0].text
    assert "Nothing is missing" not in page.text


def test_a_complete_day_raises_no_alarm(workspace: Workspace, folder: Path) -> None:
    with workspace.database.write() as tx:
        add_subject(tx, "sub_a")
        add_shard(tx, workspace, covered_version=1)
        add_item(tx, "clean-0")
        add_run(tx, workspace, "run_1")
    page = read_page(write_report(workspace, day=DAY, folder=folder).html)
    assert page.all("p", class_="alert") == []
    assert page.all("p", class_="lead")[0].text == "1 of 1 item scanned, nobody found, coverage 100 %."
    assert "Every item was looked at." in page.text


def test_an_empty_day_says_that_nothing_was_received(workspace: Workspace, folder: Path) -> None:
    fill(workspace)
    page = read_page(write_report(workspace, day=DAY - timedelta(days=7), folder=folder).html)
    assert page.all("p", class_="lead")[0].text.startswith("Nothing was received on 2026-11-13 (UTC)")
    assert "not a clean bill" in page.all("p", class_="alert")[0].text
    assert "100 %" not in page.text
    assert "nobody found" not in page.text


def test_an_empty_registry_is_not_full_coverage(workspace: Workspace, folder: Path) -> None:
    with workspace.database.write() as tx:
        add_shard(tx, workspace, covered_version=0)
        add_item(tx, "clean-0")
    page = read_page(write_report(workspace, day=DAY, folder=folder).html)
    assert page.all("p", class_="danger")[0].text.startswith("Nobody was looked for.")
    assert "nobody found so far, nobody to look for" in page.all("p", class_="lead")[0].text
    assert "100 %" not in page.text


def test_items_that_were_not_looked_at_are_listed_with_the_reason(workspace: Workspace, folder: Path) -> None:
    fill(workspace)
    with workspace.database.write() as tx:
        add_item(tx, "new", status="pending")
    page = read_page(write_report(workspace, day=DAY, folder=folder).html)
    rows = section(page, "unscanned").all("tr")[1:]
    assert [row.all("bdi")[0].text for row in rows] == ["gone", "broken", "new"]
    assert [row.all("td")[1].text for row in rows] == ["not found", "truncated", "not scanned and compared yet"]


def test_a_large_day_is_capped_at_the_most_urgent_and_says_how_many_more(workspace: Workspace, folder: Path) -> None:
    fill(workspace)
    limits = PageLimits(hits=2, pages=1, unscanned=1)
    page = read_page(write_report(workspace, day=DAY, folder=folder, limits=limits).html)
    assert [row.all("bdi")[0].text for row in hit_rows(page)] == ["unsure", "weak"]
    assert "The page shows the 2 most urgent of 6 hits; the CSV has all, 4 more." in page.text
    assert "The first 1 are shown; the CSV has all, 1 more." in section(page, "unscanned").text
    csv = (folder / f"report-{DAY}.csv").read_text(encoding="utf-8")
    assert len(csv.splitlines()) == 1 + 6


def test_pages_hold_at_most_so_many_hits_and_lead_to_one_another(workspace: Workspace, folder: Path) -> None:
    fill(workspace)
    files = write_report(workspace, day=DAY, folder=folder, limits=PageLimits(hits=2))
    pages = [read_page(path) for path in (files.html, *files.more)]
    assert [path.name for path in files.more] == [f"report-{DAY}-page-2.html", f"report-{DAY}-page-3.html"]
    shown = [[row.all("bdi")[0].text for row in hit_rows(page)] for page in pages]
    assert shown == [["unsure", "fine"], ["weak", "stuck"], ["taken-1", "taken-2"]]
    assert "continued" in pages[2].text
    assert "continued" not in pages[1].text
    links = {link.attributes["href"] for link in pages[0].all("a")}
    assert {path.name for path in files.more} <= links
    assert f"{files.more[0].name}#person-2" in links, "and people are found on the page where they begin"
    again = write_report(workspace, day=DAY, folder=folder)
    assert again.more == ()
    assert not any(path.exists() for path in files.more), "what an earlier report had is gone"


def test_an_item_with_more_hits_than_a_page_holds_says_what_is_left_out(workspace: Workspace, folder: Path) -> None:
    with workspace.database.write() as tx:
        add_subject(tx, "sub_a", version=1)
        add_shard(tx, workspace, covered_version=1)
        add_item(tx, "crowd", status="hit")
        for face in range(3):
            add_hit(tx, workspace, "crowd", "sub_a", face=face)
    page = read_page(write_report(workspace, day=DAY, folder=folder, limits=PageLimits(hits=2)).html)
    (row,) = hit_rows(page)
    assert "1 further hit in the CSV" in row.text
    assert "2 most urgent of 3 hits" in page.text


def test_what_needs_somebody_stands_in_one_box_with_what_to_do(workspace: Workspace, folder: Path) -> None:
    fill(workspace)
    with workspace.database.write() as tx:
        add_takedown(tx, "weak", "sub_a", state="dead")
        add_request(tx, "req_new", "sub_b", hours=30, state="open")
    page = read_page(write_report(workspace, day=DAY, folder=folder).html)
    box = section(page, "needs")
    leads = [alert.all("strong")[0].text for alert in box.all("p", class_="alert")]
    assert leads == ["Not delivered.", "Held.", "To decide.", "To accept."]
    acts = [act.text for tag in ("code", "a") for act in box.all(tag, class_="act")]
    assert acts == ["likeness outbox list --state dead", "likeness outbox list", "likeness review", "requests"]


def test_every_command_that_needs_show_is_one_that_can_be_typed(workspace: Workspace, folder: Path) -> None:
    fill(workspace)
    with workspace.database.write() as tx:
        add_subject(tx, "sub_over", version=3, days=-1)
        add_takedown(tx, "weak", "sub_over")
        add_takedown(tx, "weak", "sub_a", state="dead")
        add_takedown(tx, "unsure", "sub_b", hours=-1)
    box = section(read_page(write_report(workspace, day=DAY, folder=folder).html), "needs")
    typed = [act.text for act in box.all("code", class_="act")]
    assert len(typed) == 5, "overdue, not delivered, held, not sent, to decide"
    commands = {" ".join(path): command for path, command in leaves()}
    for line in typed:
        words = line.removeprefix("likeness ").split()
        length = max(length for length in range(1, len(words) + 1) if " ".join(words[:length]) in commands)
        command = commands[" ".join(words[:length])]
        command.make_context(line, words[length:])  # which refuses what is missing, unknown or no choice


def version_of(page: Element, item_id: str) -> str:
    """The id of the note that says by which models an item's hit was found."""
    (row,) = (row for row in hit_rows(page) if row.all("bdi")[0].text == item_id)
    found = [str(link.attributes["href"])[1:] for link in row.all("a")]
    return next(target for target in found if target.startswith("version-"))


def test_late_messages_and_requests_are_alarms(workspace: Workspace, folder: Path) -> None:
    fill(workspace)
    with workspace.database.write() as tx:
        add_takedown(tx, "unsure", "sub_b", hours=-1)
        add_takedown(tx, "weak", "sub_a", state="dead")
        add_takedown(tx, "clean-0", "sub_a", state="done", attempts=1)
        withdraw(tx, item_id="clean-0", reason="item_gone", now=NOW - timedelta(hours=1))  # due at once, never late
        add_request(tx, "req_late", "sub_a", hours=-2.5)
        add_request(tx, "req_new", "sub_b", hours=30, state="open")
        add_request(tx, "req_done", "sub_b", hours=1, state="completed")
    page = read_page(write_report(workspace, day=DAY, folder=folder).html)
    dangers = [alert.text for alert in page.all("p", class_="danger")]
    assert [text.split(" ")[0:2] for text in dangers] == [["Overdue.", "1"], ["Not", "delivered."], ["Overdue.", "1"]]
    assert "withdrawal waiting to be sent 1" in section(page, "messages").text
    rows = section(page, "requests").all("tr")[1:]
    assert [row.all("bdi")[0].text for row in rows] == ["req_late", "req_new"]
    assert [row.all("td")[0].text for row in rows] == ["overdue by 2 h 30 min", "30 h 0 min left"]


def test_an_interrupted_run_is_said(workspace: Workspace, folder: Path) -> None:
    fill(workspace)
    with workspace.database.write() as tx:
        add_run(tx, workspace, "run_0", finished=False)
    page = read_page(write_report(workspace, day=DAY, folder=folder).html)
    assert "The latest run has not finished." in page.text
    assert "not finished" in section(page, "runs").all("tr")[1].text


def test_hits_of_ended_opt_outs_and_deleted_items_are_not_listed(workspace: Workspace, folder: Path) -> None:
    with workspace.database.write() as tx:
        add_subject(tx, "sub_gone", state="withdrawn")
        add_subject(tx, "sub_a", version=2)
        add_shard(tx, workspace, covered_version=2)
        for name in ("of-withdrawn", "deleted", "kept"):
            add_item(tx, name, status="hit", live=name != "deleted")
        add_hit(tx, workspace, "of-withdrawn", "sub_gone")
        add_hit(tx, workspace, "deleted", "sub_a")
        add_hit(tx, workspace, "kept", "sub_a")
    files = write_report(workspace, day=DAY, folder=folder)
    assert [row.all("bdi")[0].text for row in hit_rows(read_page(files.html))] == ["kept"]
    everything = files.html.read_text(encoding="utf-8") + files.csv.read_text(encoding="utf-8")
    assert "sub_gone" not in everything
    assert "deleted" not in everything


def test_a_report_holds_only_its_day_and_source(workspace: Workspace, folder: Path) -> None:
    fill(workspace)
    with workspace.database.write() as tx:
        add_item(tx, "other-source", source_id="source-2")
        add_item(tx, "other-day", day="2026-11-19", received_at=NOW - timedelta(days=2))
    assert write_report(workspace, day=DAY, folder=folder, source_id="source-1").counts.items == 12
    assert write_report(workspace, day=DAY, folder=folder).counts.items == 13
    whole = write_report(workspace, day=None, folder=folder)
    assert whole.counts.items == 14
    assert whole.html.name == "report-all.html"


def test_tables_have_captions_and_header_cells_a_scope(workspace: Workspace, folder: Path) -> None:
    fill(workspace)
    page = read_page(write_report(workspace, day=DAY, folder=folder).html)
    tables = page.all("table")
    assert len(tables) >= 6
    assert all(len(table.all("caption")) == 1 for table in tables)
    assert all(cell.attributes.get("scope") for cell in page.all("th"))
    ids = [heading.attributes["id"] for level in ("h2", "h3") for heading in page.all(level)]
    targets = {(link.attributes["href"] or "")[1:] for link in page.all("a") if link.attributes["href"] != "#"}
    assert {target for target in targets if "." not in target and "-days" not in target} <= {*ids, *NOTES}


def test_the_same_state_gives_the_same_bytes(workspace: Workspace, folder: Path) -> None:
    fill(workspace, covered_version=1)
    first = write_report(workspace, day=DAY, folder=folder / "first")
    second = write_report(workspace, day=DAY, folder=folder / "second")
    for name in ("html", "blocked", "csv", "parquet", "models_csv", "models_parquet", "unscanned_csv"):
        assert getattr(first, name).read_bytes() == getattr(second, name).read_bytes(), name
    workspace.now = lambda: NOW + timedelta(seconds=7)
    later = write_report(workspace, day=DAY, folder=folder / "later")
    assert later.parquet.read_bytes() == first.parquet.read_bytes()
    assert later.csv.read_bytes() == first.csv.read_bytes()
