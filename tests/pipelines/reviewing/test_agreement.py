"""Agreement of two people beyond chance, and shares with their intervals."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.reviewing.agreement import Agreement, agreement_of, wilson


def test_kappa_is_what_cohen_computes() -> None:
    # 20 both yes, 15 both no, 5 and 10 apart: the textbook's 0.4
    answers = [("confirm", "confirm")] * 20 + [("confirm", "reject")] * 5
    answers += [("reject", "confirm")] * 10 + [("reject", "reject")] * 15
    found = agreement_of(answers)
    assert (found.cases, found.agreed, found.unsure) == (50, 35, 0)
    assert found.kappa == pytest.approx(0.4)
    assert found.interval is not None
    assert found.interval[0] < 0.4 < found.interval[1]


def test_kappa_has_no_meaning_without_cases_or_where_all_answers_are_one_word() -> None:
    assert Agreement().kappa is None
    assert Agreement().interval is None
    assert agreement_of([("reject", "reject")] * 9).kappa is None


def test_who_is_unsure_neither_agrees_nor_disagrees() -> None:
    found = agreement_of([("unsure", "confirm"), ("confirm", "confirm"), ("reject", "reject")])
    assert (found.cases, found.unsure, found.kappa) == (2, 1, 1.0)
    assert found.interval is not None
    assert found.interval[0] < 0.5, "two cases say little, however well they agree"


@given(st.integers(1, 10_000).flatmap(lambda of: st.tuples(st.integers(0, of), st.just(of))))
def test_a_share_lies_in_its_interval_which_is_never_a_point(given: tuple[int, int]) -> None:
    count, of = given
    low, high = wilson(count, of)
    assert 0 <= low < high <= 1
    assert low - 1e-12 <= count / of <= high + 1e-12


@given(st.lists(st.tuples(*[st.sampled_from(["confirm", "reject"])] * 2), min_size=1, max_size=60))
def test_kappa_is_the_same_from_either_side_and_lies_in_its_interval(answers: list[tuple[str, str]]) -> None:
    found, turned = agreement_of(answers), agreement_of([(other, own) for own, other in answers])
    assert found.kappa == pytest.approx(turned.kappa) if found.kappa is not None else turned.kappa is None
    if found.kappa is not None and found.interval is not None:
        assert found.interval[0] - 1e-9 <= found.kappa <= found.interval[1] + 1e-9 <= 1 + 2e-9
