"""The benchmark of the embedding core: it sees what is missing or different, and a small run is correct."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from benchmarks.agreement import Agreement
from benchmarks.faces import Side, good, main
from benchmarks.workers.faces import found_by_name
from benchmarks.workers.opencv_loop import FoundFaces
from embeddings.types import Content, ShardEmbeddings, face_schema, status_schema, vector_column

ENDS_IN_ZERO = b"\1" * 31 + b"\0"
PERFECT = Agreement(peer_faces=2, recall=1.0, median_cosine=1.0, lowest_cosine=1.0)


def side(faces: int) -> Side:
    return Side([1.0], {"a": FoundFaces(np.zeros((faces, 4), np.float32), np.zeros((faces, 2), np.float32))}, {})


@pytest.mark.parametrize(
    ("own", "fair", "reference", "expected"),
    [
        (2, PERFECT, PERFECT, True),
        (3, PERFECT, None, True),
        (1, PERFECT, None, False),
        (1, PERFECT, PERFECT, False),
        (3, PERFECT, PERFECT, False),
        (2, replace(PERFECT, recall=0.98), PERFECT, False),
        (2, PERFECT, replace(PERFECT, lowest_cosine=0.997), False),
        (2, PERFECT, replace(PERFECT, recall=0.5), False),
    ],
)
def test_missing_extra_and_different_faces_are_not_correct(
    own: int, fair: Agreement, reference: Agreement | None, expected: bool
) -> None:
    assert good(side(own), fair, reference) is expected


def test_faces_of_a_content_whose_digest_ends_in_a_zero_byte_are_counted() -> None:
    status = {"content_sha256": ENDS_IN_ZERO, "status": "faces", "faces": 1, "faces_dropped": 0}
    face = {
        "content_sha256": [ENDS_IN_ZERO],
        "frame": [0],
        "face": [0],
        "score": [0.9],
        "view": ["fast"],
        "seconds": [None],
    }
    box = {name: [float(at)] for at, name in enumerate(("x1", "y1", "x2", "y2"))}
    columns = face | box | {"vector": vector_column(np.array([[1.0, 0.0]], dtype=np.float32))}
    result = ShardEmbeddings(
        pa.Table.from_pylist([status], schema=status_schema()),
        pa.table({name: columns[name] for name in face_schema(2).names}, schema=face_schema(2)),
    )
    found = found_by_name(["a"], [Content(ENDS_IN_ZERO, b"")], result, dimension=2)
    assert found["a"].boxes.tolist() == [[0.0, 1.0, 2.0, 3.0]]


def test_a_small_run_is_correct_from_end_to_end(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--images", "8", "--turn", "4", "--json"]) == 0
    rows = json.loads(capfd.readouterr().out.splitlines()[-1])["rows"]
    assert {row["peer"] for row in rows} == {"OpenCV loop", "OpenCV loop at 640"}
    assert all(row["correct"] and row["faces"] > 0 and row["cosine_same_crop"] >= 0.998 for row in rows)
