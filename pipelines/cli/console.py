"""What every command shares: options, opening the workspace, output, progress and exit codes."""

from __future__ import annotations

import dataclasses
import functools
import json
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import sqlalchemy as sa

from embeddings.errors import ConfigError, InputError, LikenessError
from pipelines.home import actors
from pipelines.home.clock import doubt
from pipelines.home.progress import Progress, silent
from pipelines.home.workspace import Workspace, open_workspace
from pipelines.settings.environment import Environment, read_environment
from pipelines.text.visible import visible, visible_json

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as RichProgress

FIRST_DAY = date(1970, 1, 1)
LAST_DAY = date(2999, 12, 31)
"""Last date that the command line takes: years near 1 and 9999 overflow in other time zones."""
COUNT = click.IntRange(1, 2**31 - 1)
"""A number of things to list or to expect: what every database can count."""
LINE_SECONDS = 5.0
_UNICODE = ("utf8", "utf16", "utf32")
"""Encodings of standard output that have every letter; for any other, JSON escapes what is not ASCII."""
PIPE_COLUMNS = 200
"""Width of tables that go into a pipe or a file, where a terminal's 80 would fold ids."""


def command_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add ``--home``, ``--config`` and ``--json``, pass ``environment`` and ``as_json``, and turn errors into exits."""

    @click.option("--home", type=click.Path(path_type=Path, file_okay=False), help="State folder [LIKENESS_HOME].")
    @click.option("--config", type=click.Path(path_type=Path, dir_okay=False), help="Settings [HOME/likeness.toml].")
    @click.option("--json", "as_json", is_flag=True, help="One JSON value on standard output.")
    @functools.wraps(function)
    def wrapped(home: Path | None, config: Path | None, **options: Any) -> None:
        try:
            function(environment=read_environment(home=home, config_path=config), **options)
        except (ConfigError, InputError) as error:
            _fail(error, 2)
        except LikenessError as error:
            _fail(error, 1)
        except BrokenPipeError:
            raise  # click ends quietly when nobody reads on
        except OSError as error:
            _fail(f"the system refused: {error.strerror or type(error).__name__}", 1)
        except sa.exc.OperationalError as error:
            _fail(f"the database refused: {str(error.orig).partition(chr(10))[0]}", 1)

    return wrapped


def _fail(error: LikenessError | str, code: int) -> None:
    say(f"error: {error}", err=True)
    sys.exit(code)


def say(*lines: str, err: bool = False) -> None:
    """Print lines for people, with characters that a terminal obeys or hides spelt out.

    Every string that a command shows passes through here or through :func:`emit`; a test keeps it so.
    """
    click.echo("\n".join(visible(line) for line in lines), err=err)


@contextmanager
def opened(environment: Environment) -> Iterator[Workspace]:
    """Open the workspace for the block, warning of a clock that has jumped."""
    with open_workspace(environment) as workspace:
        if text := doubt(workspace):
            say(f"warning: {text}", err=True)
        yield workspace


@contextmanager
def shown_warnings() -> Iterator[None]:
    """Print warnings as plain lines instead of with source code."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for warning in caught:
        say(f"warning: {warning.message}", err=True)


@contextmanager
def progress(as_json: bool) -> Iterator[Progress]:
    """Show progress on standard error: a bar on a terminal, else a line every few seconds, or nothing with
    ``--json``."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    stderr = Console(stderr=True)
    if stderr.is_terminal:
        columns = (
            TextColumn("{task.description:>8}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[detail]}", markup=False),
        )
        with RichProgress(*columns, console=stderr, transient=True) as bars:
            yield _bars(bars)
    elif as_json:
        yield silent
    else:
        yield _lines()


def _bars(bars: RichProgress) -> Progress:
    tasks: dict[str, Any] = {}

    def report(stage: str, done: int, total: int, detail: str = "") -> None:
        if stage not in tasks:
            tasks[stage] = bars.add_task(visible(stage), detail="")
        bars.update(tasks[stage], completed=done, total=total or None, detail=visible(detail))

    return report


def _lines() -> Progress:
    last: dict[str, float] = {}

    def report(stage: str, done: int, total: int, detail: str = "") -> None:
        now = time.monotonic()
        if done and (done == total or now - last.get(stage, 0.0) >= LINE_SECONDS):
            last[stage] = now
            words = f"{stage}: {done}/{total}" if total else f"{stage}: {done}"
            say(f"{words}, {detail}" if detail else words, err=True)

    return report


def emit(value: Any, *, as_json: bool) -> None:
    """Print a dataclass, mapping or list of them: as JSON, or as a table for people."""
    plain = to_plain(value)
    if as_json:
        unicode = (sys.stdout.encoding or "").lower().replace("-", "") in _UNICODE
        click.echo(visible_json(json.dumps(plain, ensure_ascii=not unicode)))
    elif isinstance(plain, list):
        print_rows(plain)
    else:
        print_facts(plain)


def to_plain(value: Any) -> Any:
    """Convert dataclasses, tuples and times to values that JSON has."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(entry) for entry in value]
    if isinstance(value, datetime | date):
        return value.isoformat()
    return str(value) if isinstance(value, Path) else value


def print_facts(facts: Mapping[str, Any]) -> None:
    """Print name and value, a line each; nested mappings inline."""
    from rich.table import Table

    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, value in facts.items():
        table.add_row(visible(name.replace("_", " ")), _cell(value))
    _stdout().print(table)


def print_rows(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print a table, or a line that says that there are no rows."""
    from rich.table import Table

    if not rows:
        say("nothing to show")
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in rows[0]:
        table.add_column(visible(name.replace("_", " ")), overflow="fold")
    for row in rows:
        table.add_row(*(_cell(value) for value in row.values()))
    _stdout().print(table)


def _stdout() -> Console:
    from rich.console import Console

    console = Console(markup=False, highlight=False, emoji=False)
    if not console.is_terminal:
        console.width = PIPE_COLUMNS
    return console


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{visible(str(name))} {_cell(entry)}" for name, entry in value.items()) or "-"
    if isinstance(value, list):
        return "; ".join(_cell(entry) for entry in value) or "-"
    return "-" if value in (None, "") else visible(str(value))


def actor() -> str:
    """Return the actor for the audit chain and for approvals by two people: the account of the process's real uid."""
    return actors.account()


def parse_day(_context: click.Context, _parameter: click.Parameter, value: str | None) -> date | None:
    """Parse an ISO date between :data:`FIRST_DAY` and :data:`LAST_DAY`, or raise a usage error."""
    if value is None:
        return None
    try:
        day = date.fromisoformat(value)
    except ValueError:
        raise click.BadParameter("expected a date such as 2026-11-21") from None
    if not FIRST_DAY <= day <= LAST_DAY:
        raise click.BadParameter(f"expected a date from {FIRST_DAY} to {LAST_DAY}")
    return day


def end_of(day: date) -> datetime:
    """Return the last moment of a date, in UTC."""
    return datetime(day.year, day.month, day.day, 23, 59, 59, 999999, tzinfo=UTC)
