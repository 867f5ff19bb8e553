"""Accounts: invited by an operator, known to nobody else, throttled, and compared as people."""

from __future__ import annotations

import json
from collections import Counter

import pytest
import sqlalchemy as sa
from argon2 import PasswordHasher

from embeddings.errors import DeniedError, InputError, StateError
from pipelines.accounts import factors
from pipelines.accounts import sessions as sessions_module
from pipelines.accounts.accounts import (
    accept_invitation,
    add_account,
    disable_account,
    invited_by,
    list_accounts,
    reset_account,
)
from pipelines.accounts.factors import hash_password, is_password, new_secret, step_of_code
from pipelines.accounts.preferences import KEYS, Preferences, read_preferences, write_preferences
from pipelines.accounts.sessions import log_in, session_of
from pipelines.database import tables
from pipelines.database.tables import accounts, sessions
from pipelines.home import audit
from pipelines.home.actors import are_two_people, on_pages
from pipelines.home.workspace import Workspace
from tests.conftest import Clock
from tests.pipelines.web.visiting import PASSWORD, code_at, invite


@pytest.fixture(autouse=True)
def cheap_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    monkeypatch.setattr(factors, "_hasher", lambda: hasher)
    factors._nobody.cache_clear()


def test_an_invitation_is_used_once_by_whoever_has_both_factors(workspace: Workspace) -> None:
    invitation = add_account(workspace, "ann", ["reviewer", "lead"], actor="tester")
    with workspace.database.read() as connection:
        secret = invited_by(connection, workspace, invitation.code).secret
    right = code_at(secret, workspace)
    with pytest.raises(DeniedError, match="six digits"):
        accept_invitation(workspace, invitation.code, password=PASSWORD, totp="000000")
    with pytest.raises(InputError, match="12 to 256"):
        accept_invitation(workspace, invitation.code, password="short", totp=right)
    assert accept_invitation(workspace, invitation.code, password=PASSWORD, totp=right) == "ann"
    with pytest.raises(DeniedError, match="not valid"):
        accept_invitation(workspace, invitation.code, password=PASSWORD, totp=right)
    with pytest.raises(DeniedError):
        log_in(workspace, "ann", password=PASSWORD, totp=right)  # the code has been taken
    with workspace.database.read() as connection:
        (account,) = list_accounts(connection)
    assert (account.state, account.roles) == ("active", ("lead", "reviewer"))


def test_an_invitation_ends(workspace: Workspace, clock: Clock) -> None:
    invitation = add_account(workspace, "ann", ["reviewer"], actor="tester")
    clock.forward(hours=48)
    with pytest.raises(DeniedError), workspace.database.read() as connection:
        invited_by(connection, workspace, invitation.code)


def test_nothing_by_which_somebody_comes_in_is_stored_in_clear(workspace: Workspace) -> None:
    invitation = add_account(workspace, "bob", ["reviewer"], actor="tester")
    secret = invite(workspace, "ann", "reviewer")
    token = log_in(workspace, "ann", password=PASSWORD, totp=code_at(secret, workspace))
    with workspace.database.read() as connection:
        stored = [tuple(row) for table in (accounts, sessions) for row in connection.execute(sa.select(table))]
        told = connection.execute(sa.select(tables.audit.c.facts)).scalars().all()
        audit.verify(connection, workspace.sealer)
    text = repr(stored) + json.dumps(list(told))
    for private in (PASSWORD, token, invitation.code, repr(secret)[2:-1]):
        assert private not in text
    assert "$argon2id$" in text


def test_refused_logins_cost_a_wait_that_grows_and_ends(workspace: Workspace, clock: Clock) -> None:
    secret = invite(workspace, "ann", "reviewer")
    for _ in range(5):
        with pytest.raises(DeniedError):
            log_in(workspace, "ann", password="wrong horse battery", totp=code_at(secret, workspace))
        clock.forward(seconds=10)
    with pytest.raises(DeniedError):
        log_in(workspace, "ann", password="wrong horse battery", totp=code_at(secret, workspace))
    with pytest.raises(DeniedError):  # right, and too soon
        log_in(workspace, "ann", password=PASSWORD, totp=code_at(secret, workspace))
    with workspace.database.read() as connection:
        wait = connection.execute(sa.select(accounts.c.wait_until)).scalar_one()
    assert (wait - workspace.now()).total_seconds() == 8
    clock.forward(minutes=5)
    assert log_in(workspace, "ann", password=PASSWORD, totp=code_at(secret, workspace))


