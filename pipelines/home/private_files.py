"""Files for their owner alone: written as a new file or in place of a regular one, and never through a link.

What is written shows faces or lists hits. A path may be mistyped, or lie in a folder where others write: following a
link, filling a FIFO or replacing a device or another file would hand it to them or destroy what was there.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from embeddings.errors import StateError
from indexes.durable import durable_file


def require_writable(path: Path, *, overwrite: bool) -> None:
    """Raise :class:`StateError` unless ``path`` can be a new file or, with ``overwrite``, replaces a regular one.

    Call it before the work whose result is written; :func:`publish` checks again.
    """
    if not path.parent.is_dir():
        raise StateError(f"the folder {path.parent} does not exist: make it, or name a file elsewhere")
    try:
        status = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISREG(status.st_mode):
        raise StateError(f"{path} is a link, a folder or a device, which is never written to: name a file")
    if not overwrite:
        raise StateError(f"{path} is there already: name a new file, or say --overwrite to replace this one")


def publish(path: Path, write: Callable[[BinaryIO], object], *, overwrite: bool) -> None:
    """Write a file, mode 0600, and sync it. Raises :class:`StateError` as :func:`require_writable` does.

    With ``overwrite`` it is written under a temporary name and renamed: a reader sees the old file or the new one, and
    when ``write`` fails the old one stays. Without, whatever else bears the name by then, a dangling link included, is
    left alone, and a failed ``write`` leaves nothing. Whoever serves reports opens them up.
    """
    require_writable(path, overwrite=overwrite)
    if not overwrite:
        try:
            _write(path, write)
        except FileExistsError:
            require_writable(path, overwrite=False)  # the file came meanwhile: raise the right error
            raise
        return
    with durable_file(path, before_rename=lambda: None) as file:
        write(file)


def open_private(path: str | Path, flags: int) -> int:
    """Return an ``opener`` for ``open``: a regular file, created with mode 0600, and no link. Raises
    :class:`StateError`."""
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if Path(path).is_symlink() or stat.S_ISFIFO(_mode(path)):
            raise StateError(f"{path} is a link or a FIFO, which is never written to: name a file") from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise StateError(f"{path} is no regular file, and is never written to: name a file")
    return descriptor


def _mode(path: str | Path) -> int:
    try:
        return Path(path).lstat().st_mode
    except FileNotFoundError:
        return 0


def _write(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Create, fill and sync; gone again when that fails."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise
