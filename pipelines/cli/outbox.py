"""``likeness outbox``: the messages to the takedown service, and what an operator does to those that are stuck."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import click

from pipelines.cli.console import COUNT, actor, command_options, emit, opened, say
from pipelines.cli.typed import Digest, typed_again
from pipelines.decisions.messages import (
    DISCARD_REASONS,
    Act,
    MessageQuery,
    act_on,
    act_on_chosen,
    list_messages,
)
from pipelines.decisions.messages import preview as preview_messages
from pipelines.settings.environment import Environment
from pipelines.takedown.outbox import DEAD, EFFECTS, HELD, STATES, WITHDRAWAL

_HOURS = click.FloatRange(0, 24 * 36_525)


def query_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add the options that choose messages, whatever their state."""

    @click.option("--held-by", help="Only those held by this: a word of the list's column.")
    @click.option("--subject", "subject_id", help="Only those for this person.")
    @click.option("--item", "item_id", help="Only those about this item or model.")
    @click.option("--action", type=click.Choice((*EFFECTS, WITHDRAWAL)), help="Only those of this kind.")
    @click.option("--older-than", type=_HOURS, metavar="HOURS", help="Only those written longer ago.")
    @click.option("--overdue", is_flag=True, help="Only unfinished ones past their deadline.")
    @functools.wraps(function)
    def wrapped(**options: Any) -> None:
        function(**options)

    return wrapped


def act_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add what every act on messages takes: ids, or a query with a preview."""

    @click.argument("message_ids", nargs=-1, metavar="[MESSAGE]...")
    @query_options
    @click.option(
        "--max", "most", type=COUNT, default=10_000, show_default=True, help="At most so many, the due first."
    )
    @click.option("--yes", is_flag=True, help="Do it to what is chosen; without it, only show what that is.")
    @click.option("--expect", type=Digest(), help="With --yes: the digest that the preview printed.")
    @functools.wraps(function)
    def wrapped(**options: Any) -> None:
        function(**options)

    return wrapped


@click.group()
def outbox() -> None:
    """The messages to the takedown service: what waits and why, and letting go or discarding what is stuck."""


@outbox.command("list")
@click.option("--state", type=click.Choice(STATES), help="Only those in this state.")
@query_options
@click.option("--limit", "most", type=COUNT, default=1000, show_default=True, help="At most so many.")
@command_options
def list_command(environment: Environment, as_json: bool, **chosen: Any) -> None:
    """List messages with state, what holds them, item, person, age and deadline; unfinished ones first."""
    query = MessageQuery(**chosen)
    with opened(environment) as workspace, workspace.database.read() as connection:
        found = list_messages(connection, replace(query, most=None), now=workspace.now())
    emit(found[: query.most], as_json=as_json)
    if query.most is not None and len(found) > query.most:
        say(f"{len(found) - query.most} more messages are not shown: raise --limit", err=True)


@outbox.command("release")
@act_options
@command_options
def release_command(
    environment: Environment,
    as_json: bool,
    message_ids: tuple[str, ...],
    yes: bool,
    expect: str | None,
    **chosen: Any,
) -> None:
    """Let held messages be sent by the next dispatch: those named, or those that options choose.

    With options in place of messages it shows what they choose; --yes --expect DIGEST then does just that, or nothing
    if anything of it has changed. What was released no limit holds again.
    """
    _act(environment, "release", message_ids, MessageQuery(**chosen), as_json=as_json, yes=yes, expect=expect)


@outbox.command("discard")
@act_options
@click.option("--state", type=click.Choice((HELD, DEAD)), help="Only those in this state [both].")
@click.option("--reason", required=True, type=click.Choice(DISCARD_REASONS), help="Why they shall not be sent.")
@command_options
def discard_command(
    environment: Environment,
    as_json: bool,
    message_ids: tuple[str, ...],
    yes: bool,
    expect: str | None,
    reason: str,
    **chosen: Any,
) -> None:
    """Have held or dead messages never sent: those named, or those that options choose.

    The verdicts on their items go back to people, who confirm or reject the hits. What a person decided is not
    discarded: its decision is undone (`likeness decide --undo`). With options in place of messages it shows what they
    choose; --yes --expect DIGEST then does just that, or nothing if anything of it has changed.
    """
    query = MessageQuery(**chosen)
    _act(environment, "discard", message_ids, query, as_json=as_json, yes=yes, expect=expect, reason=reason)


def _act(
    environment: Environment,
    act: Act,
    message_ids: tuple[str, ...],
    query: MessageQuery,
    *,
    as_json: bool,
    yes: bool,
    expect: str | None,
    reason: str | None = None,
) -> None:
    """Act on messages by id; or by a query, after showing its preview."""
    if message_ids and not query.is_open():
        raise click.UsageError("name messages, or choose them by options: not both")
    if not message_ids and query.is_open():
        raise click.UsageError("name messages, or choose them with --subject, --held-by, --action and the like")
    if not message_ids and yes and expect is None:
        raise click.UsageError("--yes needs --expect with the digest of a preview: run it without --yes first")
    with opened(environment) as workspace:
        if message_ids:
            emit(act_on(workspace, message_ids, act, actor=actor(), reason=reason), as_json=as_json)
        elif yes and expect is not None:
            done = act_on_chosen(workspace, query, act, expect=expect, actor=actor(), reason=reason)
            emit(done, as_json=as_json)
        else:
            shown = preview_messages(workspace, query, act)
            emit(shown, as_json=as_json)
            command = typed_again(click.get_current_context(), yes=True, expect=shown.digest)
            say(f"nothing is done yet: {command}" if shown.messages else "no message is chosen", err=True)
