"""Cases on the pages: their order, whose they are, what is shown when, and that each look is on record first."""

from __future__ import annotations

import html
import io
import re
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
import sqlalchemy as sa
from PIL import Image

from pipelines.database import tables
from pipelines.database.tables import claims
from pipelines.decisions.log import list_decisions
from pipelines.hits.listing import list_hits
from pipelines.home.workspace import Workspace
from pipelines.reviewing import case
from pipelines.reviewing.queue import waiting_cases
from pipelines.runs.sweep import sweep
from tests.conftest import Clock
from tests.fakes import person, picture
from tests.pipelines.web.judging import begin, case_about, decide, hits_on, looks, pictures_on
from tests.pipelines.web.visiting import Visitor, visitor
from tests.platform_actions import NAME, source_of, upload

pytestmark = pytest.mark.any_database


def test_what_is_most_harmful_and_due_first_comes_first_and_faces_before_names(platform: Workspace) -> None:
    with platform.database.read() as connection:
        order = [case.key.about for case in waiting_cases(connection, platform)]
    assert order[0] == "mature.png"
    assert order[-1] == "named.png"
    assert set(order) == {"mature.png", "m-1", "single.png", "named.png"}


def test_a_case_is_everything_undecided_of_a_person_on_a_model(platform: Workspace, ann: Visitor) -> None:
    page = ann.get(case_about(ann, platform, "m-1")).text
    assert len(hits_on(page)) == 2
    assert "1 picture without a hit" in page


def test_two_people_never_get_the_same_case_and_a_lease_that_is_over_frees_it(
    platform: Workspace, ann: Visitor, bob: Visitor, clock: Clock
) -> None:
    first, second = begin(ann), begin(bob)
    assert first != second
    assert begin(ann) == first, "and who comes back goes on"
    assert bob.get(first).status_code == 404
    assert bob.post(f"{first}/claim").status_code == 409
    assert bob.post(f"{first}/answer", {"word": "confirm"}).status_code == 404
    clock.forward(minutes=21)
    assert ann.get(first).status_code == 404, "the time is over"
    assert bob.post(f"{first}/claim").status_code == 303
    with platform.database.read() as connection:
        rows = connection.execute(sa.select(claims).where(claims.c.actor == "account:ann")).all()
    assert [(row.outcome, row.ended_at) for row in rows] == [("expired", rows[0].until)]


def test_everything_of_somebody_elses_case_is_missing(platform: Workspace, ann: Visitor, bob: Visitor) -> None:
    address = case_about(ann, platform, "m-1")
    page = ann.get(address).text
    of_case = [address, *pictures_on(page), f"{address}/hits/{hits_on(page)[0]}/sentence"]
    assert len(of_case) > 5
    before = looks(platform)
    for one in of_case:
        assert bob.get(one).status_code == 404, one
    assert looks(platform) == before, "and nobody was shown anything"


def test_a_hit_of_another_case_is_not_in_ones_own(platform: Workspace, ann: Visitor) -> None:
    own = case_about(ann, platform, "m-1")
    with platform.database.read() as connection:
        (other,) = list_hits(connection, item_id="single.png")
    for what in ("face", "whole", "sentence"):
        assert ann.get(f"{own}/hits/{other.hit_id}/{what}").status_code == 404
    assert ann.get(f"{own}/references/ref_none").headers["content-type"] == "image/svg+xml"


