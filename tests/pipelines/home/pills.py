"""Items that do to a process whatever an upload may do to one, at the stage that is asked for.

A pill is the item of one colour or one text. What it does is decided by ``swallow``: raise, take memory without end,
never return, or end the process by a signal.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

import pytest

import pipelines.intake.fetch
from indexes.names import NameMatcher
from pipelines.home import isolation
from pipelines.home.workspace import Workspace, open_workspace
from pipelines.settings.config import Config
from pipelines.settings.environment import Environment
from tests.conftest import Clock, use_fakes
from tests.fakes import ColourDetector, MeanRater, picture

COLOUR: Final = (251, 7, 7)
TEXT: Final = "a text that nobody survives"
MEMORY: Final = 512 * 2**20

DOES: Final = ("memory", "spin", "signal")
isolation.PRELOADED.append(__name__)  # these processes open a home with a pill, and need not import it each


class UnforeseenError(Exception):
    """Stands for what nobody foresaw."""


SPINNING: Final = "spinning"
"""The file in the home folder that says that a pill is spinning, and will be for ever."""


def swallow(does: str, home: Path) -> None:
    """What the pill does."""
    if does == "spin":
        (home / SPINNING).touch()
    if does == "raise":
        raise UnforeseenError(TEXT)
    if does == "signal":
        os.kill(os.getpid(), signal.SIGKILL)
    kept = []
    while True:
        if does == "memory":
            kept.append(bytearray(b"x") * 2**26)


@dataclass(frozen=True)
class Pill:
    """Opens a home in which one item is a pill."""

    stage: str
    does: str

    def __call__(self, environment: Environment) -> Workspace:
        return self.given_to(use_fakes(open_workspace(environment, now=Clock())))

    def given_to(self, workspace: Workspace) -> Workspace:
        """Make ``workspace`` one in which the pill works, and so all that other processes open for it."""
        does, stage, home = self.does, self.stage, workspace.home

        class Detector(ColourDetector):
            def detect(self, image: Any, *, as_is: bool = False) -> Any:
                if tuple(image[1, 1]) == COLOUR:
                    swallow(does, home)
                return super().detect(image, as_is=as_is)

        class Rater(MeanRater):
            def rate(self, image: Any) -> float:
                if tuple(image[1, 1]) == COLOUR:
                    swallow(does, home)
                return super().rate(image)

        if stage in ("scan", "match"):
            workspace.models = replace(workspace.models, detector=Detector())  # type: ignore[misc]
        if stage == "content":
            workspace.content_models.rater = Rater()  # type: ignore[misc, assignment]
        workspace.opener = self
        return workspace

    def patches(self, home: Path) -> list[tuple[Any, str, Any]]:
        """What of the project's own has to be replaced in a process where the pill works: object, name, value."""
        find, search, does = pipelines.intake.fetch.find_content, NameMatcher.find, self.does
        poison = picture(COLOUR)

        def find_content(*args: Any, **named: Any) -> Any:
            found = find(*args, **named)
            if found.content is not None and found.content.data == poison:
                swallow(does, home)
            return found

        def find_names(matcher: NameMatcher, text: str) -> Any:
            if text == TEXT:
                swallow(does, home)
            return search(matcher, text)

        replaced = {
            "fetch": (pipelines.intake.fetch, "find_content", find_content),
            "examine": (NameMatcher, "find", find_names),
        }
        return [replaced[self.stage]] if self.stage in replaced else []


@dataclass(frozen=True)
class PatchedPill(Pill):
    """The same, in a process that is nobody else's."""

    def __call__(self, environment: Environment) -> Workspace:
        for place, name, value in self.patches(environment.home):
            setattr(place, name, value)
        return super().__call__(environment)


def time_passes_by_spinning(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """Let whoever waits for a process give up on it once a pill spins in it, and on no other however slow it is."""
    poll = Connection.poll

    def wait(connection: Connection, timeout: float | None = 0.0) -> bool:
        while timeout and not poll(connection, 0.02):
            if (home / SPINNING).exists():
                heard = poll(connection, 0)
                if not heard:
                    (home / SPINNING).unlink()
                return heard
        return True if timeout else poll(connection, timeout)

    monkeypatch.setattr(Connection, "poll", wait)


def run_and_die(
    pill: Pill, environment: Environment, config: Config, work: Callable[[Workspace], object]
) -> int | None:
    """``work`` in a process that is nobody else's, with the pill; its exit code."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(isolation.PRELOADED)
    process = context.Process(target=_work, args=(pill, environment, config, work))
    process.start()
    process.join()
    return process.exitcode


def _work(pill: Pill, environment: Environment, config: Config, work: Callable[[Workspace], object]) -> None:
    with pill(environment) as workspace:
        workspace.config = config
        work(workspace)
