"""The workspace of a process that lives for weeks: Dagster's code locations and Ray's workers.

It is opened on first use and kept, with its loaded models. Before each use the files that settings name are read again
(:mod:`pipelines.home.settings_files`): where one has changed the workspace is opened anew, so that nothing is done by a
policy that is no longer the one in the file; where one is gone nothing is done at all. What other processes write into
the database, such as a calibration that they put in force, is read there in every transaction.
"""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from embeddings.errors import ConfigError
from pipelines.home.settings_files import SettingsFile, database_file, read_digests, require_present, settings_files
from pipelines.settings.config import Config, load_config
from pipelines.settings.environment import Environment

if TYPE_CHECKING:
    from pipelines.home.workspace import Workspace

_TRIES: Final = 3


@dataclass(frozen=True, slots=True)
class _Opened:
    """A workspace, with the environment and the files that it was opened from."""

    workspace: Workspace
    environment: Environment
    digests: dict[SettingsFile, str]
    database: tuple[int, ...]


class KeptWorkspace:
    """One workspace at a time, opened by ``opener``. Safe to share between threads."""

    def __init__(self, opener: Callable[[Environment], Workspace]) -> None:
        self._lock = threading.Lock()
        self._opener = opener
        self._opened: _Opened | None = None

    def workspace(self, environment: Environment) -> Workspace:
        """Return the workspace of this environment, by the settings and the database file that are there now.

        Raises ``NotReadyError`` and ``ConfigError`` as its opener does, and ``ConfigError`` for a file of
        the settings that is gone.
        """
        with self._lock:
            if self._opened is not None and not _is_current(self._opened, environment):
                self._close()
            if self._opened is None:
                self._opened = _open(environment, self._opener)
                atexit.register(self.close)
            return self._opened.workspace

    def close(self) -> None:
        """Close the workspace, if one is open."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._opened is not None:
            self._opened.workspace.close()
            self._opened = None
            atexit.unregister(self.close)


def _is_current(opened: _Opened, environment: Environment) -> bool:
    if environment != opened.environment or _identity(environment, opened.workspace.config) != opened.database:
        return False  # another home: files of the old one may be gone
    now = read_digests(tuple(opened.digests))
    require_present(opened.digests, now)
    return now == opened.digests


def _open(environment: Environment, opener: Callable[[Environment], Workspace]) -> _Opened:
    """Open a workspace; try again if a settings file changed while it was read."""
    for _ in range(_TRIES):
        config = load_config(environment)
        digests = read_digests(settings_files(environment, config))
        database = _identity(environment, config)
        workspace = opener(environment)
        try:
            _ = workspace.policy, workspace.concept_list
            unchanged = read_digests(settings_files(environment, workspace.config)) == digests
        except BaseException:
            workspace.close()
            raise
        if unchanged:
            return _Opened(workspace, environment, digests, database)
        workspace.close()
    raise ConfigError("the files that settings name change while they are read: try again when they are written")


def _identity(environment: Environment, config: Config) -> tuple[int, ...]:
    """Device and inode of the home folder and the SQLite file, whose content and times change all the time."""
    found: list[int] = []
    for path in (environment.home, database_file(environment, config)):
        try:
            status = path.stat() if path else None
        except FileNotFoundError:
            status = None
        found += (status.st_dev, status.st_ino) if status else (0, 0)
    return tuple(found)
