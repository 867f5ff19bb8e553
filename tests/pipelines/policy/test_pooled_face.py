"""What pictures show together supports a verdict on their model, and takes nothing down by itself."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from pipelines.policy import Context, Evidence, judge, judge_model
from tests.pipelines.policy.test_policy_rules import (
    FACE,
    HEADER,
    NAME,
    POLICY,
    POOLED,
    WEAK_FACE,
    WEAK_POOLED,
    with_settings,
)


def model_verdict(*evidence: Evidence, images: int = 4, policy=POLICY) -> tuple[str, str]:  # type: ignore[no-untyped-def]
    judged = judge_model("model", evidence, images=images, context=Context(), bounty=False, policy=policy)
    return judged.verdict, judged.rule


@given(
    st.lists(st.sampled_from([POOLED, WEAK_POOLED]), min_size=1, max_size=12),
    st.sampled_from([Context(), Context("explicit", mature=True)]),
    st.sampled_from([[], [NAME], [HEADER]]),
)
def test_no_number_of_pooled_faces_takes_a_picture_down(
    own: list[Evidence], context: Context, named: list[Evidence]
) -> None:
    policy = with_settings("mature", strong_face_alone=True)
    assert judge(own, known=[*own, *named], policy=policy, context=context).verdict == "review"


def test_a_strong_pool_alone_makes_a_model_suspected() -> None:
    assert model_verdict(POOLED) == ("suspected", "some_evidence")


def test_a_strong_pool_with_one_strong_face_or_the_models_name_makes_a_likeness_model() -> None:
    for other in (FACE, HEADER):
        assert model_verdict(POOLED, other)[0] == "likeness_model"
    assert model_verdict(POOLED, FACE) == ("likeness_model", "pooled_face_corroborated")
    assert model_verdict(POOLED, WEAK_FACE)[0] == "suspected"
    assert model_verdict(POOLED, NAME)[0] == "suspected", "a picture's prompt is no word about the model"


def test_a_pool_of_too_few_of_the_models_pictures_corroborates_nothing() -> None:
    assert model_verdict(POOLED, FACE, images=7)[0] == "suspected"
    assert model_verdict(POOLED, FACE, images=6)[0] == "likeness_model"
    assert model_verdict(replace(POOLED, pictures=1), FACE, images=2)[0] == "suspected"
    assert model_verdict(WEAK_POOLED, FACE)[0] == "suspected"


def test_what_strangers_posted_together_is_never_held_against_the_model() -> None:
    theirs = replace(POOLED, by_owner=False, uploader="x", pictures=100)
    assert model_verdict(theirs, FACE)[0] == "suspected"
    assert model_verdict(replace(theirs, confirmed=True), FACE)[0] == "suspected"
    assert model_verdict(replace(POOLED, confirmed=True)) == ("likeness_model", "confirmed_by_person")


def test_the_policy_may_let_pooled_faces_alone_and_keep_them_from_corroborating() -> None:
    silent = with_settings("pooled", alone="clear", corroborates=False)
    assert judge([POOLED], known=[POOLED], policy=silent).verdict == "clear"
    assert judge([POOLED, NAME], known=[POOLED, NAME], policy=silent).rule == "name_in_text"
    assert model_verdict(POOLED, FACE, policy=silent)[0] == "suspected"


def test_the_statement_names_the_pool_and_how_many_pictures_it_is_of() -> None:
    reasons = judge([POOLED], known=[POOLED], policy=POLICY).reasons
    assert (reasons["tier"], reasons["pool"], reasons["pictures"], reasons["score"]) == ("pooled_face", "pool", 3, 0.6)
