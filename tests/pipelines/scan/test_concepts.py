"""Concepts: every described content has its scores, by the list in force, and a wrong list is said to be wrong."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from PIL import Image

import pipelines.policy
from embeddings.errors import ConfigError, CorruptionError
from indexes.heads import concept_scores
from pipelines.cli import main
from pipelines.corpus.clip_manifest import clip_vectors, list_content_shards
from pipelines.database.tables import content_shards, contents
from pipelines.home.workspace import Workspace
from pipelines.intake.ledger import Scope
from pipelines.policy.concept_list import load_concepts
from pipelines.runs.status import read_status
from pipelines.runs.sweep import list_source, sweep
from pipelines.scan import concepts
from pipelines.scan.concept_scores import ConceptCoverage, concept_coverage, list_scores
from pipelines.scan.concepts import apply_concepts, heads_for, parse_scores
from pipelines.scan.content_coverage import measure_content
from pipelines.scan.describe import describe_pending
from pipelines.scan.faces import scan_pending
from tests.conftest import KEY
from tests.fakes import person, picture, vectors_of_colours
from tests.pipelines.scan.listing import SMALL, use_clip, use_list
from tests.platform_actions import upload
from tests.searching import in_clear

EVERYTHING = Scope(None, None)
CHANGED = SMALL.replace('prompts = ["person 8"]', 'prompts = ["person 8", "person 11"]')


def swept(workspace: Workspace, uploads: Path) -> None:
    workspace.config = replace(workspace.config, sweep=replace(workspace.config.sweep, allow_empty_registry=True))
    sweep(workspace, f"directory:{uploads}", day=None)


def stored(workspace: Workspace) -> dict[str, tuple[str | None, dict[str, float] | None]]:
    """Content digest -> concepts id and scores."""
    with workspace.database.read() as connection:
        rows = connection.execute(sa.select(contents)).all()
    return {row.content_sha256: (row.concepts_id, json.loads(row.concepts) if row.concepts else None) for row in rows}


def described(workspace: Workspace, uploads: Path, count: int = 6) -> list[str]:
    """So many pictures on the platform, swept with weights and the small list; their digests."""
    for number in range(count):
        upload(uploads, f"{number}.png", picture(person(number + 5)))
    use_clip(use_list(workspace))
    swept(workspace, uploads)
    return [hashlib.sha256(picture(person(number + 5))).hexdigest() for number in range(count)]


def expected(workspace: Workspace, number: int) -> dict[str, float]:
    """By definition: the scores of a picture of this person."""
    heads = heads_for(workspace, "clip-1")
    assert heads is not None
    (row,) = concept_scores(vectors_of_colours([person(number)]), heads, model_id="clip-1")
    return {name: round(float(score), 4) for name, score in zip(heads.names, row, strict=True)}


def test_every_described_content_has_the_scores_of_its_vector(workspace: Workspace, uploads: Path) -> None:
    digests = described(workspace, uploads)
    found = stored(workspace)
    wanted = workspace.concept_list.concepts_id("clip-1")
    for number, digest in enumerate(digests):
        assert found[digest] == (wanted, expected(workspace, number + 5))
    assert found[digests[2]][1]["nudity"] > 0.7  # type: ignore[index]  # person 7 is what the list calls nudity
    assert concept_coverage(workspace).due == 0


def test_a_list_that_changed_is_applied_to_stored_vectors_without_their_pictures(
    workspace: Workspace, uploads: Path
) -> None:
    digests = described(workspace, uploads)
    for path in uploads.iterdir():
        path.unlink()
    before = stored(workspace)
    use_list(workspace, CHANGED)
    assert concept_coverage(workspace) == ConceptCoverage(0, 6)
    assert read_status(workspace).content.concepts_missing == 6
    assert apply_concepts(workspace).scored == 6
    after = stored(workspace)
    for number, digest in enumerate(digests):
        assert after[digest] == (workspace.concept_list.concepts_id("clip-1"), expected(workspace, number + 5))
    assert after != before
    assert apply_concepts(workspace).scored == 0
    assert read_status(workspace).content.concepts_missing == 0


def test_the_sweep_after_a_change_scores_what_is_stored(workspace: Workspace, uploads: Path) -> None:
    described(workspace, uploads)
    use_list(workspace, CHANGED)
    assert describe_pending(workspace, EVERYTHING).concepts_scored == 6
    assert describe_pending(workspace, EVERYTHING).concepts_scored == 0


def test_what_a_description_scores_is_what_the_stage_scores(workspace: Workspace, uploads: Path) -> None:
    described(workspace, uploads)
    at_once = stored(workspace)
    with workspace.database.write() as tx:
        tx.execute(sa.update(contents).values(concepts_id=None, concepts=None))
    assert apply_concepts(workspace).scored == 6
    assert stored(workspace) == at_once


def test_a_changed_threshold_or_level_costs_no_new_scores_and_holds_at_once(
    workspace: Workspace, uploads: Path
) -> None:
    described(workspace, uploads)
    use_list(workspace, SMALL.replace("threshold = 0.5", "threshold = 0.9").replace('"mature"', '"explicit"'))
    assert concept_coverage(workspace).due == 0
    assert not any(one.present for one in list_scores(workspace, "nudity", limit=10) if one.score < 0.9)


def test_each_change_that_decides_a_score_is_another_id_and_no_other_change_is(tmp_path: Path) -> None:
    def name(text: str, model_id: str = "clip-1") -> str:
        (tmp_path / "list.toml").write_text(text, encoding="utf-8")
        return load_concepts(tmp_path / "list.toml").concepts_id(model_id)

    first = name(SMALL)
    for change in (
        ("person 7", "person 77"),
        ('templates = ["{}"]', 'templates = ["a {}"]'),
        ('frames = "all"', 'frames = "any"'),
        ('against = ["drawing"]', 'against = ["plain"]'),
        ("threshold = 0.5", "weight = 2.0\nthreshold = 0.5"),
        ("neutral.plain", "neutral.other"),
    ):
        assert name(SMALL.replace(*change)) != first, change
    assert name(SMALL, "clip-2") != first
    assert name("# a remark\n" + SMALL.replace("0.5", "0.6").replace("test-1", "test-2")) == first


def test_i6_a_run_that_is_cut_off_goes_on_with_what_is_left(
    workspace: Workspace, open_again: Callable[[], Workspace], uploads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(concepts, "ROWS_AT_ONCE", 2)
    workspace.config = replace(workspace.config, sweep=replace(workspace.config.sweep, shard_items=2))
    described(workspace, uploads)
    use_list(workspace, CHANGED)
    passed: list[str] = []

    def stop(name: str) -> None:
        passed.append(name)
        if passed.count("before_content_commit") == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(workspace.failpoints, "pass_by", stop)
    with pytest.raises(KeyboardInterrupt):
        apply_concepts(workspace)
    other = use_list(open_again(), CHANGED)
    use_clip(other)
    assert concept_coverage(other) == ConceptCoverage(2, 4)
    assert apply_concepts(other).scored == 4
    wanted = other.concept_list.concepts_id("clip-1")
    assert {one[0] for one in stored(other).values()} == {wanted}


def test_the_text_tower_is_asked_once_per_list(
    workspace: Workspace, uploads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    described(workspace, uploads)
    models = use_clip(workspace)

    def fail(texts: object) -> None:
        raise AssertionError("the text tower ran again")

    monkeypatch.setattr(models.text_encoder, "encode_texts", fail)
    with workspace.database.write() as tx:
        tx.execute(sa.update(contents).values(concepts_id="concepts-of-before"))
    assert apply_concepts(workspace).scored == 6


def test_vectors_of_weights_that_are_gone_are_scored_as_far_as_the_directions_are_known(
    workspace: Workspace, uploads: Path
) -> None:
    described(workspace, uploads)
    use_clip(workspace, None)
    with workspace.database.write() as tx:
        tx.execute(sa.update(contents).values(concepts_id=None, concepts=None))
    assert apply_concepts(workspace).scored == 6
    use_list(workspace, CHANGED)
    counts = apply_concepts(workspace)
    assert (counts.scored, counts.waiting) == (0, 6)
    assert concept_coverage(workspace).due == 6


def test_damaged_directions_are_computed_again_and_never_used(workspace: Workspace, uploads: Path) -> None:
    described(workspace, uploads)
    (file,) = (workspace.home / "models" / "clip" / "concepts").iterdir()
    good = file.read_bytes()
    for bad in (b"", good[:-7], good[:128] + bytes(len(good) - 128)):
        file.write_bytes(bad)
        assert heads_for(workspace, "clip-1") is not None
        assert file.read_bytes() == good


def test_new_vectors_of_other_weights_make_the_scores_of_the_old_ones_due(workspace: Workspace, uploads: Path) -> None:
    digests = described(workspace, uploads)
    use_clip(workspace, "clip-2")
    swept(workspace, uploads)
    assert stored(workspace)[digests[0]][0] == workspace.concept_list.concepts_id("clip-2")


def test_without_weights_nothing_is_scored_and_nothing_fails(workspace: Workspace, uploads: Path) -> None:
    upload(uploads, "a.png", picture(person(1)))
    use_clip(use_list(workspace), None)
    swept(workspace, uploads)
    assert set(stored(workspace).values()) == {(None, None)}
    assert concept_coverage(workspace) == ConceptCoverage(0, 0)


def test_an_animation_counts_as_a_drawing_only_if_all_of_its_frames_do(workspace: Workspace, uploads: Path) -> None:
    def film(*people: int) -> bytes:
        frames = [Image.new("RGB", (64, 64), person(number)) for number in people]
        buffer = io.BytesIO()
        frames[0].save(buffer, format="WEBP", save_all=True, append_images=frames[1:], lossless=True)
        return buffer.getvalue()

    use_clip(use_list(workspace))
    upload(uploads, "drawn.webp", film(10, 10, 10, 11))
    upload(uploads, "mixed.webp", film(10, 9, 7))
    upload(uploads, "still.png", picture(person(10)))
    swept(workspace, uploads)
    mixed = stored(workspace)[hashlib.sha256(film(10, 9, 7)).hexdigest()][1]
    assert mixed is not None
    assert mixed["drawing"] < 0 < mixed["photograph"]
    assert mixed["nudity"] == expected(workspace, 7)["nudity"]
    still = stored(workspace)[hashlib.sha256(picture(person(10))).hexdigest()][1]
    assert still is not None
    assert still["drawing"] > 0


def test_i7_a_shard_that_lacks_a_content_or_was_altered_ends_the_run(workspace: Workspace, uploads: Path) -> None:
    described(workspace, uploads)
    with workspace.database.write() as tx:
        shard = tx.execute(sa.select(content_shards.c.shard_id)).scalar_one()
        missing = sa.insert(contents).values(
            content_sha256="ab" * 32,
            status="described",
            attempts=0,
            clip_model_id="clip-1",
            clip_shard_id=shard,
            described_at=workspace.now(),
        )
        tx.execute(missing)
    with pytest.raises(CorruptionError, match="lacks vectors"):
        apply_concepts(workspace)
    (file,) = workspace.content_corpus.folder.iterdir()
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(CorruptionError):
        apply_concepts(workspace)


@pytest.mark.parametrize("text", ["", "[1]", '{"nudity": "high"}', "{"])
def test_i7_altered_scores_are_a_loud_error(text: str) -> None:
    with pytest.raises(CorruptionError, match="not what was written"):
        parse_scores(text)


def test_i8_directions_and_scores_hold_neither_digests_nor_vectors_of_pictures(
    workspace: Workspace, uploads: Path
) -> None:
    digests = described(workspace, uploads, count=1)  # person 5, whom the list does not name
    (file,) = (workspace.home / "models" / "clip" / "concepts").iterdir()
    for secret in (bytes.fromhex(digests[0]), vectors_of_colours([person(5)])[0][:3].tobytes()):
        assert not in_clear(secret, file.read_bytes())
    with workspace.database.read() as connection:
        (entry,) = list_content_shards(connection, workspace.sealer)
    assert vectors_of_colours([person(5)])[0].tobytes() == clip_vectors(workspace, entry)["vector"][0].as_py()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (('version = "test-1"', ""), "version: Field required"),
        (("threshold = 0.0\nframes", "theshold = 0.0\nframes"), "concepts.drawing"),
        (("threshold = 0.5", 'threshold = "high"'), "concepts.nudity.threshold: Input should be a valid number"),
        (("threshold = 0.5", "threshold = nan"), "concepts.nudity.threshold"),
        (('["person 7"]', "[]"), "concepts.nudity.prompts: Tuple should have at least 1 item"),
        (('["{}"]', '["a photo"]'), "templates.0: String should match pattern"),
        (('["{}"]', '["{} and {}"]'), "templates.0: String should match pattern"),
        (('level = "mature"', 'level = "bad"'), "concepts.nudity.level: Input should be 'suggestive'"),
        (('against = ["drawing"]', 'against = ["draing"]'), "photograph.against: there is no entry draing"),
        (('against = ["drawing"]', 'against = ["photograph"]'), "cannot stand against itself"),
        (("neutral.plain", "neutral.nudity"), "neutral.nudity: a concept has the same name"),
        (("[neutral.plain]", "[neutral.Plain]"), "String should match pattern"),
        (("[neutral.plain]", "[neutral.plain"), "not valid TOML"),
    ],
)
def test_a_wrong_list_says_which_entry_is_wrong(tmp_path: Path, change: tuple[str, str], words: str) -> None:
    file = tmp_path / "list.toml"
    file.write_text(SMALL.replace(*change, 1), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_concepts(file)
    assert words in str(caught.value)
    assert str(file) in str(caught.value)


def test_the_packaged_list_has_what_ratings_look_for_and_says_that_nobody_calibrated_it() -> None:
    listed = load_concepts(None)
    assert set(listed.names) == {
        "suggestive",
        "nudity",
        "sexual",
        "minor_looking",
        "violence",
        "photograph",
        "drawing",
    }
    levels = {name: entry.level for name, entry in listed.settings.concepts.items() if entry.level}
    assert levels == {"suggestive": "suggestive", "nudity": "mature", "sexual": "explicit"}
    text = (Path(pipelines.policy.__file__).parent / "concepts.toml").read_text(encoding="utf-8")
    assert "NOT CALIBRATED" in text


def test_bounds_of_open_nsfw_that_do_not_ascend_are_refused(workspace: Workspace) -> None:
    (workspace.home / "likeness.toml").write_text("[content]\nmature_score = 0.1\n", encoding="utf-8")
    result = CliRunner().invoke(main, ["status", "--home", str(workspace.home)], env={"LIKENESS_KEY": KEY})
    assert result.exit_code == 2
    assert "have to ascend" in result.stderr


def test_the_commands_check_list_apply_and_show_scores(workspace: Workspace, uploads: Path) -> None:
    described(workspace, uploads)
    (workspace.home / "likeness.toml").write_text('[content]\nconcepts = "own.toml"\n', encoding="utf-8")
    (workspace.home / "own.toml").write_text(CHANGED, encoding="utf-8")
    url = workspace.database.url.render_as_string(hide_password=False)

    def run(*arguments: str) -> dict[str, object]:
        environment = {"LIKENESS_KEY": KEY, "LIKENESS_HOME": str(workspace.home), "LIKENESS_DATABASE_URL": url}
        result = CliRunner().invoke(main, ["concepts", *arguments, "--json"], env=environment)
        assert result.exit_code == 0, result.stderr
        return dict(enumerate(found)) if isinstance(found := json.loads(result.stdout), list) else found

    assert run("check", str(workspace.home / "own.toml"))["texts"] == 6
    listed = run("list")
    assert (listed["version"], listed["scored"], listed["due"]) == ("test-1", 0, 6)
    # No weights for this process, and the directions of the changed list were never computed.
    assert run("apply") == {"scored": 0, "waiting": 6}
    (workspace.home / "own.toml").write_text(SMALL, encoding="utf-8")
    best = run("scores", "nudity", "--limit", "2")
    assert best[0]["item_id"] == "2.png"  # type: ignore[index, call-overload]
    assert len(best) == 2
    assert all(row["score"] <= 0.2 for row in run("scores", "nudity", "--at-most", "0.2").values())  # type: ignore[index]
    wrong = CliRunner().invoke(main, ["concepts", "check", str(workspace.home / "none.toml")])
    assert wrong.exit_code == 2
    assert "cannot read the list of concepts" in wrong.stderr


def test_coverage_of_a_scope_counts_contents_without_scores(workspace: Workspace, uploads: Path) -> None:
    described(workspace, uploads)
    list_source(workspace, f"directory:{uploads}", day=None)
    scan_pending(workspace, EVERYTHING)
    upload(uploads, "without.png", b"no picture")
    use_list(workspace, CHANGED)
    with workspace.database.read() as connection:
        assert measure_content(connection, workspace, EVERYTHING).concepts_missing == 6