def test_a_refusal_does_as_much_whether_there_is_an_account_or_it_waits_or_not(workspace: Workspace) -> None:
    secret = invite(workspace, "ann", "reviewer")
    sent: list[str] = []

    def listen(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        sent.append(statement.split(" ")[0])

    def refused(name: str) -> Counter[str]:
        sent.clear()
        with pytest.raises(DeniedError):
            log_in(workspace, name, password="wrong horse battery", totp=code_at(secret, workspace))
        return Counter(word for word in sent if word in ("INSERT", "UPDATE"))

    refused("nobody")  # the first of all makes a row
    sa.event.listen(workspace.database.engine, "before_cursor_execute", listen)
    known, unknown = refused("ann"), refused("nobody")
    for _ in range(4):
        refused("ann")
    waiting = refused("ann")
    sa.event.remove(workspace.database.engine, "before_cursor_execute", listen)
    assert known["INSERT"] == unknown["INSERT"] == waiting["INSERT"] == 1
    assert unknown["UPDATE"] == waiting["UPDATE"] == known["UPDATE"] + 1, "the number of such refusals"
    with workspace.database.read() as connection:
        refusals = sa.select(tables.audit.c.actor).where(tables.audit.c.action == "session.refused")
        actors = set(connection.execute(refusals).scalars())
    assert actors == {"account:ann"}, "no name that is none is kept: it may be a password"


def test_a_wait_that_begins_meanwhile_refuses_what_came_beside_it(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret, hashed = invite(workspace, "ann", "reviewer"), sessions_module.is_password

    def others_first(stored: str | None, password: str) -> bool:
        monkeypatch.setattr(sessions_module, "is_password", hashed)
        for _ in range(4):
            with pytest.raises(DeniedError):
                log_in(workspace, "ann", password="wrong horse battery", totp="000000")
        return hashed(stored, password)

    monkeypatch.setattr(sessions_module, "is_password", others_first)
    with pytest.raises(DeniedError):
        log_in(workspace, "ann", password=PASSWORD, totp=code_at(secret, workspace))


def test_strangers_cannot_have_more_passwords_hashed_than_the_machine_bears() -> None:
    taken = 0
    while factors._QUEUE.acquire(blocking=False):
        taken += 1
    try:
        with pytest.raises(DeniedError, match="at once"):
            is_password(None, PASSWORD)
    finally:
        for _ in range(taken):
            factors._QUEUE.release()
    assert taken == 8
    assert not is_password(None, PASSWORD)


def test_a_reset_and_a_disabled_account_end_what_there_was(workspace: Workspace) -> None:
    secret = invite(workspace, "ann", "reviewer")
    token = log_in(workspace, "ann", password=PASSWORD, totp=code_at(secret, workspace))
    assert session_of(workspace, token)
    reset_account(workspace, "ann", actor="tester", roles=["auditor"])
    assert session_of(workspace, token) is None
    disable_account(workspace, "ann", actor="tester")
    with workspace.database.read() as connection:
        (account,) = list_accounts(connection)
    assert (account.state, account.roles, account.sessions) == ("disabled", ("auditor",), 0)
    with pytest.raises(StateError, match="no account"):
        disable_account(workspace, "bob", actor="tester")
    with pytest.raises(StateError, match="there is an account"):
        add_account(workspace, "ann", ["lead"], actor="tester")


@pytest.mark.parametrize("name", ["", "Ann", "a b", "-ann", "ann\n", "\u0430nn", "a" * 129, "account:ann"])
def test_a_name_that_could_pass_for_another_is_refused(workspace: Workspace, name: str) -> None:
    with pytest.raises(InputError):
        add_account(workspace, name, ["reviewer"], actor="tester")


def test_a_role_that_there_is_not_is_refused(workspace: Workspace) -> None:
    for roles in ([], ["owner"], ["reviewer", "owner"]):
        with pytest.raises(InputError, match="a role is one of"):
            add_account(workspace, "ann", roles, actor="tester")


def test_two_accounts_are_two_people_and_an_account_and_a_user_of_the_machine_may_be_one() -> None:
    assert are_two_people(on_pages("ann"), on_pages("bob"))
    assert not are_two_people(on_pages("ann"), on_pages("ann"))
    assert not are_two_people(on_pages("ann"), "uid:1000:bob")
    assert not are_two_people(on_pages("ann"), "bob")


def test_a_code_is_of_its_half_minute_and_its_neighbours_and_taken_once(workspace: Workspace) -> None:
    secret, now = new_secret(), workspace.now()
    for later, right in ((-60, False), (-30, True), (0, True), (30, True), (60, False)):
        code = code_at(secret, workspace, later=later)
        assert (step_of_code(secret, code, now=now, after=None) is not None) is right, later
    step = step_of_code(secret, code_at(secret, workspace), now=now, after=None)
    assert step_of_code(secret, code_at(secret, workspace), now=now, after=step) is None
    for odd in ("", "12345", "\u0661\u0662\u0663\u0664\u0665\u0666", "1" * 10_000, "\udcff"):
        assert step_of_code(secret, odd, now=now, after=None) is None


def test_a_password_is_compared_by_its_hash(workspace: Workspace) -> None:
    stored = hash_password(PASSWORD)
    assert is_password(stored, PASSWORD)
    assert not is_password(stored, PASSWORD + "x")
    assert not is_password(None, PASSWORD)
    assert not is_password("no hash", PASSWORD)


def test_what_nobody_chose_is_the_organisations(workspace: Workspace) -> None:
    with workspace.database.read() as connection:
        default = read_preferences(connection, "account:ann", workspace.config.review)
    assert (default.blur, default.grey, default.keys_on) == (True, True, True)
    assert default.keys == {name: key for name, (key, _) in KEYS.items()}
    chosen = Preferences(blur=False, grey=True, keys={**default.keys, "confirm": "v"})
    for _ in range(2):
        write_preferences(workspace, "account:ann", chosen)
    with workspace.database.read() as connection:
        assert read_preferences(connection, "account:ann", workspace.config.review) == chosen
        assert read_preferences(connection, "account:bob", workspace.config.review) == default
