"""Turns of writing to the corpus, one process at a time, and the removal of what interrupted writes left behind.

The scan and the compaction write to the corpus, each holding its turn from the first byte of a file to the transaction
that lists it. So whoever has the turn may delete a file that is not listed, unless the turn was lost while a worker of
its holder goes on: writers therefore also hold :func:`writing` until the file is listed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from pipelines.corpus.manifest import list_shards
from pipelines.home.workspace import Workspace

LEAVINGS_SECONDS = 3600.0
_WRITING = "corpus-writing"
SUFFIXES = (".parquet", ".vectors", ".tmp")


@contextmanager
def turn(workspace: Workspace) -> Iterator[None]:
    """Hold the turn. A waiting process holds a second lock, so that the one that gives its turn back must queue
    anew."""
    with ExitStack() as held:
        with workspace.database.exclusive("scan-next"):
            held.enter_context(workspace.database.exclusive("scan"))
        yield


@contextmanager
def writing(workspace: Workspace) -> Iterator[None]:
    """Mark, from the first byte of a file to the commit that lists it, that a process is writing."""
    with workspace.database.shared(_WRITING):
        yield


def remove_leavings(workspace: Workspace) -> int:
    """Delete files of ours that the manifest does not list; return how many. To be called in a turn.

    While anybody may still be writing, only files older than :data:`LEAVINGS_SECONDS` go: a process that is killed
    loses its turn before its Ray workers have ended, and a lost connection frees PostgreSQL's lock.
    """
    with workspace.database.alone(_WRITING) as alone:
        with workspace.database.read() as connection:
            listed = {name for shard in list_shards(connection, workspace.sealer) for name in shard.entry.files}
        oldest = time.time() - (0 if alone else LEAVINGS_SECONDS)
        left = [path for path in workspace.corpus.unlisted(listed) if path.suffix in SUFFIXES]
        gone = [path.name for path in left if path.stat().st_mtime <= oldest]
        workspace.corpus.delete(gone)
    return len(gone)
