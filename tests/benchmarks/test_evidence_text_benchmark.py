"""The benchmark of names in texts counts what it says, and notices a matcher that finds something else."""

from __future__ import annotations

from random import Random

import pytest

from benchmarks.evidence import text as evidence_text
from benchmarks.evidence.words import common_word_names, invented_names, prompt


def test_a_small_run_is_checked_and_finds_every_disguise() -> None:
    result = evidence_text.measure(texts=300, names=200, peer_names=50, repeats=1)
    assert result["checked_texts"] == evidence_text.CHECKED_TEXTS
    assert result["false_alarms_per_100000"]["invented"]["texts_with_any"] == 0
    assert result["false_alarms_per_100000"]["mononyms"]["by_rule"].keys() == {"token"}
    assert all(found["ours"] > 0.95 for found in result["found"].values())
    assert result["found"]["plain"] == {"ours": 1.0, "word windows": 1.0, "re alternation": 1.0}
    assert result["found"]["joined"]["word windows"] == 0


def test_a_peer_that_finds_more_is_noticed() -> None:
    names = invented_names(evidence_text.CHECKED_NAMES, Random(1))
    finders = {"ours": (evidence_text.finder(names), 1), "everything": (lambda text: {"0", "1"}, 1)}
    with pytest.raises(AssertionError, match="everything"):
        evidence_text.check(names, finders, Random(1))


def test_texts_and_names_follow_from_the_seed_and_names_differ() -> None:
    assert prompt(Random(3)) == prompt(Random(3))
    assert len(set(invented_names(500, Random(1)))) == len(set(common_word_names(500, Random(1)))) == 500
