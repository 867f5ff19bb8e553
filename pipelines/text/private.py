"""Access to the home folder and the key file: for their owner alone, unless the settings let the group in."""

from __future__ import annotations

import os
import shlex
import stat
from pathlib import Path

from embeddings.errors import ConfigError


def require_private(path: Path, *, group: bool) -> None:
    """Raise :class:`ConfigError` where others than the own account may read or write ``path``, or own it.

    ``group``: the file's group may (``LIKENESS_GROUP_ACCESS=1``). The error says what to run.
    """
    found = path.stat()
    if found.st_uid != os.geteuid():
        raise ConfigError(f"{path} belongs to another account: run this as that one, or `chown` it")
    open_to = stat.S_IRWXO if group else stat.S_IRWXG | stat.S_IRWXO
    if not found.st_mode & open_to & (stat.S_IRGRP | stat.S_IWGRP | stat.S_IROTH | stat.S_IWOTH):
        return
    mode = ("750" if path.is_dir() else "640") if group else ("700" if path.is_dir() else "600")
    who = "others" if group else "its group or others"
    more = "" if group else "; set LIKENESS_GROUP_ACCESS=1 if its group is meant to have access"
    raise ConfigError(f"{path} may be read or written by {who}: run `chmod {mode} {shlex.quote(str(path))}`{more}")
