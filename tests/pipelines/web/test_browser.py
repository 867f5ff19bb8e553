"""The pages in a real browser: cases judged by keys alone, two people at once, and nothing that a browser complains of.

Runs in the system's Chromium. Where there is none these tests are skipped and say so; continuous integration has one.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from playwright.sync_api import Browser, Page

from pipelines.database.tables import claims, outbox, subjects
from pipelines.decisions.log import list_decisions
from pipelines.home.workspace import Workspace
from pipelines.runs.sweep import sweep
from tests.conftest import Clock
from tests.fakes import person, picture
from tests.pipelines.web.browsing import Coming, require_accessible
from tests.pipelines.web.visiting import PASSWORD, code_at, invite
from tests.platform_actions import NAME, ask_for_removal, enrol, say, source_of, upload

pytestmark = [pytest.mark.any_database, pytest.mark.slow]
CASES = 200
"""Judged by keys alone."""


def fill(workspace: Workspace, uploads: Path, count: int) -> None:
    """So many cases of one person, each another picture, some with a name instead of a face."""
    enrol(workspace, person(1))
    for number in range(count):
        beside = (number % 100 + 100, number // 100 * 50, 7)
        if number % 10 == 9:
            upload(uploads, f"{number}.png", picture(beside), uploader=f"u-{number}", prompt=f"{number} {NAME} at dusk")
        else:
            upload(uploads, f"{number}.png", picture(person(1), beside), uploader=f"u-{number}")
    sweep(workspace, source_of(uploads), day=None)


def judging(page: Page) -> str:
    """The case on the screen, once it is there with the next one behind it."""
    page.wait_for_selector("main.case:not([hidden])")
    return str(page.locator("#main").get_attribute("data-case"))


def press(page: Page, key: str, *, then: str) -> None:
    page.keyboard.press(key)
    page.wait_for_selector(then, state="attached")


def begin(page: Page) -> str:
    page.goto("/cases")
    page.wait_for_selector("form[action='/cases/next'] button:focus")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    return judging(page)


def decide(page: Page, key: str) -> None:
    """Answer the case on the screen and go on, by keys; waits until it is decided."""
    case = judging(page)
    press(page, key, then="#decide")
    with page.expect_response(lambda response: response.url.endswith(f"{case}/decide")) as told:
        page.keyboard.press("Enter")
    assert told.value.status == 200


def test_two_hundred_cases_are_judged_by_keys_alone(workspace: Workspace, uploads: Path, come: Coming) -> None:
    fill(workspace, uploads, CASES)
    page, seen = come("ann", "reviewer"), set[str]()
    begin(page)
    for number in range(CASES):
        seen.add(judging(page))
        decide(page, "n" if number % 3 else "y")
        if number + 1 < CASES:
            page.wait_for_function(
                "known => !known.includes(document.querySelector('#main').dataset.case)", arg=list(seen)
            )
    page.wait_for_url("**/cases")
    assert "Nothing waits" in page.inner_text("main")
    assert len(seen) == CASES
    with workspace.database.read() as connection:
        made = list_decisions(connection, standing=True)
        ended = connection.execute(sa.select(claims.c.outcome, claims.c.looked_at)).all()
    assert len({one.batch_id for one in made}) == CASES
    assert {one.actor for one in made} == {"account:ann"}
    assert [row.outcome for row in ended] == ["decided"] * CASES
    assert all(row.looked_at for row in ended)


def test_two_people_at_once_never_share_a_case(workspace: Workspace, uploads: Path, come: Coming) -> None:
    fill(workspace, uploads, 12)
    pages = {name: come(name, "reviewer") for name in ("ann", "bob")}
    seen: dict[str, list[str]] = {name: [] for name in pages}
    for page in pages.values():
        begin(page)
    for _ in range(4):
        for name, page in pages.items():
            case = judging(page)
            seen[name].append(case)
            decide(page, "n")
            page.wait_for_function("before => document.querySelector('#main').dataset.case !== before", arg=case)
    assert not set(seen["ann"]) & set(seen["bob"])
    assert len(set(seen["ann"])) == len(set(seen["bob"])) == 4


def test_a_lease_that_is_over_gives_the_case_to_somebody_else(
    workspace: Workspace, uploads: Path, come: Coming, clock: Clock, complaints: list[str]
) -> None:
    fill(workspace, uploads, 1)
    ann = come("ann", "reviewer")
    case = begin(ann)
    press(ann, "y", then="#decide")
    clock.forward(minutes=21)
    bob = come("bob", "reviewer")
    assert begin(bob) == case
    decide(bob, "n")
    with ann.expect_response(lambda response: response.url.endswith("/decide")) as told:
        ann.keyboard.press("Enter")
    assert told.value.status == 404
    with workspace.database.read() as connection:
        assert [(one.actor, one.decision) for one in list_decisions(connection)] == [("account:bob", "reject")]
    ann.wait_for_selector("#toast .problem")
    (written,) = complaints  # Chromium writes each 4xx to the console, also one that the page handles
    assert "404" in written
    complaints.clear()


def test_pictures_are_blurred_until_a_key_reveals_them_and_again_after_another(
    workspace: Workspace, uploads: Path, come: Coming
) -> None:
    fill(workspace, uploads, 1)
    page = come("ann", "reviewer")
    begin(page)
    found = page.locator("#found")
    assert "shown=blurred" in str(found.get_attribute("src"))
    press(page, "r", then="#found[src*='shown=clear']")
    assert page.locator("#reveal").is_hidden()
    press(page, "b", then="#found[src*='shown=blurred']")
    page.hover("#found")
    assert "shown=blurred" in str(found.get_attribute("src")), "hovering reveals nothing"
    press(page, "w", then="#found[src*='/whole?']")


def test_a_name_is_revealed_by_the_same_key(workspace: Workspace, uploads: Path, come: Coming) -> None:
    enrol(workspace, person(1))
    upload(uploads, "named.png", picture(person(4)), uploader="u", prompt=f"portrait of {NAME} at dusk")
    sweep(workspace, source_of(uploads), day=None)
    page = come("ann", "reviewer")
    begin(page)
    assert "\u2022" in page.inner_text("mark")
    page.keyboard.press("r")
    page.wait_for_function("name => document.querySelector('#main mark').textContent === name", arg=NAME)


def test_the_score_is_not_in_the_page_before_the_first_answer(
    workspace: Workspace, uploads: Path, come: Coming
) -> None:
    fill(workspace, uploads, 2)
    page = come("ann", "reviewer")
    begin(page)
    page.wait_for_selector("#ahead", state="attached")
    assert page.locator("svg.scale").count() == 0, "neither of this case nor of the next"
    assert "0.363" not in page.content()
    press(page, "u", then="#main svg.scale")
    assert page.locator("#ahead svg.scale").count() == 0


def test_keys_mark_choose_reasons_undo_and_show_their_map(workspace: Workspace, uploads: Path, come: Coming) -> None:
    enrol(workspace, person(1))
    for number in range(3):
        upload(
            uploads,
            f"{number}.png",
            picture(person(1), person(150 + number)),
            parent_model="m-1",
            uploader=f"u-{number}",
        )
    upload(uploads, "later.png", picture(person(1), person(190)), uploader="u-9")
    sweep(workspace, source_of(uploads), day=None)
    page = come("ann", "reviewer")
    case = begin(page)
    if page.locator("#evidence .hit").count() == 1:
        page.keyboard.press("s")
        page.wait_for_function("before => document.querySelector('#main').dataset.case !== before", arg=case)
        case = judging(page)
    hits = page.locator("#evidence .hit")
    page.keyboard.press("j")
    assert "current" in str(hits.nth(1).get_attribute("class"))
    page.keyboard.press("x")
    assert page.inner_text("#scope") == "for 1 marked hit"
    press(page, "n", then="#decide input[name=reason][value=other_person]")
    press(page, "2", then="#decide input[name=reason][value=not_a_likeness]")
    page.keyboard.press("?")
    assert page.locator("#map").is_visible()
    page.keyboard.press("?")
    assert page.locator("#map").is_hidden()
    with page.expect_response(lambda response: response.url.endswith("/decide")):
        page.keyboard.press("Enter")
    page.wait_for_selector("#toast .undo")
    with workspace.database.read() as connection:
        (made,) = list_decisions(connection, standing=True)
    assert (made.decision, made.reason) == ("reject", "not_a_likeness")
    with page.expect_navigation():
        page.keyboard.press("z")
    assert judging(page) == case
    assert page.locator("#evidence .hit").count() == 3
    with workspace.database.read() as connection:
        assert list_decisions(connection, standing=True) == []


def test_keys_do_nothing_while_somebody_writes_or_has_switched_them_off(
    workspace: Workspace, uploads: Path, come: Coming
) -> None:
    fill(workspace, uploads, 1)
    page = come("ann", "reviewer")
    begin(page)
    press(page, "y", then="#decide")
    page.fill("#decide textarea", "")
    page.type("#decide textarea", "nz?")
    assert page.input_value("#decide textarea") == "nz?"
    assert page.locator("#main").get_attribute("data-answer") == "confirm"
    page.goto("/you")
    page.uncheck("[name=keys_on]")
    page.fill("[name=key-reject]", "m")
    with page.expect_navigation():
        page.click("button:has-text('Keep')")
    begin_by_mouse(page)
    page.keyboard.press("m")
    page.keyboard.press("r")
    assert page.locator("#main").get_attribute("data-revealed") == "0"
    page.goto("/you")
    page.check("[name=keys_on]")
    with page.expect_navigation():
        page.click("button:has-text('Keep')")
    begin_by_mouse(page)
    page.keyboard.press("n")
    press(page, "m", then="#main[data-answer=reject]")


def begin_by_mouse(page: Page) -> None:
    page.goto("/cases")
    with page.expect_navigation():
        page.click("form[action='/cases/next'] button")
    judging(page)


def test_everything_is_reached_without_scripts(workspace: Workspace, uploads: Path, come: Coming) -> None:
    fill(workspace, uploads, 2)
    page = come("ann", "reviewer", java_script_enabled=False)  # type: ignore[arg-type]
    begin_by_mouse(page)
    page.click("#reveal")
    assert "shown=grey" in str(page.locator("#found").get_attribute("src"))
    page.click("button.confirm")
    page.click("#decide button.main")
    page.click("#toast button")
    assert page.locator("main.case").is_visible()


def test_somebody_who_is_invited_comes_in_with_both_factors(
    workspace: Workspace, browser: Browser, serving: str
) -> None:
    secret = invite(workspace, "ann", "viewer")
    context = browser.new_context(base_url=serving)
    page = context.new_page()
    page.goto("/cases")
    page.wait_for_url("**/login?next=/cases")
    page.fill("[name=name]", "ann")
    page.fill("[name=password]", PASSWORD)
    page.fill("[name=code]", code_at(secret, workspace))
    page.keyboard.press("Enter")
    page.wait_for_url("**/cases")
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_stands_in_the_way_of_assistive_technology(
    workspace: Workspace, uploads: Path, come: Coming, scheme: str
) -> None:
    fill(workspace, uploads, 10)
    workspace.config = replace(workspace.config, review=replace(workspace.config.review, break_minutes=1))
    page = come("lea", "lead", "auditor", color_scheme=scheme)
    for address in ("/cases", "/you", "/audit"):
        page.goto(address)
        require_accessible(page)
    begin(page)
    require_accessible(page)
    press(page, "r", then="#found[src*='shown=clear']")
    press(page, "y", then="#decide")
    require_accessible(page)
    page.keyboard.press("?")
    require_accessible(page)
    page.keyboard.press("?")
    page.set_viewport_size({"width": 700, "height": 900})
    require_accessible(page)
    page.context.clear_cookies()
    for address in ("/login", "/invitation"):
        page.goto(address)
        require_accessible(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_first_page_and_the_records_stand_in_nobodys_way(
    workspace: Workspace, uploads: Path, come: Coming, scheme: str
) -> None:
    fill(workspace, uploads, 10)
    subject_id = fill_first_page(workspace)
    page = come("lea", "lead", "registry_officer", color_scheme=scheme)
    page.goto("/")
    assert page.locator("section.need").count() == 5, "beside those, copies of what was confirmed are not looked for"
    require_accessible(page)
    page.click("text=As a table")
    require_accessible(page)
    page.click("section.need:has-text('Held messages') a.act")
    page.wait_for_url("**/messages?**")
    require_accessible(page)
    with page.expect_navigation():
        page.click("button:has-text('Release 1')")
    assert "Released." in page.inner_text("#toast")
    assert page.locator("section.need:has-text('Held messages')").count() == 0
    for address in ("/requests", "/people", "/models?id=0.png", "/uploaders?id=u-0"):
        page.goto(address)
        require_accessible(page)
    page.goto("/")
    page.click("section.need:has-text('Removal requests') a.act")
    page.wait_for_url("**/requests/*")
    require_accessible(page)
    page.goto(f"/people/{subject_id}")
    page.click("button:has-text('Show the names')")
    assert NAME in page.inner_text("main")
    require_accessible(page)
    page.goto(f"/people/{subject_id}?references=shown")
    page.wait_for_function("() => [...document.querySelectorAll('.crop img')].every(one => one.naturalWidth > 0)")
    require_accessible(page)
    page.emulate_media(media="print")
    assert page.locator("header.top").is_hidden()
    assert page.locator(".printed").is_visible()


def fill_first_page(workspace: Workspace) -> str:
    """A request, a held message, an opt-out that ends, and cases; returns the person whom the cases are about."""
    request = ask_for_removal(workspace, person(40), name="Somebody Else")
    say(workspace, "0.png")
    with workspace.database.write() as tx:
        held = {"state": "held", "last_result": "held:breaker_day", "decided_by": "automated"}
        tx.execute(sa.update(outbox).values(**held))
        chosen = subjects.c.subject_id != request.subject_id
        return str(tx.execute(sa.select(subjects.c.subject_id).where(chosen)).scalar_one())


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_looking_around_stands_in_nobodys_way(
    workspace: Workspace, uploads: Path, come: Coming, tmp_path: Path, scheme: str
) -> None:
    fill(workspace, uploads, 60)
    for number in (0, 1, 2):
        say(workspace, f"{number}.png", "confirm" if number else "reject")
    page = come("lea", "lead", color_scheme=scheme)
    page.goto("/explore")
    require_accessible(page)
    page.select_option("select[name=tier]", "face")
    page.click("text=Show")
    page.wait_for_url("**tier=face**")
    page.fill("input[name=name]", "faces")
    page.click("text=Keep")
    page.wait_for_selector(".saved a:has-text('faces')")
    first = page.locator("tbody tr td:nth-child(2)").first.inner_text()
    page.click("text=Next page")
    page.wait_for_selector("text=From the beginning")
    assert page.locator("tbody tr td:nth-child(2)").first.inner_text() != first
    with page.expect_download() as told:
        page.click("text=CSV")
    assert told.value.suggested_filename == "hits.csv"
    for name in ("items", "models", "uploaders", "decisions"):
        page.goto(f"/explore/{name}")
        require_accessible(page)
    page.goto("/explore/thresholds?review=0.6")
    require_accessible(page)
    page.click("text=0.01 lower")
    page.wait_for_url("**review=0.59")
    page.goto("/explore/picture")
    require_accessible(page)
    shown = tmp_path / "who.png"
    shown.write_bytes(picture(person(1), person(150)))
    page.set_input_files("#file", shown)
    page.click("button:has-text('Look')")
    page.wait_for_selector("#people")
    require_accessible(page)
    page.goto("/explore/text")
    page.fill("input[name=text]", "a garden")
    page.click("button:has-text('Search')")
    page.wait_for_selector("text=Not searched")
    require_accessible(page)
