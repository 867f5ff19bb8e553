"""The benchmarks of what comes in measure what is right, and notice what is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import endless, ingest
from benchmarks.inputs.uploads import BAD, write_uploads
from benchmarks.machine import processor_seconds, resident_mb
from embeddings.images.decode import DecodedImage, decode
from embeddings.types import ImageLimits
from tests.fakes import person, picture


def test_a_small_run_beside_httpx_and_pillow_is_correct(capsys: pytest.CaptureFixture[str]) -> None:
    assert ingest.main(["--images", "6", "--rounds", "2", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [row["peer"] for row in told["rows"]] == ["in process", "plain", "plain reduced", "in process"]
    assert all(row["correct"] for row in told["rows"])
    assert set(told["confined_by"]).isdisjoint(told["not_confined_by"])


def test_other_pixels_are_noticed() -> None:
    def darker(data: bytes, *, limits: ImageLimits, long_side: int) -> DecodedImage:
        image = decode(data, limits=limits, long_side=long_side)
        frames = (replace(frame, image=np.asarray(frame.image // 2)) for frame in image.frames)
        return replace(image, frames=frames)

    data = picture(person(100))
    assert ingest.agrees(data, decode)
    assert not ingest.agrees(data, darker)


BUSY = "import sys, time\nwhile time.process_time() < 0.4: pass\nprint('done', flush=True)\nsys.stdin.read()"


def test_processor_time_and_memory_of_started_processes_count() -> None:
    processor, memory = processor_seconds(), resident_mb()
    with subprocess.Popen([sys.executable, "-c", BUSY], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"done\n"
        without = processor_seconds(without={process.pid})
        assert processor_seconds() - processor > 0.3
        assert processor_seconds() - without > 0.3
        assert resident_mb() > memory
        process.kill()


def test_a_sweep_over_many_uploads_accounts_for_each(tmp_path: Path) -> None:
    row = endless.run(tmp_path, items_wanted=300, bad_share=0.3, seed=1)
    assert row["wrongly_settled"] == 0
    assert sum(row["statuses"].values()) == 300
    assert row["bad"] > 50
    assert row["hits"] > 0
    assert {"unscannable:too_many_pixels", "unscannable:format", "unscannable:empty"} <= set(row["statuses"])


def test_a_wrong_status_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BAD, "bomb", (BAD["bomb"][0], "clean"))
    row = endless.run(tmp_path, items_wanted=60, bad_share=0.9, seed=2)
    assert row["wrongly_settled"] > 0
    assert not row["correct"]


def test_every_kind_of_upload_is_written(tmp_path: Path) -> None:
    counts = write_uploads(tmp_path, 400, bad_share=0.5, seed=0)
    assert sum(counts.values()) == 400
    assert min(counts.values()) > 0
