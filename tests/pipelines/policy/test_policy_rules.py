"""The rules: each fires where it should, names itself, and gives way to those before it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.policy import (
    RULES,
    Context,
    Evidence,
    Policy,
    SecondOpinion,
    judge,
    judge_model,
    load_policy,
    may_act,
)

POLICY = load_policy(None)
MATURE = Context("mature", mature=True)
MINOR = Context("explicit", mature=True, minor_looking=True)
FACE = Evidence(
    hit_id="hit-face",
    item_id="one",
    kind="image",
    content_key="one",
    tier="face",
    band="strong",
    score=0.8,
    threshold=0.363,
    threshold_source="test",
    found_by_id="faces",
    pdq="00" * 32,
    template_id="ref",
)
WEAK_FACE = replace(FACE, band="review", score=0.4)
FAINT_FACE = replace(FACE, band=None, score=0.2)
OTHER_PICTURE = replace(FACE, hit_id="hit-other", item_id="two", content_key="two", pdq="ff" * 32)
NAME = replace(FACE, hit_id="hit-name", tier="text", place="prompt", match="full_name", score=1.0, template_id=None)
FIRST_NAME = replace(NAME, match="alias", band="review")
HEADER = replace(NAME, tier="header", place="header:ss_output_name", item_id="model", kind="model")
POOLED = replace(FACE, hit_id="hit-pool", tier="pooled_face", place="model", pool="pool", pictures=3, score=0.6)
WEAK_POOLED = replace(POOLED, band="review", score=0.4)
COPY = replace(
    FACE, hit_id="hit-copy", tier="exact", place="sha256", score=1.0, template_id=None, seed_id="seed", seed_firm=True
)


def with_settings(section: str, **changes: Any) -> Policy:
    """The packaged policy but for these."""
    changed = replace(getattr(POLICY.settings, section), **changes)
    return replace(POLICY, settings=replace(POLICY.settings, **{section: changed}))


MADE_BY = replace(
    FACE, hit_id="hit-made", tier="made_by", place="hash", band="review", score=1.0, template_id=None, seed_id="seed"
)

CASES: list[tuple[str, list[Evidence], list[Evidence], Context, str]] = [
    ("pooled_face_above_review_threshold", [POOLED], [], Context(), "review"),
    ("pooled_face_above_review_threshold", [WEAK_POOLED], [POOLED], Context(), "review"),
    ("confirmed_by_person", [replace(WEAK_FACE, confirmed=True)], [], Context(), "takedown"),
    ("copy_of_confirmed", [COPY], [], Context(), "takedown"),
    ("strong_face_in_distinct_images", [FACE], [OTHER_PICTURE], Context(), "takedown"),
    ("strong_face_with_name", [FACE, NAME], [], Context(), "takedown"),
    ("strong_face_with_name", [FACE], [HEADER], Context(), "takedown"),
    ("bounty_names_person", [replace(NAME, kind="bounty", place="title")], [], Context(), "review"),
    ("strong_face_not_agreed", [replace(FACE, acts=False), NAME], [OTHER_PICTURE], Context(), "review"),
    ("strong_face_uncorroborated", [FACE], [], Context(), "review"),
    ("strong_face_uncorroborated", [FACE, FIRST_NAME], [], Context(), "review"),
    ("strong_face_uncorroborated", [FACE], [], MATURE, "review"),
    ("face_above_review_threshold", [WEAK_FACE, NAME], [OTHER_PICTURE], Context(), "review"),
    ("made_by_confirmed_model", [MADE_BY], [], Context(), "review"),
    ("made_by_confirmed_model", [MADE_BY, NAME], [FACE], Context(), "review"),
    ("name_in_header", [HEADER], [], Context(), "review"),
    ("name_in_text", [NAME], [], Context(), "review"),
    ("weak_name_alone", [FIRST_NAME], [], Context(), "review"),
    ("below_review_threshold", [FAINT_FACE], [], Context(), "clear"),
]


@pytest.mark.parametrize(("rule", "own", "others", "context", "verdict"), CASES)
def test_each_rule_fires_on_its_case_and_names_itself(
    rule: str, own: list[Evidence], others: list[Evidence], context: Context, verdict: str
) -> None:
    judgement = judge(own, known=[*own, *others], policy=POLICY, context=context)
    assert (judgement.rule, judgement.verdict, judgement.reasons["rule"]) == (rule, verdict, rule)


@given(
    corroboration=st.sampled_from(["none", "not_denied", "agreed"]),
    opinion=st.sampled_from(["agrees", "denies", "none:no_face", None]),
)
def test_no_opinion_neither_agrees_nor_denies(corroboration: str, opinion: str | None) -> None:
    second = None if opinion is None else SecondOpinion("dlib-1", opinion, None, 0.4)
    policy = with_settings("second_opinion", corroboration=corroboration)
    expected = {
        "none": True,
        "not_denied": opinion != "denies",
        "agreed": opinion == "agrees",
    }
    assert may_act(second, policy.settings) is expected[corroboration]


def test_a_copy_that_shows_a_denied_face_is_reviewed() -> None:
    part = replace(COPY, seed_firm=False)
    for acts, verdict in ((True, "takedown"), (False, "review")):
        face = replace(FACE, acts=acts)
        assert judge([part, face], known=[part, face], policy=POLICY).verdict == verdict


@pytest.mark.parametrize(
    ("rule", "own", "context", "policy", "verdict"),
    [
        ("strong_face_in_mature_context", [FACE], MATURE, with_settings("mature", strong_face_alone=True), "takedown"),
        ("strong_face_uncorroborated", [FACE], Context(), with_settings("mature", strong_face_alone=True), "review"),
        ("strong_face_uncorroborated", [FACE, NAME], Context(), with_settings("takedown", named=False), "review"),
        ("resembles_confirmed", [COPY], Context(), with_settings("takedown", exact=frozenset()), "review"),
        ("weak_name_alone", [FIRST_NAME], Context(), with_settings("text", weak_alone="clear"), "clear"),
        (
            "bounty_names_person",
            [replace(NAME, kind="bounty_entry")],
            Context(),
            with_settings("bounty", named="takedown"),
            "takedown",
        ),
    ],
)
def test_settings_decide_which_rules_take_down(
    rule: str, own: list[Evidence], context: Context, policy: Policy, verdict: str
) -> None:
    judgement = judge(own, known=own, policy=policy, context=context)
    assert (judgement.rule, judgement.verdict) == (rule, verdict)


def test_every_rule_has_a_case_here() -> None:
    by_settings = {"strong_face_in_mature_context", "resembles_confirmed"}
    by_people = {"rejected_by_person", "message_discarded"}
    assert {case[0] for case in CASES} | by_settings | by_people == set(RULES)


def test_only_a_persons_word_is_stated_as_a_persons_decision() -> None:
    by_person = judge([replace(FACE, confirmed=True)], known=[FACE], policy=POLICY)
    assert (by_person.decided_by, by_person.reasons["decided_by"]) == ("human", "a person")
    by_machine = judge([COPY], known=[COPY], policy=POLICY)
    assert (by_machine.decided_by, by_machine.reasons["decided_by"]) == ("automated", "automated means")


def test_a_name_by_itself_takes_nothing_down_however_often_it_stands_there() -> None:
    names = [replace(NAME, hit_id=f"hit-{place}", place=place) for place in ("title", "prompt", "tags")]
    assert judge([*names, HEADER], known=[*names, HEADER], policy=POLICY).verdict == "review"


def test_mature_content_comes_sooner_and_first() -> None:
    plain, mature, minor = (judge([FACE], known=[FACE], policy=POLICY, context=c) for c in (Context(), MATURE, MINOR))
    assert plain.priority < mature.priority < minor.priority
    assert (plain.hours, mature.hours) == (POLICY.settings.takedown.hours, POLICY.settings.mature.hours)
    of_model = judge([FACE], known=[FACE], policy=POLICY, context=MATURE, likeness_model=True)
    assert mature.priority < of_model.priority < minor.priority


EVIDENCE = st.lists(
    st.sampled_from([FACE, WEAK_FACE, FAINT_FACE, OTHER_PICTURE, NAME, FIRST_NAME, HEADER, COPY]),
    min_size=1,
    max_size=8,
)
ORDER = {"clear": 0, "review": 1, "takedown": 2}


@given(EVIDENCE, EVIDENCE, st.randoms())
def test_more_evidence_never_lowers_a_verdict_and_order_changes_nothing(own, more, random) -> None:  # type: ignore[no-untyped-def]
    judgement = judge(own, known=own, policy=POLICY)
    shuffled = random.sample(own, len(own))
    assert judge(shuffled, known=shuffled, policy=POLICY) == judgement
    both = [*own, *more]
    assert ORDER[judge(both, known=both, policy=POLICY).verdict] >= ORDER[judgement.verdict]
    assert ORDER[judge(own, known=both, policy=POLICY).verdict] >= ORDER[judgement.verdict]


def test_a_model_is_a_likeness_model_when_its_pictures_mostly_show_one_person() -> None:
    both = [FACE, OTHER_PICTURE]
    of_few = judge_model("model", both, images=4, context=Context(), bounty=False, policy=POLICY)
    assert (of_few.verdict, of_few.rule, of_few.generator_block) == (
        "likeness_model",
        "strong_face_in_distinct_images",
        True,
    )
    assert (of_few.images_with_face, of_few.distinct_images, of_few.best_score) == (2, 2, 0.8)
    of_many = judge_model("model", both, images=5, context=Context(), bounty=False, policy=POLICY)
    assert (of_many.verdict, of_many.generator_block) == ("suspected", False)


def test_near_duplicates_among_a_models_pictures_count_once() -> None:
    near = replace(OTHER_PICTURE, pdq="00" * 31 + "ff")
    judged = judge_model("model", [FACE, near], images=2, context=Context(), bounty=False, policy=POLICY)
    assert (judged.verdict, judged.images_with_face, judged.distinct_images) == ("suspected", 2, 1)


@pytest.mark.parametrize(
    ("evidence", "verdict", "rule"),
    [
        ([FACE, HEADER], "likeness_model", "strong_face_with_name"),
        ([replace(COPY, item_id="model", place="payload")], "likeness_model", "copy_of_confirmed"),
        ([replace(HEADER, confirmed=True)], "likeness_model", "confirmed_by_person"),
        ([HEADER], "suspected", "some_evidence"),
        ([WEAK_FACE, HEADER], "suspected", "some_evidence"),
        ([COPY], "suspected", "some_evidence"),
        ([replace(NAME, item_id="model", kind="bounty")], "suspected", "bounty_names_person"),
        ([FAINT_FACE], "clear", "below_review_threshold"),
        ([], "clear", "below_review_threshold"),
    ],
)
def test_each_rule_for_models_names_itself(evidence: list[Evidence], verdict: str, rule: str) -> None:
    judged = judge_model("model", evidence, images=10, context=Context(), bounty=False, policy=POLICY)
    assert (judged.verdict, judged.rule, judged.reasons["rule"]) == (verdict, rule, rule)


def test_no_generator_is_asked_to_block_a_bounty() -> None:
    judged = judge_model("bounty", [FACE, OTHER_PICTURE], images=2, context=MATURE, bounty=True, policy=POLICY)
    assert (judged.verdict, judged.generator_block) == ("likeness_model", False)


# --- Strangers ---

PDQS = ("00" * 32, "ff" * 32, "0f" * 32, "33" * 32)


@st.composite
def of_a_model(draw: st.DrawFn, *, by_owner: bool) -> Evidence:
    """Evidence in the model's own item or in a picture of it, by its owner or by one of three strangers."""
    number = draw(st.integers(0, 5))
    tier = draw(st.sampled_from([FACE, WEAK_FACE, NAME, FIRST_NAME, HEADER, COPY]))
    uploader = "owner" if by_owner else draw(st.sampled_from(["stranger", "other", None]))
    of_itself = by_owner and draw(st.booleans())
    item_id = "model" if of_itself else f"{uploader}-{number}"
    return replace(
        tier,
        hit_id=f"{item_id}-{tier.hit_id}",
        item_id=item_id,
        kind="model" if of_itself else "image",
        content_key=item_id,
        pdq=draw(st.sampled_from(PDQS)),
        place=draw(st.sampled_from(["sha256", "payload", "pdq"])) if tier is COPY else tier.place,
        seed_firm=draw(st.booleans()),
        seed_share=draw(st.sampled_from([None, 0.1, 0.9])),
        uploader=uploader,
        by_owner=by_owner,
    )


