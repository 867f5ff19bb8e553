"""The engine on Ray (extra ``ray``): tasks on a cluster, or on processes of this machine.

A worker opens the same home by itself: the home folder (its corpus at least) is shared by all machines, the database is
one that they all reach, and each machine has ``LIKENESS_KEY`` and ``LIKENESS_DATABASE_URL`` in the environment that Ray
was started in. Ray is given neither keys nor vectors nor pictures: arguments and results are ids, counts and scores.
"""

from __future__ import annotations

import logging
import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embeddings.errors import NotReadyError
from pipelines.home.engine import Argument, Common, LocalEngine, Result
from pipelines.home.long_lived import KeptWorkspace
from pipelines.settings.config_ray import RayConfig
from pipelines.settings.environment import Environment, keep_ray_quiet, read_environment

if TYPE_CHECKING:
    from pipelines.home.workspace import Workspace

try:
    import ray
except ImportError as error:
    raise NotReadyError("Ray is not installed: pip install 'likeness[ray]', or set engine = \"local\"") from error


CONNECT_SECONDS = 10.0


class RayEngine:
    """An :class:`pipelines.home.engine.Engine` on Ray. A task whose worker dies is given to another one."""

    name = "ray"
    remote = True

    def __init__(self, config: RayConfig, environment: Environment) -> None:
        """Connect to the cluster at ``config.address``, or start workers on this machine when it is empty."""
        self._config = config
        self._place = (str(environment.home), str(environment.config_path) if environment.config_path else None)
        self._own = not config.address
        keep_ray_quiet()
        _require_listening(config.address)
        local: dict[str, Any] = {"num_cpus": config.workers * config.cpus, "include_dashboard": False}
        try:
            ray.init(
                address=config.address or "local",
                log_to_driver=False,
                configure_logging=False,
                logging_level=logging.ERROR,
                ignore_reinit_error=True,
                **(local if self._own else {}),
            )
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise NotReadyError(f"Ray cannot be reached ({type(error).__name__}): check ray.address") from error

    def map(
        self,
        function: Callable[[Workspace, Common, Argument], Result],
        workspace: Workspace,
        common: Common,
        arguments: Iterable[Argument],
    ) -> Iterator[Result]:
        """Yield the results in order, with at most twice as many tasks under way as there are workers."""
        task: Any = ray.remote(num_cpus=self._config.cpus, max_retries=self._config.max_retries)(_call)
        worker = _Worker(workspace.opener, self._place, self._config.cpus)
        shared = ray.put(common)
        waiting: deque[Any] = deque()
        try:
            for argument in arguments:
                waiting.append(task.remote(function, worker, shared, argument))
                if len(waiting) >= 2 * self._config.workers:
                    yield _result(waiting.popleft())
            while waiting:
                yield _result(waiting.popleft())
        finally:
            for begun in waiting:
                ray.cancel(begun)

    def close(self) -> None:
        """Disconnect; workers that this engine started end."""
        ray.shutdown()


def _require_listening(address: str) -> None:
    """Raise :class:`NotReadyError` when nobody listens at ``address``, which Ray itself would try for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon:
        return  # empty or "auto": Ray finds an address by itself
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()
    except (OSError, ValueError) as error:
        raise NotReadyError(f"Ray cannot be reached ({type(error).__name__}): check ray.address") from error


def _result(reference: Any) -> Any:
    try:
        return ray.get(reference)
    except ray.exceptions.WorkerCrashedError as error:
        raise NotReadyError("Ray workers died again and again over one task: look at their memory") from error


@dataclass(frozen=True)
class _Worker:
    """How a worker comes to its workspace: by what it opens which home, and for how many cores."""

    opener: Callable[[Environment], Workspace]
    place: tuple[str, str | None]
    cpus: int


def _call(
    function: Callable[[Workspace, Common, Argument], Result], worker: _Worker, common: Common, argument: Argument
) -> Result:
    """Run one task in a worker."""
    return function(_opened(worker), common, argument)


def _opened(worker: _Worker) -> Workspace:
    """This worker's workspace, which loads its models once and follows the files that settings name."""
    home, config_path = worker.place
    environment = read_environment(home=Path(home), config_path=Path(config_path) if config_path else None)
    return _kept(worker).workspace(environment)


@lru_cache(maxsize=1)
def _kept(worker: _Worker) -> KeptWorkspace:
    def open_here(environment: Environment) -> Workspace:
        workspace = worker.opener(environment)
        embedding = replace(workspace.config.embedding, workers=worker.cpus)
        workspace.config = replace(workspace.config, embedding=embedding)
        workspace.engine = LocalEngine()
        return workspace

    return KeptWorkspace(open_here)
