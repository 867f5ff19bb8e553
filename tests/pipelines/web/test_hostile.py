"""Whatever an uploader writes stays text on the pages, shows what it is, and is no longer than a page bears (I9)."""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import sqlalchemy as sa

from pipelines.accounts.preferences import KEYS
from pipelines.database.tables import items
from pipelines.home.workspace import Workspace
from pipelines.reviewing.queue import waiting_cases
from pipelines.runs.sweep import sweep
from tests.fakes import person, picture
from tests.pipelines.web.visiting import Visitor, visitor
from tests.platform_actions import NAME, enrol, source_of, upload

pytestmark = pytest.mark.any_database

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</title></style><svg onload=alert(1)>",
    "{{ 7 * 7 }}{% raw %}",
    "javascript:alert(1)",
    "fdp.\u202egpj",
    "zero\u200bwidth\u2066",
    "x" * 5000,
    "&lt;b&gt;&amp;",
]


class Tags(HTMLParser):
    """The elements and attributes of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_what_an_uploader_writes_is_text_wherever_it_is_shown(workspace: Workspace, uploads: Path, text: str) -> None:
    enrol(workspace, person(1))
    words = {"uploader": text, "title": f"{text} {NAME} {text}", "tags": [f"{NAME} {text}"]}
    upload(uploads, "a.png", picture(person(9)), parent_model=text, **words, prompt=f"{text} {NAME} {text}")
    upload(uploads, "b.png", picture(person(1), person(150)), parent_model=f"2{text}", uploader=text, prompt=text)
    sweep(workspace, source_of(uploads), day=None)
    lead = visitor(workspace, "lea", ["lead"])
    with workspace.database.read() as connection:
        cases = waiting_cases(connection, workspace)
    assert len(cases) == 2
    pages = [lead.get("/audit"), lead.get("/people"), lead.get("/requests"), lead.get("/messages"), lead.get("/")]
    subject_id = cases[0].key.subject_id
    pages.append(lead.get(f"/people/{subject_id}"))
    with workspace.database.read() as connection:
        known = connection.execute(sa.select(items.c.item_id, items.c.parent_model, items.c.uploader)).all()
    for item_id, model, uploader in known:
        wanted = (("models", item_id), ("models", model), ("uploaders", uploader))
        pages += [lead.client.get(f"/{kind}", params={"id": one}) for kind, one in wanted if one]
    for case in cases:
        address = f"/cases/{case.key.case_id}"
        pages.append(lead.get("/cases"))
        assert lead.post(f"{address}/claim").status_code == 303
        pages += [lead.get(address), lead.get(f"{address}?shown=clear")]
        pages.append(lead.get(str(lead.post(f"{address}/answer", {"word": "confirm"}).headers["location"])))
    for page in pages:
        assert page.status_code == 200
        tags = Tags(page.text)
        assert tags.names.count("script") == 1
        assert not [name for name, _ in tags.attributes if name.startswith("on") or name == "style"]
        links = [value for name, value in tags.attributes if name in ("href", "src", "action", "formaction")]
        assert all(value.startswith(("/", "#")) for value in links)
        assert "49{% raw %}" not in page.text
        assert not re.search("[\u202a-\u202e\u2066-\u2069\u200b]", page.text)
        assert len(page.text) < 200_000
    if len(text) < 1000 and text.isprintable():
        assert html.escape(text) in lead.get("/cases").text.replace("&#34;", "&quot;").replace("&#39;", "&#x27;")


def test_what_is_asked_for_in_an_address_is_text_too(workspace: Workspace) -> None:
    lead = visitor(workspace, "lea", ["lead"])
    for text in HOSTILE:
        page = lead.client.get("/audit", params={"actor": text, "action": text, "subject": text})
        assert page.status_code == 200
        assert Tags(page.text).names.count("script") == 1
        assert lead.client.get("/audit", params={"since": text}).status_code == 400
        page = lead.client.get("/messages", params=dict.fromkeys(("state", "held_by", "subject_id", "item_id"), text))
        assert page.status_code == 200
        assert Tags(page.text).names.count("script") == 1
        for address in ("/people", "/requests"):
            assert lead.client.get(address, params={"state": text}).status_code == 200
        assert lead.client.get("/", params={"done": text}).status_code == 200
        for address in ("/models", "/uploaders"):
            assert lead.client.get(address, params={"id": text}).status_code == 404
        for address in ("/people", "/requests"):
            assert lead.client.get(f"{address}/{text[:200]}".replace("%", "")).status_code == 404
        assert lead.client.get(f"/cases/{text[:200]}".replace("%", "")).status_code == 404


def test_a_name_that_is_typed_at_the_login_is_text(workspace: Workspace) -> None:
    for text in HOSTILE:
        page = Visitor(workspace).post("/login", {"name": text, "password": text, "code": text, "next": text})
        assert page.status_code == 403
        assert Tags(page.text).names.count("script") == 1


def test_keys_that_people_choose_are_text_and_each_has_one_meaning(workspace: Workspace) -> None:
    ann = visitor(workspace, "ann", ["reviewer"])
    chosen = {f"key-{name}": key for name, (key, _) in KEYS.items()} | {"keys_on": "1"}
    assert ann.post("/you", chosen | {"key-confirm": '"'}).status_code == 303
    page = ann.get("/you").text
    assert 'data-keys="{&#34;' in page
    assert Tags(page).names.count("script") == 1
    assert ann.post("/you", chosen | {"key-confirm": "n"}).status_code == 400
    assert ann.post("/you", chosen | {"key-confirm": "\u202e"}).status_code == 400
    assert ann.post("/you", chosen | {"key-confirm": "ab"}).status_code == 400
