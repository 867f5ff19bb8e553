"""Coming in and going out: logins with both factors, throttled, and sessions that end.

The browser holds a random token, the table its digest. A session ends after a time without requests, after a longer
time in any case, when its account changes, or when somebody ends it. Who comes in through a proxy has no session here.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from embeddings.errors import DeniedError
from pipelines.accounts.accounts import ENABLED
from pipelines.accounts.factors import digest_of_code, is_password, step_of_code
from pipelines.accounts.roles import Role, known_roles
from pipelines.database import get_state, set_state
from pipelines.database.tables import accounts, sessions
from pipelines.home import audit
from pipelines.home.actors import on_pages
from pipelines.home.workspace import Workspace

REFUSED: Final = "name, password or code is wrong, or the account may not come in"
_FREE_FAILURES: Final = 3
"""Refused logins in a row that cost no waiting: people mistype."""
_LONGEST_WAIT: Final = timedelta(minutes=5)
"""After further ones, doubling from a second. Who keeps guessing keeps an account waiting; the audit chain shows it."""
_UNSEEN: Final = "refused_logins"
_SEEN_EVERY: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Session:
    """Who is logged in. ``session_id``: the token's digest."""

    session_id: str
    account: str
    roles: frozenset[Role]
    created_at: datetime
    seen_at: datetime
    ends_at: datetime

    @property
    def actor(self) -> str:
        """As decisions and the audit chain have it."""
        return on_pages(self.account)


def log_in(workspace: Workspace, name: str, *, password: str, totp: str) -> str:
    """Begin a session; its token. Raises :class:`DeniedError`, the same for whatever was wrong.

    A login that comes while the account has to wait is refused unseen, and does not prolong the wait.
    """
    now = workspace.now()
    with workspace.database.read() as connection:
        row = _row(connection, name)
        waiting = row is not None and row.wait_until is not None and now < row.wait_until
        secret = (
            workspace.sealer.unseal_factor(row.sealed_totp, row.name) if row is not None and row.sealed_totp else None
        )
    right = is_password(row.password_hash if row is not None else None, password)
    if row is None or waiting:
        _refuse_unseen(workspace)
        raise DeniedError(REFUSED)
    step = step_of_code(secret, totp, now=now, after=row.totp_step) if secret else None
    token = secrets.token_urlsafe(32)
    with workspace.database.write() as tx:
        current = _row(tx, name)
        same = current is not None and current.changed_at == row.changed_at and current.totp_step == row.totp_step
        waits = current is not None and current.wait_until is not None and now < current.wait_until
        taken = right and step is not None and same and not waits and row.state == ENABLED
        if taken:
            _begin(tx, workspace, name, token=token, step=step)
        elif current is not None and not waits:  # a wait that began meanwhile refuses all that came beside it
            _refuse(tx, workspace, current)
    if not taken:
        raise DeniedError(REFUSED)
    return token


def _begin(tx: Connection, workspace: Workspace, name: str, *, token: str, step: int | None) -> None:
    now = workspace.now()
    ends = now + timedelta(hours=workspace.config.review.session_hours)
    own = sa.update(accounts).where(accounts.c.name == name)
    tx.execute(own.values(failures=0, wait_until=None, totp_step=step))
    tx.execute(sa.delete(sessions).where(sessions.c.ends_at <= now))
    made = {"session_id": digest_of_code(token), "account": name, "created_at": now, "seen_at": now, "ends_at": ends}
    tx.execute(sa.insert(sessions).values(**made))
    audit.append(tx, workspace.sealer, actor=on_pages(name), action="session.begin", now=now)


def _refuse(tx: Connection, workspace: Workspace, row: Any) -> None:
    now, failures = workspace.now(), row.failures + 1
    beyond = failures - _FREE_FAILURES
    wait = min(timedelta(seconds=2 ** min(beyond, 20)), _LONGEST_WAIT) if beyond > 0 else None
    own = sa.update(accounts).where(accounts.c.name == row.name)
    tx.execute(own.values(failures=failures, wait_until=now + wait if wait else None))
    audit.append(tx, workspace.sealer, actor=on_pages(row.name), action="session.refused", now=now, failures=failures)


def _refuse_unseen(workspace: Workspace) -> None:
    """Do what a refusal of an account does, so that the time of an answer does not tell whether there is one.

    Nothing is kept of it but the number of such refusals: the name may be a password in the wrong field.
    """
    now = workspace.now()
    with workspace.database.write() as tx:
        rehearsal = tx.begin_nested()
        tx.execute(sa.update(accounts).where(accounts.c.name == "").values(failures=1, wait_until=None))
        audit.append(tx, workspace.sealer, actor=on_pages("nobody"), action="session.refused", now=now, failures=1)
        rehearsal.rollback()
        set_state(tx, _UNSEEN, str(int(get_state(tx, _UNSEEN) or 0) + 1))


def session_of(workspace: Workspace, token: str) -> Session | None:
    """The session of a token, noting that it is in use; None: there is none (any more)."""
    session_id, now = digest_of_code(token), workspace.now()
    with workspace.database.read() as connection:
        joined = sessions.join(accounts, accounts.c.name == sessions.c.account)
        columns = (*sessions.c, accounts.c.roles, accounts.c.state)
        row = connection.execute(
            sa.select(*columns).select_from(joined).where(sessions.c.session_id == session_id)
        ).first()
    if row is None:
        return None
    idle = timedelta(minutes=workspace.config.review.idle_minutes)
    if row.state != ENABLED or now >= row.ends_at or now >= row.seen_at + idle:
        end_session(workspace, session_id, actor=on_pages(row.account))
        return None
    if now >= row.seen_at + _SEEN_EVERY:
        with workspace.database.write() as tx:
            tx.execute(sa.update(sessions).where(sessions.c.session_id == session_id).values(seen_at=now))
    roles = known_roles(row.roles.split())
    return Session(session_id, row.account, roles, row.created_at, row.seen_at, row.ends_at)


def list_sessions(connection: Connection, account: str) -> list[tuple[str, datetime, datetime]]:
    """The sessions of an account as (session id, begun, last seen), the newest first."""
    columns = (sessions.c.session_id, sessions.c.created_at, sessions.c.seen_at)
    query = sa.select(*columns).where(sessions.c.account == account).order_by(sessions.c.created_at.desc())
    return [tuple(row) for row in connection.execute(query)]


def end_session(workspace: Workspace, session_id: str, *, actor: str) -> None:
    """End one session of the actor's account, if it is still there."""
    with workspace.database.write() as tx:
        own = sa.select(sessions.c.account).where(sessions.c.session_id == session_id)
        account = tx.execute(own).scalar()
        if account is None or on_pages(account) != actor:
            return
        tx.execute(sa.delete(sessions).where(sessions.c.session_id == session_id))
        audit.append(tx, workspace.sealer, actor=actor, action="session.end", now=workspace.now())


def _row(connection: Connection, name: str) -> Any:
    return connection.execute(sa.select(accounts).where(accounts.c.name == name)).first()
