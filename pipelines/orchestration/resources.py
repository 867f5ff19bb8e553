"""What Dagster's steps, checks, schedules and sensors share: the opened home folder, and how errors are explained.

Opening is lazy: loading the definitions opens no database for writing and loads no model. One process keeps one
workspace, and with it one set of loaded models, however many runs it executes (:mod:`pipelines.home.long_lived`).
"""

from __future__ import annotations

import errno
import functools
import os
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

import sqlalchemy as sa
from dagster import DagsterError, Failure, ResourceParam

from embeddings.errors import (
    ConfigError,
    CorruptionError,
    InputError,
    LikenessError,
    ModelMismatchError,
    NotReadyError,
    StateError,
    WeightsError,
)
from pipelines.home.clock import require_clock
from pipelines.home.long_lived import KeptWorkspace
from pipelines.home.workspace import Workspace, open_workspace
from pipelines.settings.environment import Environment, read_environment
from pipelines.text.visible import visible

P = ParamSpec("P")
R = TypeVar("R")
SERVICE: Final = "dagster"
"""The name of the service in the audit chain, beside the uid that Dagster runs under."""
_FRAMES: Final = 8
"""Most places that a failure names."""


class LikenessHome:
    """The workspace that ``LIKENESS_*`` names, opened on first use and kept.

    It is opened anew when the environment, the content of a file that settings name, or the database file has changed,
    because the process may live for weeks.
    """

    def __init__(self) -> None:
        self._kept = KeptWorkspace(_open)

    def workspace(self) -> Workspace:
        """Return the opened workspace. Raises ``NotReadyError`` or ``ConfigError`` as :func:`open_workspace` does.

        A clock that has jumped is an error too, because everything that Dagster starts acts.
        """
        workspace = self._kept.workspace(read_environment())
        require_clock(workspace)
        return workspace

    def close(self) -> None:
        """Close the workspace, if one is open."""
        self._kept.close()


Home = ResourceParam[LikenessHome]
"""Type of the parameter ``home`` by which a step gets the home."""


def _open(environment: Environment) -> Workspace:
    return open_workspace(environment)


_TRANSIENT: Final = frozenset(
    {errno.EAGAIN, errno.EINTR, errno.ETIMEDOUT, errno.ECONNRESET, errno.ECONNREFUSED, errno.EPIPE, errno.ESTALE}
)
"""Errors of the system that another try may not meet again."""
_AGAIN: Final = "launch the run again; it goes on where it was cut off"
_ADVICE: Final[tuple[tuple[type[Exception], str], ...]] = (
    (CorruptionError, "Let nothing else write, run `likeness verify`, and restore what it names from a backup"),
    (ModelMismatchError, f"Run `likeness models backfill`, then {_AGAIN}"),
    (NotReadyError, f"Remove what this names (`likeness status` shows the state), then {_AGAIN}"),
    (ConfigError, f"Correct this setting, file or variable, then {_AGAIN}"),
    (WeightsError, f"`likeness models list` says which files and licences are missing; then {_AGAIN}"),
    (StateError, "Look at `likeness status` and `likeness day list`: the state does not allow this now"),
    (InputError, "Correct the run's configuration and launch it again"),
    (LikenessError, f"Look at `likeness status`, remove the cause, then {_AGAIN}"),
)
"""What to do, by kind of error, the special before the general."""


@dataclass(frozen=True, slots=True)
class _Explained:
    """An error in a sentence, and what to do. ``again``: whether trying again at once may help."""

    sentence: str
    advice: str
    again: bool = False


def explained(function: Callable[P, R]) -> Callable[P, R]:
    """Wrap a function that Dagster calls: any error but Dagster's own becomes a ``Failure`` (:func:`failure_of`)."""

    @functools.wraps(function)
    def wrapped(*args: P.args, **options: P.kwargs) -> R:
        try:
            return function(*args, **options)
        except (Failure, DagsterError):
            raise
        except Exception as error:  # noqa: BLE001 - Dagster would store its message, which may hold what was worked on
            raise failure_of(error) from None

    return wrapped


def failure_of(error: Exception) -> Failure:
    """Return what Dagster stores and shows of an error: only a message of our own, and what to do.

    A retry is allowed where the database or the system refused for the moment; it would mend nothing else.
    """
    found = _explain(error)
    return Failure(
        description=visible(f"{found.sentence.rstrip('.')}. {found.advice}."),
        metadata={
            "error": type(error).__name__,
            "what_to_do": found.advice,
            "where": ", ".join(_frames(error)),
            "tried_again": found.again,
        },
        allow_retries=found.again,
    )


def _explain(error: Exception) -> _Explained:
    for kind, advice in _ADVICE:
        if isinstance(error, kind):
            return _Explained(str(error), advice)
    if isinstance(error, sa.exc.OperationalError | sa.exc.InterfaceError | sa.exc.TimeoutError):
        text = f"the database refused ({type(error).__name__})"
        return _Explained(text, f"See that it runs and has room, then {_AGAIN}", again=True)
    if isinstance(error, OSError):
        again = error.errno in _TRANSIENT or isinstance(error, TimeoutError)
        text = f"the system refused: {os.strerror(error.errno) if error.errno else type(error).__name__}"
        return _Explained(text, f"See to disk, network and permissions of this machine, then {_AGAIN}", again=again)
    if isinstance(error, MemoryError):
        return _Explained("memory ran out", f"Lower embedding.workers or images.max_decode_bytes, then {_AGAIN}")
    text = f"an unforeseen {type(error).__name__}"
    return _Explained(text, "Please report it with what stands under `where`; nothing that was committed is lost")


def _frames(error: Exception) -> list[str]:
    """Where an error happened, the innermost place last: our files and lines, no values."""
    frames = traceback.extract_tb(error.__traceback__)
    return [f"{Path(frame.filename).name}:{frame.lineno} in {frame.name}" for frame in frames[1:]][-_FRAMES:]
