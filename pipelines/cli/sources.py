"""``likeness source``: what a source lists, before any of it is entered."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from pipelines.cli.console import COUNT, command_options, emit, say, to_plain
from pipelines.settings.environment import Environment


@click.group()
def source() -> None:
    """What a source lists, before any of it is entered."""


@source.command()
@click.argument("place", metavar="FILE|URI")
@click.option("--limit", type=COUNT, default=20, show_default=True, help="Row numbers to name of each kind of mistake.")
@command_options
def check(environment: Environment, as_json: bool, place: str, limit: int) -> None:
    """Read a listing and say what of it would be lost or misread; 1 if anything. Changes nothing and needs no home.

    FILE is a manifest or a folder; URI is directory:PATH or manifest:PATH. Hosts and kinds are those of the settings.
    Rows are named by their numbers, in a folder by their place in the listing.
    """
    from pipelines.settings.config import load_config
    from pipelines.sources import open_source
    from pipelines.sources.check import check_source

    config = load_config(environment)
    found = check_source(
        open_source(_uri(place), settings=config.fetch, head=config.exchange, kinds=config.sources.kinds), most=limit
    )
    if as_json:
        emit(found, as_json=True)
    else:
        facts = to_plain(found)
        wrong = facts.pop("wrong")
        emit(facts, as_json=False)
        if wrong:
            emit([{"wrong": what, **_shown(rows)} for what, rows in wrong.items()], as_json=False)
        else:
            say("everything is read")
    if not found.sound:
        sys.exit(1)


def _uri(place: str) -> str:
    """Return a source's URI; a path becomes one by what it is, a file or a folder."""
    if place.startswith(("directory:", "manifest:")) or not Path(place).exists():
        return place if ":" in place else f"manifest:{place}"
    return f"{'directory' if Path(place).is_dir() else 'manifest'}:{place}"


def _shown(rows: dict[str, Any]) -> dict[str, Any]:
    numbers = rows["rows"]
    more = ", ..." if rows["count"] != len(numbers) else ""
    return {"count": rows["count"], "rows": ", ".join(map(str, numbers)) + more}