def automatic(evidence: list[Evidence], own_images: int, others: int) -> tuple[set[str], bool]:
    """The owner's items that are taken down, and whether the model is a likeness model."""
    items: dict[str, list[Evidence]] = {}
    for hit in evidence:
        items.setdefault(hit.item_id, []).append(hit)
    down = {
        item_id
        for item_id, own in items.items()
        if own[0].by_owner and judge(own, known=evidence, policy=POLICY).verdict == "takedown"
    }
    judged = judge_model(
        "model",
        evidence,
        images=own_images + others,
        own_images=own_images,
        context=Context(),
        bounty=False,
        policy=POLICY,
    )
    return down, judged.verdict == "likeness_model"


@given(
    st.lists(of_a_model(by_owner=True), max_size=8),
    st.lists(of_a_model(by_owner=False), max_size=12),
    st.integers(0, 20),
    st.integers(0, 300),
)
def test_nothing_that_strangers_add_changes_what_is_automatic_about_the_owner(
    own: list[Evidence], theirs: list[Evidence], own_images: int, others: int
) -> None:
    assert automatic([*own, *theirs], own_images, others) == automatic(own, own_images, 0)


def test_three_hundred_portraits_by_strangers_make_no_likeness_model() -> None:
    theirs = [
        replace(FACE, hit_id=f"h{n}", item_id=f"i{n}", content_key=f"c{n}", pdq=None, uploader="x", by_owner=False)
        for n in range(300)
    ]
    judged = judge_model("model", theirs, images=302, own_images=2, context=Context(), bounty=False, policy=POLICY)
    assert (judged.verdict, judged.images_with_face, judged.generator_block) == ("suspected", 300, False)


