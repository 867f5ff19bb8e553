"""Error rates against counting by hand, bounds against simulated truth, and thresholds that are refused."""

from __future__ import annotations

import math
from itertools import pairwise
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from indexes.det import (
    Sample,
    det_points,
    fmr_for_fpir,
    fpir,
    lower_bound,
    most_templates,
    threshold_for,
    upper_bound,
)

SCORES = st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=60)
FEW_SCORES = st.lists(st.sampled_from([-0.5, 0.0, 0.25, 0.5, 0.75]), min_size=1, max_size=60)  # many ties
SHARES = st.floats(1e-6, 0.5)


def strangers(scores: list[float] | np.ndarray, *, persons: int | None = None) -> Sample:
    """Impostor comparisons, each of two persons of its own, or among ``persons`` that take part again and again."""
    numbers = np.arange(len(scores), dtype=np.int64)
    left, right = (2 * numbers, 2 * numbers + 1) if persons is None else (numbers % persons, (numbers + 1) % persons)
    return Sample(np.array(scores, dtype=np.float32), left, right, mated=False)


def same_persons(scores: list[float]) -> Sample:
    numbers = np.arange(len(scores), dtype=np.int64)
    return Sample(np.array(scores, dtype=np.float32), numbers, numbers, mated=True)


@given(st.one_of(SCORES, FEW_SCORES), st.floats(-1, 1, width=32))
def test_errors_are_what_counting_gives(scores: list[float], threshold: float) -> None:
    reached = sum(np.float32(score) >= np.float32(threshold) for score in scores)
    assert strangers(scores).errors(threshold) == reached
    assert same_persons(scores).errors(threshold) == len(scores) - reached


@given(SCORES, SCORES)
def test_points_of_the_curve_are_what_counting_gives_and_are_monotone(
    mated: list[float], impostor: list[float]
) -> None:
    points = det_points(same_persons(mated), strangers(impostor), most=20, confidence=0.95)
    assert 1 <= len(points) <= 20
    for point in points:
        limit = np.float32(point.threshold)
        assert point.fmr == sum(np.float32(score) >= limit for score in impostor) / len(impostor)
        assert point.fnmr == sum(np.float32(score) < limit for score in mated) / len(mated)
        assert point.fmr <= point.fmr_upper <= 1
    for before, after in pairwise(points):
        assert before.threshold < after.threshold
        assert before.fmr >= after.fmr
        assert (before.fnmr or 0) <= (after.fnmr or 0)


def test_a_curve_without_mated_comparisons_has_no_fnmr() -> None:
    assert {point.fnmr for point in det_points(same_persons([]), strangers([0.1, 0.2]), most=9, confidence=0.9)} == {
        None
    }


@given(st.integers(0, 50), st.integers(1, 500), st.floats(0.5, 0.999))
def test_the_upper_bound_is_the_rate_at_which_so_few_errors_are_just_plausible(
    errors: int, more: int, confidence: float
) -> None:
    trials = errors + more
    upper = upper_bound(errors, trials, confidence=confidence)
    assert binom.cdf(errors, trials, upper) == pytest.approx(1 - confidence, rel=1e-6, abs=1e-9)
    assert lower_bound(errors, trials, confidence=confidence) <= errors / trials <= upper


def test_no_error_in_n_trials_is_bounded_by_three_over_n() -> None:
    assert upper_bound(0, 3000, confidence=0.95) == pytest.approx(3 / 3000, rel=2e-3)
    assert upper_bound(5, 5, confidence=0.95) == 1
    assert lower_bound(0, 5, confidence=0.95) == 0


@given(SHARES, st.integers(1, 10**6))
def test_fpir_and_fmr_are_inverse_and_the_gallery_it_was_made_for_is_allowed(target: float, templates: int) -> None:
    fmr = fmr_for_fpir(target, templates=templates)
    assert fpir(fmr, templates=templates) == pytest.approx(target, rel=1e-9)
    assert fmr <= target * (1 + 1e-12)
    allowed = most_templates(fmr, target_fpir=target)
    assert allowed >= templates
    assert fpir(fmr, templates=allowed + 1) > target * (1 - 1e-9)


def test_fpir_is_one_minus_the_chance_that_no_template_is_reached() -> None:
    assert fpir(0.01, templates=3) == pytest.approx(1 - 0.99**3)
    assert most_templates(1.0, target_fpir=0.5) == 0


@given(st.lists(st.floats(-1, 0.875, width=32), min_size=100, max_size=300), st.floats(0.05, 0.5))
def test_a_threshold_is_the_lowest_that_its_bound_allows(scores: list[float], target: float) -> None:
    sample = strangers(scores)
    point = threshold_for(sample, target_fmr=target, confidence=0.9)
    assert point.threshold is not None
    assert point.fmr is not None
    assert point.fmr.errors == sum(np.float32(score) >= np.float32(point.threshold) for score in scores)
    assert point.fmr.upper <= target
    lower = float(np.nextafter(np.float32(point.threshold), np.float32(-2)))
    information = point.fmr.effective / len(sample)
    more = sample.errors(lower) * information
    assert upper_bound(more, point.fmr.effective, confidence=0.9) > target


