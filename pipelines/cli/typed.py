"""Values typed at the command line: which are refused everywhere, and how commands are printed to be typed again."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any, Final

import click
from click.core import ParameterSource

from pipelines.cli.spoken import PlainSpokenGroup
from pipelines.text.shown import DIGITS

_VALUELESS: Final = re.compile(r"(--[a-z][a-z-]*)=")
_DIGEST: Final = re.compile(rf"[0-9a-f]{{{DIGITS}}}")


class CheckedGroup(PlainSpokenGroup):
    """A command tree that refuses values that are empty, are no text, or hold a NUL.

    An empty value is often an unset variable: ``--uploader "$WHO"`` would choose everything, ``--to "$FILE"`` would be
    the working folder. Checked before anything is parsed, so that no command can forget it.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Raise ``UsageError`` for a refused value, naming the option before it."""
        before = None
        for arg in args:
            if arg == "" or _VALUELESS.fullmatch(arg):
                named = _VALUELESS.fullmatch(arg)
                option = named[1] if named else before if before and before.startswith("-") else None
                raise click.UsageError(f"{option or 'an argument'} is empty: leave it out, or give a value", ctx)
            if "\0" in arg or not _is_text(arg):
                raise click.UsageError("a value is no UTF-8 text, or holds a NUL", ctx)
            before = arg
        return super().parse_args(ctx, args)


class Digest(click.ParamType[str]):
    """A digest that a preview printed."""

    name = "digest"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the digest, or raise a usage error that says where to get one."""
        if _DIGEST.fullmatch(str(value)):
            return str(value)
        what = "a number does not say which ones" if str(value).isdecimal() else "this is no digest"
        raise click.BadParameter(
            f"{what}: run the preview, which prints the whole command with its --expect", ctx, param
        )


def typed_again(context: click.Context, **added: str | bool) -> str:
    """Return the command line of ``context`` as it was typed, with options ``added``, quoted for a shell."""
    words = [context.command_path.partition(" ")[2]]
    arguments: list[str] = []
    for parameter in context.command.params:
        value = context.params.get(parameter.name or "")
        if context.get_parameter_source(parameter.name or "") is not ParameterSource.COMMANDLINE:
            continue
        if isinstance(parameter, click.Option):
            if parameter.name not in added and parameter.name != "as_json":
                words += _option(parameter.opts[0], value, flag=parameter.is_flag)
        else:
            arguments += _values(value)
    for name, value in added.items():
        words += _option(f"--{name}", value, flag=value is True)
    dashes = ["--"] if any(argument.startswith("-") for argument in arguments) else []
    return " ".join(["likeness", words[0], *(quoted(word) for word in (*words[1:], *dashes, *arguments))])


def where_again(context: click.Context) -> str:
    """Return ``--home`` and ``--config`` of ``context`` as typed, to print with another command."""
    given = {name: context.params.get(name) for name in ("home", "config")}
    return "".join(f" --{name} {quoted(str(value))}" for name, value in given.items() if value is not None)


def quoted(word: str) -> str:
    """Quote a word for a shell, spelling out what could act on a terminal that shows it."""
    if word.isprintable():
        return shlex.quote(word)
    escaped = "".join(letter if letter.isprintable() and letter not in "\\'" else _escaped(letter) for letter in word)
    return f"$'{escaped}'"


def _escaped(letter: str) -> str:
    number = ord(letter)
    return f"\\x{number:02x}" if number < 0x80 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def _option(name: str, value: Any, *, flag: bool) -> Iterator[str]:
    if flag:
        yield name
        return
    for one in _values(value):
        yield from (f"{name}={one}",) if one.startswith("-") else (name, one)


def _values(value: Any) -> Sequence[str]:
    several = value if isinstance(value, tuple | list) else (value,)
    return [one.isoformat() if isinstance(one, date) else str(one) for one in several]


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
