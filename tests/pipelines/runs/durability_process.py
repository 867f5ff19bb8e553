"""One night in a process of its own, forked by :mod:`tests.forking`: arguments ``--home HOME UPLOADS``.

Sweeps, rescans, judges and dispatches with the models that see colours, under the command line's own error handling;
with ``--new-pack`` it does a backfill to that pack instead, with ``--compact`` a compaction that purges, with
``--confirm`` somebody confirms a hit. The clock stands still at ``--at``. ``--most-bytes`` is a disk that is full: no
file may grow beyond it, either while a shard is written or all the time. The failpoint to die at, the database and the
takedown service come by the environment, as always.
"""

from __future__ import annotations

import contextlib
import functools
import resource
import signal
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from pipelines.cli.console import command_options
from pipelines.decisions.decide import decide
from pipelines.home.workspace import Workspace, open_workspace
from pipelines.runs.backfill import backfill
from pipelines.runs.compaction import compact
from pipelines.runs.delivery import deliver
from pipelines.runs.rescan import rescan
from pipelines.runs.sweep import sweep
from pipelines.settings.environment import Environment
from tests import forking
from tests.conftest import START, open_with_fakes, use_fakes
from tests.fakes import fake_canary, fake_models
from tests.platform_actions import source_of

SHARD_ITEMS = 3


def run_night(
    home: Path, uploads: Path, variables: Mapping[str, str], *options: str, at: datetime = START
) -> subprocess.CompletedProcess[str]:
    """Run one night to its end, whatever that is."""
    arguments = ["--home", str(home), str(uploads), "--at", at.isoformat(), *options]
    return forking.start(__name__, arguments, variables).completed()


def run_compaction(home: Path, variables: Mapping[str, str], *options: str) -> subprocess.CompletedProcess[str]:
    """Run a compaction to its end; ``--most-bytes`` is how far a shard's file may grow."""
    more = ("--full", "shards", *options) if options else ()
    return run_night(home, home, variables, "--compact", *more)


def backfill_to(workspace: Workspace, model_id: str) -> None:
    """As if the configuration named another pack; then bring everything to it, a shard at a turn."""
    give_pack(workspace, model_id)
    workspace.opener = functools.partial(open_with_pack, model_id=model_id)
    cut = replace(workspace.config.sweep, shard_items=SHARD_ITEMS, examined_items=SHARD_ITEMS, backfill_batches=1)
    workspace.config = replace(workspace.config, sweep=cut)
    backfill(workspace, actor="tester")


def give_pack(workspace: Workspace, model_id: str) -> Workspace:
    """Give a workspace fake models of another name."""
    workspace.models = fake_models(model_id)  # type: ignore[misc]
    workspace.canary = fake_canary(model_id)  # type: ignore[misc]
    return workspace


def open_with_pack(environment: Environment, *, model_id: str) -> Workspace:
    """What a process of its own for some items opens."""
    return give_pack(open_with_fakes(environment), model_id)


def night(workspace: Workspace, uploads: Path) -> None:
    """Everything between an upload and its takedown."""
    workspace.config = replace(
        workspace.config, sweep=replace(workspace.config.sweep, shard_items=SHARD_ITEMS, examined_items=SHARD_ITEMS)
    )
    sweep(workspace, source_of(uploads), day=None)
    rescan(workspace)
    deliver(workspace)


@contextlib.contextmanager
def full_disk(most_bytes: int) -> Iterator[None]:
    """No file grows beyond ``most_bytes``: writing more fails with an error instead of a signal."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def _write_shards_to_a_full_disk(workspace: Workspace, most_bytes: int) -> None:
    write = workspace.corpus.write

    def limited(*args: Any, **options: Any) -> Any:
        with full_disk(most_bytes):
            return write(*args, **options)

    workspace.corpus.write = limited  # type: ignore[method-assign]


@click.command()
@click.argument("uploads", type=click.Path(path_type=Path))
@click.option("--at", type=datetime.fromisoformat, required=True, help="When it is.")
@click.option("--full", type=click.Choice(["shards", "everything"]), help="What meets a full disk.")
@click.option("--most-bytes", type=int, default=0)
@click.option("--new-pack", help="The model id of a pack to backfill to.")
@click.option("--compact", "compacting", is_flag=True)
@click.option("--confirm", "confirmed", help="A hit to confirm.")
@command_options
def main(
    environment: Environment,
    as_json: bool,
    uploads: Path,
    at: datetime,
    full: str | None,
    most_bytes: int,
    new_pack: str | None,
    compacting: bool,
    confirmed: str | None,
) -> None:
    with open_workspace(environment, now=lambda: at) as workspace:
        if full == "shards":
            _write_shards_to_a_full_disk(workspace, most_bytes)
        with full_disk(most_bytes) if full == "everything" else contextlib.nullcontext():
            if compacting:
                compact(use_fakes(workspace), purge=True)
            elif confirmed:
                decide(workspace, [confirmed], decision="confirm", reason="same_person", actor="tester")
            elif new_pack:
                backfill_to(use_fakes(workspace), new_pack)
            else:
                night(use_fakes(workspace), uploads)
