"""The benchmarks of indexes notice wrong answers, and are fair about what is lost."""

from __future__ import annotations

import numpy as np

from benchmarks import fingerprints, templates
from indexes.fingerprints import NearPairs, brute_force_near
from tests.fakes import BlindGallery

THRESHOLD = 0.4


def test_exact_work_is_correct_and_a_gallery_that_loses_matches_is_not() -> None:
    population = templates.draw(60, 400, 512, 0.9, seed=3)
    rows = {row["work"]: row for row in templates.measure(population, THRESHOLD, repeats=1)}
    assert all(row["correct"] for row in rows.values())
    assert rows["exact"]["recall_copies"] == rows["exact"]["recall_photographs"] == 1.0
    assert rows["exact"]["compared"] < 0.5
    peer = templates.build(population, THRESHOLD, "all")
    blind = BlindGallery(
        peer.vectors,
        template_ids=peer.template_ids,
        subject_ids=peer.subject_ids,
        model_id=peer.model_id,
        registry_version=1,
    )
    lost = templates.compare(population, peer, blind, THRESHOLD, exact=True)
    assert not lost["correct"]
    assert lost["recall_photographs"] == 0.0


def test_references_repeat_each_other_as_often_as_they_are_said_to() -> None:
    population = templates.draw(200, 2, 512, 0.5, seed=4)
    products = population.vectors @ population.vectors.T
    np.fill_diagonal(products, 0)
    assert 0.5 < (products.max(axis=1) > 0.97).mean() < 0.95  # the repeats, and the originals that were repeated


def test_fingerprints_are_measured_on_pairs_that_exist_and_a_missing_pair_is_noticed() -> None:
    row = fingerprints.measure(3000, 200, repeats=1)
    assert row["correct"]
    assert 50 < row["pairs"] < 100
    stored, probes = fingerprints.draw(3000, 200, seed=1)
    found = brute_force_near(probes, stored, distance=31, block=512)
    assert not fingerprints.equal(found, NearPairs(found.probe[1:], found.row[1:], found.distances[1:]))
