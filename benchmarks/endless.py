"""Does a sweep over very many uploads, some of them bad, account for every one in memory that does not grow?

    python -m benchmarks.endless [--items 100000] [--bad 0.03] [--seed 0] [--json]

Work: a listing of ``--items`` rows with small pictures (:mod:`benchmarks.inputs.uploads`), of which ``--bad`` are cut,
damaged, bombs, of another type, empty or not there, beside odd ids and repeated contents and ids; swept against 20
subjects by models that see colours (:mod:`benchmarks.inputs.plain_models`), because what is looked at is all that is
around the models. Decoding is confined as settings have it by default.

Correct means: there are as many items as rows, each with one settled status, which is the one that its kind has to
have; every pair is compared; and memory is flat: the scanner and its decoding processes together take at most
``MOST_GROWTH`` more in the last fifth of the run than in the second.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
import sqlalchemy as sa

from benchmarks.finish import finish
from benchmarks.inputs.plain_models import plain_canary, plain_models, vectors_of
from benchmarks.inputs.uploads import BAD, write_uploads
from benchmarks.machine import resident_mb
from pipelines.database.tables import items
from pipelines.home.sealing import KeyFileWarning
from pipelines.home.workspace import Workspace, create_workspace
from pipelines.registry.references import Reference
from pipelines.registry.subjects import Identity, insert_subject
from pipelines.runs.sweep import SweepSummary, sweep
from pipelines.settings.environment import read_environment

SUBJECTS: Final = 20
MOST_GROWTH: Final = 1.1
_FIFTHS: Final = 5


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark, print its rows, and return the exit status."""
    parser = argparse.ArgumentParser(prog="benchmarks.endless", description="A sweep over very many uploads.")
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--bad", type=float, default=0.03, help="share of the files that are bad")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print the rows as one JSON object on the last line")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="likeness-endless-") as folder:
        row = run(Path(folder), items_wanted=options.items, bad_share=options.bad, seed=options.seed)
    return finish([row], as_json=options.json)


def run(folder: Path, *, items_wanted: int, bad_share: float, seed: int) -> dict[str, Any]:
    """Make the listing, sweep it and return the one row."""
    uploads = folder / "uploads"
    uploads.mkdir()
    kinds = write_uploads(uploads, items_wanted, bad_share=bad_share, seed=seed)
    with open_home(folder / "home") as workspace:
        memory: list[tuple[float, float]] = []

        def progress(stage: str, done: int, total: int, detail: str = "") -> None:
            if stage == "embed" and total:
                memory.append((done / total, resident_mb()))

        started = time.perf_counter()
        summary = sweep(workspace, f"manifest:{uploads / 'uploads.jsonl'}", day=None, progress=progress)
        seconds = time.perf_counter() - started
        wrong = wrongly_settled(workspace)
    early, late = (max((mb for done, mb in memory if _fifth(done) == part), default=0.0) for part in (1, 4))
    flat = early == 0.0 or late <= MOST_GROWTH * early
    return {
        "items": items_wanted,
        "bad": sum(kinds[kind] for kind in BAD),
        "items_per_second": round(items_wanted / seconds, 1),
        "mb_in_second_fifth": early,
        "mb_in_last_fifth": late,
        "statuses": summary.statuses,
        "hits": summary.hits,
        "wrongly_settled": wrong,
        "correct": is_accounted_for(summary, items_wanted) and wrong == 0 and flat,
    }


def _fifth(done: float) -> int:
    return min(int(done * _FIFTHS), _FIFTHS - 1)


def open_home(home: Path) -> Workspace:
    """Make a home with subjects of a few colours, and models that see colours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", KeyFileWarning)
        workspace = create_workspace(read_environment({}, home=home))
    workspace.config = replace(
        workspace.config,
        content=replace(workspace.config.content, rating=False, clip="off"),
        evidence=replace(workspace.config.evidence, recent_bytes=2**20),  # else it fills up to 64 MiB first
    )
    workspace.models = plain_models()  # type: ignore[misc]
    workspace.canary = plain_canary()  # type: ignore[misc]
    crop = np.zeros((112, 112, 3), dtype=np.uint8)
    colours = np.array([[number % 7, number // 7, 7] for number in range(SUBJECTS)])
    with workspace.database.write() as tx:
        for number, vector in enumerate(vectors_of(colours)):
            insert_subject(
                tx,
                workspace,
                identity=Identity(names=(f"subject {number}",), consent="benchmark", contact=None),
                references=[Reference(vector=vector, crop=crop, detector_score=1.0)],
                expires_at=workspace.now() + timedelta(days=365),
                active=True,
                actor="benchmark",
            )
    return workspace


def is_accounted_for(summary: SweepSummary, wanted: int) -> bool:
    """Whether every row is an item with one settled status, and every pair is compared."""
    settled = sum(count for status, count in summary.statuses.items() if status != "pending")
    return summary.items == settled == wanted and summary.coverage == 1.0 and summary.unexamined == 0


def wrongly_settled(workspace: Workspace) -> int:
    """How many items have another status than their kind, with which their id begins, has to have."""
    wrong = 0
    with workspace.database.read() as connection:
        for item_id, status in connection.execute(sa.select(items.c.item_id, items.c.status)):
            kind = str(item_id).partition("-")[0]
            expected = BAD[kind][1] if kind in BAD else None
            fine = status in ("clean", "hit", "no_face") if kind not in BAD else expected in (None, status)
            wrong += not fine
    return wrong


if __name__ == "__main__":
    sys.exit(main())
