"""One item costs itself, whatever its bytes or texts do to the process that works on them (I9), and no run stops."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from embeddings.errors import NotReadyError
from pipelines.database.tables import contents, items
from pipelines.home.attempts import abandoned, attempting
from pipelines.home.isolation import resume, run_isolated
from pipelines.home.workspace import Workspace
from pipelines.intake.ledger import Scope
from pipelines.judging import judge_pending
from pipelines.matching.faces import match_pending
from pipelines.matching.names import examine_pending
from pipelines.runs.sweep import list_source, measure_coverage, require_complete, sweep
from pipelines.scan.describe import describe_pending
from pipelines.scan.faces import scan_pending
from pipelines.settings.config import Config
from tests.conftest import environment_for, use_fakes
from tests.fakes import person, picture
from tests.pipelines.home.pills import (
    COLOUR,
    DOES,
    MEMORY,
    SPINNING,
    TEXT,
    PatchedPill,
    Pill,
    run_and_die,
    time_passes_by_spinning,
)
from tests.platform_actions import enrol, source_of, upload
from tests.platform_facts import statuses

pytestmark = pytest.mark.any_database  # and starts processes

EVERYTHING = Scope(None, None)
REASON = {"memory": "scanner_memory", "spin": "scanner_timeout", "signal": "scanner_killed", "raise": "scanner_error"}


def scan(workspace: Workspace) -> None:
    scan_pending(workspace, EVERYTHING)


def describe(workspace: Workspace) -> None:
    describe_pending(workspace, EVERYTHING)


def match(workspace: Workspace) -> None:
    match_pending(workspace, found_by="rescan")


def examine(workspace: Workspace) -> None:
    examine_pending(workspace, found_by="sweep")


WORK: dict[str, Callable[[Workspace], None]] = {
    "fetch": scan,
    "scan": scan,
    "content": describe,
    "examine": examine,
    "match": match,
}


def described(workspace: Workspace) -> dict[str, str]:
    query = sa.select(items.c.item_id, contents.c.status).join(
        contents, contents.c.content_sha256 == items.c.content_sha256
    )
    with workspace.database.read() as connection:
        return {row.item_id: row.status for row in connection.execute(query)}


def prepare(workspace: Workspace, uploads: Path, stage: str) -> None:
    """Bring two good items and a pill to where ``stage`` is next; the person of one of them is registered."""
    enrol(workspace, person(1))
    for number in (1, 2):
        upload(uploads, f"good{number}.png", picture(person(number)))
    upload(uploads, "pill.png", picture(COLOUR), **({"prompt": TEXT} if stage == "examine" else {}))
    workspace.config = replace(
        workspace.config,
        isolation=replace(workspace.config.isolation, memory_bytes=MEMORY),
    )
    workspace.content_models.rating_model_id = None  # type: ignore[misc]
    if stage == "match":
        workspace.config = replace(workspace.config, corpus=replace(workspace.config.corpus, mode="none"))
    list_source(workspace, source_of(uploads), day=None)
    if stage in ("content", "examine", "match"):
        scan_pending(workspace, EVERYTHING)
        match_pending(workspace, found_by="sweep")
    workspace.content_models.rating_model_id = "mean-1"  # type: ignore[misc]
    if stage == "match":
        enrol(workspace, person(2), name="Second Examplesdaughter")


def impatient(config: Config) -> Config:
    """With a moment for an item."""
    return replace(
        config,
        isolation=replace(config.isolation, item_seconds=0.5),
        model_files=replace(config.model_files, payload_timeout_seconds=0.1),
        fetch=replace(config.fetch, timeout_seconds=0.1),
    )


def finish(workspace: Workspace) -> None:
    scan_pending(workspace, EVERYTHING)
    describe_pending(workspace, EVERYTHING)
    match_pending(workspace, found_by="rescan")
    examine_pending(workspace, found_by="rescan")
    judge_pending(workspace)


def require_only_the_pill(workspace: Workspace, stage: str, does: str) -> None:
    """The pill says what it did, and every other item has all its results."""
    now = statuses(workspace)
    if stage == "content":
        assert described(workspace)["pill.png"] == f"unscannable:{REASON[does]}"
        assert set(described(workspace).values()) == {"described", f"unscannable:{REASON[does]}"}
        assert now["pill.png"] == "clean"
    else:
        assert now["pill.png"] == f"unscannable:{REASON[does]}"
        assert described(workspace).get("good2.png") == "described"
    second = "hit" if stage == "match" else "clean"
    assert {name: now[name] for name in now if name != "pill.png"} == {
        "good1.png": "hit",
        "good2.png": second,
    }
    assert list(abandoned(workspace, MARKED.get(stage, stage))) == []


@pytest.mark.parametrize("stage", ["fetch", "scan", "content", "examine"])
def test_i9_an_item_that_raises_anything_at_any_stage_costs_only_itself(
    stage: str, workspace: Workspace, uploads: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    prepare(workspace, uploads, stage)
    pill = Pill(stage, "raise")
    pill.given_to(workspace)
    for place, name, value in pill.patches(workspace.home):
        monkeypatch.setattr(place, name, value)
    finish(workspace)
    require_only_the_pill(workspace, stage, "raise")
    assert "UnforeseenError" in caplog.text
    assert TEXT not in caplog.text
    with workspace.database.read() as connection:
        coverage = measure_coverage(connection, workspace, EVERYTHING)
    assert coverage.settled == coverage.pairs
    require_complete(workspace, EVERYTHING)


@pytest.mark.parametrize("does", DOES)
@pytest.mark.parametrize("stage", list(WORK))
def test_i9_an_item_that_ends_its_process_at_any_stage_costs_only_itself(
    stage: str, does: str, workspace: Workspace, uploads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(workspace, uploads, stage)
    pill = PatchedPill(stage, does)
    if (stage, does) in (("scan", "signal"), ("examine", "signal"), ("scan", "spin")):
        config = impatient(workspace.config) if does == "spin" else workspace.config
        code = run_and_die(pill, workspace.environment, config, WORK[stage])
        assert code == {"signal": -9, "spin": 1}[does]
        (workspace.home / SPINNING).unlink(missing_ok=True)
    else:  # as a process leaves it: that it does is seen above
        die_over(workspace, stage)
    workspace.opener = pill
    time_passes_by_spinning(monkeypatch, workspace.home)
    if (stage, does) == ("match", "memory"):  # no process ends: the pill leaves its shard, and the scan judges it
        Pill("scan", "raise").given_to(workspace)
        finish(workspace)
        finish(workspace)
        assert statuses(workspace)["pill.png"] == "unscannable:scanner_error"
        return
    finish(workspace)
    require_only_the_pill(workspace, stage, does)
    require_complete(workspace, EVERYTHING)


def die_over(workspace: Workspace, stage: str) -> None:
    """Leave what a process leaves that is killed while it works on two items, one of them the pill."""
    ids = ["good1.png", "pill.png"]
    if stage == "content":
        ids = [hashlib.sha256(picture(colour)).hexdigest() for colour in (person(1), COLOUR)]
    folder = workspace.home / "attempts"
    folder.mkdir(exist_ok=True)
    (folder / f"{MARKED.get(stage, stage)}-0.json").write_text(json.dumps(ids))


MARKED = {"fetch": "scan"}


def test_i6_a_batch_over_which_a_process_was_killed_by_chance_is_done_as_any_other(
    workspace: Workspace, uploads: Path
) -> None:
    prepare(workspace, uploads, "scan")
    die_over(workspace, "scan")
    finish(workspace)  # the process that is opened for the batch swallows nothing
    assert statuses(workspace)["pill.png"] == "clean"


def test_i7_a_process_for_some_items_that_cannot_begin_is_not_held_against_them(workspace: Workspace) -> None:
    workspace.opener = die
    with pytest.raises(NotReadyError, match="does not begin"):
        run_isolated(workspace, nothing, ["one"])


def die(environment: object) -> Workspace:
    raise SystemExit(3)


def nothing(workspace: Workspace, ids: object) -> None:
    raise AssertionError("never begun")


def never(workspace: Workspace, ids: object) -> None:
    threading.Event().wait()


def test_a_process_for_some_items_has_so_long_for_one_and_no_longer(workspace: Workspace) -> None:
    workspace.config = impatient(workspace.config)
    assert run_isolated(workspace, never, ["one"]).died == "scanner_timeout"


def test_what_a_living_process_works_on_is_nobody_elses(workspace: Workspace) -> None:
    with attempting(workspace, "scan", ["one", "two"]):
        assert list(abandoned(workspace, "scan")) == []
    assert list(abandoned(workspace, "scan")) == []
    assert list((workspace.home / "attempts").iterdir()) == []


def test_work_that_raises_leaves_no_trace_of_a_death(workspace: Workspace) -> None:
    with pytest.raises(KeyError), attempting(workspace, "scan", ["one"]):
        raise KeyError
    assert resume(workspace, "scan", nothing, nothing) == []  # type: ignore[arg-type]


def test_other_models_scan_again_what_the_scanner_failed_on(workspace: Workspace, uploads: Path) -> None:
    prepare(workspace, uploads, "scan")
    Pill("scan", "raise").given_to(workspace)
    finish(workspace)
    assert statuses(workspace)["pill.png"] == "unscannable:scanner_error"
    use_fakes(workspace)
    workspace.models = replace(workspace.models, model_id="fake-2")  # type: ignore[misc]
    scan_pending(workspace, EVERYTHING)
    assert statuses(workspace)["pill.png"] == "pending"


def test_a_content_that_the_scanner_failed_on_is_tried_again_for_another_item(
    workspace: Workspace, uploads: Path
) -> None:
    prepare(workspace, uploads, "scan")
    Pill("scan", "raise").given_to(workspace)
    sweep(workspace, source_of(uploads), day=None)
    use_fakes(workspace)
    upload(uploads, "again.png", picture(COLOUR))
    sweep(workspace, source_of(uploads), day=None)
    assert statuses(workspace)["again.png"] == "clean"


def test_the_environment_of_a_process_for_some_items_shows_no_key() -> None:
    environment = environment_for(Path("home"))
    assert "key" not in repr(environment)
