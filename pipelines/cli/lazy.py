"""Groups whose commands are imported when they are called, so that `likeness --help` loads no models and no database.

A :class:`Place` says where a command is and what it does in a line, which is all that the help of a group needs.
Iterating over ``group.commands`` gives every command, imported when it is reached.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

import click


@dataclass(frozen=True, slots=True)
class Place:
    """Where a command is (module below ``pipelines.cli``, name in it), and the line that a group's help shows."""

    module: str
    name: str
    help: str

    def load(self) -> click.Command:
        """Import the command."""
        command: click.Command = getattr(importlib.import_module(f"pipelines.cli.{self.module}"), self.name)
        return command


class _Commands(MutableMapping[str, click.Command]):
    """Commands by name: added ones, and those that are imported when they are asked for."""

    def __init__(self, places: Mapping[str, Place]) -> None:
        self._places = dict(places)
        self._loaded: dict[str, click.Command] = {}

    def __getitem__(self, name: str) -> click.Command:
        if name not in self._loaded and name in self._places:
            self._loaded[name] = self._places[name].load()
        return self._loaded[name]

    def __setitem__(self, name: str, command: click.Command) -> None:
        self._loaded[name] = command

    def __delitem__(self, name: str) -> None:
        known = self._places.pop(name, None)
        if self._loaded.pop(name, None) is None and known is None:
            raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*self._places, *self._loaded]))

    def __len__(self) -> int:
        return len(list(iter(self)))


class LazyGroup(click.Group):
    """A group that knows where its commands are."""

    def __init__(self, name: str | None = None, *, places: Mapping[str, Place], **options: Any) -> None:
        super().__init__(name, **options)
        self.commands: MutableMapping[str, click.Command] = _Commands({**places})
        self.places = dict(places)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        lines = {name: click.Command(name, help=place.help) for name, place in self.places.items()}
        lines |= {name: self.commands[name] for name in self.commands if name not in lines}
        width = formatter.width - 6 - max(map(len, lines), default=0)
        with formatter.section("Commands"):
            formatter.write_dl([(name, lines[name].get_short_help_str(width)) for name in sorted(lines)])