def test_a_threshold_is_refused_that_no_number_of_right_answers_could_support() -> None:
    low = np.linspace(-0.5, 0.3, 200)
    point = threshold_for(strangers(low), target_fmr=1e-3, confidence=0.95)
    assert point.threshold is None
    assert point.refusal
    assert 2900 < point.needed < 3200  # the rule of three, and a little for estimating from so few
    enough = strangers(np.linspace(-0.5, 0.3, point.needed))
    assert threshold_for(enough, target_fmr=1e-3, confidence=0.95).threshold is not None


def test_comparisons_that_all_involve_one_person_support_nothing() -> None:
    others = np.arange(1, 5001, dtype=np.int64)
    scores = np.linspace(-0.5, 0.3, 5000).astype(np.float32)
    point = threshold_for(Sample(scores, np.zeros_like(others), others, mated=False), target_fmr=0.1, confidence=0.95)
    assert point.threshold is None
    assert "one person" in (point.refusal or "")


def test_the_same_comparison_repeated_says_no_more_than_once() -> None:
    generator = np.random.default_rng(5)
    scores = generator.normal(size=400).astype(np.float32)
    persons = np.arange(400, dtype=np.int64)
    once = Sample(scores, 2 * persons, 2 * persons + 1, mated=False)
    often = Sample(np.repeat(scores, 10), np.repeat(2 * persons, 10), np.repeat(2 * persons + 1, 10), mated=False)
    assert often.rate(1.0, confidence=0.95).effective <= 1.1 * once.rate(1.0, confidence=0.95).effective


def simulated(seed: int, *, persons: int, effect: float) -> tuple[Sample, NormalDist]:
    """All pairs of persons of whom some resemble everybody; and how scores of strangers really are distributed."""
    generator = np.random.default_rng(seed)
    person = generator.normal(size=persons) * effect
    left, right = np.triu_indices(persons, 1)
    scores = (person[left] + person[right] + generator.normal(size=len(left))).astype(np.float32)
    return Sample(scores, left, right, mated=False), NormalDist(0, math.sqrt(2 * effect**2 + 1))


@pytest.mark.parametrize(("persons", "effect", "target"), [(60, 0.0, 0.01), (60, 0.4, 0.05), (100, 0.6, 0.02)])
def test_the_true_rate_stays_below_the_target_as_often_as_promised(persons: int, effect: float, target: float) -> None:
    runs = 200
    broken = stated = 0
    for seed in range(runs):
        sample, truth = simulated(seed, persons=persons, effect=effect)
        point = threshold_for(sample, target_fmr=target, confidence=0.95)
        if point.threshold is not None:
            stated += 1
            broken += 1 - truth.cdf(point.threshold) > target
    assert stated > runs / 2
    assert broken <= 0.08 * runs  # 5 % and what chance adds to it in 200 runs; seeded, so it cannot flake


def test_counting_dependent_pairs_as_independent_would_break_the_promise() -> None:
    broken = 0
    for seed in range(100):
        sample, truth = simulated(seed, persons=100, effect=0.6)
        naive = max(k for k in range(400) if upper_bound(k, len(sample), confidence=0.95) <= 0.02)
        broken += 1 - truth.cdf(float(sample.scores[naive])) > 0.02
    assert broken > 20


@given(st.integers(2, 9), st.integers(0, 2**32 - 1))
def test_the_design_effect_is_the_sum_over_all_pairs_that_share_a_person(persons: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    count = 40
    left, right = generator.integers(0, persons, size=(2, count))
    sample = Sample(generator.normal(size=count).astype(np.float32), left, right, mated=False)
    errors = int(generator.integers(1, count))
    order = np.argsort(-sample.scores)  # scores are distinct: the order of the errors
    wrong = np.zeros(count)
    wrong[order[:errors]] = 1
    ends = list(zip(sample._left.tolist(), sample._right.tolist(), strict=True))
    residual = wrong - errors / count
    shared = [[bool({*a} & {*b}) for b in ends] for a in ends]
    variance = float(residual @ np.array(shared) @ residual)
    binomial = count * (errors / count) * (1 - errors / count)
    expected = variance / binomial * sample.persons / (sample.persons - 1) if sample.persons > 1 else None
    if expected is not None:
        assert sample.design_effect(errors) == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_nothing_compared_bounds_nothing() -> None:
    empty = same_persons([])
    rate = empty.rate(0.4, confidence=0.95)
    assert (rate.errors, rate.comparisons, rate.upper) == (0, 0, 1.0)
    assert threshold_for(strangers([]), target_fmr=0.1, confidence=0.95).threshold is None
