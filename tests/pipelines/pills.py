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
from typing import Any, Final

import pipelines.fetch
from indexes.names import NameMatcher
from pipelines.config import Config
from pipelines.environment import Environment
from pipelines.workspace import Workspace, open_workspace
from tests.conftest import Clock, use_fakes
from tests.fakes import ColourDetector, MeanRater, picture

COLOUR: Final = (251, 7, 7)
TEXT: Final = "a text that nobody survives"
MEMORY: Final = 512 * 2**20

DOES: Final = ("memory", "spin", "signal")


class UnforeseenError(Exception):
    """Stands for what nobody foresaw."""


def swallow(does: str) -> None:
    """What the pill does."""
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
        does, stage = self.does, self.stage

        class Detector(ColourDetector):
            def detect(self, image: Any, *, as_is: bool = False) -> Any:
                if tuple(image[1, 1]) == COLOUR:
                    swallow(does)
                return super().detect(image, as_is=as_is)

        class Rater(MeanRater):
            def rate(self, image: Any) -> float:
                if tuple(image[1, 1]) == COLOUR:
                    swallow(does)
                return super().rate(image)

        if stage in ("scan", "match"):
            workspace.models = replace(workspace.models, detector=Detector())  # type: ignore[misc]
        if stage == "content":
            workspace.content_models.rater = Rater()  # type: ignore[misc, assignment]
        workspace.opener = self
        return workspace

    def patches(self) -> list[tuple[Any, str, Any]]:
        """What of the project's own has to be replaced in a process where the pill works: object, name, value."""
        find, search, does = pipelines.fetch.find_content, NameMatcher.find, self.does
        poison = picture(COLOUR)

        def find_content(*args: Any, **named: Any) -> Any:
            found = find(*args, **named)
            if found.content is not None and found.content.data == poison:
                swallow(does)
            return found

        def find_names(matcher: NameMatcher, text: str) -> Any:
            if text == TEXT:
                swallow(does)
            return search(matcher, text)

        replaced = {
            "fetch": (pipelines.fetch, "find_content", find_content),
            "examine": (NameMatcher, "find", find_names),
        }
        return [replaced[self.stage]] if self.stage in replaced else []


@dataclass(frozen=True)
class PatchedPill(Pill):
    """The same, in a process that is nobody else's."""

    def __call__(self, environment: Environment) -> Workspace:
        for place, name, value in self.patches():
            setattr(place, name, value)
        return super().__call__(environment)


def run_and_die(
    pill: Pill, environment: Environment, config: Config, work: Callable[[Workspace], object]
) -> int | None:
    """``work`` in a process that is nobody else's, with the pill; its exit code."""
    process = multiprocessing.get_context("spawn").Process(target=_work, args=(pill, environment, config, work))
    process.start()
    process.join()
    return process.exitcode


def _work(pill: Pill, environment: Environment, config: Config, work: Callable[[Workspace], object]) -> None:
    with pill(environment) as workspace:
        workspace.config = config
        work(workspace)
