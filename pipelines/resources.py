"""What Dagster's steps, checks, schedules and sensors share: the opened home folder.

Opening is lazy: loading the definitions reads no environment, opens no database and loads no model. One process keeps
one workspace, and with it one set of loaded models, however many runs it executes.
"""

from __future__ import annotations

import atexit
import threading
from pathlib import Path

from dagster import ResourceParam

from pipelines.clock import require_clock
from pipelines.environment import Environment, read_environment
from pipelines.workspace import Workspace, open_workspace


class LikenessHome:
    """The workspace that ``LIKENESS_*`` names, opened on first use and kept.

    It is opened anew when the environment, a settings file or the database file is another one than before: a process
    that lives for weeks must not go on reading a database that has been replaced. Safe to share between threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._workspace: Workspace | None = None
        self._files: frozenset[tuple[str, int, int]] = frozenset()

    def workspace(self) -> Workspace:
        """The opened workspace. Raises ``NotReadyError`` or ``ConfigError`` as :func:`open_workspace` does.

        Also for a clock that has jumped: whatever Dagster starts, acts.
        """
        environment = read_environment()
        with self._lock:
            if self._workspace is not None and (self._workspace.environment, self._files) != (
                environment,
                _settings_files(environment),
            ):
                self._close()
            if self._workspace is None:
                self._files = _settings_files(environment)
                self._workspace = open_workspace(environment)
                atexit.register(self.close)
            require_clock(self._workspace)
            return self._workspace

    def close(self) -> None:
        """Close the workspace, if one is open."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._workspace is not None:
            self._workspace.close()
            self._workspace = None
            atexit.unregister(self.close)


Home = ResourceParam[LikenessHome]
"""How a step asks for the home: as its parameter ``home``."""


def _settings_files(environment: Environment) -> frozenset[tuple[str, int, int]]:
    """Path, inode and (not for the database, which changes all the time) time of change."""
    settings = [*environment.home.glob("*.toml"), *([environment.config_path] if environment.config_path else [])]
    found = {(str(path), *_inode_and_time(path)) for path in settings}
    return frozenset(found | {(name, _inode_and_time(environment.home / name)[0], 0) for name in ("likeness.db",)})


def _inode_and_time(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except FileNotFoundError:
        return 0, 0
    return status.st_ino, status.st_mtime_ns
