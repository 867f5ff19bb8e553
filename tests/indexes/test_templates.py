"""Subjects with many references: fewer comparisons, and the hits of the maximum over all of them (I3, I4, I7, I10)."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embeddings.errors import ModelMismatchError, NotReadyError, VectorError
from embeddings.types import Float32
from indexes.clustered import ClusteredGallery, make_gallery
from indexes.clusters import largest_radius, lowered_threshold, spherical_kmeans, subject_centroids, tight_clusters
from indexes.gallery import Gallery, GalleryMatches
from indexes.join import Pairs, brute_force
from tests.examples import examples
from tests.indexes.vectors import unit

THRESHOLD = 0.4


def around(centre: Float32, count: int, degrees: float, seed: int) -> Float32:
    """Unit vectors at exactly this angle from ``centre`` (d,)."""
    noise = np.random.default_rng([seed, 1]).normal(size=(count, len(centre))).astype(np.float32)
    noise -= (noise @ centre)[:, None] * centre
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    turned = math.cos(math.radians(degrees)) * centre + math.sin(math.radians(degrees)) * noise
    return (turned / np.linalg.norm(turned, axis=1, keepdims=True)).astype(np.float32)


def people(counts: list[int], dimension: int, degrees: list[float], seed: int) -> tuple[Float32, list[str]]:
    """Subject i has ``counts[i]`` references in two looks; those of a look are ``degrees[i]`` from it."""
    parts, owners = [], []
    for number, (count, spread) in enumerate(zip(counts, degrees, strict=True)):
        looks = around(unit(1, dimension, seed + number)[0], 2, 35, seed + number)
        for place, look in enumerate(looks):
            own = count // 2 + (count % 2 if place else 0)
            parts.append(around(look, own, spread, seed + 7 * number + place))
            owners += [f"s{number:03}"] * own
    return np.concatenate(parts), owners


def gallery_of(vectors: Float32, owners: list[str], **options: Any) -> Gallery:
    settings: dict[str, Any] = {"weights": np.ones(len(vectors)), "threshold": THRESHOLD, "margin": None}
    return make_gallery(
        vectors,
        template_ids=[f"t{row}" for row in range(len(vectors))],
        subject_ids=owners,
        model_id="m",
        registry_version=1,
        **{**settings, **options},
    )


def plain(vectors: Float32, owners: list[str]) -> Gallery:
    names = [f"t{row}" for row in range(len(vectors))]
    return Gallery(vectors, template_ids=names, subject_ids=owners, model_id="m", registry_version=1)


def faces(vectors: Float32, count: int, seed: int) -> Float32:
    """Faces at all distances from the references, many of them near the threshold; and strangers."""
    seed += 1_000_000  # other noise than the references'
    random = np.random.default_rng(seed)
    rows = random.integers(0, len(vectors), count)
    found = [around(vectors[row], 1, float(random.uniform(0, 90)), seed + place) for place, row in enumerate(rows)]
    return np.concatenate([*found, unit(count, vectors.shape[1], seed)])


def same(left: Pairs | GalleryMatches, right: Pairs | GalleryMatches) -> bool:
    return all(np.array_equal(getattr(left, name), getattr(right, name)) for name in left.__slots__)


def matches(gallery: Gallery, probes: Float32) -> set[tuple[int, int, float]]:
    found = gallery.match(probes, model_id="m", threshold=THRESHOLD)
    return set(zip(found.probe.tolist(), found.template.tolist(), found.scores.tolist(), strict=True))


@settings(max_examples=examples(40))
@given(
    counts=st.lists(st.integers(1, 24), min_size=1, max_size=8),
    spreads=st.lists(st.sampled_from([0.0, 0.5, 3.0, 8.0, 15.0, 30.0]), min_size=8, max_size=8),
    dimension=st.sampled_from([128, 512]),
    above=st.sampled_from([0.0, 0.05, 0.3, 0.6]),
    length=st.sampled_from([1.0, 0.9991, 1.0009]),
    seed=st.integers(0, 2**16),
)
def test_i3_centroids_in_front_change_no_pair_and_no_match(
    counts: list[int], spreads: list[float], dimension: int, above: float, length: float, seed: int
) -> None:
    vectors, owners = people(counts, dimension, spreads[: len(counts)], seed)
    vectors[::3] *= np.float32(length)
    probes = faces(vectors, 30, seed) * np.float32(1 / length)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("indexes.clustered.WORTHWHILE", 1.0)
        gallery = gallery_of(vectors, owners)
    threshold = THRESHOLD + above
    found = gallery.pairs(probes, model_id="m", threshold=threshold)
    assert same(found, brute_force(probes, vectors, threshold=threshold, block=64))
    matched = gallery.match(probes, model_id="m", threshold=threshold)
    assert same(matched, plain(vectors, owners).match(probes, model_id="m", threshold=threshold))


@settings(max_examples=examples(200))
@given(
    threshold=st.floats(-0.9, 1.0),
    radius=st.floats(0, 60),
    beyond=st.floats(0, 60),
    lengths=st.tuples(st.sampled_from([0.9991, 1.0, 1.0009]), st.sampled_from([0.9991, 1.0, 1.0009])),
    dimension=st.sampled_from([3, 128]),
    seed=st.integers(0, 2**16),
)
def test_i3_no_face_reaches_a_reference_without_reaching_its_centroid_as_lowered(
    threshold: float, radius: float, beyond: float, lengths: tuple[float, float], dimension: int, seed: int
) -> None:
    """The reference lies on the way from the centroid to the face where it can: the worst there is."""
    centroid = unit(1, dimension, seed)[0].astype(np.float64)
    side = unit(1, dimension, seed + 1)[0].astype(np.float64)
    side -= (side @ centroid) * centroid
    side /= np.linalg.norm(side)
    near, far = math.radians(radius), math.radians(radius + beyond)
    reference = lengths[0] * (math.cos(near) * centroid + math.sin(near) * side)
    face = lengths[1] * (math.cos(far) * centroid + math.sin(far) * side)
    if face @ reference >= threshold:
        assert face @ centroid >= lowered_threshold(threshold, np.array([near]))[0]


def test_i3_the_bound_is_needed_the_centroid_itself_would_lose_the_hit() -> None:
    look = unit(1, 512, 1)[0]
    vectors = around(look, 6, 10.0, 2)
    face = around(vectors[0], 400, math.degrees(math.acos(0.41)), 3)
    gallery = gallery_of(vectors, ["s"] * 6)
    assert isinstance(gallery, ClusteredGallery)
    lost = (face @ gallery.clusters.centroids.T).max(axis=1) < THRESHOLD
    assert lost.sum() > 20
    found = gallery.match(face, model_id="m", threshold=THRESHOLD)
    assert set(np.flatnonzero(lost)) <= set(found.probe.tolist())


def test_centroids_that_save_too_few_comparisons_are_left_out() -> None:
    for single, kind in ((4, ClusteredGallery), (40, Gallery)):
        vectors, owners = people([10] + [1] * single, 512, [3.0] * (single + 1), 20)
        assert type(gallery_of(vectors, owners)) is kind


def test_references_that_repeat_each_other_are_compared_once_and_others_as_they_are() -> None:
    vectors, owners = people([20, 10, 4], 512, [3.0, 45.0, 0.0], 4)
    gallery = gallery_of(vectors, owners)
    assert isinstance(gallery, ClusteredGallery)
    assert len(gallery) == 34
    assert gallery.compared_first == 2 + 10 + 4  # one centroid a look; wide ones stay; four or fewer stay


def test_i3_photographs_of_one_person_are_too_far_apart_for_a_proven_bound() -> None:
    """At similarities of 0.4 to 0.7 the bound lets every stranger through: no cluster is made."""
    vectors, owners = people([40] * 5, 512, [40.0] * 5, 5)
    assert type(gallery_of(vectors, owners)) is Gallery
    wide = subject_centroids(vectors, owners, weights=np.ones(200), threshold=THRESHOLD, margin=0.0)
    assert wide is not None
    assert np.median(lowered_threshold(THRESHOLD, wide.radius)) < 0


def test_no_subject_has_more_than_four_centroids() -> None:
    looks = unit(7, 512, 6)
    vectors = np.concatenate([around(look, 3 + place, 2.0, place) for place, look in enumerate(looks)])
    owners = ["s"] * len(vectors)
    clusters = tight_clusters(vectors, owners, weights=np.ones(len(vectors)), threshold=THRESHOLD)
    assert clusters is not None
    assert sorted(clusters.counts.tolist()) == [6, 7, 8, 9]  # the largest groups
    assert len(clusters.loose) == 3 + 4 + 5
    split = subject_centroids(vectors, owners, weights=np.ones(len(vectors)), threshold=THRESHOLD, margin=0.1)
    assert split is not None
    assert len(split.centroids) == 4


@pytest.mark.parametrize("margin", [None, 0.05])
def test_the_order_of_enrolment_changes_no_centroid(margin: float | None) -> None:
    vectors, owners = people([20, 7, 9], 512, [4.0, 4.0, 4.0], 7)
    weights = np.random.default_rng(1).uniform(0.5, 1.0, len(vectors))
    order = np.random.default_rng(2).permutation(len(vectors))
    first = gallery_of(vectors, owners, weights=weights, margin=margin)
    again = gallery_of(vectors[order], [owners[row] for row in order], weights=weights[order], margin=margin)
    assert isinstance(first, ClusteredGallery)
    assert isinstance(again, ClusteredGallery)
    assert {row.tobytes() for row in first.clusters.centroids} == {row.tobytes() for row in again.clusters.centroids}


def test_a_better_reference_draws_the_centroid_towards_itself() -> None:
    vectors = around(unit(1, 512, 8)[0], 5, 5.0, 9)
    even = tight_clusters(vectors, ["s"] * 5, weights=np.ones(5), threshold=THRESHOLD)
    weighted = tight_clusters(vectors, ["s"] * 5, weights=np.array([9.0, 1, 1, 1, 1]), threshold=THRESHOLD)
    assert even is not None
    assert weighted is not None
    assert weighted.centroids[0] @ vectors[0] > even.centroids[0] @ vectors[0]


def test_i10_a_match_names_the_reference_and_its_own_score_not_the_centroid() -> None:
    vectors, owners = people([12, 12], 512, [3.0, 3.0], 10)
    found = gallery_of(vectors, owners).match(vectors[[5, 17]], model_id="m", threshold=THRESHOLD)
    assert found.template.tolist() == [5, 17]
    assert found.scores == pytest.approx([1.0, 1.0])


def test_i3_below_the_threshold_it_was_made_for_every_reference_is_compared() -> None:
    vectors, owners = people([12, 3], 512, [3.0, 3.0], 11)
    probes = faces(vectors, 20, 12)
    found = gallery_of(vectors, owners).pairs(probes, model_id="m", threshold=-1.0)
    assert len(found) == len(probes) * len(vectors)


def test_k_means_finds_separate_looks_and_the_same_ones_every_time() -> None:
    looks = unit(4, 128, 13)
    vectors = np.concatenate([around(look, 5, 20.0, place) for place, look in enumerate(looks)])
    centroids, labels = spherical_kmeans(vectors, np.ones(20), most=4)
    assert [len(set(labels[5 * look : 5 * look + 5])) for look in range(4)] == [1, 1, 1, 1]
    assert len(set(labels.tolist())) == 4
    assert np.allclose(np.linalg.norm(centroids, axis=1), 1, atol=1e-6)
    assert np.array_equal(labels, spherical_kmeans(vectors, np.ones(20), most=4)[1])


def test_equal_and_opposite_references_are_no_trouble() -> None:
    one = unit(1, 512, 14)
    vectors = np.concatenate([np.repeat(one, 5, axis=0), -np.repeat(one, 5, axis=0)])
    for margin in (None, 0.1):
        found = gallery_of(vectors, ["s"] * 10, margin=margin).pairs(one, model_id="m", threshold=THRESHOLD)
        assert found.right.tolist() == [0, 1, 2, 3, 4]
    assert len(spherical_kmeans(vectors, np.ones(10), most=1)[0]) == 1


def test_centroids_alone_add_no_hit_and_lose_fewer_the_wider_the_margin() -> None:
    """Altered copies of one reference, the worst case: what they lost of it, they did not gain of the others."""
    vectors, owners = people([5, 9, 20, 40] * 10, 128, [38.0] * 40, 15)
    probes = faces(vectors, 1500, 16)
    wanted = matches(plain(vectors, owners), probes)
    found = [matches(gallery_of(vectors, owners, margin=margin), probes) for margin in (0.0, 0.05, 0.1, 0.3)]
    assert all(narrow <= wide for narrow, wide in pairwise(found))
    assert 0.8 * len(wanted) < len(found[0]) < len(found[2]) < len(wanted)
    assert found[-1] == wanted


def test_references_that_several_centroids_stand_for_are_answered_once() -> None:
    vectors, owners = people([9, 2, 12], 512, [25.0] * 3, 21)
    found = gallery_of(vectors, owners, margin=0.3).pairs(vectors, model_id="m", threshold=THRESHOLD)
    assert same(found, brute_force(vectors, vectors, threshold=THRESHOLD, block=64))


def test_a_radius_that_saves_nothing_is_not_above_zero() -> None:
    assert 0.25 < largest_radius(0.4, 512) < 0.35
    assert 0.1 < largest_radius(0.363, 128) < 0.15
    assert largest_radius(0.1, 128) < 0
    vectors, owners = people([12], 128, [1.0], 17)
    assert type(gallery_of(vectors, owners, threshold=0.1)) is Gallery


def test_no_face_gives_no_match() -> None:
    vectors, owners = people([12], 512, [1.0], 18)
    found = gallery_of(vectors, owners).match(np.empty((0, 512), dtype=np.float32), model_id="m", threshold=THRESHOLD)
    assert len(found) == 0


def test_i4_i7_what_a_gallery_refuses_is_refused_with_centroids_too() -> None:
    vectors, owners = people([12], 512, [1.0], 19)
    gallery = gallery_of(vectors, owners)
    assert isinstance(gallery, ClusteredGallery)
    for probes, model_id in ((unit(1, 512, 0), "other"), (unit(1, 128, 0), "m")):
        with pytest.raises(ModelMismatchError):
            gallery.pairs(probes, model_id=model_id, threshold=THRESHOLD)
    with pytest.raises(VectorError):
        gallery.pairs(2 * unit(1, 512, 0), model_id="m", threshold=THRESHOLD)
    with pytest.raises(VectorError):
        gallery_of(np.full_like(vectors, np.nan), owners)
    with pytest.raises(NotReadyError):
        gallery_of(vectors[:0], [])
    with pytest.raises(NotReadyError):
        gallery_of(vectors, owners, weights=np.ones(3))
