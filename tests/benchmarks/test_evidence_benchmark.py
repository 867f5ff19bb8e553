"""The benchmark of evidence runs, checks what it measures, and notices a wrong answer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.evidence import __main__ as evidence
from benchmarks.evidence import headers as evidence_headers


def test_headers_are_read_as_the_library_reads_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert evidence_headers.main(["--files", "40", "--repeats", "1", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert row["correct"]
    assert row["files"] == 40


def test_one_benchmark_that_is_not_correct_is_said_by_all_of_them(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    good, bad = "json.tool", "no.such.module"
    monkeypatch.setattr(evidence, "run", lambda module: ({"rows": []}, module == good))
    monkeypatch.setattr(evidence, "ROWS", {"headers": good, "pdq": good})
    assert evidence.main(["--json"]) == 0
    assert json.loads(capfd.readouterr().out) == {"headers": {"rows": []}, "pdq": {"rows": []}}
    monkeypatch.setattr(evidence, "ROWS", {"headers": good, "pdq": bad})
    assert evidence.main(["--json"]) == 1


def test_a_header_without_the_planted_token_is_not_correct(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (path,) = evidence_headers.write_files(tmp_path, 1)
    assert evidence_headers.is_correct(path)
    monkeypatch.setattr(evidence_headers, "TOKEN", "somebody else")
    assert not evidence_headers.is_correct(path)
