"""Contact sheets: what is on one, whose it is, and that its answer is what was shown and for all but the marked."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.engine import Connection

from embeddings.errors import InputError
from pipelines.database.tables import claims
from pipelines.decisions.log import list_decisions
from pipelines.home.workspace import Workspace
from pipelines.reviewing import sheet
from pipelines.reviewing.sheet import handle_of_uploader, near_duplicates
from pipelines.runs.sweep import sweep
from tests.conftest import Clock
from tests.fakes import person, picture
from tests.pipelines.web.judging import case_about, hits_on, looks
from tests.pipelines.web.visiting import Visitor, visitor
from tests.platform_actions import source_of, upload

pytestmark = pytest.mark.any_database


def sheet_of(platform: Workspace, **chosen: str) -> str:
    return "/sheet?" + "&".join(f"{name}={value}" for name, value in chosen.items())


def person_on(platform: Workspace) -> str:
    from pipelines.reviewing.queue import waiting_cases

    with platform.database.read() as connection:
        return waiting_cases(connection, platform)[0].key.subject_id


def tiles_on(page: str) -> list[str]:
    return re.findall(r'name="but" value="(hit_\w+)"[^>]*>\s*<img', page)


def decide(somebody: Visitor, address: str, word: str, *but: str) -> int:
    """Weigh and decide a sheet as a browser without scripts does; the status of the answer."""
    marked = "".join(f"&but={hit_id}" for hit_id in but)
    page = somebody.get(f"{address}&word={word}{marked}").text
    expect = re.search(r'name="expect" value="(\w+)"', page)
    reason = re.search(r'name="reason" value="(\w+)" checked', page)
    assert expect
    assert reason
    chosen = dict(pair.split("=") for pair in address.partition("?")[2].split("&"))
    fields = {**chosen, "word": word, "but": list(but), "expect": expect[1], "reason": reason[1]}
    return int(somebody.post("/sheet/decide", fields).status_code)


def test_a_sheet_has_the_pictures_of_a_person_and_no_names(platform: Workspace, ann: Visitor) -> None:
    page = ann.get(sheet_of(platform, person=person_on(platform))).text
    assert len(tiles_on(page)) == 5, "one picture has two faces that are found to be hers"
    assert "named.png" not in page
    one = ann.get(f"/sheet/hits/{tiles_on(page)[0]}/face")
    assert one.headers["content-type"] == "image/jpeg"
    assert looks(platform)[-1]["shown"] == "blurred"


def test_it_says_nothing_of_scores(platform: Workspace, ann: Visitor) -> None:
    page = ann.get(sheet_of(platform, person=person_on(platform)) + "&word=confirm").text
    assert not [word for word in ("0.363", "1.000", "strong", "threshold", "band", "score") if word in page]


def test_what_others_work_on_is_not_on_it_nor_to_be_looked_at(platform: Workspace, ann: Visitor, bob: Visitor) -> None:
    taken = hits_on(bob.get(case_about(bob, platform, "m-1")).text)
    page = ann.get(sheet_of(platform, person=person_on(platform))).text
    assert not set(tiles_on(page)) & set(taken)
    assert "2 are left out" in page
    before = looks(platform)
    assert ann.get(f"/sheet/hits/{taken[0]}/face").status_code == 404
    assert looks(platform) == before


def test_all_but_the_marked_are_decided_in_one_batch_and_undone_together(platform: Workspace, ann: Visitor) -> None:
    address = sheet_of(platform, person=person_on(platform))
    tiles = tiles_on(ann.get(address).text)
    assert decide(ann, address, "confirm", tiles[0]) == 303
    with platform.database.read() as connection:
        made = list_decisions(connection, standing=True)
        ended = connection.execute(sa.select(claims.c.outcome, claims.c.batch_id)).all()
    assert {one.item_id for one in made} == {"m-b.png", "mature.png", "single.png"}
    assert {row.batch_id for row in ended} == {one.batch_id for one in made}
    assert tiles_on(ann.get(address).text) == [tiles[0]]
    undo = re.search(r'action="(/decisions/\w+/undo)"', ann.get("/sheets").text)
    assert undo
    assert ann.post(undo[1]).status_code == 303
    assert tiles_on(ann.get(address).text) == tiles


def test_nothing_is_decided_that_the_preview_did_not_show(platform: Workspace, ann: Visitor, uploads: Path) -> None:
    address = sheet_of(platform, person=person_on(platform))
    page = ann.get(f"{address}&word=reject").text
    expect = re.search(r'name="expect" value="(\w+)"', page)
    assert expect
    upload(uploads, "new.png", picture(person(1), person(190)), uploader="u-9")
    sweep(platform, source_of(uploads), day=None)
    fields = {"person": person_on(platform), "word": "reject", "reason": "other_person", "expect": expect[1]}
    assert ann.post("/sheet/decide", fields).status_code == 409
    with platform.database.read() as connection:
        assert list_decisions(connection) == []
    assert ann.post("/sheet/decide", {"word": "reject", "expect": expect[1]}).status_code == 400


def test_nobody_decides_what_somebody_has_begun_to_work_on(platform: Workspace, ann: Visitor, bob: Visitor) -> None:
    address = sheet_of(platform, person=person_on(platform))
    page = ann.get(f"{address}&word=reject").text
    expect = re.search(r'name="expect" value="(\w+)"', page)
    assert expect
    case_about(bob, platform, "m-1")
    fields = {"person": person_on(platform), "word": "reject", "reason": "other_person", "expect": expect[1]}
    assert ann.post("/sheet/decide", fields).status_code == 409
    with platform.database.read() as connection:
        assert list_decisions(connection) == []


def test_an_uploader_is_chosen_without_naming_them_in_the_address(platform: Workspace, ann: Visitor) -> None:
    address = sheet_of(platform, person=person_on(platform), uploader=handle_of_uploader("u-4"))
    assert len(tiles_on(ann.get(address).text)) == 1
    assert "u-4" not in address


def test_a_marked_picture_is_not_decided_by_one_with_the_same_content(
    platform: Workspace, ann: Visitor, uploads: Path
) -> None:
    for name in ("same-1.png", "same-2.png"):
        upload(uploads, name, picture(person(1), person(180)), parent_model="m-2", uploader="u-7")
    sweep(platform, source_of(uploads), day=None)
    address = sheet_of(platform, person=person_on(platform), uploader=handle_of_uploader("u-7"))
    tiles = tiles_on(ann.get(address).text)
    assert len(tiles) == 2
    page = ann.get(f"{address}&word=reject&but={tiles[0]}").text
    assert "the very content" in page
    assert 'name="expect"' not in page


@given(st.lists(st.one_of(st.none(), st.integers(0, 2**16 - 1)), max_size=12))
def test_near_duplicates_are_chains_of_pairs_that_are_near(values: list[int | None]) -> None:
    hashes = [None if value is None else f"{value:064x}" for value in values]
    first = near_duplicates(hashes, distance=3)
    for one, left in enumerate(values):
        assert first[one] <= one
        assert first[first[one]] == first[one]
        for other, right in enumerate(values):
            if left is not None and right is not None and (left ^ right).bit_count() <= 3:
                assert first[one] == first[other]
        if left is None:
            assert first.count(one) == 1


def chains(hashes: list[str | None], distance: int) -> list[int]:
    """The definition: the smallest number in each connected part of the pairs that are near."""
    first = list(range(len(hashes)))
    for number, value in enumerate(hashes):
        for earlier in range(number):
            other = hashes[earlier]
            if value is None or other is None or (int(value, 16) ^ int(other, 16)).bit_count() > distance:
                continue
            low, high = sorted((first[number], first[earlier]))
            first = [low if one == high else one for one in first]
    return first


@given(st.lists(st.one_of(st.none(), st.integers(0, 2**12 - 1)), max_size=24), st.integers(0, 4))
def test_near_duplicates_are_the_connected_parts(values: list[int | None], distance: int) -> None:
    hashes = [None if value is None else f"{value << 200 | value:064x}" for value in values]
    assert near_duplicates(hashes, distance=distance) == chains(hashes, distance)


@pytest.mark.parametrize("chosen", ["uploader=up_1", "alike=hit_1", "uploader=up_1&alike=hit_1"])
def test_a_sheet_is_of_a_person_or_a_case(platform: Workspace, ann: Visitor, chosen: str) -> None:
    refused = ann.get(f"/sheet?{chosen}")
    assert refused.status_code == 400
    assert "a person or a case" in refused.text
    with platform.database.read() as connection, pytest.raises(InputError):
        sheet.read_sheet(connection, platform, sheet.SheetQuery(uploader="up_1"), actor="account:ann")


def test_near_duplicates_are_looked_for_among_so_many_and_never_while_writers_wait(
    platform: Workspace, ann: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[int] = []

    def counted(hashes: Sequence[str | None], *, distance: int) -> list[int]:
        assert not writing
        compared.append(len(hashes))
        return near_duplicates(hashes, distance=distance)

    writing: list[bool] = []
    write = platform.database.write

    @contextmanager
    def watched() -> Iterator[Connection]:
        with write() as tx:
            writing.append(True)
            try:
                yield tx
            finally:
                writing.pop()

    monkeypatch.setattr(sheet, "near_duplicates", counted)
    monkeypatch.setattr(platform.database, "write", watched)
    monkeypatch.setattr(sheet, "MOST_COMPARED", 3)
    address = sheet_of(platform, person=person_on(platform))
    page = ann.get(address).text
    assert len(tiles_on(page)) == 3
    assert "2 more come" in page
    assert decide(ann, f"{address}&alike={tiles_on(page)[0]}", "unsure") == 303
    assert set(compared) == {3}


def test_who_leads_and_who_reads_get_no_sheet_they_may_not(platform: Workspace, clock: Clock) -> None:
    assert visitor(platform, "val", ["viewer"]).get("/sheets").status_code == 403
    assert visitor(platform, "lea", ["lead"]).get("/sheets").status_code == 200
