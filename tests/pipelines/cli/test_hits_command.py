"""``hits``, ``hits show --reveal``, ``decisions list`` and ``look`` as analysts use them."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from embeddings.errors import InputError
from pipelines.database import tables
from pipelines.decisions.decide import decide
from pipelines.evidence.passages import passage_around
from pipelines.hits.listing import Hit, list_hits
from pipelines.home.workspace import Workspace
from pipelines.runs.sweep import sweep
from tests.fakes import person, picture
from tests.pipelines.cli.conftest import Run, done
from tests.platform_actions import NAME, enrol, source_of, upload


@pytest.fixture
def platform(workspace: Workspace, uploads: Path) -> Workspace:
    """Faces and names of one person, by two uploaders."""
    enrol(workspace, person(1))
    for number in range(3):
        about = {"uploader": f"u-{number % 2}", "parent_model": f"m-{number}"}
        upload(uploads, f"face-{number}.png", picture(person(1), person(50 + number)), **about)
    title = f"Old news. \x1b[31mA portrait of {NAME}\x1b[0m by night! And more"
    upload(uploads, "named.png", picture(person(60)), title=title, uploader="u-0")
    upload(uploads, "prompted.png", picture(person(61)), prompt=f"masterpiece, {NAME}, 8k", uploader="u-1")
    upload(uploads, "asked", b"", kind="bounty", title=f"Wanted: {NAME}")
    sweep(workspace, source_of(uploads), day=None)
    return workspace


def hits(workspace: Workspace, **chosen: Any) -> list[Hit]:
    with workspace.database.read() as connection:
        return list_hits(connection, **chosen)


def test_faces_come_first_on_one_scale(platform: Workspace) -> None:
    found = hits(platform)
    tiers = [hit.tier for hit in found]
    assert tiers == sorted(tiers, key=("face", "exact", "header", "text").index)
    strengths = [hit.strength for hit in found]
    assert strengths == sorted(strengths, reverse=True)
    assert all(0 <= strength <= 1 for strength in strengths)
    assert all((hit.strength >= 0.5) == (hit.tier == "face") for hit in found)
    assert [hit.strength for hit in found if hit.tier == "face"] == [pytest.approx(1.0)] * 3, "the very reference"


def test_a_face_just_above_its_threshold_is_stronger_than_any_name(platform: Workspace) -> None:
    face = hits(platform, tier="face")[0]
    with platform.database.write() as tx:
        own = sa.update(tables.hits).where(tables.hits.c.hit_id == face.hit_id)
        tx.execute(own.values(score=face.threshold, tier="face"))
    (weak,) = [hit for hit in hits(platform) if hit.hit_id == face.hit_id]
    assert weak.strength == 0.5
    assert [hit.hit_id for hit in hits(platform, tier="face")][-1] == face.hit_id


def test_the_filters_choose_and_can_be_joined(platform: Workspace) -> None:
    assert {hit.uploader for hit in hits(platform, uploader="u-1")} == {"u-1"}
    assert {hit.tier for hit in hits(platform, uploader="u-1", tier="text")} == {"text"}
    assert [hit.item_id for hit in hits(platform, parent_model="m-2")] == ["face-2.png"]
    assert {hit.rule for hit in hits(platform, rule="name_in_text")} == {"name_in_text"}
    assert {hit.band for hit in hits(platform, band="review")} <= {"review"}
    assert len(hits(platform, limit=2)) == 2
    assert hits(platform, limit=2) == hits(platform)[:2]
    for empty in ("subject_id", "item_id", "uploader", "parent_model"):
        with pytest.raises(InputError):
            hits(platform, **{empty: ""})
    for absurd in (0, -1, 2**31):
        with pytest.raises(InputError):
            hits(platform, limit=absurd)


def test_what_somebody_confirmed_is_decided_and_what_is_unclear_is_not(platform: Workspace) -> None:
    first, second, third = (hit.hit_id for hit in hits(platform, tier="face"))
    decide(platform, [first], decision="confirm", reason="same_person", actor="ann")
    decide(platform, [second], decision="unsure", reason="needs_second_opinion", actor="ann")
    decide(platform, [third], decision="reject", reason="other_person", actor="ann")
    undecided = {hit.hit_id for hit in hits(platform, undecided=True)}
    assert second in undecided
    assert undecided.isdisjoint({first, third})
    said = {hit.hit_id: hit.decision for hit in hits(platform)}
    assert (said[first], said[second]) == ("confirm", "unsure")


def test_the_command_takes_every_filter_and_refuses_empty_ones(platform: Workspace, run: Run) -> None:
    listed = done(run("hits", "--undecided", "--uploader", "u-0", "--band", "strong", "--limit", "1", "--json"))
    assert len(listed) == 1
    assert {"strength", "uploader", "decision", "rule"} <= listed[0].keys()
    assert "strength" in run("hits").stdout
    for option in ("--uploader", "--subject", "--item", "--parent-model"):
        assert run("hits", option, "").exit_code == 2
    for value in ("0", "-1", "99999999999"):
        assert run("hits", "--limit", value).exit_code == 2
    assert run("hits", "--rule", "no_such_rule").exit_code == 2


def test_a_rule_chooses_what_is_decided_in_bulk(platform: Workspace, run: Run) -> None:
    shown = done(run("decide", "--rule", "name_in_text", "reject", "--reason", "other_person", "--json"))
    assert shown["by_tier"] == {"text": shown["hits"]}
    assert shown["hits"] > 0


def test_revealing_shows_the_sentence_with_the_name_marked_and_records_the_look(platform: Workspace, run: Run) -> None:
    (hit,) = hits(platform, item_id="named.png", tier="text")
    shown = done(run("hits", "show", hit.hit_id, "--reveal", "--json"))
    assert shown["term"].startswith(NAME)
    assert f"[[{NAME}" in shown["sentence"]
    assert "Old news" not in shown["sentence"]
    assert "And more" not in shown["sentence"]
    assert (shown["kept"]["picture"], shown["kept"]["passage"]) == (True, True)
    printed = run("hits", "show", hit.hit_id, "--reveal").stdout
    assert "\x1b" not in printed
    assert re.search(r"\\x1b|\\u001b", printed)
    with platform.database.read() as connection:
        viewed = sa.select(sa.func.count()).where(tables.audit.c.action == "term.view")
        assert connection.execute(viewed).scalar_one() == 2
    assert "sentence" not in done(run("hits", "show", hit.hit_id, "--json"))


def test_a_tag_is_revealed_without_its_neighbours(workspace: Workspace, uploads: Path, run: Run) -> None:
    enrol(workspace, person(1))
    upload(uploads, "t.png", picture(person(2)), tags=["red hair", f"{NAME} style", "night"])
    sweep(workspace, source_of(uploads), day=None)
    (hit,) = hits(workspace)
    assert done(run("hits", "show", hit.hit_id, "--reveal", "--json"))["sentence"] == f"[[{NAME}]] style"


@pytest.mark.parametrize(
    ("text", "marked"),
    [
        ("One. Two Jane Doe three. Four", "Two [[Jane Doe]] three."),
        ("Jane Doe", "[[Jane Doe]]"),
        ("first line\nJane Doe\nlast line", "[[Jane Doe]]"),
        (f"{'x' * 1000} Jane Doe {'y' * 1000}", f"{'x' * 239} [[Jane Doe]] {'y' * 239}"),
        ("nobody", None),
    ],
)
def test_a_passage_is_one_sentence_and_never_long(text: str, marked: str | None) -> None:
    passage = passage_around(text, "Jane Doe")
    assert (passage.marked if passage else None) == marked


def test_a_look_says_when_it_is_of_what_was_kept(platform: Workspace, uploads: Path, run: Run, tmp_path: Path) -> None:
    hit = hits(platform, tier="face")[0]
    assert "kept_at" not in done(run("look", hit.hit_id, "--to", str(tmp_path / "one.png"), "--json"))
    (uploads / hit.item_id).unlink()
    result = run("look", hit.hit_id, "--to", str(tmp_path / "two.png"), "--json")
    assert done(result)["kept_at"]
    assert "was kept" in result.stderr
    assert (tmp_path / "two.png").stat().st_mode & 0o777 == 0o600


def test_decisions_say_who_what_when_and_what_was_undone(platform: Workspace, run: Run) -> None:
    first, second, third = (hit.hit_id for hit in hits(platform, tier="face"))
    decide(platform, [first], decision="confirm", reason="same_person", actor="ann")
    decide(platform, [second], decision="unsure", reason="needs_second_opinion", actor="ann")
    decide(platform, [third], decision="unsure", reason="low_quality", actor="bob")
    waiting = done(run("decisions", "list", "--second-opinion", "--json"))
    assert {row["hit_id"] for row in waiting} == {second, third}
    decide(platform, [second], decision="reject", reason="other_person", actor="bob")
    assert [row["hit_id"] for row in done(run("decisions", "list", "--second-opinion", "--json"))] == [third]
    everything = done(run("decisions", "list", "--json"))
    (ended,) = [row for row in everything if row["reversed_at"]]
    assert (ended["hit_id"], ended["actor"]) == (second, "ann")
    assert ended["reversed_by"] in {row["decision_id"] for row in everything}
    assert len(done(run("decisions", "list", "--limit", "2", "--json"))) == 2
    assert {row["decision"] for row in done(run("decisions", "list", "--decision", "confirm", "--json"))} == {"confirm"}


def test_what_is_unsure_about_a_hit_that_is_gone_waits_for_nobody(platform: Workspace, uploads: Path) -> None:
    from pipelines.decisions.log import list_decisions

    hit = hits(platform, tier="face")[0]
    decide(platform, [hit.hit_id], decision="unsure", reason="low_quality", actor="ann")
    upload(uploads, hit.item_id, b"", deleted=True)
    sweep(platform, source_of(uploads), day=None)
    with platform.database.read() as connection:
        assert list_decisions(connection, second_opinion=True) == []
        assert len(list_decisions(connection, standing=True)) == 1


def test_a_strength_is_within_its_scale_whatever_was_stored(platform: Workspace) -> None:
    for values in ({"score": 1.5}, {"score": -1.0}, {"threshold": 1.0}, {"threshold": 2.0}):
        with platform.database.write() as tx:
            tx.execute(sa.update(tables.hits).values(**values))
        assert all(0 <= hit.strength <= 1 for hit in hits(platform))
    assert replace(hits(platform)[0]).strength >= 0
