"""Where the work on batches and shards runs: in this process, or on the machines of a Ray cluster.

An engine applies a module's function to a workspace and to one small argument after the other: batches of item ids,
shards to compare. What such a function returns is opaque ids, counts and scores; pictures and vectors are read, made
and stored by the function itself, wherever it runs, and travel nowhere (I8). Each call may be repeated: an engine does
so when a machine dies in the middle of one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from pipelines.home.workspace import Workspace

Common = TypeVar("Common")
Argument = TypeVar("Argument")
Result = TypeVar("Result")


class Engine(Protocol):
    """Runs functions on workspaces."""

    name: str
    remote: bool
    """Whether calls run in other processes, several at a time, which share only the database and the home folder."""

    def map(
        self,
        function: Callable[[Workspace, Common, Argument], Result],
        workspace: Workspace,
        common: Common,
        arguments: Iterable[Argument],
    ) -> Iterator[Result]:
        """Yield ``function(workspace, common, argument)`` for each argument in order. Raises what the function
        raises."""
        ...

    def close(self) -> None:
        """End what the engine started."""


class LocalEngine:
    """Runs one call after the other in this process."""

    name = "local"
    remote = False

    def map(
        self,
        function: Callable[[Workspace, Common, Argument], Result],
        workspace: Workspace,
        common: Common,
        arguments: Iterable[Argument],
    ) -> Iterator[Result]:
        """Yield the result of one call after the other."""
        return (function(workspace, common, argument) for argument in arguments)

    def close(self) -> None:
        """Do nothing: nothing was started."""
