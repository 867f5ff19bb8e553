"""Trying a policy on past hits: it shows what would change, changes nothing, and then it comes out so."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from pipelines.cli import main
from pipelines.database.tables import outbox, verdicts
from pipelines.home.workspace import Workspace
from pipelines.judging import judge_pending
from pipelines.judging.simulation import differences, simulate
from pipelines.policy import BandSettings, Policy, load_policy
from pipelines.runs.sweep import sweep
from tests.fakes import person, picture
from tests.platform_actions import enrol, source_of, upload

pytestmark = pytest.mark.any_database


@pytest.fixture
def judged(workspace: Workspace, uploads: Path) -> Workspace:
    """Two pictures of one model that corroborate each other, and one by itself."""
    enrol(workspace, person(1))
    upload(uploads, "a.png", picture(person(1), person(3)), parent_model="m")
    upload(uploads, "b.png", picture(person(1), person(4)), parent_model="m")
    upload(uploads, "c.png", picture(person(1), person(5)))
    sweep(workspace, source_of(uploads), day=None)
    return workspace


def stricter(policy: Policy) -> Policy:
    """Three distinct pictures instead of two, for items and models."""
    takedown = replace(policy.settings.takedown, distinct_images=3)
    model = replace(policy.settings.model, distinct_images=3)
    return replace(policy, version="strict", settings=replace(policy.settings, takedown=takedown, model=model))


def verdicts_of(workspace: Workspace) -> list[tuple[str, str, str]]:
    """(item, verdict, policy) of all verdicts."""
    query = sa.select(verdicts.c.item_id, verdicts.c.verdict, verdicts.c.policy_version).order_by(verdicts.c.item_id)
    with workspace.database.read() as connection:
        return [(row.item_id, row.verdict, row.policy_version) for row in connection.execute(query)]


def test_the_policy_in_force_would_change_nothing(judged: Workspace) -> None:
    found = simulate(judged, judged.policy)
    assert (found.items, found.models, found.changed, found.changes) == (3, 1, 0, ())


def test_a_stricter_policy_shows_which_verdicts_would_be_others_and_changes_none(judged: Workspace) -> None:
    before = verdicts_of(judged)
    found = simulate(judged, stricter(judged.policy))
    assert found.by_change == {"item: takedown -> review": 2, "model: likeness_model -> suspected": 1}
    assert found.by_rule == {"strong_face_uncorroborated": 3}
    assert {change.item_id for change in found.changes} == {"a.png", "b.png", "m"}
    assert verdicts_of(judged) == before


def test_what_was_simulated_comes_out_when_the_policy_is_adopted(judged: Workspace) -> None:
    takedown = replace(judged.policy.settings.takedown, distinct_images=1)
    looser = replace(judged.policy, version="loose", settings=replace(judged.policy.settings, takedown=takedown))
    found = simulate(judged, looser)
    assert [(change.item_id, change.after) for change in found.changes] == [("c.png", "takedown")]
    judged.policy = looser  # type: ignore[misc]
    judge_pending(judged)
    assert {(item, verdict) for item, verdict, _ in verdicts_of(judged)} == {
        ("a.png", "takedown"),
        ("b.png", "takedown"),
        ("c.png", "takedown"),
    }
    with judged.database.read() as connection:
        sent = connection.execute(sa.select(outbox.c.item_id).where(outbox.c.action == "takedown")).scalars().all()
    assert sorted(sent) == ["a.png", "b.png", "c.png"]


def test_only_hits_since_a_time_are_tried(judged: Workspace) -> None:
    assert simulate(judged, stricter(judged.policy), since=judged.now() + timedelta(seconds=1)).items == 0


def test_a_lower_threshold_says_that_faces_below_were_never_compared(judged: Workspace) -> None:
    bands = {"opencv-zoo": BandSettings(review=0.2, strong=0.5)}
    lower = replace(judged.policy, version="low", settings=replace(judged.policy.settings, bands=bands))
    assert simulate(judged, lower).unseen == (0.2, 0.363)
    assert simulate(judged, judged.policy).unseen is None


def test_differences_name_the_entries() -> None:
    packaged = load_policy(None)
    found = differences(packaged, stricter(packaged))
    assert found == {
        "model.distinct_images": {"from": 2, "to": 3},
        "takedown.distinct_images": {"from": 2, "to": 3},
    }


def test_the_commands_check_compare_and_simulate(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text('version = "own"\n[decisions]\nundo_minutes = 30\n')
    wrong = tmp_path / "wrong.toml"
    wrong.write_text('version = "own"\n[decisions]\nundo_minutes = "long"\n')
    run = CliRunner().invoke
    checked = json.loads(run(main, ["policy", "check", str(own), "--json"]).output)
    assert checked["differs"].keys() == {"decisions.undo_minutes", "version"}
    refused = run(main, ["policy", "check", str(wrong)])
    assert (refused.exit_code, "undo_minutes" in refused.output) == (2, True)
    other = tmp_path / "other.toml"
    other.write_text(own.read_text().replace("30", "5"))
    assert json.loads(run(main, ["policy", "diff", str(own), str(other), "--json"]).output) == {
        "decisions.undo_minutes": {"from": 30, "to": 5}
    }
    home = ["--home", str(tmp_path / "home"), "--json"]
    assert run(main, ["init", *home]).exit_code == 0
    tried = run(main, ["policy", "simulate", "--policy", str(own), *home])
    assert (tried.exit_code, json.loads(tried.stdout)["changed"]) == (0, 0)
