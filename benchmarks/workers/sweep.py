"""The measured side of :mod:`benchmarks.sweep`: one real sweep in a process of its own, a turn per shard.

The stages are timed from outside, by wrapping the product's functions; a renamed one fails here at once. Time between
turns counts for nothing.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.machine import peak_mb, peak_mb_of_children, processor_seconds
from benchmarks.workers.turns import Seat
from pipelines.home.workspace import open_workspace
from pipelines.matching import faces as matching
from pipelines.runs import sweep
from pipelines.scan import faces as scan
from pipelines.settings.environment import read_environment

STAGES = {
    "list": ((sweep, "list_source"),),
    "fetch": ((scan, "fetch_until"),),
    "embed": ((scan, "embed_shard"),),
    "shards": ((scan, "merge"), (scan, "corpus_rows"), (scan, "_write_shard")),
    "database": ((sweep, "begin_run"), (scan, "_known"), (scan, "_commit"), (sweep, "summarise")),
    "match": ((matching, "match_pending"),),
    "judge": ((sweep, "judge_pending"),),
}
"""Functions of each stage. None of them calls another, and none waits for a turn. The next batch is fetched beside the
others, on a thread of its own."""


def time_stages() -> dict[str, float]:
    """Wrap the functions of ``STAGES``; the dictionary that is returned fills with seconds as they run."""
    spent = dict.fromkeys(STAGES, 0.0)
    for stage, functions in STAGES.items():
        for module, name in functions:
            setattr(module, name, _timed(getattr(module, name), stage, spent))
    return spent


def _timed(function: Callable[..., Any], stage: str, spent: dict[str, float]) -> Callable[..., Any]:
    @functools.wraps(function)
    def timed(*arguments: Any, **options: Any) -> Any:
        started = time.perf_counter()
        try:
            return function(*arguments, **options)
        finally:
            spent[stage] += time.perf_counter() - started

    return timed


def main() -> None:
    """Load the models, then sweep; a turn ends with each shard, the last one with the sweep."""
    parser = argparse.ArgumentParser(prog="benchmarks.workers.sweep")
    parser.add_argument("home", type=Path)
    parser.add_argument("source")
    options = parser.parse_args()
    spent = time_stages()
    with open_workspace(read_environment({}, home=options.home)) as workspace:
        loading = time.perf_counter()
        models = workspace.models
        seat = Seat()
        seat.answer(load_seconds=time.perf_counter() - loading, model_id=models.model_id)
        started = mark = seat.clock()
        cpu_before = processor_seconds()

        def progress(stage: str, done: int, total: int, detail: str = "") -> None:
            nonlocal mark
            if stage == "embed" and done:
                seat.answer(done=done, seconds=seat.clock() - mark)
            if stage == "embed":
                mark = seat.clock()

        summary = sweep.sweep(workspace, options.source, day=None, progress=progress)
        seconds = seat.clock() - started
        cpu_seconds = processor_seconds() - cpu_before
        decoding_mb = peak_mb_of_children()
    stages = {**spent, "other": max(0.0, seconds - sum(spent.values()))}
    measured = {
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "stages": stages,
        "peak_mb": round(peak_mb() + decoding_mb, 1),
    }
    seat.answer(done=None, **measured, summary=asdict(summary))


if __name__ == "__main__":
    main()
