"""The benchmark of what is kept measures what is right, and notices what is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import keeping


def test_every_hit_has_its_picture(tmp_path: Path) -> None:
    row = keeping.run(tmp_path, images=12, seed=1)
    assert row["correct"]
    assert row["hits"] > 0
    assert 1_000 < row["bytes_per_hit"] < 65_536


def test_what_is_missing_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "open_picture", lambda *_: None)
    assert not keeping.run(tmp_path, images=6, seed=1)["correct"]
