"""``likeness review`` and ``likeness account``: the analysts' pages, and who may use them."""

from __future__ import annotations

import click

from pipelines.accounts.roles import ROLES
from pipelines.cli.console import actor, command_options, emit, opened, say
from pipelines.settings.environment import Environment

_ROLE = click.Choice(ROLES)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8400, show_default=True, help="0: a free one.")
@command_options
def review(environment: Environment, as_json: bool, host: str, port: int) -> None:
    """Serve the analysts' pages until interrupted: cases with pictures side by side, decided by keys."""
    from pipelines.web.serve import require_fit, serve

    with opened(environment) as workspace:
        require_fit(workspace, host)
    serve(environment, host=host, port=port, ready=lambda address: say(f"open {address}", err=as_json))


@click.group()
def account() -> None:
    """Who may use the pages, and in which roles."""


@account.command("add")
@click.argument("account_name", metavar="NAME")
@click.option("--role", "roles", type=_ROLE, multiple=True, required=True, help="What they may do; may be repeated.")
@command_options
def add_command(environment: Environment, as_json: bool, account_name: str, roles: tuple[str, ...]) -> None:
    """Invite somebody: prints a code, once, with which they set their password and second factor at /invitation."""
    from pipelines.accounts.accounts import add_account

    with opened(environment) as workspace:
        invitation = add_account(workspace, account_name, roles, actor=actor())
    emit(_printed(invitation), as_json=as_json)


@account.command("list")
@command_options
def list_command(environment: Environment, as_json: bool) -> None:
    """List accounts with their roles, state and number of sessions."""
    from pipelines.accounts.accounts import list_accounts

    with opened(environment) as workspace, workspace.database.read() as connection:
        emit(list_accounts(connection), as_json=as_json)


@account.command("reset")
@click.argument("account_name", metavar="NAME")
@click.option("--role", "roles", type=_ROLE, multiple=True, help="Instead of the roles they had; may be repeated.")
@command_options
def reset_command(environment: Environment, as_json: bool, account_name: str, roles: tuple[str, ...]) -> None:
    """Invite somebody anew: their password and second factor are void, and their sessions end."""
    from pipelines.accounts.accounts import reset_account

    with opened(environment) as workspace:
        invitation = reset_account(workspace, account_name, actor=actor(), roles=roles)
    emit(_printed(invitation), as_json=as_json)


@account.command("disable")
@click.argument("account_name", metavar="NAME")
@command_options
def disable_command(environment: Environment, as_json: bool, account_name: str) -> None:
    """Let somebody in no more, and end their sessions. `reset` invites them again."""
    from pipelines.accounts.accounts import disable_account

    with opened(environment) as workspace:
        emit(disable_account(workspace, account_name, actor=actor()), as_json=as_json)


def _printed(invitation: object) -> dict[str, object]:
    return {name: getattr(invitation, name) for name in ("name", "code", "ends_at")}
