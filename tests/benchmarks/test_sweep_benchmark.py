"""The sweep's benchmark: its comparisons see differences, and a small run is correct from end to end."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.agreement import agreement, hits_are_exact, iou, stored_faces
from benchmarks.inputs.synthetic import make_home, write_variants
from benchmarks.sweep import Measured, main
from benchmarks.workers.opencv_loop import FoundFaces
from pipelines.database.tables import hits
from pipelines.home.workspace import open_workspace
from pipelines.runs.sweep import sweep
from pipelines.settings.environment import read_environment

NOBODY = FoundFaces(np.empty((0, 4), dtype=np.float32), np.empty((0, 2), dtype=np.float32))


def found(*boxes: tuple[float, float, float, float], angle: float = 0.0) -> FoundFaces:
    vector = [np.cos(angle), np.sin(angle)]
    return FoundFaces(np.array(boxes, dtype=np.float32), np.array([vector] * len(boxes), dtype=np.float32))


def test_overlap_of_boxes_is_intersection_over_union() -> None:
    left = np.array([[0, 0, 2, 2], [10, 10, 12, 12]], dtype=np.float32)
    right = np.array([[1, 0, 3, 2]], dtype=np.float32)
    assert iou(left, right).ravel().tolist() == pytest.approx([1 / 3, 0])


def test_a_face_that_only_the_peer_finds_lowers_recall() -> None:
    ours = {"a": found((0, 0, 10, 10)), "b": NOBODY}
    peer = {"a": found((0, 0, 10, 9), (50, 50, 60, 60)), "b": found((0, 0, 10, 10))}
    assert agreement(ours, peer).recall == pytest.approx(1 / 3)
    assert agreement(ours, peer).peer_faces == 3


def test_cosine_is_taken_between_the_vectors_of_one_face() -> None:
    compared = agreement({"a": found((0, 0, 10, 10))}, {"a": found((0, 0, 10, 10), angle=np.pi / 3)})
    assert compared.median_cosine == pytest.approx(0.5)


def test_work_outside_of_shards_counts_against_us() -> None:
    measured = Measured({"seconds": 6.0}, [30, 10], [3.0, 1.0], {"peer": [9.0, 3.0]}, {}, {})
    assert measured.ratios("peer") == pytest.approx([2.0, 2.0])


def test_a_hit_that_is_missing_is_noticed(tmp_path: Path) -> None:
    write_variants(tmp_path / "images", 6, seed=0)
    make_home(tmp_path / "home", subjects=5, seed=0)
    with open_workspace(read_environment({}, home=tmp_path / "home")) as workspace:
        sweep(workspace, f"directory:{tmp_path / 'images'}", day=None)
        faces = stored_faces(workspace)
        exact, count = hits_are_exact(workspace, faces)
        assert exact
        assert count > 0
        with workspace.database.write() as tx:
            lost = tx.execute(hits.select().limit(1)).one()
            tx.execute(hits.delete().where(hits.c.hit_id == lost.hit_id))
        assert hits_are_exact(workspace, faces) == (False, count - 1)


@pytest.mark.slow
def test_a_small_run_prints_its_rows_on_the_last_line(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--images", "8", "--subjects", "5", "--json"]) == 0
    printed = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert [row["images"] for row in printed["rows"]] == [2, 8, 8]
    assert [row["peer"] for row in printed["rows"]] == [None, "OpenCV loop", "OpenCV loop at 640"]
    assert all(row["identical"] for row in printed["rows"])
    assert printed["machine"]["cores"] >= 1
