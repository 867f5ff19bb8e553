"""A file appears whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO


def publish(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write ``path`` under a temporary name beside it, sync it, and rename: a reader sees the old file or the new one.

    The file is readable by its owner only; whoever serves reports opens them up. When ``write`` fails, the old file
    stays as it was.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)  # os.replace: atomic
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
