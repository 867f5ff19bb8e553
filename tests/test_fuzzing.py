"""The search for unforeseen uploads finds what is there, makes it small, and finds nothing in what there is now."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests import fuzzing
from tests.examples import examples
from tests.fuzzing import TARGETS, search


@pytest.mark.parametrize("name", TARGETS)
def test_i9_a_short_search_finds_nothing(name: str) -> None:
    assert search(TARGETS[name], seconds=0.0, examples=examples(40)) is None
    fuzzing.pool().close()


def test_a_finding_is_made_small_and_written_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stumbles(data: bytes) -> None:
        if b"\xff\xff" in data:
            raise KeyError("nobody foresaw this")

    monkeypatch.setitem(TARGETS, "rows", replace(TARGETS["rows"], check=stumbles))
    monkeypatch.setattr(fuzzing, "FOUND", tmp_path / "found")
    assert fuzzing.main(["--only", "rows", "--seconds", "30"]) == 1
    (file,) = (tmp_path / "found").iterdir()
    assert file.read_bytes() == b"\xff\xff"
    assert str(file) in capsys.readouterr().out


def test_known_files_are_what_they_should_be() -> None:
    """So that changes of them reach deep."""
    for target in TARGETS.values():
        for data in target.known():
            target.check(data)
            target.followed(data)
    fuzzing.pool().close()
