"""A request, a person, an uploader and a model have a page each; few see who somebody is, and looks are kept."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from pipelines.cases.contributions import explained_by, names_bring, references_bring
from pipelines.cases.findings import About, count_findings, list_findings
from pipelines.cases.history import read_history
from pipelines.cases.requests import open_request
from pipelines.database.tables import audit, hits, items, outbox, subjects, templates, verdicts
from pipelines.decisions.decide import undo
from pipelines.hits.counting import FACES_FIRST
from pipelines.home.workspace import Workspace
from pipelines.registry.subjects import Identity
from pipelines.runs.rescan import rescan
from pipelines.runs.searched import searched_for
from pipelines.runs.sweep import sweep
from pipelines.web.words import tier_words
from tests.fakes import person, picture
from tests.pipelines.matching.pooling_scene import drawn, post, see_drawings
from tests.pipelines.web.visiting import Visitor, visitor
from tests.platform_actions import NAME, agree, ask_for_removal, enrol, references, say, source_of, upload

pytestmark = pytest.mark.any_database


def only_subject(workspace: Workspace) -> str:
    with workspace.database.read() as connection:
        return str(connection.execute(sa.select(subjects.c.subject_id)).scalar_one())


def looks(workspace: Workspace, action: str) -> list[str]:
    with workspace.database.read() as connection:
        return list(connection.execute(sa.select(audit.c.actor).where(audit.c.action == action)).scalars())


@pytest.fixture
def officer(platform: Workspace) -> Visitor:
    """Somebody who answers for people."""
    return visitor(platform, "otto", ["registry_officer"])


@pytest.mark.parametrize("role", ["viewer", "reviewer", "auditor", "registry_officer"])
def test_no_page_says_who_somebody_is_unless_it_is_asked_to(platform: Workspace, role: str) -> None:
    subject_id = only_subject(platform)
    request = ask_for_removal(platform, person(40), name="Somebody Else")
    somebody = visitor(platform, "somebody", [role])
    addresses = (
        *("/", "/people", f"/people/{subject_id}", f"/people/{subject_id}?references=shown", "/requests"),
        *(f"/requests/{request.request_id}", "/models?id=m-1", "/uploaders?id=u-1", "/messages"),
    )
    for address in addresses:
        page = somebody.get(address)
        assert page.status_code == 200, address
        for word in (NAME, "Testina", "consent-1", "Somebody", "case-1"):
            assert word not in page.text, (address, word)
        assert ("/references/" in page.text) is (role == "registry_officer" and "shown" in address)
    assert looks(platform, "subject.view") == looks(platform, "request.view") == []


def test_names_are_shown_to_an_officer_and_the_look_is_on_record_first(platform: Workspace, officer: Visitor) -> None:
    subject_id = only_subject(platform)
    page = officer.post(f"/people/{subject_id}/names")
    assert page.status_code == 200
    assert NAME in page.text
    assert "consent-1" in page.text
    assert looks(platform, "subject.view") == ["account:otto"]
    for role in ("viewer", "reviewer", "auditor"):
        refused = visitor(platform, role, [role]).post(f"/people/{subject_id}/names")
        assert refused.status_code == 403
        assert NAME not in refused.text
    assert looks(platform, "subject.view") == ["account:otto"]


def test_a_photograph_is_of_the_person_of_the_address_or_nothing(platform: Workspace, officer: Visitor) -> None:
    subject_id = only_subject(platform)
    other = enrol(platform, person(70), name="Another Person")
    page = officer.get(f"/people/{subject_id}?references=shown").text
    (address,) = re.findall(rf'src="(/people/{subject_id}/references/\w+)"', page)
    assert looks(platform, "reference.view") == []
    shown = officer.get(address)
    assert shown.headers["content-type"] == "image/jpeg"
    assert looks(platform, "reference.view") == ["account:otto"]
    with platform.database.read() as connection:
        theirs = connection.execute(sa.select(templates.c.template_id).where(templates.c.subject_id == other)).scalar()
    mixed = officer.get(f"/people/{subject_id}/references/{theirs}")
    assert mixed.headers["content-type"] == "image/svg+xml"
    assert officer.get(f"/people/sub_none/references/{theirs}").status_code == 404
    assert visitor(platform, "ann", ["reviewer"]).get(address).status_code == 403
    assert looks(platform, "reference.view") == ["account:otto"]


def test_a_contact_is_shown_to_an_officer_alone_and_the_look_is_kept(platform: Workspace, officer: Visitor) -> None:
    request = ask_for_removal(platform, person(40), name="Somebody Else")
    address = f"/requests/{request.request_id}/contact"
    assert visitor(platform, "vera", ["viewer"]).post(address).status_code == 403
    assert "case-1" in officer.post(address).text
    assert looks(platform, "request.view") == ["account:otto"]
    assert officer.post("/requests/req_none/contact").status_code == 404


def test_what_faces_show_together_alone_is_said_as_what_it_rests_on(workspace: Workspace, uploads: Path) -> None:
    see_drawings(workspace)
    subject_id = enrol(workspace, person(1))
    for number in range(3):
        post(uploads, f"a{number}", drawn(1, number))
    sweep(workspace, source_of(uploads), day=None)
    ann = visitor(workspace, "ann", ["reviewer"])
    for address in (f"/people/{subject_id}", "/models?id=m", "/uploaders?id=u"):
        rests = re.findall(r"<td>faces together</td>", ann.get(address).text)
        assert len(rests) == 3, address
    assert "3 items: faces together" in ann.get("/cases").text


def said_of(platform: Workspace) -> list[str]:
    """What nobody is to read before they judge: rules as pages write them, bands, and who decided."""
    with platform.database.read() as connection:
        rules = connection.execute(sa.select(verdicts.c.rule).distinct()).scalars().all()
        bands = connection.execute(sa.select(hits.c.band).distinct()).scalars().all()
    assert rules
    kinds = {tier_words((tier,)) for tier in FACES_FIRST}  # of evidence, which everybody sees
    written = [form for rule in rules for form in (rule, rule.replace("_", " ")) if form not in kinds]
    assert written
    words = (
        "Verdict</th>",
        "Confirmed</th>",
        "Rejected</th>",
        "Generator block",
        "confirmed",
        "rejected",
        "decided:",
        "undone",
    )
    return [*written, *(f"{band}<" for band in bands if band), *words, "by ann", "account:", "by a person"]


def pages_of(platform: Workspace) -> list[str]:
    with platform.database.read() as connection:
        listed = connection.execute(sa.select(items.c.item_id, items.c.uploader)).all()
    subject_id = only_subject(platform)
    found = {f"/people/{subject_id}", "/people", "/", "/requests", "/messages", "/models?id=m-1"}
    found |= {"/cases", "/sheets", f"/sheet?person={subject_id}", "/explore/hits", "/explore/models", "/explore/items"}
    found |= {f"/models?id={row.item_id}" for row in listed} | {f"/uploaders?id={row.uploader}" for row in listed}
    return sorted(found)


def readable(page: str) -> str:
    """A page without its navigation, its list of states and who printed it."""
    inner = page.partition("<main")[2]
    return re.sub(r'<p class="(chips|printed)">.*?</p>', "", inner, flags=re.DOTALL)


def test_no_page_of_a_reviewer_says_what_the_policy_or_others_made_of_a_hit(platform: Workspace) -> None:
    subject_id = only_subject(platform)
    say(platform, "single.png", "unsure")
    undo(platform, say(platform, "m-a.png").batch_id or "", actor="lea")
    say(platform, "mature.png", "reject", reason="other_person")
    somebody = visitor(platform, "rob", ["reviewer", "viewer", "registry_officer"])
    for address in pages_of(platform):
        page = somebody.get(address)
        assert page.status_code == 200, address
        for word in said_of(platform):
            assert word not in readable(page.text), (address, word)
    names = readable(somebody.post(f"/people/{subject_id}/names").text)
    assert not [word for word in said_of(platform) if word in names]


@pytest.mark.parametrize("role", ["lead", "auditor", "registry_officer"])
def test_who_does_not_judge_reads_what_was_made_of_a_hit(platform: Workspace, role: str) -> None:
    say(platform, "single.png", "unsure")
    somebody = visitor(platform, "somebody", [role])
    page = somebody.get(f"/people/{only_subject(platform)}").text
    model = somebody.get("/models?id=m-1").text
    assert "by ann" in page
    assert "Confirmed" in page
    assert "Generator block" in model
    assert "Verdict" in model


def test_what_is_not_told_is_not_read_and_not_in_the_order(platform: Workspace) -> None:
    say(platform, "single.png")
    about = About(subject_id=only_subject(platform))
    with platform.database.read() as connection:
        found = list_findings(connection, about, limit=99, judged=False)
        whole = list_findings(connection, about, limit=99)
        happened = read_history(connection, about, limit=99, judged=False)
    assert {(one.verdict, one.rule, one.confirmed) for one in found} == {(None, None, None)}
    assert {one.item_id for one in found} == {one.item_id for one in whole}
    assert len({one.item_id for one in found}) == len(found)
    order = [(-one.found_at.timestamp(), one.item_id) for one in found]
    assert order == sorted(order)
    assert not [one for one in happened if one.what.startswith(("decided", "undone")) or one.actor]


@pytest.mark.parametrize("address", ["/people/sub_none", "/requests/none", "/uploaders", "/models?id=none", "/models"])
def test_what_is_not_there_is_not_there(platform: Workspace, officer: Visitor, address: str) -> None:
    assert officer.get(address).status_code == 404


def test_a_request_shows_its_clock_and_what_was_found_removed_and_acknowledged(
    platform: Workspace, uploads: Path
) -> None:
    upload(uploads, "other.png", picture(person(40), person(151)), uploader="u-7")
    sweep(platform, source_of(uploads), day=None)
    request = ask_for_removal(platform, person(40), name="Somebody Else")
    agree(platform, request.request_id, "ann")
    rescan(platform, request_id=request.request_id)
    somebody = visitor(platform, "vera", ["viewer"])
    page = somebody.get(f"/requests/{request.request_id}").text
    assert "48 h</span> left" in page
    assert "hits wait for a person to decide" in page.lower()
    assert "other.png" in page
    assert "m-1" not in page, "what is about somebody else is not part of it"
    say(platform, "other.png")
    with platform.database.write() as tx:
        tx.execute(sa.update(outbox).values(state="done", attempts=1, last_result="200", finished_at=platform.now()))
    page = somebody.get(f"/requests/{request.request_id}").text
    assert "takedown acknowledged" in page
    assert "found by a rescan" in page
    about = About(subject_id=request.subject_id, request_id=request.request_id)
    with platform.database.read() as connection:
        assert count_findings(connection, about).effects["acknowledged"] == 1


def test_a_request_that_two_have_to_accept_says_who_did(platform: Workspace, officer: Visitor) -> None:
    request = open_request(
        platform,
        names=["Somebody Else"],
        references=references(platform, person(40)),
        contact="c",
        consent=None,
        actor="tester",
        received_at=platform.now() - timedelta(hours=60),
    )
    page = officer.get(f"/requests/{request.request_id}").text
    assert "late by 12 h" in page
    assert f"likeness request preview {request.request_id}" in page


def test_what_was_searched_counts_what_is_compared(platform: Workspace) -> None:
    subject_id = only_subject(platform)
    later = enrol(platform, person(60), name="Nobody Compared")
    with platform.database.read() as connection:
        known, fresh = (searched_for(connection, platform, one) for one in (subject_id, later))
        nobody = searched_for(connection, platform, "sub_none")
    assert known.complete
    assert known.items == known.compared == 6
    assert (fresh.items, fresh.compared, fresh.complete) == (6, 0, False)
    assert not nobody.in_force


def test_each_reference_says_what_it_brings(platform: Workspace) -> None:
    subject_id = only_subject(platform)
    say(platform, "single.png")
    say(platform, "mature.png", "reject", reason="other_person")
    with platform.database.read() as connection:
        (one,) = references_bring(connection, platform, subject_id)
    assert (one.brought.hits, one.brought.confirmed, one.brought.rejected) == (3, 1, 1)
    assert one.in_force


def test_each_name_says_what_it_brings(platform: Workspace) -> None:
    subject_id = only_subject(platform)
    opened = names_bring(platform, subject_id, actor="account:otto")
    assert [(one.name, one.brought.hits, one.brought.rejected) for one in opened.names] == [(NAME, 1, 0)]
    say(platform, "named.png", "reject", reason="other_person")
    opened = names_bring(platform, subject_id, actor="account:otto")
    assert [(one.brought.hits, one.brought.rejected) for one in opened.names] == [(0, 1)]
    assert opened.left == 0


def test_words_count_for_the_name_that_explains_most_of_them(workspace: Workspace) -> None:
    identity = Identity(("Jane Doe Smith", "Jane Doe", "Jade"), consent="c", contact=None)
    terms = ["Jane Doe Smith", "doe jane", "janedoesmith", "JADE", "nobody"]
    assert explained_by(identity, terms, settings=workspace.config.names) == [0, 1, 0, 2, None]


def test_an_uploader_and_a_model_show_what_is_theirs(platform: Workspace, officer: Visitor) -> None:
    model, uploader = officer.get("/models?id=m-1").text, officer.get("/uploaders?id=u-4").text
    assert {"m-a.png", "m-b.png"} <= set(re.findall(r"m-\w\.png", model))
    assert "single.png" not in model
    assert "single.png" in uploader
    assert "m-a.png" not in uploader
    assert 'href="/uploaders?id=u-2"' in model
    with platform.database.read() as connection:
        assert count_findings(connection, About(model="m-1")).hits == 2
        assert [one.item_id for one in list_findings(connection, About(uploader="u-4"), limit=9)] == ["single.png"]


def test_an_opt_out_goes_on_by_an_officer(platform: Workspace, officer: Visitor) -> None:
    subject_id = only_subject(platform)
    until = (platform.now() + timedelta(days=90)).date()
    page = officer.get(f"/people/{subject_id}").text
    assert f'action="/people/{subject_id}/renew"' in page
    assert "/renew" not in visitor(platform, "ann", ["reviewer"]).get(f"/people/{subject_id}").text
    assert officer.post(f"/people/{subject_id}/renew", {"until": "soon"}).status_code == 400
    assert officer.post(f"/people/{subject_id}/renew", {"until": "2020-01-01"}).status_code == 400
    assert officer.post(f"/people/{subject_id}/renew", {"until": until.isoformat()}).status_code == 303
    assert f"until {until + timedelta(days=1)} 00:00" in officer.get(f"/people/{subject_id}").text
    assert looks(platform, "subject.renew") == ["account:otto"]


def test_of_somebody_who_was_erased_the_outline_is_left(platform: Workspace, officer: Visitor) -> None:
    from pipelines.cases.ending import erase

    subject_id = only_subject(platform)
    erase(platform, subject_id, actor="tester")
    page = officer.get(f"/people/{subject_id}").text
    assert "erased" in page
    assert "/renew" not in page
    assert officer.post(f"/people/{subject_id}/names").status_code == 409
