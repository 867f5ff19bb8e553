"""A calibration is in force for the gallery it bears, and what only it caused goes with it (I11)."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from embeddings.errors import StateError
from indexes.join import pair_scores
from pipelines.calibration.fit import read_fit
from pipelines.calibration.measure import stop_using, use, use_anyway
from pipelines.cli.scanning import warn_if_outgrown
from pipelines.database import tables
from pipelines.decisions.decide import decide
from pipelines.hits.listing import list_hits
from pipelines.home.calibrations import insert_calibration
from pipelines.home.workspace import Workspace
from pipelines.judging import judge_pending
from pipelines.policy import BandSettings
from pipelines.runs.rescan import rescan
from pipelines.runs.sweep import sweep
from pipelines.takedown.outbox import release_held
from tests.conftest import Clock
from tests.fakes import person, picture, vectors_of_colours
from tests.pipelines.calibration.stored import calibration, in_force
from tests.pipelines.takedown.delivering import ScriptedClient, dispatch_once
from tests.platform_actions import enrol, source_of, upload
from tests.platform_facts import failing, messages, statuses

SUBJECT, LOOKALIKE = 1, 5


@pytest.fixture
def likeness() -> float:
    """How much the two people resemble each other: below the published review threshold."""
    vectors = vectors_of_colours([person(SUBJECT), person(LOOKALIKE)])
    return float(pair_scores(vectors[:1], vectors[1:])[0])


@pytest.fixture
def wronged(workspace: Workspace, uploads: Path, likeness: float) -> Workspace:
    """The subject and a stranger in two pictures each, whom only the calibration in force takes for the subject."""
    enrol(workspace, person(SUBJECT))
    for number in range(2):
        upload(uploads, f"hers-{number}.png", picture(person(SUBJECT), person(60 + number)), parent_model="m")
        upload(uploads, f"wrong-{number}.png", picture(person(LOOKALIKE), person(70 + number)), parent_model="n")
    in_force(workspace, review=likeness - 0.02, strong=likeness - 0.01)
    sweep(workspace, source_of(uploads), day=None)
    return workspace


def standing(workspace: Workspace) -> set[str]:
    """Items and models that a message stands about."""
    return {item for action, item, state in messages(workspace) if action != "withdrawal" and state != "withdrawn"}


def found(workspace: Workspace) -> set[str]:
    with workspace.database.read() as connection:
        return {hit.item_id for hit in list_hits(connection)}


# How large a gallery


def stored(workspace: Workspace, *, templates: int) -> str:
    made = calibration(workspace, review=0.3, strong=0.5, templates=templates)
    with workspace.database.write() as tx:
        insert_calibration(tx, workspace.sealer, made, actor="tester")
    return made.calibration_id


def test_i11_a_calibration_for_one_template_is_refused_for_forty(workspace: Workspace) -> None:
    for number in range(40):
        enrol(workspace, person(number))
    calibration_id = stored(workspace, templates=1)
    with pytest.raises(StateError, match="1 templates and there are 40"):
        use(workspace, calibration_id, actor="ann")
    assert workspace.thresholds.calibration_id is None
    use(workspace, stored(workspace, templates=40), actor="ann")
    assert workspace.thresholds.calibration_id is not None


def test_i11_two_people_may_have_it_in_force_anyway_and_one_may_not(workspace: Workspace) -> None:
    for number in range(5):
        enrol(workspace, person(number))
    calibration_id = stored(workspace, templates=1)
    assert not use_anyway(workspace, calibration_id, actor="ann").in_force
    with pytest.raises(StateError, match="somebody else"):
        use_anyway(workspace, calibration_id, actor="Ann ")
    with pytest.raises(StateError, match="have two people say"):
        use(workspace, calibration_id, actor="bob")
    assert workspace.thresholds.calibration_id is None
    assert use_anyway(workspace, calibration_id, actor="bob").in_force
    assert workspace.thresholds.calibration_id == calibration_id
    with workspace.database.read() as connection:
        fit = read_fit(connection, workspace)
    assert (fit.outgrown, fit.lapsed, fit.accepted_templates) == (True, False, 5)
    assert failing(workspace) == set()
    stop_using(workspace, actor="ann")
    assert not use_anyway(workspace, calibration_id, actor="bob").in_force, "stopping it ended what was approved"


def test_i11_an_approval_does_not_speak_for_a_registry_that_has_grown_since(workspace: Workspace) -> None:
    for number in range(5):
        enrol(workspace, person(number))
    calibration_id = stored(workspace, templates=1)
    use_anyway(workspace, calibration_id, actor="ann")
    enrol(workspace, person(6))
    assert not use_anyway(workspace, calibration_id, actor="bob").in_force


def test_i11_what_the_registry_has_outgrown_by_far_is_not_in_force_any_more(workspace: Workspace) -> None:
    enrol(workspace, person(1))
    use(workspace, stored(workspace, templates=2), actor="ann")
    for number in (2, 3, 4):
        enrol(workspace, person(number))
    assert workspace.thresholds.review == 0.3
    enrol(workspace, person(5))
    with workspace.database.read() as connection:
        fit = read_fit(connection, workspace)
    assert (fit.lapsed, fit.outgrown) == (True, True)
    assert (workspace.thresholds.review, workspace.thresholds.calibration_id) == (0.363, None)
    assert "outgrown" in fit.remark


def test_i11_a_sweep_says_that_a_calibration_is_outgrown(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    in_force(workspace, templates=2)
    for number in range(2):
        enrol(workspace, person(number))
    warn_if_outgrown(workspace)
    assert capsys.readouterr().err == ""
    for number in (2, 3, 4):
        enrol(workspace, person(number))
        warn_if_outgrown(workspace)
        assert "outgrown" in capsys.readouterr().err


def test_an_outgrown_calibration_is_never_followed_by_a_laxer_threshold(workspace: Workspace) -> None:
    in_force(workspace, review=0.45, strong=0.7, templates=1)
    for number in range(3):
        enrol(workspace, person(number))
    assert (workspace.thresholds.review, workspace.thresholds.strong) == (0.45, 0.7)
    assert workspace.thresholds.calibration_id is None


# What it caused


def test_i11_after_a_stop_nothing_that_only_it_caused_counts_or_can_be_released(
    wronged: Workspace, uploads: Path
) -> None:
    assert {"wrong-0.png", "wrong-1.png", "n", "hers-0.png", "m"} <= standing(wronged)
    stop_using(wronged, actor="ann")
    assert found(wronged) == {"hers-0.png", "hers-1.png"}
    assert standing(wronged) == {"hers-0.png", "hers-1.png", "m"}
    assert statuses(wronged)["wrong-0.png"] == "clean"
    with wronged.database.write() as tx:
        ids = tx.execute(sa.select(tables.outbox.c.message_id).where(tables.outbox.c.item_id == "wrong-0.png"))
        assert not any(release_held(tx, message_id) for message_id in ids.scalars().all())
    assert failing(wronged) == set()
    sweep(wronged, source_of(uploads), day=None)
    assert standing(wronged) == {"hers-0.png", "hers-1.png", "m"}


def test_i11_in_the_very_transaction_of_the_stop_its_messages_fall(wronged: Workspace) -> None:
    def die(name: str) -> None:
        if name == "before_outbox_commit":
            raise KeyboardInterrupt

    wronged.failpoints.pass_by = die  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        stop_using(wronged, actor="ann")
    assert standing(wronged) == set()
    del wronged.failpoints.pass_by
    judge_pending(wronged)
    assert standing(wronged) == {"hers-0.png", "hers-1.png", "m"}
    assert failing(wronged) == set()


@pytest.mark.parametrize("removed", [False, True])
def test_i11_what_was_delivered_because_of_it_alone_gets_a_withdrawal_event(
    wronged: Workspace, uploads: Path, removed: bool, clock: Clock
) -> None:
    clock.forward(hours=1)
    dispatch_once(wronged.database, ScriptedClient(), wronged.now)
    delivered = Counter(messages(wronged))
    assert delivered["takedown", "wrong-0.png", "done"] == 1
    if removed:
        for number in range(2):
            upload(uploads, f"wrong-{number}.png", b"", deleted=True, parent_model="n")
            upload(uploads, f"hers-{number}.png", b"", deleted=True, parent_model="m")
        sweep(wronged, source_of(uploads), day=None)
    stop_using(wronged, actor="ann")
    new = {(action, item) for action, item, state in Counter(messages(wronged)) - delivered if state == "pending"}
    assert new == {("withdrawal", "wrong-0.png"), ("withdrawal", "wrong-1.png"), ("withdrawal", "n")}
    judge_pending(wronged)
    assert {
        (action, item) for action, item, state in Counter(messages(wronged)) - delivered if state == "pending"
    } == new
    assert failing(wronged) == set()


def test_i11_a_stop_that_is_cut_off_is_finished_by_the_next_run(wronged: Workspace, clock: Clock) -> None:
    clock.forward(hours=1)
    dispatch_once(wronged.database, ScriptedClient(), wronged.now)

    def die(name: str) -> None:
        if name == "before_outbox_commit":
            raise KeyboardInterrupt

    wronged.failpoints.pass_by = die  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        stop_using(wronged, actor="ann")
    del wronged.failpoints.pass_by
    judge_pending(wronged)
    back = {item for action, item, _ in messages(wronged) if action == "withdrawal"}
    assert back == {"wrong-0.png", "wrong-1.png", "n"}


def test_i11_what_people_decided_stands_whatever_is_in_force(wronged: Workspace, uploads: Path) -> None:
    with wronged.database.read() as connection:
        (hit,) = list_hits(connection, item_id="wrong-0.png")
    decide(wronged, [hit.hit_id], decision="confirm", reason="same_person", actor="ann")
    stop_using(wronged, actor="ann")
    sweep(wronged, source_of(uploads), day=None)
    assert "wrong-0.png" in found(wronged)
    assert {"wrong-0.png", "hers-0.png"} <= standing(wronged)
    assert "wrong-1.png" not in standing(wronged)


def test_i11_another_calibration_withdraws_what_only_the_first_caused_and_the_first_brings_it_back(
    wronged: Workspace, likeness: float
) -> None:
    with wronged.database.read() as connection:
        first = list_hits(connection)[0].calibration_id
    strict = calibration(wronged, review=0.5, strong=0.7)
    with wronged.database.write() as tx:
        insert_calibration(tx, wronged.sealer, strict, actor="ann")
    use(wronged, strict.calibration_id, actor="ann")
    assert found(wronged) == {"hers-0.png", "hers-1.png"}
    assert standing(wronged) == {"hers-0.png", "hers-1.png", "m"}
    use(wronged, str(first), actor="ann")
    rescan(wronged)
    assert found(wronged) == {"hers-0.png", "hers-1.png", "wrong-0.png", "wrong-1.png"}
    assert {"wrong-0.png", "wrong-1.png", "n"} <= standing(wronged)


def test_i11_going_back_to_a_policy_withdraws_what_only_the_one_after_it_caused(
    workspace: Workspace, uploads: Path, likeness: float, clock: Clock
) -> None:
    enrol(workspace, person(SUBJECT))
    for number in range(2):
        upload(uploads, f"wrong-{number}.png", picture(person(LOOKALIKE), person(70 + number)), parent_model="n")
    sweep(workspace, source_of(uploads), day=None)
    strict = workspace.policy
    bands = {"opencv-zoo": BandSettings(review=likeness - 0.02, strong=likeness - 0.01)}
    lax = replace(strict, version="lax", settings=replace(strict.settings, bands=bands))
    clock.forward(hours=1)
    workspace.policy = lax  # type: ignore[misc]
    rescan(workspace)
    assert {"wrong-0.png", "wrong-1.png", "n"} <= standing(workspace)
    dispatch_once(workspace.database, ScriptedClient(), workspace.now)
    clock.forward(hours=1)
    workspace.policy = strict  # type: ignore[misc]
    sweep(workspace, source_of(uploads), day=None)
    back = {item for action, item, _ in messages(workspace) if action == "withdrawal"}
    assert back == {"wrong-0.png", "wrong-1.png", "n"}
    assert found(workspace) == set()
    assert failing(workspace) == set()


def test_a_new_policy_takes_back_nothing_that_was_sent(workspace: Workspace, uploads: Path, clock: Clock) -> None:
    enrol(workspace, person(SUBJECT))
    for number in range(2):
        upload(uploads, f"hers-{number}.png", picture(person(SUBJECT), person(70 + number)), parent_model="m")
    sweep(workspace, source_of(uploads), day=None)
    dispatch_once(workspace.database, ScriptedClient(), workspace.now)
    clock.forward(hours=1)
    takedown = replace(workspace.policy.settings.takedown, distinct_images=5)
    settings = replace(workspace.policy.settings, takedown=takedown)
    workspace.policy = replace(workspace.policy, version="newer", settings=settings)  # type: ignore[misc]
    sweep(workspace, source_of(uploads), day=None)
    assert not any(action == "withdrawal" for action, _, _ in messages(workspace))
