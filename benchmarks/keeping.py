"""How much does keeping the evidence of hits cost, beside the sweep that found them?

    python -m benchmarks.keeping [--images 300] [--seed 0] [--json]

A home with three people and a folder of generated variants, half of which show one of them. A sweep that keeps nothing
finds the hits; then their pictures are fetched, decoded, cut out, sealed and committed. ``per_hit_ms`` is of that
second part, ``share`` its seconds by those of the sweep, ``bytes_per_hit`` what the database holds sealed. No peer does
this.

Correct means: every hit in force has its picture, and each opens to a JPEG. The exit status is 1 when that fails.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.finish import finish
from benchmarks.inputs.synthetic import make_home, write_variants
from pipelines.evidence.keeping import keep_evidence
from pipelines.evidence.kept import count_kept, open_picture
from pipelines.hits.listing import list_hits
from pipelines.home.workspace import open_workspace
from pipelines.runs.sweep import sweep
from pipelines.settings.environment import read_environment


def run(folder: Path, *, images: int, seed: int) -> dict[str, Any]:
    """The row of figures."""
    make_home(folder / "home", subjects=0, seed=seed)
    write_variants(folder / "images", images, seed=seed)
    with open_workspace(read_environment({}, home=folder / "home")) as workspace:
        config = workspace.config
        workspace.config = replace(config, evidence=replace(config.evidence, keep_crops=False))
        summary = sweep(workspace, f"directory:{folder / 'images'}", day=None)
        workspace.config = config
        begun = time.perf_counter()
        counts = keep_evidence(workspace)
        seconds = time.perf_counter() - begun
        with workspace.database.read() as connection:
            kept, found = count_kept(connection), list_hits(connection)
            opened = [open_picture(connection, workspace.sealer, hit.hit_id) for hit in found]
    right = counts.missing == 0 and len(opened) == counts.kept > 0 and all(_is_jpeg(data) for data in opened)
    return {
        "images": images,
        "hits": len(found),
        "sweep_seconds": round(summary.seconds, 2),
        "keep_seconds": round(seconds, 2),
        "share": round(seconds / summary.seconds, 3),
        "per_hit_ms": round(1000 * seconds / max(1, len(found)), 1),
        "bytes_per_hit": kept.bytes // max(1, kept.pictures),
        "correct": right,
    }


def _is_jpeg(data: bytes | None) -> bool:
    return data is not None and Image.open(io.BytesIO(data)).format == "JPEG"


def main(arguments: list[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        row = run(Path(folder), images=given.images, seed=given.seed)
    return finish([row], as_json=given.json)


if __name__ == "__main__":
    sys.exit(main())
