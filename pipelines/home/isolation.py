"""Working through a batch that ended its process: in halves, each in a process of its own, down to the one item.

Such a process opens the same home, loads the models, and then may take no more memory than a stated amount beyond what
it has, and no more time for one item than an item may take. If it dies over a batch of one, that item is to blame and
gets a status that says so. If it dies before it has begun, no item is: :class:`NotReadyError`.
"""

from __future__ import annotations

import logging
import multiprocessing
import resource
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final, TypeVar

from embeddings.errors import LikenessError, NotReadyError
from embeddings.faults import SCANNER_KILLED, SCANNER_TIMEOUT
from pipelines.home.attempts import abandoned, patience
from pipelines.home.engine import LocalEngine
from pipelines.home.workspace import Workspace
from pipelines.settings.config import Config
from pipelines.settings.environment import Environment

_LOG = logging.getLogger(__name__)
PRELOADED: Final = [
    *("pipelines.scan.faces", "pipelines.scan.describe", "pipelines.matching.names", "pipelines.matching.faces"),
    "pipelines.home.workspace",
]
"""Modules that the fork server imports before it forks the first process."""
_READY: Final = "ready"
_BEAT: Final = "beat"
_DONE: Final = "done"
_RAISED: Final = "raised"

Result = TypeVar("Result")
Redo = Callable[[Workspace, Sequence[str]], Result]
"""Does a stage's work on some ids, commits it, and may be repeated. A module's function: it is sent by its name."""
Mark = Callable[[Workspace, str, str], None]
"""Records that an id is to blame: workspace, id, reason."""


def resume(workspace: Workspace, stage: str, redo: Redo[Result], mark: Mark) -> list[Result]:
    """Work through every batch of ``stage`` that a process died over; return the results of ``redo`` on the parts."""
    results: list[Result] = []
    for ids in () if workspace.isolated else abandoned(workspace, stage):
        _LOG.warning(
            "a process ended over %d items (%s): each half of them is tried in a process by itself", len(ids), stage
        )
        results += _work_through(workspace, stage, ids, redo, mark)
    return results


def _work_through(workspace: Workspace, stage: str, ids: Sequence[str], redo: Redo[Result], mark: Mark) -> list[Result]:
    done = run_isolated(workspace, redo, ids)
    if done.died is None:
        return [done.result]
    if len(ids) == 1:
        _LOG.warning("an item is unscannable:%s: it ends every process that works on it (%s)", done.died, stage)
        mark(workspace, ids[0], done.died)
        return []
    half = len(ids) // 2
    first = _work_through(workspace, stage, ids[:half], redo, mark)
    return first + _work_through(workspace, stage, ids[half:], redo, mark)


@dataclass(frozen=True, slots=True)
class Isolated:
    """The outcome of a process: a result, or the reason word for what it died of."""

    result: Any
    died: str | None


def run_isolated(workspace: Workspace, redo: Redo[Result], ids: Sequence[str]) -> Isolated:
    """Call ``redo(workspace, ids)`` in a new process. Raises what it raises; ``NotReadyError`` if it cannot begin."""
    # A fork of this process would copy locks that its other threads hold. The server has one thread, and has imported
    # what each of the many processes of a bisection would need seconds for.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))
    ours, theirs = context.Pipe(duplex=False)
    home = _Home(workspace.opener, workspace.environment, workspace.config, workspace.models.model_id)
    given = (theirs, home, redo, list(ids))
    process = context.Process(target=_isolated, args=given, daemon=True)
    process.start()
    theirs.close()
    begun = False
    try:
        while True:
            if not ours.poll(patience(workspace) if begun else workspace.config.isolation.start_seconds):
                return _dead(begun, SCANNER_TIMEOUT)
            kind, value = ours.recv()
            begun = True
            if kind == _RAISED:
                raise value
            if kind == _DONE:
                return Isolated(value, None)
    except EOFError:
        return _dead(begun, SCANNER_KILLED)
    finally:
        process.kill()
        process.join()
        ours.close()


def _dead(begun: bool, reason: str) -> Isolated:
    if not begun:
        raise NotReadyError(
            "a process of its own, for items that ended another, does not begin: see isolation.start_seconds, and how "
            "much memory this machine has left"
        )
    return Isolated(None, reason)


@dataclass(frozen=True, slots=True)
class _Home:
    """What a new process needs to open this home with the same settings. Sent through a pipe only."""

    opener: Callable[[Environment], Workspace]
    environment: Environment
    config: Config
    model_id: str


def _isolated(pipe: Connection, home: _Home, redo: Redo[Any], ids: list[str]) -> None:
    """Run in the new process: open the home, load the models, call ``redo`` and send its result."""
    try:
        workspace = home.opener(home.environment)
        workspace.config = replace(home.config, embedding=replace(home.config.embedding, workers=1))
        workspace.isolated, workspace.engine = True, LocalEngine()
        workspace.beat = lambda: pipe.send((_BEAT, None))
        with workspace:
            if workspace.models.model_id != home.model_id:
                raise NotReadyError("a process of its own for some items has other models than the one that started it")
            _limit_memory(home.config.isolation.memory_bytes)
            pipe.send((_READY, None))
            pipe.send((_DONE, redo(workspace, ids)))
    except LikenessError as error:
        pipe.send((_RAISED, error))
    except Exception as error:  # noqa: BLE001 - the caller's process has to hear of it, without what it may say
        pipe.send((_RAISED, RuntimeError(f"work in a process of its own raised {type(error).__name__}")))


def _limit_memory(most: int) -> None:
    """Let this process take no more than so many bytes beyond what it has; 0: no limit.

    The limit is on data, not on addresses: runtimes reserve many times what they use.
    """
    if not most:
        return
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    limit = int(fields["VmData"].split()[0]) * 1024 + most
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))
