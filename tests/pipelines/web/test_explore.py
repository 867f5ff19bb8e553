"""Looking around: what is listed by what, pages that follow one another, files, thresholds, pictures nobody keeps."""

from __future__ import annotations

import csv
import io
import json
import re
import tempfile
from datetime import timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from pipelines.database import tables
from pipelines.database.times import moment
from pipelines.decisions.log import list_decisions
from pipelines.exploring import paging
from pipelines.exploring.listings import DECISIONS, HITS, ITEMS, LISTINGS, MODELS, Listing
from pipelines.exploring.paging import Row, all_rows, read_asked, read_page
from pipelines.exploring.thresholds import read_stored_scores, weigh_threshold
from pipelines.hits.listing import list_hits
from pipelines.home import audit
from pipelines.home.workspace import Workspace
from pipelines.web.uploads import MOST_UPLOAD
from tests.fakes import person, picture
from tests.pipelines.web.judging import case_about, decide
from tests.pipelines.web.test_hostile import HOSTILE, Tags
from tests.pipelines.web.visiting import ORIGIN, Visitor, visitor
from tests.platform_actions import say, source_of, upload

pytestmark = pytest.mark.any_database


@pytest.fixture
def lea(platform: Workspace) -> Visitor:
    """A lead."""
    return visitor(platform, "lea", ["lead"])


def listed(workspace: Workspace, listing: Listing, **query: str) -> list[Row]:
    with workspace.database.read() as connection:
        return list(all_rows(connection, read_asked(listing, query, told=True), most=1000))


def actions(workspace: Workspace, action: str) -> list[dict[str, object]]:
    with workspace.database.read() as connection:
        audit.verify(connection, workspace.sealer)
        rows = connection.execute(sa.select(tables.audit).where(tables.audit.c.action == action))
        return [{"actor": row.actor, **json.loads(row.facts)} for row in rows]


def send(somebody: Visitor, data: bytes, name: str = "who.png"):  # type: ignore[no-untyped-def]
    files = {"picture": (name, data, "image/png")}
    fields = {"csrf": somebody.secret()}
    return somebody.client.post("/explore/picture", data=fields, files=files, headers={"origin": ORIGIN})


def test_hits_are_listed_by_every_field(platform: Workspace) -> None:
    with platform.database.read() as connection:
        known = list_hits(connection)
    assert {row["hit_id"] for row in listed(platform, HITS)} == {hit.hit_id for hit in known}
    one = known[0]
    for query, expected in (
        ({"item": one.item_id}, {hit.hit_id for hit in known if hit.item_id == one.item_id}),
        ({"model": "m-1"}, {hit.hit_id for hit in known if hit.parent_model == "m-1"}),
        ({"uploader": "u-2"}, {hit.hit_id for hit in known if hit.uploader == "u-2"}),
        ({"tier": "text"}, {hit.hit_id for hit in known if hit.tier == "text"}),
        ({"subject": one.subject_id, "tier": "face"}, {hit.hit_id for hit in known if hit.tier == "face"}),
        ({"hit": one.hit_id}, {one.hit_id}),
        ({"verdict": "review"}, {hit.hit_id for hit in known if hit.verdict == "review"}),
        ({"band": "strong"}, {hit.hit_id for hit in known if hit.band == "strong"}),
        ({"score_from": "0.9", "score_to": "1.1"}, {hit.hit_id for hit in known if 0.9 <= hit.score <= 1.1}),
        ({"since": "2000-01-01", "until": "2000-01-02"}, set()),
        ({"subject": "nobody"}, set()),
    ):
        assert {row["hit_id"] for row in listed(platform, HITS, **query)} == expected, query


def test_decisions_and_what_they_are_about_are_listed(platform: Workspace) -> None:
    say(platform, "single.png", "reject")
    say(platform, "m-a.png", "confirm", reason="same_person")
    (rejected,) = listed(platform, DECISIONS, decision="reject")
    assert (rejected["item_id"], rejected["actor"]) == ("single.png", "ann")
    assert [row["item_id"] for row in listed(platform, HITS, decision="reject")] == ["single.png"]
    assert [row["item_id"] for row in listed(platform, HITS, decision="confirm")] == ["m-a.png"]
    assert {row["item_id"] for row in listed(platform, HITS, decision="none")} == {"m-b.png", "named.png", "mature.png"}
    assert listed(platform, DECISIONS, stands="no") == []
    assert len(listed(platform, DECISIONS, actor="ann", stands="yes", score_from="0.1")) == 2


