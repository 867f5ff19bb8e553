"""Local accounts: an operator invites, the person sets a password and a second factor, an operator resets or disables.

Nobody but the person ever knows the password. An invitation is a random code, shown once and stored as its digest;
it opens one page, on which the secret of the second factor is shown, and ends when it was used or its time is over.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from embeddings.errors import DeniedError, InputError, StateError
from pipelines.accounts.factors import digest_of_code, hash_password, new_code, new_secret, step_of_code
from pipelines.accounts.roles import Role, read_roles
from pipelines.database.tables import accounts, sessions
from pipelines.home import audit
from pipelines.home.workspace import Workspace

INVITED: Final = "invited"
ENABLED: Final = "active"
DISABLED: Final = "disabled"
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,127}")


@dataclass(frozen=True, slots=True)
class UserAccount:
    """A local account without anything secret. ``state``: invited, active or disabled."""

    name: str
    roles: tuple[Role, ...]
    state: str
    sessions: int
    created_at: datetime
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class Invitation:
    """What an operator hands on. ``code``: shown once, stored nowhere."""

    name: str
    code: str = field(repr=False)
    ends_at: datetime


@dataclass(frozen=True, slots=True)
class Invited:
    """Whom a code invites, and the secret of their second factor."""

    name: str
    secret: bytes = field(repr=False)


def require_name(name: str) -> str:
    """``name`` if it can be an account's. Raises :class:`InputError`."""
    if not _NAME.fullmatch(name):
        raise InputError("an account's name has 1 to 128 of a-z, 0-9, . _ @ + -, and begins with a letter or a digit")
    return name


def list_accounts(connection: Connection) -> list[UserAccount]:
    """All accounts by name."""
    own = sa.select(sa.func.count()).where(sessions.c.account == accounts.c.name).scalar_subquery()
    rows = connection.execute(sa.select(accounts, own.label("sessions")).order_by(accounts.c.name))
    return [_account(row) for row in rows]


def add_account(workspace: Workspace, name: str, roles: Collection[str], *, actor: str) -> Invitation:
    """Invite somebody. Raises :class:`StateError` if there is an account of this name."""
    words, now = read_roles(roles), workspace.now()
    with workspace.database.write() as tx:
        if _row(tx, require_name(name)) is not None:
            raise StateError("there is an account of this name: see `likeness account reset`")
        values = {"name": name, "roles": _written(words), "failures": 0, "created_at": now}
        invitation, invited = _invite(workspace, name)
        tx.execute(sa.insert(accounts).values(**values, **invited))
        _record(tx, workspace, actor, "account.add", name, roles=_written(words))
    return invitation


def reset_account(workspace: Workspace, name: str, *, actor: str, roles: Collection[str] = ()) -> Invitation:
    """Invite somebody anew: password and second factor are void, sessions end. ``roles``: other ones, if any."""
    with workspace.database.write() as tx:
        row = _known(tx, name)
        words = _written(read_roles(roles)) if roles else row.roles
        invitation, invited = _invite(workspace, name)
        fresh = {"password_hash": None, "totp_step": None, "failures": 0, "wait_until": None, "roles": words}
        tx.execute(sa.update(accounts).where(accounts.c.name == name).values(**fresh, **invited))
        tx.execute(sa.delete(sessions).where(sessions.c.account == name))
        _record(tx, workspace, actor, "account.reset", name, roles=words)
    return invitation


def disable_account(workspace: Workspace, name: str, *, actor: str) -> UserAccount:
    """Let somebody in no more, and end their sessions."""
    with workspace.database.write() as tx:
        _known(tx, name)
        void = {"password_hash": None, "sealed_totp": None, "invitation": None, "invitation_ends": None}
        changed = sa.update(accounts).where(accounts.c.name == name)
        tx.execute(changed.values(state=DISABLED, changed_at=workspace.now(), **void))
        tx.execute(sa.delete(sessions).where(sessions.c.account == name))
        _record(tx, workspace, actor, "account.disable", name)
        row = _known(tx, name)
    return _account(row, sessions=0)


def invited_by(connection: Connection, workspace: Workspace, code: str) -> Invited:
    """Whom this code invites. Raises :class:`DeniedError` for one that is wrong, used or over."""
    row = connection.execute(sa.select(accounts).where(accounts.c.invitation == digest_of_code(code))).first()
    if row is None or row.state != INVITED or row.invitation_ends <= workspace.now():
        raise DeniedError("this invitation is not valid (any more): ask for another one")
    return Invited(row.name, workspace.sealer.unseal_factor(row.sealed_totp, row.name))


def accept_invitation(workspace: Workspace, code: str, *, password: str, totp: str) -> str:
    """Set the password, having shown that the second factor works; the account's name. The invitation is used up.

    Raises :class:`DeniedError` for a wrong invitation or code, :class:`InputError` for an unfit password.
    """
    with workspace.database.read() as connection:
        invited = invited_by(connection, workspace, code)
    step = step_of_code(invited.secret, totp, now=workspace.now(), after=None)
    if step is None:
        raise DeniedError("the six digits are not those of this moment: look again, and mind the telephone's clock")
    hashed = hash_password(password)
    with workspace.database.write() as tx:
        name = invited_by(tx, workspace, code).name
        values = {"state": ENABLED, "password_hash": hashed, "totp_step": step, "changed_at": workspace.now()}
        void = {"invitation": None, "invitation_ends": None}
        tx.execute(sa.update(accounts).where(accounts.c.name == name).values(**values, **void))
        _record(tx, workspace, f"account:{name}", "account.accept", name)
    return name


def _invite(workspace: Workspace, name: str) -> tuple[Invitation, dict[str, Any]]:
    code, now = new_code(), workspace.now()
    ends = now + timedelta(hours=workspace.config.review.invitation_hours)
    values = {
        "state": INVITED,
        "sealed_totp": workspace.sealer.seal_factor(new_secret(), name),
        "invitation": digest_of_code(code),
        "invitation_ends": ends,
        "changed_at": now,
    }
    return Invitation(name, code, ends), values


def _row(connection: Connection, name: str) -> Any:
    return connection.execute(sa.select(accounts).where(accounts.c.name == name)).first()


def _known(connection: Connection, name: str) -> Any:
    row = _row(connection, name)
    if row is None:
        raise StateError("there is no account of this name")
    return row


def _account(row: Any, **more: int) -> UserAccount:
    values = {**row._mapping, **more}
    chosen = {name: values[name] for name in UserAccount.__dataclass_fields__}
    return UserAccount(**chosen | {"roles": tuple(row.roles.split())})


def _written(roles: Collection[str]) -> str:
    return " ".join(sorted(roles))


def _record(tx: Connection, workspace: Workspace, actor: str, action: str, name: str, **facts: str) -> None:
    audit.append(tx, workspace.sealer, actor=actor, action=action, now=workspace.now(), account=name, **facts)
