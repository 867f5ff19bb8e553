"""A record of the batch that a process works on, so that a batch which ends its process is known afterwards.

Before a batch of items is worked on its ids go into a small file in the home folder, locked for as long as the process
lives, and gone when the batch is done. A file that nobody holds was left by a process that died, and names the batch
that it died over (:mod:`pipelines.home.isolation` works through that one). The kernel frees the lock whatever a process
dies of. A process ends itself when no item is done with for too long: against code that never returns nothing else
helps.
"""

from __future__ import annotations

import contextlib
import faulthandler
import fcntl
import json
import os
import secrets
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pipelines.home.workspace import Workspace

_STDERR: Final = 2


class Watchdog:
    """Ends the process when nobody says for too long that something was done. One for each process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._limits: list[float] = []

    @contextlib.contextmanager
    def watching(self, seconds: float) -> Iterator[None]:
        """End the process if the block goes ``seconds`` without a :meth:`beat`; of several at once the longest
        counts."""
        with self._lock:
            self._limits.append(seconds)
        self.beat()
        try:
            yield
        finally:
            with self._lock:
                self._limits.remove(seconds)
            self.beat()

    def beat(self) -> None:
        """Wait anew, because something was done. The timer runs in C without the interpreter's lock, which the work may
        hold."""
        with self._lock:
            if self._limits:
                faulthandler.dump_traceback_later(max(self._limits), exit=True, file=_STDERR)
            else:
                faulthandler.cancel_dump_traceback_later()


WATCHDOG: Final = Watchdog()


def patience(workspace: Workspace) -> float:
    """Seconds within which some item has to be done with: its own time, and what fetching it may take."""
    config = workspace.config
    return config.isolation.item_seconds + config.model_files.payload_timeout_seconds + config.fetch.timeout_seconds


@contextlib.contextmanager
def attempting(workspace: Workspace, stage: str, ids: Sequence[str]) -> Iterator[None]:
    """Record that ``stage`` works on ``ids`` until the block ends or raises; a killed process leaves the record."""
    if workspace.isolated or not ids:
        yield
        return
    folder = _folder(workspace)
    folder.mkdir(mode=0o700, exist_ok=True)
    file = folder / f"{stage}-{secrets.token_hex(8)}.json"
    hidden = file.with_suffix(".tmp")
    descriptor = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with open(descriptor, "w", encoding="utf-8", closefd=False) as written:
            json.dump(list(ids), written)
        hidden.rename(file)  # only now do other processes see it, locked and whole
        with WATCHDOG.watching(patience(workspace)):
            yield
    finally:
        for name in (hidden, file):
            name.unlink(missing_ok=True)
        os.close(descriptor)


def abandoned(workspace: Workspace, stage: str) -> Iterator[list[str]]:
    """Yield the ids of each batch that a process died over; a batch is forgotten once the caller asks for the next."""
    folder = _folder(workspace)
    for file in sorted(folder.glob(f"{stage}-*.json")) if folder.is_dir() else ():
        try:
            descriptor = os.open(file, os.O_RDWR)
        except FileNotFoundError:
            continue  # its batch was done meanwhile
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            ids = _read(file)
            if ids:
                yield ids
            file.unlink(missing_ok=True)
        except BlockingIOError:
            continue  # its process lives
        finally:
            os.close(descriptor)


def _read(file: Path) -> list[str]:
    """The ids in a file; none of a file that is gone, or that a machine's crash left empty."""
    try:
        return [str(one) for one in json.loads(file.read_text(encoding="utf-8"))]
    except (FileNotFoundError, ValueError):
        return []


def _folder(workspace: Workspace) -> Path:
    return workspace.home / "attempts"
