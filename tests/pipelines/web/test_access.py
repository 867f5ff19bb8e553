"""Who may ask for what: a table of all routes and roles, forgery, hosts, headers, and sessions that end."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from starlette.routing import Route as StarletteRoute
from starlette.testclient import TestClient

from embeddings.errors import ConfigError
from pipelines.accounts.accounts import disable_account
from pipelines.accounts.roles import ROLES
from pipelines.home.workspace import Workspace
from pipelines.settings.config_review import ReviewConfig
from pipelines.web.access import PAGE_COOKIE, SESSION_COOKIE
from pipelines.web.app import create_app
from pipelines.web.pages import ALL_ROUTES
from tests.conftest import Clock
from tests.pipelines.web.visiting import ORIGIN, PASSWORD, Visitor, code_at, invite, visitor

pytestmark = pytest.mark.any_database

ALL = {"viewer", "reviewer", "lead", "registry_officer", "auditor"}
JUDGES = {"reviewer", "lead"}
OFFICERS = {"registry_officer", "lead"}
EXPLORERS = {"viewer", "reviewer", "lead", "auditor"}
NOBODY = {None}
MAY = {
    ("GET", "/"): ALL,
    ("GET", "/login"): ALL | NOBODY,
    ("POST", "/login"): ALL | NOBODY,
    ("POST", "/logout"): ALL,
    ("GET", "/invitation"): ALL | NOBODY,
    ("POST", "/invitation"): ALL | NOBODY,
    ("GET", "/static/{digest}/{name}"): ALL | NOBODY,
    ("GET", "/cases"): {"viewer", "reviewer", "lead"},
    ("POST", "/cases/next"): JUDGES,
    ("POST", "/cases/{case_id}/claim"): JUDGES,
    ("GET", "/cases/{case_id}"): JUDGES,
    ("POST", "/cases/{case_id}/shown"): JUDGES,
    ("GET", "/cases/{case_id}/hits/{hit_id}/face"): JUDGES,
    ("GET", "/cases/{case_id}/hits/{hit_id}/whole"): JUDGES,
    ("GET", "/cases/{case_id}/hits/{hit_id}/sentence"): JUDGES,
    ("GET", "/cases/{case_id}/references/{reference_id}"): JUDGES,
    ("GET", "/cases/{case_id}/others/{handle}"): JUDGES,
    ("POST", "/cases/{case_id}/answer"): JUDGES,
    ("POST", "/cases/{case_id}/decide"): JUDGES,
    ("POST", "/cases/{case_id}/skip"): JUDGES,
    ("POST", "/cases/{case_id}/comment"): JUDGES,
    ("POST", "/cases/{case_id}/escalate"): JUDGES,
    ("POST", "/cases/{case_id}/assign"): {"lead"},
    ("POST", "/cases/{case_id}/hand-back"): {"lead"},
    ("POST", "/decisions/{batch_id}/undo"): JUDGES,
    ("GET", "/sheets"): JUDGES,
    ("GET", "/sheet"): JUDGES,
    ("POST", "/sheet/decide"): JUDGES,
    ("GET", "/sheet/hits/{hit_id}/face"): JUDGES,
    ("GET", "/fairness"): {"lead"},
    ("POST", "/days/{day}/approve"): {"lead"},
    ("GET", "/messages"): ALL,
    ("POST", "/messages/release"): {"lead"},
    ("POST", "/messages/discard"): {"lead"},
    ("POST", "/messages/revive"): {"lead"},
    ("GET", "/requests"): ALL,
    ("GET", "/requests/{request_id}"): ALL,
    ("POST", "/requests/{request_id}/contact"): OFFICERS,
    ("GET", "/people"): ALL,
    ("GET", "/people/{subject_id}"): ALL,
    ("POST", "/people/{subject_id}/names"): OFFICERS,
    ("GET", "/people/{subject_id}/references/{reference_id}"): OFFICERS,
    ("POST", "/people/{subject_id}/renew"): OFFICERS,
    ("POST", "/people/{subject_id}/wrong"): OFFICERS,
    ("POST", "/people/{subject_id}/wrong/remove"): OFFICERS,
    ("GET", "/uploaders"): ALL,
    ("GET", "/models"): ALL,
    ("GET", "/you"): ALL,
    ("POST", "/you"): ALL,
    ("POST", "/you/sessions/{session_id}/end"): ALL,
    ("GET", "/audit"): {"auditor", "lead"},
    ("POST", "/audit/verify"): {"auditor", "lead"},
    ("GET", "/explore"): ALL,
    ("GET", "/explore/{what}"): EXPLORERS,
    ("POST", "/explore/{what}/export"): {"lead", "auditor"},
    ("POST", "/explore/saved"): EXPLORERS,
    ("GET", "/explore/thresholds"): {"lead", "auditor"},
    ("GET", "/explore/picture"): {"lead", "registry_officer"},
    ("POST", "/explore/picture"): {"lead", "registry_officer"},
    ("GET", "/explore/text"): JUDGES,
    ("POST", "/explore/text"): JUDGES,
}
"""Every route, and who may ask for it. One that is added has to be entered here by somebody who has thought of it."""


def test_every_route_of_the_application_is_in_the_table_and_declared_once(workspace: Workspace) -> None:
    declared = [(route.method, route.path) for route in ALL_ROUTES]
    assert len(declared) == len(set(declared))
    served = set()
    for route in create_app(lambda: workspace).routes:
        assert isinstance(route, StarletteRoute), "nothing is mounted beside the declared routes"
        served |= {(method, route.path) for method in route.methods or () if method != "HEAD"}
    assert served == set(declared) == set(MAY)


@pytest.mark.parametrize("role", [None, *ROLES])
def test_a_role_gets_at_what_the_table_says_and_at_nothing_else(workspace: Workspace, role: str | None) -> None:
    somebody = visitor(workspace, "somebody", [role]) if role else Visitor(workspace)
    for (method, path), may in MAY.items():
        if path == "/logout":
            continue  # it would be the last
        address = re.sub(r"\{(\w+)\}", "none", path)
        answer = somebody.get(address) if method == "GET" else somebody.post(address)
        turned_away = answer.status_code in (401, 403) and "roles do not allow" in answer.text
        turned_away |= answer.status_code == 401 or answer.headers.get("location", "").startswith("/login?next=")
        assert turned_away is (role not in may), f"{role} {method} {path}: {answer.status_code}"


@pytest.mark.parametrize(("method", "path"), [key for key in MAY if key[0] == "POST"])
def test_nothing_is_done_by_a_form_that_is_not_ours(workspace: Workspace, method: str, path: str) -> None:
    lead = visitor(workspace, "lea", ["lead", "auditor"])
    address, secret = re.sub(r"\{(\w+)\}", "none", path), lead.secret()
    for headers, fields in (
        ({"origin": ORIGIN}, {"other": "1"}),
        ({"origin": ORIGIN}, {"csrf": "0" * 64}),
        ({"origin": "http://evil.example"}, {"csrf": secret}),
        ({"origin": "null"}, {"csrf": secret}),
        ({}, {"csrf": secret}),
    ):
        answer = lead.client.request(method, address, data=fields, headers=headers)
        assert answer.status_code == 403, (headers, fields)
    assert lead.get("/you").status_code == 200, "and nobody was logged out"


def test_the_secret_of_a_form_is_of_one_session(workspace: Workspace) -> None:
    ann, bob = (visitor(workspace, name, ["reviewer"]) for name in ("ann", "bob"))
    answer = bob.client.post("/you", data={"csrf": ann.secret()}, headers={"origin": ORIGIN})
    assert answer.status_code == 403


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "localhost.evil.example", "", "127.0.0.1.nip.io"])
def test_another_name_for_this_machine_is_refused(workspace: Workspace, host: str) -> None:
    assert Visitor(workspace).get("/login", host=host).status_code == 421


@pytest.mark.parametrize("host", ["localhost", "localhost:8400", "127.0.0.1:8400", "[::1]:8400", "[::1]"])
def test_its_own_names_are_not(workspace: Workspace, host: str) -> None:
    assert Visitor(workspace).get("/login", host=host).status_code == 200


@pytest.mark.parametrize("address", ["/login", "/nothing", "/cases", "/static/none/review.css"])
def test_every_answer_forbids_what_the_pages_do_not_need(workspace: Workspace, address: str) -> None:
    headers = Visitor(workspace).get(address).headers
    policy = headers["content-security-policy"].split("; ")
    assert policy[0] == "default-src 'none'"
    assert {"frame-ancestors 'none'", "base-uri 'none'"} <= set(policy)
    assert all(part.endswith(("'self'", "'none'")) for part in policy), "no inline, no eval, no other host"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"


def test_files_are_kept_by_browsers_and_pages_are_not(workspace: Workspace) -> None:
    visit = Visitor(workspace)
    style = re.search(r'href="(/static/[^"]+\.css)"', visit.get("/login").text)
    assert style
    assert "immutable" in visit.get(style[1]).headers["cache-control"]


def test_a_session_begins_with_both_factors_and_none_says_which_was_wrong(workspace: Workspace, clock: Clock) -> None:
    secret = invite(workspace, "ann", "reviewer")
    right = {"name": "ann", "password": PASSWORD, "code": code_at(secret, workspace)}
    refused = set()
    for wrong in ({"name": "nobody"}, {"password": "wrong horse battery"}, {"code": "000000"}):
        answer = Visitor(workspace).post("/login", right | wrong)
        assert answer.status_code == 403
        assert SESSION_COOKIE not in answer.cookies
        refused.add(re.search(r'role="alert">([^<]+)<', answer.text)[1])  # type: ignore[index]
    assert len(refused) == 1
    answer = Visitor(workspace).post("/login", right)
    assert answer.status_code == 303
    cookie = next(line for line in answer.headers.get_list("set-cookie") if line.startswith(SESSION_COOKIE))
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(cookie.split("; "))
    assert Visitor(workspace).post("/login", right).status_code == 403, "no code is taken twice"


def test_a_login_leads_to_pages_of_ours_alone(workspace: Workspace) -> None:
    secret = invite(workspace, "ann", "reviewer")
    for number, address in enumerate(
        ["https://evil.example", "//evil.example", "/\\evil.example", "javascript:alert(1)"]
    ):
        code = code_at(secret, workspace, later=30 * (number % 2))
        page = Visitor(workspace).post("/login", {"name": "ann", "password": PASSWORD, "code": code, "next": address})
        assert page.headers.get("location", "/") == "/"


@pytest.mark.parametrize("address", ["/" + "a" * 60 + "!", "/" + "a/" * 5000, "/" + "a" * 5000])
def test_no_address_takes_long_to_refuse(workspace: Workspace, address: str) -> None:
    page = Visitor(workspace).get(f"/login?next={address}")
    assert page.status_code == 200
    assert 'name="next" value="/"' in page.text


def test_cookies_under_https_are_of_this_host_alone(workspace: Workspace) -> None:
    workspace.config = replace(workspace.config, review=replace(workspace.config.review, https=True))
    answer = Visitor(workspace).get("/login")
    (cookie,) = answer.headers.get_list("set-cookie")
    assert cookie.startswith(f"__Host-{PAGE_COOKIE}=")
    assert {"Secure", "Path=/"} <= set(cookie.split("; "))
    assert "Domain" not in cookie


def test_a_browser_with_a_session_gets_no_second_secret(workspace: Workspace) -> None:
    ann = visitor(workspace, "ann", ["reviewer"])
    assert "set-cookie" not in ann.get("/you").headers
    assert ann.post("/you").status_code == 303


def test_i8_a_home_that_cannot_be_opened_is_not_described_to_strangers() -> None:
    def opener() -> Workspace:
        raise ConfigError("/srv/private/likeness.toml line 3")

    answer = TestClient(create_app(opener), base_url=ORIGIN).get("/login")
    assert answer.status_code == 503
    assert "private" not in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_sessions_end_when_idle_when_old_and_when_the_account_is_disabled(workspace: Workspace, clock: Clock) -> None:
    ann = visitor(workspace, "ann", ["reviewer"])
    for _ in range(3):
        clock.forward(minutes=29)
        assert ann.get("/you").status_code == 200
    clock.forward(minutes=31)
    assert ann.get("/you").status_code == 303
    old = visitor(workspace, "old", ["reviewer"])
    for _ in range(12 * 3 - 1):
        clock.forward(minutes=20)
        assert old.get("/you").status_code == 200
    clock.forward(minutes=20)
    assert old.get("/you").status_code == 303
    bob = visitor(workspace, "bob", ["reviewer"])
    disable_account(workspace, "bob", actor="tester")
    assert bob.get("/you").status_code == 303


def test_who_logs_out_is_out(workspace: Workspace) -> None:
    ann = visitor(workspace, "ann", ["reviewer"])
    token = ann.client.cookies[SESSION_COOKIE]
    assert ann.post("/logout").status_code == 303
    assert Visitor(workspace, token).get("/you").status_code == 303


def test_nobody_ends_the_session_of_another(workspace: Workspace) -> None:
    from pipelines.accounts.factors import digest_of_code

    ann, bob = (visitor(workspace, name, ["reviewer"]) for name in ("ann", "bob"))
    of_bob = digest_of_code(bob.client.cookies[SESSION_COOKIE])
    ann.post(f"/you/sessions/{of_bob}/end")
    assert bob.get("/you").status_code == 200
    bob.post(f"/you/sessions/{of_bob}/end")
    assert bob.get("/you").status_code == 303


def by_proxy(workspace: Workspace, *addresses: str) -> Visitor:
    settings = {"proxy_addresses": addresses, "account_header": "x-user", "roles_header": "x-roles"}
    workspace.config = replace(workspace.config, review=ReviewConfig(**settings))  # type: ignore[arg-type]
    return Visitor(workspace)


def test_a_proxy_is_believed_from_its_address_alone(workspace: Workspace) -> None:
    headers = {"x-user": "Ann", "x-roles": "reviewer, everyone"}
    assert by_proxy(workspace, "192.0.2.1").get("/cases", **headers).status_code == 403
    near = by_proxy(workspace, "testclient")
    assert near.get("/cases", **headers).status_code == 200
    assert near.get("/audit", **headers).status_code == 403
    assert near.get("/cases").status_code == 403, "nobody is named"
    assert near.get("/cases", **headers | {"x-user": "a b"}).status_code == 403
    assert near.get("/login").status_code != 200, "there is no login beside the proxy's"
    twice = near.client.get("/cases", headers=[("x-user", "ann"), ("x-user", "lea"), ("x-roles", "lead")])
    assert twice.status_code == 403


def test_a_proxys_name_is_nobody_elses_in_another_alphabet(workspace: Workspace) -> None:
    near = by_proxy(workspace, "testclient")
    for name in ("straße", "\u212aim"):
        sent = {"x-user": name.encode(), "x-roles": b"lead"}
        assert near.client.get("/cases", headers=sent).status_code == 403


def test_headers_of_a_proxy_mean_nothing_where_there_is_none(workspace: Workspace) -> None:
    assert Visitor(workspace).get("/cases", **{"x-user": "ann", "x-roles": "lead"}).status_code == 303


def test_a_form_that_is_too_large_is_refused(workspace: Workspace) -> None:
    ann = visitor(workspace, "ann", ["reviewer"])
    assert ann.post("/you", {"key-confirm": "y" * (1 << 17)}).status_code == 400
    odd = ann.client.post("/you", content=b"{}", headers={"origin": ORIGIN, "content-type": "application/json"})
    assert odd.status_code == 400