def test_a_picture_beyond_those_that_are_shown_is_not_to_be_had(
    platform: Workspace, ann: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = case_about(ann, platform, "m-1")
    first, *beyond = hits_on(ann.get(address).text)
    monkeypatch.setattr(case, "MOST_HITS", 1)
    assert hits_on(ann.get(address).text) == [first]
    assert beyond
    assert [ann.get(f"{address}/hits/{hit}/face").status_code for hit in (first, *beyond)] == [
        200,
        *(404 for _ in beyond),
    ]


def test_nothing_says_how_strong_a_hit_is_before_the_first_answer(platform: Workspace, ann: Visitor) -> None:
    address = case_about(ann, platform, "m-1")
    for asked in ("", "?answer=confirm&reason=same_person", "?shown=clear&view=whole"):
        page = re.sub("</?strong>", "", ann.get(address + asked).text)
        words = (
            "0.363",
            "1.000",
            "strong",
            "threshold",
            "band",
            "score_",
            'class="scale"',
            "strong_face",
            "review threshold",
        )
        assert not [word for word in words if word in page], asked
    ann.post(f"{address}/answer", {"word": "unsure"})
    page = ann.get(address).text
    assert page.count('class="scale"') == 2
    assert "threshold 0.363" in page
    with platform.database.read() as connection:
        row = connection.execute(sa.select(claims)).one()
    assert (row.first_answer, row.answered_at) == ("unsure", platform.now())
    ann.post(f"{address}/answer", {"word": "confirm"})
    with platform.database.read() as connection:
        assert connection.execute(sa.select(claims.c.first_answer)).scalar() == "unsure", "the first stays the first"


def test_scores_may_be_shown_first_where_the_organisation_says_so(platform: Workspace, ann: Visitor) -> None:
    review = replace(platform.config.review, hide_scores=False)
    platform.config = replace(platform.config, review=review)
    assert 'class="scale"' in ann.get(case_about(ann, platform, "m-1")).text


def test_pictures_come_blurred_and_each_look_is_on_record_with_how(platform: Workspace, ann: Visitor) -> None:
    address = case_about(ann, platform, "single.png")
    (hit,) = hits_on(ann.get(address).text)
    blurred = ann.get(f"{address}/hits/{hit}/face?shown=blurred")
    assert blurred.headers["content-type"] == "image/jpeg"
    assert blurred.headers["cache-control"] == "no-store"
    assert ann.get(f"{address}/hits/{hit}/face").content == blurred.content, "unless more is asked for"
    revealed = ann.get(f"{address}/hits/{hit}/face?shown=clear")
    shown = np.asarray(Image.open(io.BytesIO(revealed.content)).convert("RGB"))
    grey = np.ptp(shown.astype(int), axis=2).max()
    assert grey <= 2, "revealed is without colours unless the person wants them"
    ahead = ann.get(f"{address}/hits/{hit}/face?shown=blurred&ahead=1")
    assert ahead.status_code == 200
    told = [(one["shown"], one.get("ahead")) for one in looks(platform, "crop.view")]
    assert told == [("blurred", None), ("blurred", None), ("grey", None), ("blurred", "yes")]


def test_a_person_may_have_pictures_in_colours_at_once(platform: Workspace, ann: Visitor) -> None:
    assert ann.post("/you", {"keys_on": "1"}).status_code == 303
    address = case_about(ann, platform, "single.png")
    (hit,) = hits_on(ann.get(address).text)
    shown = Image.open(io.BytesIO(ann.get(f"{address}/hits/{hit}/face").content)).convert("RGB")
    colour = np.asarray(shown)[shown.height // 2, shown.width // 2]
    assert np.abs(colour.astype(int) - person(1)).max() < 12


def test_a_look_is_on_record_before_the_picture_leaves(
    platform: Workspace, ann: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pipelines.reviewing.pictures as pictures

    address = case_about(ann, platform, "single.png")
    (hit,) = hits_on(ann.get(address).text)
    recorded: list[int] = []

    def see(*_args: object, **_more: object) -> object:
        recorded.append(len(looks(platform, "crop.view")))
        raise RuntimeError("cut off")

    monkeypatch.setattr(pictures, "_shown", see)
    assert ann.get(f"{address}/hits/{hit}/face").status_code == 500
    assert recorded == [1]


def test_the_whole_picture_has_the_face_framed_and_is_said_to_be_lacking(
    platform: Workspace, ann: Visitor, uploads: object
) -> None:
    address = case_about(ann, platform, "single.png")
    (hit,) = hits_on(ann.get(address).text)
    whole = Image.open(io.BytesIO(ann.get(f"{address}/hits/{hit}/whole?shown=clear").content))
    assert whole.size == (128, 64)
    (Path(str(uploads)) / "single.png").unlink()
    lacking = ann.get(f"{address}/hits/{hit}/whole?shown=clear")
    assert "cannot be shown" in lacking.text
    assert ann.get(f"{address}/hits/{hit}/face").headers["content-type"] == "image/jpeg", "what was kept is there"


def test_other_pictures_of_the_model_are_shown_small(platform: Workspace, ann: Visitor) -> None:
    address = case_about(ann, platform, "m-1")
    (other,) = (one for one in pictures_on(ann.get(address).text) if "/others/" in one)
    assert ann.get(other).headers["content-type"] == "image/jpeg"
    assert [one["item_id"] for one in looks(platform, "picture.view")] == ["m-c.png"]


def test_a_name_is_masked_in_its_sentence_until_it_is_revealed(platform: Workspace, ann: Visitor) -> None:
    address = case_about(ann, platform, "named.png")
    masked = ann.get(address).text
    assert NAME not in masked
    assert "Exampl" not in masked
    assert "golden hour" in masked
    assert f"<mark>{NAME}</mark>" in ann.get(f"{address}?shown=clear").text
    assert [one["shown"] for one in looks(platform, "term.view")] == ["masked", "clear"]


def test_a_decision_is_the_persons_and_ends_the_case_and_can_be_undone(platform: Workspace, ann: Visitor) -> None:
    address = case_about(ann, platform, "m-1")
    assert decide(ann, address, "confirm") == "/cases"
    with platform.database.read() as connection:
        made = list_decisions(connection, standing=True)
        claim = connection.execute(sa.select(claims)).one()
    assert {(one.actor, one.reason) for one in made} == {("account:ann", "same_person")}
    assert (claim.outcome, claim.batch_id) == ("decided", made[0].batch_id)
    assert "same person" in ann.get("/cases").text
    assert ann.get(address).status_code == 404
    undone = ann.post(f"/decisions/{made[0].batch_id}/undo")
    assert undone.headers["location"] == address
    with platform.database.read() as connection:
        assert list_decisions(connection, standing=True) == []
    assert ann.get(address).status_code == 200


def test_a_reason_fits_what_each_hit_is(platform: Workspace, ann: Visitor, uploads: object) -> None:
    folder = Path(str(uploads))
    upload(folder, "both.png", picture(person(1), person(180)), uploader="u-9", title="Testina E.", prompt="Testina")
    upload(folder, "both2.png", picture(person(9)), parent_model="both.png", uploader="x", prompt=f"by {NAME}")
    sweep(platform, source_of(folder), day=None)
    address = case_about(ann, platform, "both.png")
    decide(ann, address, "confirm")
    with platform.database.read() as connection:
        made = list_decisions(connection, standing=True)
    reasons = {one.item_id: one.reason for one in made}
    assert reasons == {"both.png": "same_person", "both2.png": "named_person"}
    assert len({one.batch_id for one in made}) == 1


def test_an_answer_may_be_for_what_is_marked_alone(platform: Workspace, ann: Visitor) -> None:
    address = case_about(ann, platform, "m-1")
    one, other = hits_on(ann.get(address).text)
    decide(ann, address, "reject", one, reason="not_a_likeness")
    with platform.database.read() as connection:
        assert [(made.hit_id, made.reason) for made in list_decisions(connection)] == [(one, "not_a_likeness")]
    left = ann.get(case_about(ann, platform, "m-1")).text
    assert hits_on(left) == [other]


def test_a_page_says_why_one_of_two_faces_cannot_be_answered_alone(
    platform: Workspace, ann: Visitor, uploads: Path
) -> None:
    upload(uploads, "twins.png", picture(person(1), person(1)), uploader="u-9")
    sweep(platform, source_of(uploads), day=None)
    address = case_about(ann, platform, "twins.png")
    one, _ = hits_on(ann.get(address).text)
    page = ann.get(str(ann.post(f"{address}/answer", {"word": "reject", "only": [one]}).headers["location"]))
    assert page.status_code == 200
    assert "a decision holds for both" in page.text
    assert 'name="expect"' not in page.text


def test_no_mark_is_lost_on_the_way_from_page_to_page_however_many_there_are(
    platform: Workspace, ann: Visitor, uploads: Path
) -> None:
    for number in range(45):
        prompt = f"{NAME} number {number}"
        upload(uploads, f"n-{number}.png", picture(person(9)), parent_model="m-9", uploader="u-9", prompt=prompt)
    sweep(platform, source_of(uploads), day=None)
    address = case_about(ann, platform, "m-9")
    marked = hits_on(ann.get(address).text)[:40]
    assert len(marked) == 40
    page = ann.get(str(ann.post(f"{address}/answer", {"word": "reject", "only": marked}).headers["location"])).text
    links = [html.unescape(link) for link in re.findall(r'href="([^"]+)"', page)]
    onwards = [parse_qs(urlsplit(link).query).get("only", []) for link in links if link.startswith(f"{address}?")]
    assert len(onwards) > 45
    assert {len(only) for only in onwards} == {39, 40, 41}, "a mark less, as many, or one more: what the link says"
    (another,) = [link for link in links if "reason=not_a_likeness" in link]
    assert re.findall(r'name="only" value="(hit_\w+)"', ann.get(another).text)[:40] == marked


def test_nothing_is_decided_that_the_page_did_not_show(platform: Workspace, ann: Visitor, uploads: object) -> None:
    address = case_about(ann, platform, "m-1")
    page = ann.get(str(ann.post(f"{address}/answer", {"word": "confirm"}).headers["location"])).text
    expect = re.search(r'name="expect" value="(\w+)"', page)
    assert expect
    upload(Path(str(uploads)), "m-d.png", picture(person(1), person(190)), parent_model="m-1", uploader="u-1")
    sweep(platform, source_of(Path(str(uploads))), day=None)
    fields = {"word": "confirm", "reason": "same_person", "expect": expect[1]}
    assert ann.post(f"{address}/decide", fields).status_code == 409
    assert ann.post(f"{address}/decide", {**fields, "word": "reject", "reason": "other_person"}).status_code == 409
    with platform.database.read() as connection:
        assert list_decisions(connection) == []


def test_nobody_undoes_what_another_decided_but_a_lead(platform: Workspace, ann: Visitor, bob: Visitor) -> None:
    decide(ann, case_about(ann, platform, "single.png"), "reject")
    with platform.database.read() as connection:
        (made,) = list_decisions(connection)
    assert bob.post(f"/decisions/{made.batch_id}/undo").status_code == 403
    assert bob.post("/decisions/batch_none/undo").status_code == 403
    lead = visitor(platform, "lea", ["lead"])
    assert lead.post(f"/decisions/{made.batch_id}/undo").status_code == 303


def test_the_time_for_undoing_ends(platform: Workspace, ann: Visitor, clock: Clock) -> None:
    decide(ann, case_about(ann, platform, "single.png"), "reject")
    with platform.database.read() as connection:
        (made,) = list_decisions(connection)
    clock.forward(minutes=platform.policy.settings.decisions.undo_minutes + 1)
    assert made.batch_id not in ann.get("/cases").text
    assert ann.post(f"/decisions/{made.batch_id}/undo").status_code == 403


def test_who_is_unsure_does_not_get_the_case_again_and_somebody_else_does(
    platform: Workspace, ann: Visitor, bob: Visitor
) -> None:
    address = begin(ann)
    decide(ann, address, "unsure")
    seen = []
    while (there := begin(ann)) != "/cases":
        seen.append(there)
        decide(ann, there, "unsure")
    assert address not in seen
    assert len(seen) == 3
    assert begin(bob) == address
    assert "second look" in bob.get("/cases").text


def test_what_somebody_skips_comes_last_for_them(platform: Workspace, ann: Visitor) -> None:
    first = begin(ann)
    assert ann.post(f"{first}/skip").status_code == 303
    others = []
    for _ in range(3):
        others.append(begin(ann))
        ann.post(f"{others[-1]}/skip")
    assert first not in others
    assert begin(ann) == first


def test_the_next_case_is_fetched_ahead_beside_the_one_on_the_screen(platform: Workspace, ann: Visitor) -> None:
    first = begin(ann)
    answer = ann.post("/cases/next", {"besides": first.rpartition("/")[2]})
    ahead = str(answer.headers["location"])
    assert ahead.endswith("?ahead=1")
    address = ahead.partition("?")[0]
    assert address != first
    page = ann.get(ahead).text
    assert all("ahead=1" in one or "/others/" in one for one in pictures_on(page))
    with platform.database.read() as connection:
        looked = dict(connection.execute(sa.select(claims.c.case_id, claims.c.looked_at)).all())
    assert looked[address.rpartition("/")[2]] is None
    assert ann.post(f"{address}/shown").status_code == 204
    with platform.database.read() as connection:
        looked = dict(connection.execute(sa.select(claims.c.case_id, claims.c.looked_at)).all())
    assert looked[address.rpartition("/")[2]] == platform.now()


def test_a_break_is_suggested_after_long_judging(platform: Workspace, ann: Visitor, clock: Clock) -> None:
    for minutes in (9, 9, 9):
        ann.post(f"{begin(ann)}/skip")
        clock.forward(minutes=minutes)
    assert "without a pause" not in ann.get("/cases").text
    for minutes in (9, 9, 9):
        ann.post(f"{begin(ann)}/skip")
        clock.forward(minutes=minutes)
    assert "judged for 54 minutes" in ann.get("/cases").text
    clock.forward(minutes=11)
    assert "without a pause" not in ann.get("/cases").text


def test_a_viewer_sees_what_waits_and_no_case(platform: Workspace) -> None:
    viewer = visitor(platform, "vera", ["viewer"])
    page = viewer.get("/cases").text
    assert "4 cases" in page
    assert "/claim" not in page


def test_the_chain_is_browsed_and_verified(platform: Workspace, ann: Visitor) -> None:
    decide(ann, case_about(ann, platform, "single.png"), "reject")
    auditor = visitor(platform, "otto", ["auditor"])
    page = auditor.get("/audit?action=decision&actor=account:ann").text
    assert "decision.reject" in page
    assert "session.begin" not in page
    assert "unbroken chain" in auditor.post("/audit/verify").text
    with platform.database.write() as tx:
        row = sa.update(tables.audit).where(tables.audit.c.action == "decision.reject")
        tx.execute(row.values(actor="account:bob"))
    assert "is broken at row" in auditor.post("/audit/verify").text
