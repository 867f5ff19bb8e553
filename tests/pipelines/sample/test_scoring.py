"""The sample run notices what comes out otherwise than planted: in status, evidence, verdict, model and message."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipelines.home.workspace import Workspace
from pipelines.runs.sweep import sweep
from pipelines.sample.messages import check_deliveries, check_held, planted_messages
from pipelines.sample.scoring import Score, score_phase
from pipelines.sample.table import print_scores
from pipelines.sample.truth import (
    ALPHA,
    BETA,
    GAMMA,
    PHASES,
    Expected,
    ItemFinding,
    ModelFinding,
    PlantedSubject,
    PlantedUpload,
    SamplePlatform,
)
from tests.fakes import WHITE, person, picture
from tests.platform_actions import DAY, NAME, enrol, source_of, upload

pytestmark = pytest.mark.any_database

ONE_FACE = ItemFinding("strong_face_in_distinct_images", frozenset({"face"}))
TRUTH = {
    "a.png": Expected("hit", {ALPHA: ONE_FACE}),
    "b.png": Expected("hit", {ALPHA: ONE_FACE}),
    "c.png": Expected("hit", {ALPHA: ItemFinding("name_in_text", frozenset({"text"}), mature=True)}),  # white, that is
    "d.png": Expected("clean", {}),
}
MODELS = {("m", ALPHA): ModelFinding("likeness_model", "strong_face_in_distinct_images", block=True)}


def platform_of(folder: Path, truth: Mapping[str, Expected], models: Mapping[tuple[str, str], Any]) -> SamplePlatform:
    """A platform of which this is true at all times; the case ``reversed-face`` is the one the messages know."""
    planted = [
        PlantedUpload(
            item_id=item_id,
            path=item_id,
            day=DAY.date(),
            case="reversed-face" if item_id == "d.png" else item_id,
            kind="image",
            uploader=None,
            parent_model=None,
            expected_faces=None,
            faint=False,
            expected=dict.fromkeys(PHASES, expected),
        )
        for item_id, expected in truth.items()
    ]
    nobody = PlantedSubject(ALPHA, (NAME,), (), ())
    return SamplePlatform(
        folder=folder,
        uploads=folder,
        days=(DAY.date(), DAY.date()),
        registered=nobody,
        requested=replace(nobody, label=BETA),
        poisoned=replace(nobody, label=GAMMA),
        planted=tuple(planted),
        models=dict.fromkeys(PHASES, models),
    )


@pytest.fixture
def labels(workspace: Workspace, uploads: Path) -> dict[str, str]:
    """What :data:`TRUTH` says, swept."""
    subject_id = enrol(workspace, person(1))
    upload(uploads, "a.png", picture(person(1), person(50)), parent_model="m")
    upload(uploads, "b.png", picture(person(1), person(90)), parent_model="m")
    upload(uploads, "c.png", picture(WHITE), prompt=f"portrait of {NAME}")
    upload(uploads, "d.png", picture(person(7)))
    sweep(workspace, source_of(uploads), day=None)
    return {subject_id: ALPHA}


def score(
    workspace: Workspace, folder: Path, labels: dict[str, str], truth: Any = TRUTH, models: Any = MODELS
) -> Score:
    return score_phase(workspace, platform_of(folder, truth, models), "nights", labels)


def test_what_came_out_as_planted_is_not_wrong(workspace: Workspace, uploads: Path, labels: dict[str, str]) -> None:
    found = score(workspace, uploads, labels)
    assert found.wrong == ()
    assert (found.evidence.planted, found.evidence.recall, found.evidence.precision) == (3, 1.0, 1.0)
    assert {tier: count.right for tier, count in found.tiers.items() if count.right} == {"face": 2, "text": 1}
    assert found.models["generator.block"].right == 1


@pytest.mark.parametrize(
    ("item_id", "truth", "said"),
    [
        ("d.png", Expected("no_face", {}), "status clean, expected no_face"),
        ("d.png", Expected("clean", {ALPHA: ONE_FACE}), "evidence None, expected face"),
        ("c.png", Expected("hit", {}), "evidence text, expected None"),
        (
            "c.png",
            Expected("hit", {ALPHA: ItemFinding("weak_name_alone", frozenset({"text"}))}),
            "verdict review by name_in_text, mature, expected review by weak_name_alone",
        ),
        (
            "a.png",
            Expected("hit", {ALPHA: replace(ONE_FACE, mature=True)}),
            "verdict takedown by strong_face_in_distinct_images, expected takedown by strong_face_in_distinct_images, "
            "mature",
        ),
    ],
)
def test_each_thing_that_comes_out_otherwise_is_named(
    workspace: Workspace, uploads: Path, labels: dict[str, str], item_id: str, truth: Expected, said: str
) -> None:
    wrong = score(workspace, uploads, labels, TRUTH | {item_id: truth}).wrong
    assert any(said in line for line in wrong), wrong


def test_a_model_that_comes_out_otherwise_and_an_item_never_planted_are_named(
    workspace: Workspace, uploads: Path, labels: dict[str, str]
) -> None:
    lenient = {("m", ALPHA): ModelFinding("suspected", "some_evidence")}
    less = {item_id: expected for item_id, expected in TRUTH.items() if item_id != "d.png"}
    assert score(workspace, uploads, labels, less, lenient).wrong == (
        "d.png: listed, but never planted",
        "m and alpha: model likeness_model by strong_face_in_distinct_images, blocked, expected suspected by "
        "some_evidence",
    )


class Received:
    """A receiver that got these cases."""

    def __init__(self, *cases: tuple[str, str, str, str]) -> None:
        self._cases = [
            {"action": action, "item_id": item_id, "subject_id": "sub_1", "key": key, "withdraws_key": withdraws}
            for action, item_id, key, withdraws in cases
        ]

    def cases(self) -> list[dict[str, Any]]:
        return self._cases


ALL = (
    ("takedown", "a.png", "1", ""),
    ("takedown", "b.png", "2", ""),
    ("generator.block", "m", "3", ""),
    ("takedown", "d.png", "4", ""),
    ("withdrawal", "d.png", "5", "4"),
)


def deviations(folder: Path, *cases: tuple[str, str, str, str]) -> list[str]:
    platform = platform_of(folder, TRUTH, MODELS)
    return list(check_deliveries(platform, Received(*cases), {"sub_1": ALPHA}))  # type: ignore[arg-type]


def test_a_delivery_that_is_missing_too_many_or_twice_is_named(uploads: Path) -> None:
    assert deviations(uploads, *ALL) == []
    for position, (action, item_id, *_) in enumerate(ALL):
        (missing, *_) = deviations(uploads, *ALL[:position], *ALL[position + 1 :])
        assert action in missing
        assert item_id in missing
    assert "received 2 times" in deviations(uploads, *ALL, ("takedown", "a.png", "9", ""))[0]
    assert "expected 0" in deviations(uploads, *ALL, ("takedown", "c.png", "9", ""))[0]
    assert "expected 0" in deviations(uploads, *ALL, ("withdrawal", "a.png", "9", "1"))[0]


def test_messages_of_the_poisoned_request_are_never_among_those_to_deliver(uploads: Path) -> None:
    theirs = {"a.png": Expected("hit", {GAMMA: ONE_FACE})}
    assert {label for _, _, label in planted_messages(platform_of(uploads, TRUTH | theirs, {}))} == {ALPHA}


def test_messages_that_should_be_held_and_are_not_are_named(
    workspace: Workspace, uploads: Path, labels: dict[str, str]
) -> None:
    theirs = {item_id: Expected("hit", {GAMMA: ONE_FACE}) for item_id in ("a.png", "b.png")}
    found = list(check_held(workspace, platform_of(uploads, theirs, {}), labels))
    assert [line.endswith(": not held") for line in found] == [True, True]


def test_the_table_shows_found_of_planted_only_where_they_differ(
    workspace: Workspace, uploads: Path, labels: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = TRUTH | {"d.png": Expected("clean", {ALPHA: ONE_FACE})}
    print_scores([score(workspace, uploads, labels, wanted)], {"state": "here"}, ["something else"])
    lines = capsys.readouterr().out.splitlines()
    shown = {line.split("  ")[0].strip() or line.split()[0]: line.split() for line in lines if line}
    assert any(line.split() == ["text", "1"] for line in lines)
    assert any(line.split() == ["face", "2", "of", "3"] for line in lines)
    assert "WRONG something else" in shown
    assert any(line.startswith("WRONG after nights: reversed-face and alpha") for line in lines)