def test_items_models_and_uploaders_say_how_many_hits_are_in_force(platform: Workspace) -> None:
    found = {row["item_id"]: row["hits"] for row in listed(platform, ITEMS)}
    assert (found["m-a.png"], found["m-c.png"], len(found)) == (1, 0, 6)
    uploaders = {row["uploader"]: (row["items"], row["hits"]) for row in listed(platform, LISTINGS["uploaders"])}
    assert (uploaders["u-1"], uploaders["u-2"], len(uploaders)) == ((2, 1), (1, 1), 5)
    assert {row["model"] for row in listed(platform, MODELS)} == {"m-1"}
    assert {row["uploader"] for row in listed(platform, LISTINGS["uploaders"], uploader="u-3")} == {"u-3"}


@pytest.mark.parametrize("name", list(LISTINGS))
@pytest.mark.parametrize("way", ["", "up"])
def test_pages_follow_one_another_without_a_gap_or_a_repetition(
    platform: Workspace, monkeypatch: pytest.MonkeyPatch, name: str, way: str
) -> None:
    for item in ("single.png", "mature.png", "named.png"):
        say(platform, item, "reject")
    listing = LISTINGS[name]
    for order in listing.orders:
        query = {"sort": order.name, "way": way}
        whole = listed(platform, listing, **query)
        assert whole
        for at_once, walk in ((1, 20_000), (2, 1), (1, 2), (50, 1)):
            monkeypatch.setattr(paging, "WALK", walk)
            rows, after = [], ""
            for _ in range(40):
                with platform.database.read() as connection:
                    asked = read_asked(listing, {**query, "after": after}, told=True)
                    page = read_page(connection, asked, at_once=at_once)
                rows += page.rows
                if page.following is None:
                    break
                after = page.following
            assert rows == whole, (order.name, at_once, walk)
            monkeypatch.undo()


