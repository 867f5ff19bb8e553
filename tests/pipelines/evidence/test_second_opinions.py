"""What a second network says of hits: asked of what is kept, shown with the hit, and weighed by the policy."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import sqlalchemy as sa

from embeddings.errors import ConfigError, NotReadyError, UnscannableError, WeightsError
from embeddings.models.second_weights import NamedNetwork
from embeddings.types import Float32, UInt8
from pipelines.cases.ending import erase
from pipelines.database.registry_version import raise_version
from pipelines.database.tables import outbox, second_opinions, subjects
from pipelines.decisions.looks import explain_hit, look_at
from pipelines.evidence.second_opinions import ask_second_network, read_second_status
from pipelines.hits.listing import Hit, list_hits
from pipelines.hits.verdicts import list_verdicts
from pipelines.home.workspace import Workspace
from pipelines.runs.status import read_status
from pipelines.runs.sweep import sweep
from tests.fakes import person, picture
from tests.platform_actions import NAME, enrol, source_of, upload


class ColourNetwork:
    """Takes two faces for one person where their colours are near, but for those of ``denied`` people."""

    network_id = "fake"

    def __init__(self, *denied: int) -> None:
        self.denied = denied
        self.asked = 0

    def describe(self, crops: UInt8) -> Float32:
        """The colour in the middle."""
        self.asked += len(crops)
        return crops[:, 56, 56].astype(np.float32)

    def scores(self, faces: Float32, references: Float32) -> Float32:
        """0.9 for yes, 0.1 for no."""
        near = np.abs(faces[:, None] - references[None]).max(axis=2) < 10
        unwanted = [np.abs(faces - np.array(person(one))).max(axis=1) < 10 for one in self.denied]
        return np.where(near & ~np.any([*unwanted, [False] * len(faces)], axis=0)[:, None], 0.9, 0.1).astype(np.float32)


def use_network(workspace: Workspace, network: Any, *, name: str = "dlib") -> None:
    workspace.config = replace(workspace.config, second_opinion=name)
    workspace.__dict__["second_network"] = network


def require(workspace: Workspace, corroboration: Literal["none", "not_denied", "agreed"]) -> None:
    policy = workspace.policy
    second = replace(policy.settings.second_opinion, corroboration=corroboration)
    settings = replace(policy.settings, second_opinion=second)
    workspace.__dict__["policy"] = replace(policy, settings=settings, version=f"test-{corroboration}")


def night(workspace: Workspace, uploads: Path) -> list[Hit]:
    sweep(workspace, source_of(uploads), day=None)
    with workspace.database.read() as connection:
        return list_hits(connection)


def verdicts_of(workspace: Workspace) -> set[tuple[str, str]]:
    with workspace.database.read() as connection:
        return {(one.verdict, one.rule) for one in list_verdicts(connection)}


def takedowns(workspace: Workspace) -> int:
    with workspace.database.read() as connection:
        wanted = sa.select(sa.func.count()).where(outbox.c.action == "takedown", outbox.c.state != "withdrawn")
        return int(connection.execute(wanted).scalar_one())


def upload_named(uploads: Path, name: str = "a.png") -> None:
    """A picture that a machine takes down, but for a second network: a strong face beside the full name."""
    upload(uploads, name, picture(person(1)), uploader="u-1", title=NAME)


def test_without_the_setting_nothing_is_asked(workspace: Workspace, uploads: Path) -> None:
    enrol(workspace, person(1))
    upload_named(uploads)
    (hit,) = (hit for hit in night(workspace, uploads) if hit.tier == "face")
    assert (hit.second_opinion, hit.second_network) == (None, None)
    assert ("takedown", "strong_face_with_name") in verdicts_of(workspace)


def test_an_opinion_stands_with_its_hit_wherever_that_is_shown(workspace: Workspace, uploads: Path) -> None:
    use_network(workspace, ColourNetwork())
    enrol(workspace, person(1))
    upload(uploads, "a.png", picture(person(1)))
    (hit,) = night(workspace, uploads)
    assert hit.second_network == workspace.second_network_id
    assert (hit.second_opinion, hit.second_threshold) == ("agrees", 0.4)
    assert hit.second_score == pytest.approx(0.9)
    with workspace.database.read() as connection:
        explained = explain_hit(connection, hit.hit_id)
        assert explained.second_opinion is not None
        assert explained.second_opinion["reference_id"] == hit.reference_id
        assert explained.reasons is not None
        assert explained.reasons["second_opinion"]["opinion"] == "agrees"
    assert look_at(workspace, hit.hit_id, actor="ann").second_opinion == explained.second_opinion
    assert read_status(workspace).second_opinion.opinions == {"agrees": 1}


def test_what_it_denies_is_reviewed_and_never_cleared(workspace: Workspace, uploads: Path) -> None:
    use_network(workspace, ColourNetwork(1))
    enrol(workspace, person(1))
    upload_named(uploads)
    face = next(hit for hit in night(workspace, uploads) if hit.tier == "face")
    assert face.second_opinion == "denies"
    assert verdicts_of(workspace) == {("review", "strong_face_not_agreed")}
    assert takedowns(workspace) == 0


@pytest.mark.parametrize(
    ("corroboration", "denied", "rule"),
    [
        ("none", (1,), "strong_face_with_name"),
        ("not_denied", (), "strong_face_with_name"),
        ("agreed", (), "strong_face_with_name"),
        ("agreed", (1,), "strong_face_not_agreed"),
    ],
)
def test_the_policy_says_what_an_opinion_decides(
    workspace: Workspace,
    uploads: Path,
    corroboration: Literal["none", "not_denied", "agreed"],
    denied: tuple[int, ...],
    rule: str,
) -> None:
    require(workspace, corroboration)
    use_network(workspace, ColourNetwork(*denied))
    enrol(workspace, person(1))
    upload_named(uploads)
    night(workspace, uploads)
    assert {found for _, found in verdicts_of(workspace)} == {rule}


@pytest.mark.parametrize("denied", [(), (1,)])
def test_denied_faces_corroborate_nothing_and_make_no_likeness_model(
    workspace: Workspace, uploads: Path, denied: tuple[int, ...]
) -> None:
    use_network(workspace, ColourNetwork(*denied))
    enrol(workspace, person(1))
    upload(uploads, "m.png", picture(person(150)), kind="model", uploader="u-1")
    for name in ("a.png", "b.png"):
        upload(uploads, name, picture(person(1)) + name.encode(), uploader="u-1", parent_model="m.png")
    night(workspace, uploads)
    assert {verdict for verdict, _ in verdicts_of(workspace)} == {"review" if denied else "takedown"}
    with workspace.database.read() as connection:
        actions = set(connection.execute(sa.select(outbox.c.action)).scalars())
    assert actions == (set() if denied else {"takedown", "generator.block"})


def test_a_network_that_is_switched_on_is_asked_of_what_was_found_before(workspace: Workspace, uploads: Path) -> None:
    enrol(workspace, person(1))
    upload(uploads, "a.png", picture(person(1)))
    night(workspace, uploads)
    network = ColourNetwork(1)
    use_network(workspace, network)
    with workspace.database.read() as connection:
        assert read_second_status(workspace, connection).waiting == 1
    (hit,) = night(workspace, uploads)
    assert hit.second_opinion == "denies"
    assert verdicts_of(workspace) == {("review", "strong_face_not_agreed")}
    asked = network.asked
    night(workspace, uploads)
    assert network.asked == asked


def test_another_network_or_threshold_is_asked_anew(
    workspace: Workspace, uploads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_network(workspace, ColourNetwork())
    enrol(workspace, person(1))
    upload(uploads, "a.png", picture(person(1)))
    assert night(workspace, uploads)[0].second_opinion == "agrees"
    policy = workspace.policy
    strict = replace(policy.settings.second_opinion, thresholds={"dlib": 0.95})
    workspace.__dict__["policy"] = replace(policy, settings=replace(policy.settings, second_opinion=strict))
    found = night(workspace, uploads)[0]
    assert (found.second_opinion, found.second_threshold) == ("denies", 0.95)
    other = NamedNetwork("dlib", "dlib-other", "another")
    monkeypatch.setattr("pipelines.home.workspace.name_network", lambda name: other)
    assert night(workspace, uploads)[0].second_network == "dlib-other"


def test_a_reference_more_may_turn_a_denial(workspace: Workspace, uploads: Path) -> None:
    network = ColourNetwork(1)
    use_network(workspace, network)
    subject = enrol(workspace, person(1))
    upload(uploads, "a.png", picture(person(1)))
    assert night(workspace, uploads)[0].second_opinion == "denies"
    network.denied = ()
    assert night(workspace, uploads)[0].second_opinion == "denies"
    with workspace.database.write() as tx:
        version = raise_version(tx)
        tx.execute(sa.update(subjects).where(subjects.c.subject_id == subject).values(version=version))
    assert night(workspace, uploads)[0].second_opinion == "agrees"


def test_missing_weights_are_said_aloud_and_agree_with_nothing(
    workspace: Workspace, uploads: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def lacking(*_: Any, **__: Any) -> None:
        raise WeightsError("dlib is not installed")

    monkeypatch.setattr("embeddings.faces.second.load_second", lacking)
    monkeypatch.setattr("pipelines.evidence.second_opinions.require_second_weights", lacking)
    workspace.config = replace(workspace.config, second_opinion="dlib")
    require(workspace, "agreed")
    enrol(workspace, person(1))
    upload_named(uploads)
    with caplog.at_level(logging.WARNING):
        face = next(hit for hit in night(workspace, uploads) if hit.tier == "face")
    assert "second opinion" in caplog.text
    assert face.second_opinion is None
    assert verdicts_of(workspace) == {("review", "strong_face_not_agreed")}
    status = read_status(workspace).second_opinion
    assert (status.waiting, status.problem) == (1, "dlib is not installed")


def test_a_picture_that_was_not_kept_gives_no_opinion_until_it_is(workspace: Workspace, uploads: Path) -> None:
    workspace.config = replace(workspace.config, evidence=replace(workspace.config.evidence, keep_crops=False))
    use_network(workspace, ColourNetwork())
    enrol(workspace, person(1))
    upload(uploads, "a.png", picture(person(1)))
    assert night(workspace, uploads)[0].second_opinion == "none:no_picture"
    workspace.config = replace(workspace.config, evidence=replace(workspace.config.evidence, keep_crops=True))
    assert night(workspace, uploads)[0].second_opinion == "agrees"


def test_what_a_picture_raises_costs_its_own_opinion_alone(workspace: Workspace, uploads: Path) -> None:
    class Failing(ColourNetwork):
        def scores(self, faces: Float32, references: Float32) -> Float32:
            if abs(float(references[0, 0]) - 1) < 5:
                raise UnscannableError("broken")
            return super().scores(faces, references)

    use_network(workspace, Failing())
    enrol(workspace, person(1))
    enrol(workspace, person(100))
    upload(uploads, "a.png", picture(person(1)))
    upload(uploads, "b.png", picture(person(100)))
    found = {hit.item_id: hit.second_opinion for hit in night(workspace, uploads)}
    assert sorted(found.values(), key=str) == ["agrees", "none:unscannable:broken"]


def test_references_that_the_network_fails_on_are_no_opinion_and_end_no_run(
    workspace: Workspace, uploads: Path
) -> None:
    class Failing(ColourNetwork):
        def describe(self, crops: UInt8) -> Float32:
            raise RuntimeError("broken")

    use_network(workspace, Failing())
    enrol(workspace, person(1))
    upload(uploads, "a.png", picture(person(1)))
    assert night(workspace, uploads)[0].second_opinion == "none:no_reference"


def test_denied_hits_are_listed_last_where_the_policy_ranks(workspace: Workspace, uploads: Path) -> None:
    use_network(workspace, ColourNetwork(1))
    enrol(workspace, person(1))
    enrol(workspace, person(100))
    for name, who in (("a.png", 1), ("b.png", 100), ("c.png", 1)):
        upload(uploads, name, picture(person(who)))
    night(workspace, uploads)
    with workspace.database.read() as connection:
        ranked = [hit.second_opinion for hit in list_hits(connection, denied_last=True)]
    assert ranked == sorted(ranked, key=lambda said: said == "denies")
    assert len(set(ranked)) == 2


def test_erasure_takes_the_opinions_along(workspace: Workspace, uploads: Path) -> None:
    use_network(workspace, ColourNetwork())
    subject = enrol(workspace, person(1))
    upload(uploads, "a.png", picture(person(1)))
    night(workspace, uploads)
    erase(workspace, subject, actor="tester")
    with workspace.database.read() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(second_opinions)).scalar_one() == 0


def test_the_network_in_force_is_no_second_one(workspace: Workspace) -> None:
    workspace.config = replace(workspace.config, second_opinion="opencv-zoo")
    with pytest.raises(ConfigError, match="in force already"):
        _ = workspace.second_network_id


def test_a_network_without_a_threshold_is_not_asked(workspace: Workspace, uploads: Path) -> None:
    enrol(workspace, person(1))
    use_network(workspace, ColourNetwork(), name="auraface")
    with pytest.raises(NotReadyError, match="has no threshold"):
        ask_second_network(workspace)


def test_the_opinion_says_nothing_personal(workspace: Workspace, uploads: Path) -> None:
    use_network(workspace, ColourNetwork())
    enrol(workspace, person(1))
    upload(uploads, "a.png", picture(person(1)))
    night(workspace, uploads)
    with workspace.database.read() as connection:
        row = connection.execute(sa.select(second_opinions)).one()
    assert NAME not in json.dumps(dict(row._mapping), default=str)
