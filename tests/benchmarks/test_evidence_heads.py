"""The benchmarks of concept heads and hashes measure what is right, and notice what is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.evidence import heads as evidence_heads
from benchmarks.evidence import pdq as evidence_pdq
from embeddings.types import UInt8
from indexes.heads import concept_scores
from pipelines.policy.concept_list import load_concepts


def test_scores_made_anew_are_correct_and_a_wrong_one_is_noticed(tmp_path: Path) -> None:
    vectors = evidence_heads.Vectors(1, 600, 32)
    heads_row, search_row = evidence_heads.measure(vectors, looped=50, folder=tmp_path, say=lambda _: None)
    assert heads_row["correct"]
    assert search_row["correct"]
    listed = load_concepts(None)
    tower = evidence_heads.RandomTower(32)
    directions = np.stack([tower.encode_texts(group).mean(axis=0) for group in listed.texts()])
    heads = listed.heads(evidence_heads.unit(directions), model_id="clip-benchmark")
    part = vectors.shard(0)
    scores = np.round(concept_scores(part, heads, model_id="clip-benchmark"), 4)
    assert evidence_heads.is_correct((part, scores), heads)
    scores[17, 3] += np.float32(2e-4)
    assert not evidence_heads.is_correct((part, scores), heads)
    looped = evidence_heads.safety_checker(part[:3], heads)
    assert np.allclose([list(row.values()) for row in looped], scores[:3], atol=1e-3)


def test_hashes_of_reduced_pictures_find_what_those_of_whole_ones_do() -> None:
    row = evidence_pdq.measure(1024, repeats=1)
    assert row["correct"]
    assert row["copies_found"] == row["peer_copies_found"] == row["pictures"]


def test_pictures_that_all_hash_alike_are_noticed() -> None:
    def alike(_: UInt8) -> bytes:
        return bytes(32)

    hashes = [alike(picture) for picture in evidence_pdq.pictures_of(128)]
    assert len(evidence_pdq.near(hashes, hashes)) == len(hashes) ** 2
