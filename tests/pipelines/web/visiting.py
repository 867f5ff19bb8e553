"""People who come to the pages in the tests: invited, logged in, with a client of their own."""

from __future__ import annotations

import base64
import re
from collections.abc import Collection
from datetime import timedelta

import pyotp
from starlette.testclient import TestClient

from pipelines.accounts.accounts import accept_invitation, add_account, invited_by
from pipelines.accounts.sessions import log_in
from pipelines.home.workspace import Workspace
from pipelines.web.access import SESSION_COOKIE
from pipelines.web.app import create_app

PASSWORD = "correct horse battery"
ORIGIN = "http://localhost"


def code_at(secret: bytes, workspace: Workspace, *, later: float = 0.0) -> str:
    """The six digits of the workspace's moment, or of one a little later."""
    moment = workspace.now() + timedelta(seconds=later)
    return pyotp.TOTP(base64.b32encode(secret).decode()).at(int(moment.timestamp()))


def invite(workspace: Workspace, name: str, *roles: str) -> bytes:
    """An account that its person has begun to use; the secret of their second factor."""
    invitation = add_account(workspace, name, roles, actor="tester")
    with workspace.database.read() as connection:
        secret = invited_by(connection, workspace, invitation.code).secret
    accept_invitation(workspace, invitation.code, password=PASSWORD, totp=code_at(secret, workspace, later=-30))
    return secret


def session(workspace: Workspace, name: str, *roles: str) -> str:
    """The token of somebody who has logged in."""
    secret = invite(workspace, name, *roles)
    return log_in(workspace, name, password=PASSWORD, totp=code_at(secret, workspace))


class Visitor:
    """A browser without scripts: follows links, sends the forms that pages have."""

    def __init__(self, workspace: Workspace, token: str | None = None) -> None:
        self.client = TestClient(create_app(lambda: workspace), base_url=ORIGIN, follow_redirects=False)
        if token is not None:
            self.client.cookies.set(SESSION_COOKIE, token, domain="localhost.local", path="/")

    def get(self, address: str, **headers: str):  # type: ignore[no-untyped-def]
        return self.client.get(address, headers=headers)

    def secret(self) -> str:
        """What forms bring back, from a page that everybody has."""
        page = self.get("/you")
        page = self.get("/login") if page.status_code != 200 else page
        found = re.search(r'name="csrf" value="(\w+)"', page.text)
        assert found
        return found[1]

    def post(self, address: str, fields: dict[str, str | list[str]] | None = None, **headers: str):  # type: ignore[no-untyped-def]
        data = {"csrf": self.secret(), **(fields or {})}
        return self.client.post(address, data=data, headers={"origin": ORIGIN, **headers})


def visitor(workspace: Workspace, name: str, roles: Collection[str]) -> Visitor:
    """Somebody with these roles who has logged in."""
    return Visitor(workspace, session(workspace, name, *roles))
