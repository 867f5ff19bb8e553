"""Makes safe what click and the interpreter print: errors that quote arguments, and unforeseen errors.

A file name in an argument may be an uploader's, for example after ``--reference *``, and an unforeseen error's message
may hold whatever was being worked on (I8). Knows neither the library's errors nor its commands.
"""

from __future__ import annotations

import io
import sys
import traceback
from types import TracebackType
from typing import Any

import click

from pipelines.text.visible import visible, visible_lines


class PlainSpokenGroup(click.Group):
    """A group whose usage errors, and its commands', quote arguments with every hidden character spelt out."""

    def make_context(self, *args: Any, **options: Any) -> click.Context:
        """Parse the group's own options, spelling out hidden characters in errors."""
        try:
            return super().make_context(*args, **options)
        except click.ClickException as error:
            raise _plain(error) from error

    def invoke(self, ctx: click.Context) -> Any:
        """Parse and run a command of the group, spelling out hidden characters in errors."""
        try:
            return super().invoke(ctx)
        except click.ClickException as error:
            raise _plain(error) from error


def _plain(error: click.ClickException) -> click.ClickException:
    message = error.format_message()
    shown = visible_lines(message)
    if shown == message:
        return error
    if isinstance(error, click.UsageError):
        return click.UsageError(shown, ctx=error.ctx)
    return click.ClickException(shown)


def prepare_streams() -> None:
    """Make the standard streams spell out characters that their encoding lacks, instead of raising, and install
    :func:`report_unforeseen`."""
    sys.excepthook = report_unforeseen
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def report_unforeseen(kind: type[BaseException], error: BaseException, frames: TracebackType | None) -> None:
    """Print the kind and place of an unforeseen error, as ``sys.excepthook``; never its message or a value, which may
    hold a name, an uploaded text or a key."""
    lines = [f"error: unforeseen, please report it: {kind.__name__}"]
    lines += [f"  {frame.filename}:{frame.lineno} in {frame.name}" for frame in traceback.extract_tb(frames)]
    cause = error.__cause__ or error.__context__
    lines += [f"  after {type(cause).__name__}"] if cause is not None else []
    click.echo("\n".join(visible(line) for line in lines), err=True)
