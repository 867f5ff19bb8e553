"""The policy: what makes a takedown, what counts as another picture, and what a wrong file says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embeddings.errors import ConfigError, NotReadyError
from indexes.thresholds import Thresholds
from pipelines.policy import Evidence, band_of, count_distinct, judge, load_policy

POLICY = load_policy(None)
TAKEDOWN = "[takedown]\ndistinct_images = 2\nduplicate_distance = 31\nhours = 48\nnamed = true\nexact = []\n"
ONE = "00" * 32
FAR = "ff" * 32
NEAR_ONE = "00" * 31 + "ff"  # 8 bits away


def evidence(content: str, score: float = 0.8, *, pdq: str | None = ONE, item: str | None = None) -> Evidence:
    thresholds = POLICY.thresholds("opencv-zoo")
    return Evidence(
        hit_id=f"hit-{content}-{score}",
        item_id=item or f"item-{content}",
        kind="image",
        content_key=content,
        tier="face",
        score=score,
        threshold=thresholds.review,
        threshold_source=thresholds.source,
        band=band_of(score, thresholds),
        template_id="ref-1",
        found_by_id="m",
        pdq=pdq,
    )


def test_a_weak_match_is_reviewed_however_many_pictures_there_are() -> None:
    weak = evidence("a", 0.4)
    judgement = judge([weak], known=[weak, evidence("b", pdq=FAR), evidence("c", pdq=None)], policy=POLICY)
    assert (judgement.verdict, judgement.rule) == ("review", "face_above_review_threshold")


def test_a_strong_match_alone_is_reviewed() -> None:
    judgement = judge([evidence("a")], known=[evidence("a")], policy=POLICY)
    assert (judgement.verdict, judgement.rule) == ("review", "strong_face_uncorroborated")


def test_between_two_models_the_stronger_band_decides_and_not_the_higher_score() -> None:
    other = replace(evidence("a", 0.6), band="review", found_by_id="other", hit_id="hit-other")
    judgement = judge([evidence("a", 0.55), other], known=[evidence("a", 0.55), other], policy=POLICY)
    assert (judgement.rule, judgement.reasons["model_id"]) == ("strong_face_uncorroborated", "m")


def test_a_strong_match_in_a_second_distinct_picture_is_a_takedown() -> None:
    judgement = judge([evidence("a")], known=[evidence("a"), evidence("b", pdq=FAR)], policy=POLICY)
    assert (judgement.verdict, judgement.distinct_images) == ("takedown", 2)


@pytest.mark.parametrize(
    "second", [evidence("b", pdq=NEAR_ONE), evidence("a", item="copy"), evidence("b", 0.4, pdq=FAR)]
)
def test_a_near_duplicate_a_copy_or_a_weak_match_does_not_corroborate(second: Evidence) -> None:
    assert judge([evidence("a")], known=[evidence("a"), second], policy=POLICY).verdict == "review"


def test_the_statement_of_reasons_names_the_strongest_hit_and_the_rule() -> None:
    judgement = judge([evidence("a", 0.6), evidence("a", 0.9)], known=[evidence("a", 0.9)], policy=POLICY)
    assert judgement.reasons["hit_id"] == "hit-a-0.9"
    assert judgement.reasons["policy_version"] == POLICY.version
    assert {"rule", "score", "threshold", "threshold_source", "reference_id", "decided_by"} <= judgement.reasons.keys()


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from([ONE, FAR, NEAR_ONE, None])), max_size=12), st.randoms())
def test_the_number_of_distinct_pictures_does_not_depend_on_order(shown: list[tuple[int, str | None]], random) -> None:
    found = [evidence(str(content), pdq=pdq) for content, pdq in dict(shown).items()]
    shuffled = random.sample(found, len(found))
    assert count_distinct(found, duplicate_distance=31) == count_distinct(shuffled, duplicate_distance=31)


def test_bands_begin_at_their_thresholds() -> None:
    thresholds = Thresholds(review=0.3, strong=0.5, source="test")
    assert [band_of(score, thresholds) for score in (0.3, 0.4999, 0.5)] == ["review", "review", "strong"]


def test_a_pack_without_published_thresholds_has_to_be_calibrated() -> None:
    with pytest.raises(NotReadyError, match="calibrate"):
        POLICY.thresholds("unknown-pack")


def test_the_version_follows_the_files_content(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(f'version = "1"\n{TAKEDOWN}')
    first = load_policy(path).version
    path.write_text(f'version = "1"\n{TAKEDOWN}'.replace("hours = 48", "hours = 24"))
    assert load_policy(path).version != first
    assert first.startswith("1-")


def test_a_section_that_a_policy_leaves_out_is_the_packaged_one(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text('version = "1"\n[decisions]\nundo_minutes = 0\n')
    own = load_policy(path).settings
    assert own.decisions.undo_minutes == 0
    assert replace(own, version=POLICY.settings.version, decisions=POLICY.settings.decisions) == POLICY.settings


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("version = ", "not valid TOML"),
        (TAKEDOWN, "version"),
        (f'version = "1"\n{TAKEDOWN}'.replace("distinct_images = 2", "distinct_images = 0"), "distinct_images"),
        (f'version = "1"\n{TAKEDOWN}extra = 1', "extra"),
        (f'version = "1"\n{TAKEDOWN}'.replace("exact = []", 'exact = ["sha1"]'), "exact"),
        (f'version = "1"\n{TAKEDOWN}'.replace("named = true\n", ""), "named"),
        ('version = "1"\n[bands]\nopencv-zoo = { review = 0.6, strong = 0.5 }', "below review"),
        (
            'version = "1"\n[enrolment]\nmin_items = 1\nsecond_approval_items = 1\nsecond_approval_share = 0.5\n'
            "refuse_share = 0.2",
            "nobody could approve",
        ),
    ],
)
def test_a_wrong_policy_file_says_what_is_wrong(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said):
        load_policy(path)


def test_a_missing_policy_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"policy\.toml"):
        load_policy(tmp_path / "policy.toml")