def test_a_name_in_the_prompt_of_one_own_picture_among_many_is_about_that_picture() -> None:
    own = [replace(FACE, uploader="owner"), replace(NAME, uploader="owner")]
    few = judge_model("model", own, images=2, context=Context(), bounty=False, policy=POLICY)
    many = judge_model("model", own, images=301, context=Context(), bounty=False, policy=POLICY)
    assert (few.verdict, many.verdict) == ("likeness_model", "suspected")


@pytest.mark.parametrize(
    ("copy", "faces", "verdict"),
    [
        (replace(COPY, place="pdq", seed_firm=True), [], "review"),
        (replace(COPY, place="pdq", seed_share=0.49), [], "review"),
        (replace(COPY, place="pdq", seed_share=0.5), [], "takedown"),
        (replace(COPY, place="pdq", seed_share=0.01), [FACE], "takedown"),
        (replace(COPY, place="pdq", seed_share=0.01), [WEAK_FACE], "review"),
        (replace(COPY, place="payload", seed_firm=False), [], "review"),
        (replace(COPY, place="payload", seed_firm=True), [], "takedown"),
        (replace(COPY, place="sha256", seed_firm=False), [], "review"),
    ],
)
def test_a_copy_is_taken_down_where_what_was_confirmed_stands_for_the_whole_or_it_shows_the_face(
    copy: Evidence, faces: list[Evidence], verdict: str
) -> None:
    own = [copy, *faces]
    assert judge(own, known=own, policy=POLICY).verdict == verdict