def plan_of(workspace: Workspace, listing: Listing, query: dict[str, str]) -> list[str]:
    """How SQLite goes about every statement by which a page is read."""
    sent: list[tuple[str, tuple[object, ...]]] = []

    def listen(_connection: object, _cursor: object, statement: str, values: tuple[object, ...], *_: object) -> None:
        sent.append((statement, values))

    with workspace.database.read() as connection:
        asked = read_asked(listing, query, told=True)
        sa.event.listen(workspace.database.engine, "before_cursor_execute", listen)
        try:
            read_page(connection, asked)
        finally:
            sa.event.remove(workspace.database.engine, "before_cursor_execute", listen)
        plans = [connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", values) for text, values in sent]
        return [str(row[3]) for plan in plans for row in plan]


VALUES = {"text": "x", "from": "2026-01-01", "to": "2026-12-31", "least": "0.4", "most": "0.9"}


@pytest.mark.parametrize("name", list(LISTINGS))
def test_no_list_goes_through_a_table_and_nothing_is_sorted_but_what_a_filter_left(
    platform: Workspace, name: str
) -> None:
    if not platform.database.is_sqlite:
        pytest.skip("SQLite says how it goes about a query in words that a test can read")
    listing = LISTINGS[name]
    for order in listing.orders:
        for one in (None, *listing.filters):
            value = VALUES.get(one.kind, "") if one and not one.choices else one.choices[0] if one else ""
            query = {"sort": order.name, **({one.name: value} if one else {})}
            plan = plan_of(platform, listing, query)
            scanned = [line for line in plan if re.match(r"SCAN (?!CONSTANT|anon_|\()", line)]
            assert all("USING" in line and "INDEX" in line for line in scanned), (query, plan)
            if one is None or not one.narrow:
                assert not [line for line in plan if "TEMP B-TREE" in line and "ORDER BY" in line], (query, plan)
            else:
                rows_plan = [line for line in plan if line.startswith("SEARCH")]
                assert rows_plan, (query, plan)


def test_who_has_to_judge_sees_neither_scores_nor_decisions_nor_lists_by_them(
    platform: Workspace, ann: Visitor, lea: Visitor
) -> None:
    say(platform, "single.png", "reject")
    for visit, told in ((ann, False), (lea, True), (visitor(platform, "vera", ["viewer"]), False)):
        page = visit.get("/explore/hits").text
        assert ('<th scope="col">Score</th>' in page) is told
        assert ("0.363" in page) is told
        for query in ("score_from=0.5", "sort=score", "band=strong", "verdict=review", "decision=confirm", "rule=x"):
            assert visit.get(f"/explore/hits?{query}").status_code == (200 if told else 400), query
        assert visit.get("/explore/models?verdict=clear").status_code == (200 if told else 400)
        assert visit.get("/explore/decisions").status_code == (200 if told else 403)


def test_a_filtered_list_has_a_name_for_whoever_gave_it_one(platform: Workspace, ann: Visitor, bob: Visitor) -> None:
    address = "/explore/hits?tier=face&model=m-1"
    assert "Call this list" in ann.get(address).text
    kept = ann.post("/explore/saved", {"name": "faces of <m-1>", "address": address})
    assert kept.headers["location"] == address
    assert 'href="/explore/hits?tier=face&amp;model=m-1">faces of &lt;m-1&gt;<' in ann.get("/explore/items").text
    assert "faces of" not in bob.get("/explore/items").text
    assert ann.post("/you", {"reset": "1"}).status_code == 303
    assert "faces of" in ann.get("/explore/items").text, "other preferences leave it alone"
    for wrong in (
        "https://evil.example",
        "//evil.example/explore/hits?x",
        "/explore/hits",
        "/audit?x=1",
        "/explore/hits?\u202e",
    ):
        assert ann.post("/explore/saved", {"name": "x", "address": wrong}).status_code == 400, wrong
    ann.post("/explore/saved", {"forget": "faces of <m-1>"})
    assert "faces of" not in ann.get("/explore/items").text


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_whatever_is_asked_or_listed_is_text(platform: Workspace, uploads: Path, lea: Visitor, text: str) -> None:
    from pipelines.runs.sweep import sweep

    upload(uploads, "h.png", picture(person(1), person(155)), uploader=text, parent_model=text)
    sweep(platform, source_of(uploads), day=None)
    for name in LISTINGS:
        plain = lea.get(f"/explore/{name}")
        asked = lea.client.get(f"/explore/{name}", params={"uploader": text, "model": text, "after": ""})
        assert plain.status_code == 200
        assert asked.status_code == (400 if len(text) > 1000 and name != "decisions" else asked.status_code)
        for page in (plain, asked):
            tags = Tags(page.text)
            assert tags.names.count("script") == 1
            assert not [one for one, _ in tags.attributes if one.startswith("on") or one == "style"]
            links = [value for one, value in tags.attributes if one in ("href", "src", "action", "formaction")]
            assert all(value.startswith(("/", "#")) for value in links)
            assert not re.search("[\u202a-\u202e\u2066-\u2069\u200b]", page.text)
        assert lea.client.get(f"/explore/{name}", params={"after": text}).status_code == 400
    assert lea.client.get("/explore/thresholds", params={"review": text}).status_code == 400
    assert lea.client.get("/explore/hits", params={"since": text}).status_code == 400


def test_a_list_leaves_as_a_file_with_its_filters_and_on_record(
    platform: Workspace, uploads: Path, lea: Visitor
) -> None:
    from pipelines.runs.sweep import sweep

    upload(uploads, "formula.png", picture(person(1), person(155)), uploader="=1+1")
    sweep(platform, source_of(uploads), day=None)
    got = lea.post("/explore/hits/export?tier=face", {"form": "csv"})
    rows = list(csv.DictReader(io.StringIO(got.text)))
    assert {row["tier"] for row in rows} == {"face"}
    with platform.database.read() as connection:
        assert {row["hit_id"] for row in rows} == {hit.hit_id for hit in list_hits(connection, tier="face")}
    assert "'=1+1" in {row["uploader"] for row in rows}
    assert 'filename="hits.csv"' in got.headers["content-disposition"]
    (fact,) = actions(platform, "list.export")
    assert fact == {"actor": "account:lea", "form": "csv", "list": "hits", "filters": "tier", "rows": len(rows)}
    for name in LISTINGS:
        got = lea.post(f"/explore/{name}/export", {"form": "parquet"})
        table = pq.read_table(io.BytesIO(got.content))
        assert table.num_rows == len(listed(platform, LISTINGS[name]))
        assert table.column_names == [one.name for one in LISTINGS[name].fields]
    assert lea.post("/explore/hits/export", {"form": "exe"}).status_code == 400


def test_a_threshold_says_what_it_would_change_and_changes_nothing(
    platform: Workspace, ann: Visitor, lea: Visitor
) -> None:
    decide(ann, case_about(ann, platform, "single.png"), "reject")
    decide(ann, case_about(ann, platform, "mature.png"), "confirm")
    with platform.database.read() as connection:
        before = list_decisions(connection), list_hits(connection)
    stored = read_stored_scores(platform)
    counts = {state: len(scores) for state, scores in stored.scores.items()}
    right, wrong = (len(listed(platform, HITS, decision=word, tier="face")) for word in ("confirm", "reject"))
    assert min(right, wrong) >= 1
    assert counts == {"confirmed": right, "rejected": wrong, "undecided": 2}
    bins = stored.histogram()
    assert sum(sum(one.values()) for one in bins) == right + wrong + 2
    highest = max(float(scores[-1]) for scores in stored.scores.values())
    at_now, above = (weigh_threshold(platform, stored, at) for at in (platform.thresholds.review, highest + 0.001))
    assert (at_now.stay, at_now.go, at_now.come, at_now.missed, at_now.spared) == (2, 0, 0, 0, 0)
    assert (above.stay, above.go, above.kept, above.missed, above.spared, above.asked) == (0, 2, 0, right, wrong, 0)
    low = weigh_threshold(platform, stored, 0.2)
    assert low.unseen == (0.2, stored.compared_from)
    assert low.expected is None
    page = lea.get("/explore/thresholds?review=0.2").text
    assert "never looked for" in page
    assert "Nobody can say" in page
    assert "likeness policy simulate" in page
    assert "review = 0.2" in page
    assert page.count("<rect") >= 1
    assert lea.get("/explore/thresholds?review=2").status_code == 400
    with platform.database.read() as connection:
        assert (list_decisions(connection), list_hits(connection)) == before


def test_a_picture_is_compared_and_not_kept(platform: Workspace, lea: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/nonexistent")  # a temporary file would fail
    with platform.database.read() as connection:
        (subject_id,) = connection.execute(sa.select(tables.subjects.c.subject_id)).scalars()
    page = send(lea, picture(person(1), person(150)))
    assert page.status_code == 200
    assert subject_id in page.text
    assert "the same file" in page.text
    assert "m-a.png" in page.text
    assert "Not searched" in page.text
    assert "CLIP weights" in page.text
    stranger = send(lea, picture(person(77)))
    assert subject_id not in stranger.text
    assert "Nobody in the registry" in stranger.text
    assert send(lea, b"no picture").status_code == 400
    made = actions(platform, "picture.search")
    assert [one["outcome"].split(":")[0] for one in made] == ["searched", "searched", "unreadable"]  # type: ignore[attr-defined]
    assert made[0]["subject_ids"] == subject_id
    assert made[1]["found"] == 0
    assert {one["actor"] for one in made} == {"account:lea"}


def test_an_officer_looks_too_and_nobody_else_even_sends_a_picture(platform: Workspace, ann: Visitor) -> None:
    officer = visitor(platform, "olga", ["registry_officer"])
    assert send(officer, picture(person(1))).status_code == 200
    assert "/explore/hits?" not in send(officer, picture(person(1))).text
    assert send(ann, picture(person(1))).status_code == 403
    assert officer.get("/explore").headers["location"] == "/explore/picture"
    assert len(actions(platform, "picture.search")) == 2


def test_a_form_with_a_file_is_bounded_and_ours(platform: Workspace, lea: Visitor) -> None:
    assert send(lea, b"x" * (MOST_UPLOAD + 1)).status_code == 400
    files = {"picture": ("a.png", picture(person(1)), "image/png")}
    for headers, fields in (({"origin": ORIGIN}, {}), ({}, {"csrf": lea.secret()})):
        answer = lea.client.post("/explore/picture", data=fields, files=files, headers=headers)
        assert answer.status_code == 403
    many = [("picture", ("a.png", b"1", "image/png")), ("picture", ("b.png", b"2", "image/png"))]
    answer = lea.client.post("/explore/picture", data={"csrf": lea.secret()}, files=many, headers={"origin": ORIGIN})
    assert answer.status_code == 400
    on_other = lea.client.post("/explore/text", data={"csrf": lea.secret()}, files=files, headers={"origin": ORIGIN})
    assert on_other.status_code == 400
    assert actions(platform, "picture.search") == []


def test_without_weights_a_text_is_not_searched_and_the_page_says_so(platform: Workspace, ann: Visitor) -> None:
    page = ann.post("/explore/text", {"text": "a person in a garden"})
    assert "Not searched" in page.text
    assert "CLIP weights" in page.text
    assert ann.post("/explore/text", {"text": ""}).status_code == 400


def test_a_list_ends_with_a_consent(platform: Workspace) -> None:
    assert listed(platform, HITS)
    with platform.database.write() as tx:
        ended = moment(tx) - timedelta(seconds=1)
        tx.execute(sa.update(tables.subjects).values(expires_at=ended))
    assert listed(platform, HITS) == []
    assert listed(platform, MODELS) == []
