"""A change of pack: everything gets vectors of the new models, and nothing found by the old ones is lost meanwhile."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result

from embeddings.errors import NotReadyError, WeightsError
from embeddings.models.runtimes import Machine
from pipelines.cases.ending import erase
from pipelines.cases.requests import get_request
from pipelines.cli import main
from pipelines.database.tables import items, runs, templates
from pipelines.hits.listing import list_hits
from pipelines.home.workspace import Workspace
from pipelines.intake.ledger import Scope
from pipelines.runs.backfill import backfill, backfill_templates
from pipelines.runs.backfill_progress import BackfillProgress, read_backfill
from pipelines.runs.rescan import wanted_rescans
from pipelines.runs.status import read_status
from pipelines.runs.sweep import list_source, sweep
from pipelines.scan.faces import scan_pending
from tests.conftest import Clock
from tests.fakes import WHITE, fake_canary, fake_models, person, picture
from tests.platform_actions import DAY, agree, ask_for_removal, enrol, source_of, upload
from tests.platform_facts import coverage, statuses

NEW = "fake-2"


def change_pack(workspace: Workspace) -> Workspace:
    """As if the configuration named another pack."""
    workspace.models = fake_models(NEW)  # type: ignore[misc]
    workspace.canary = fake_canary(NEW)  # type: ignore[misc]
    return workspace


def cut(workspace: Workspace, *, shard_items: int, backfill_batches: int = 1) -> None:
    smaller = replace(workspace.config.sweep, shard_items=shard_items, backfill_batches=backfill_batches)
    workspace.config = replace(workspace.config, sweep=smaller)


def status_of(workspace: Workspace) -> BackfillProgress:
    return read_status(workspace).backfill


def scanned_by(workspace: Workspace) -> dict[str, str]:
    with workspace.database.read() as connection:
        return {row.item_id: row.model_id for row in connection.execute(sa.select(items))}


def models_of_hits(workspace: Workspace) -> set[str]:
    with workspace.database.read() as connection:
        return {hit.model_id for hit in list_hits(connection)}


def left(workspace: Workspace) -> tuple[int, int]:
    with workspace.database.read() as connection:
        state = read_backfill(connection, model_id=workspace.model_id)
    return state.subjects_missing, state.items_outdated


@pytest.fixture
def swept(workspace: Workspace, uploads: Path) -> Workspace:
    """A platform of three pictures (a hit, a stranger, nobody), swept with the old models; then the pack is changed."""
    enrol(workspace, person(1))
    enrol(workspace, person(2))
    for name, colours in (("a", person(1)), ("b", person(9)), ("c", WHITE)):
        upload(uploads, name, picture(colours))
    sweep(workspace, source_of(uploads), day=None)
    assert sorted(statuses(workspace, live=True).values()) == ["clean", "hit", "no_face"]
    assert left(workspace) == (0, 0)
    return change_pack(workspace)


def test_until_the_backfill_the_old_results_stand_and_coverage_says_what_is_missing(swept: Workspace) -> None:
    assert left(swept) == (2, 3)
    assert coverage(swept) == 0.0
    assert models_of_hits(swept) == {"fake-1"}
    assert sorted(statuses(swept, live=True).values()) == ["clean", "hit", "no_face"]


def test_a_sweep_before_the_templates_are_ready_stops_and_says_what_to_run(swept: Workspace, uploads: Path) -> None:
    with pytest.raises(NotReadyError, match="likeness models backfill"):
        sweep(swept, source_of(uploads), day=None)
    assert models_of_hits(swept) == {"fake-1"}
    assert sorted(statuses(swept, live=True).values()) == ["clean", "hit", "no_face"]


def test_a_backfill_ends_in_the_state_of_a_sweep_with_the_new_models(swept: Workspace) -> None:
    before = statuses(swept, live=True)
    summary = backfill(swept, actor="tester")
    assert (summary.templates, summary.items, summary.hits) == (2, 3, 1)
    assert left(swept) == (summary.subjects_missing, summary.items_outdated) == (0, 0)
    assert coverage(swept) == 1.0
    assert statuses(swept, live=True) == before
    assert models_of_hits(swept) == {NEW}
    again = backfill(swept, actor="tester")
    assert (again.templates, again.items, again.hits) == (0, 0, 0)


def test_between_embedding_and_comparing_no_status_and_no_hit_is_lost(swept: Workspace) -> None:
    before = statuses(swept, live=True)
    backfill_templates(swept, actor="tester")
    scan_pending(swept, Scope(None, None))
    assert statuses(swept, live=True) == before
    assert models_of_hits(swept) == {"fake-1"}
    assert coverage(swept) < 1.0
    backfill(swept, actor="tester")
    assert coverage(swept) == 1.0
    assert models_of_hits(swept) == {NEW}


def test_what_cannot_be_fetched_any_more_keeps_its_old_result_and_is_counted(swept: Workspace, uploads: Path) -> None:
    before = statuses(swept, live=True)
    for file in uploads.iterdir():
        if file.suffix != ".json":
            file.unlink()
    summary = backfill(swept, actor="tester")
    assert summary.items_outdated == 3
    assert statuses(swept, live=True) == before
    assert models_of_hits(swept) == {"fake-1"}
    assert coverage(swept) < 1.0


def test_i11_a_backfill_that_left_a_day_behind_is_no_success_names_the_day_and_goes_on(
    swept: Workspace, uploads: Path, open_again: Callable[[], Workspace], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.cli.console.open_workspace", lambda _: change_pack(open_again()))
    upload(uploads, "later", picture(person(8)), received=DAY + timedelta(days=1))
    backfill_templates(swept, actor="tester")
    sweep(swept, source_of(uploads), day=None)
    (uploads / "a").rename(uploads.parent / "away")
    for line in (["models", "backfill"], ["sweep", "--source", source_of(uploads), "--backfill"]):
        done = CliRunner().invoke(main, [*line, "--json"])
        facts = json.loads(done.stdout)
        facts = facts.get("backfill", facts)
        assert (done.exit_code, facts["outcome"], facts["days_failed"]) == (1, "incomplete", [str(DAY.date())])
        assert f"1 items of {DAY.date()}" in done.stderr
    assert (status_of(swept).state, status_of(swept).days_left) == ("incomplete", (str(DAY.date()),))
    (uploads.parent / "away").rename(uploads / "a")
    done = CliRunner().invoke(main, ["models", "backfill", "--json"])
    assert (done.exit_code, json.loads(done.stdout)["outcome"]) == (0, "complete")


def test_a_backfill_that_was_cut_off_goes_on(
    swept: Workspace, open_again: Callable[[], Workspace], monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(name: str) -> None:
        if name == "after_manifest_commit":
            raise KeyboardInterrupt

    monkeypatch.setattr(swept.failpoints, "pass_by", cut)
    with pytest.raises(KeyboardInterrupt):
        backfill(swept, actor="tester")
    resumed = change_pack(open_again())
    summary = backfill(resumed, actor="tester")
    assert summary.templates == 0
    assert left(resumed) == (0, 0)
    assert coverage(resumed) == 1.0
    with resumed.database.read() as connection:
        finished = connection.execute(sa.select(runs.c.finished_at).where(runs.c.kind == "backfill")).scalars().all()
    assert sorted(moment is not None for moment in finished) == [False, True]


def test_templates_are_remade_from_sealed_crops_once_and_the_old_ones_are_kept(swept: Workspace) -> None:
    assert backfill_templates(swept, actor="tester") == 2
    assert backfill_templates(swept, actor="tester") == 0
    with swept.database.read() as connection:
        rows = connection.execute(sa.select(templates)).all()
    assert sorted(row.model_id for row in rows) == ["fake-1", "fake-1", NEW, NEW]
    old, new = ({row.subject_id for row in rows if row.model_id == name} for name in ("fake-1", NEW))
    assert old == new


def test_an_erased_subject_is_not_embedded_again_and_its_new_templates_go_too(workspace: Workspace) -> None:
    first, second = enrol(workspace, person(1)), enrol(workspace, person(2))
    erase(workspace, first, actor="tester")
    change_pack(workspace)
    assert backfill_templates(workspace, actor="tester") == 1
    erase(workspace, second, actor="tester")
    with workspace.database.read() as connection:
        assert connection.execute(sa.select(templates)).all() == []


def test_a_sweep_of_everything_leaves_old_items_to_the_backfill_and_one_of_a_day_completes_it(
    swept: Workspace, uploads: Path
) -> None:
    backfill_templates(swept, actor="tester")
    later = DAY + timedelta(days=1)
    upload(uploads, "new", picture(person(2)), received=later)
    upload(uploads, "old of that day", picture(person(8)), received=later)
    summary = sweep(swept, source_of(uploads), day=None)
    assert (summary.embedded, summary.outdated, summary.pending) == (2, 3, 0)
    assert summary.coverage < 1.0
    assert statuses(swept, live=True)["new"] == "hit"
    with swept.database.write() as tx:
        tx.execute(sa.update(items).where(items.c.item_id == "old of that day").values(model_id="fake-1"))
    assert sweep(swept, source_of(uploads), day=later.date()).coverage == 1.0
    assert sorted(item for item, model in scanned_by(swept).items() if model == "fake-1") == ["a", "b", "c"]


def test_a_sweep_that_waits_goes_before_the_next_turn_of_a_backfill(
    swept: Workspace, uploads: Path, open_again: Callable[[], Workspace], monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(uploads, "new", picture(person(2)))
    sweeping = change_pack(open_again())
    list_source(sweeping, source_of(uploads), day=None)
    cut(swept, shard_items=1)
    order: list[str] = []
    thread = threading.Thread(target=lambda: scan_pending(sweeping, Scope(None, None), work="new"))

    def begin_a_sweep(name: str) -> None:
        if name == "after_manifest_commit":
            order.append("backfill")
            if len(order) == 1:
                thread.start()
                while not swept.database.is_held("scan-next"):
                    time.sleep(0.01)

    def note(name: str) -> None:
        if name == "after_manifest_commit":
            order.append("sweep")

    monkeypatch.setattr(swept.failpoints, "pass_by", begin_a_sweep)
    monkeypatch.setattr(sweeping.failpoints, "pass_by", note)
    backfill(swept, actor="tester")
    thread.join()
    assert order == ["backfill", "sweep", "backfill", "backfill"]


def test_how_far_a_backfill_is_can_be_read_by_others_while_it_runs_and_after_it_died(
    swept: Workspace, open_again: Callable[[], Workspace], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    watcher = change_pack(open_again())
    assert status_of(watcher).state == "due"
    cut(swept, shard_items=1)
    seen: list[BackfillProgress] = []

    def watch(name: str) -> None:
        if name == "before_shard_rename":
            clock.forward(seconds=10)
            seen.append(status_of(watcher))
            if len(seen) == 2:
                raise KeyboardInterrupt

    monkeypatch.setattr(swept.failpoints, "pass_by", watch)
    with pytest.raises(KeyboardInterrupt):
        backfill(swept, actor="tester")
    first, second = seen
    assert (first.state, first.subjects_missing, first.items_outdated, first.items_done) == ("running", 0, 3, 0)
    assert (second.state, second.items_outdated, second.items_done) == ("running", 2, 1)
    assert (first.estimated_finish, second.items_per_second) == (None, 0.1)
    assert second.estimated_finish == clock() + timedelta(seconds=20)
    ended = status_of(watcher)
    assert (ended.state, ended.items_outdated, ended.estimated_finish) == ("interrupted", 2, None)
    backfill(watcher, actor="tester")
    assert status_of(watcher).state == "none"


def test_a_request_that_came_meanwhile_is_searched_for_by_the_backfill(swept: Workspace) -> None:
    backfill_templates(swept, actor="tester")
    request = ask_for_removal(swept, person(9))
    for actor in ("tester", "second"):  # vectors of earlier models cannot be previewed
        agree(swept, request.request_id, actor)
    assert wanted_rescans(swept).keys == (), "no rescan can bring the old items to this person"
    assert backfill(swept, actor="tester").searched_requests == 1
    assert statuses(swept, live=True)["b"] == "hit"
    with swept.database.read() as connection:
        assert get_request(connection, request.request_id).state == "under_review"


def test_a_runtime_that_is_not_here_is_a_line_of_the_status_and_stops_a_sweep(
    workspace: Workspace, uploads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Machine(openvino=False, cuda=False, bf16=False)
    monkeypatch.setattr("pipelines.runs.status.inspect_machine", lambda: plain)
    monkeypatch.setattr("embeddings.models.load.inspect_machine", lambda: plain)
    enrol(workspace, person(1))
    upload(uploads, "a", picture(person(1)))
    asked = replace(workspace.config.embedding, runtime="openvino")
    workspace.config = replace(workspace.config, embedding=asked)
    status = read_status(workspace)
    assert status.runtime.startswith("unavailable: OpenVINO is not installed")
    assert status.subjects_active == 1
    # The models with that runtime: not the fakes, whose name the templates keep.
    del workspace.__dict__["models"]
    monkeypatch.setattr("pipelines.home.workspace.model_id", lambda *_: "fake-1")
    with pytest.raises(WeightsError, match="OpenVINO is not installed"):
        sweep(workspace, source_of(uploads), day=None)
    assert statuses(workspace, live=True) == {"a": "pending"}


def test_the_sweep_command_says_that_a_backfill_is_due_and_does_it_when_asked(
    swept: Workspace, uploads: Path, open_again: Callable[[], Workspace], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.cli.console.open_workspace", lambda _: change_pack(open_again()))

    def run(*options: str) -> Result:
        return CliRunner().invoke(main, ["sweep", "--source", source_of(uploads), *options])

    stopped = run()
    assert stopped.exit_code == 1
    assert "likeness models backfill" in stopped.stderr
    backfill_templates(swept, actor="tester")
    done = run("--json")
    assert done.exit_code == 0
    assert json.loads(done.stdout)["outdated"] == 3
    assert "a backfill is due: 3 items and 0 subjects" in done.stderr
    facts = json.loads(run("--backfill", "--json").stdout)
    assert (facts["outdated"], facts["backfill"]["items"], facts["backfill"]["items_outdated"]) == (3, 3, 0)
    again = run()
    assert again.exit_code == 0
    assert "backfill" not in again.stderr
    shown = CliRunner().invoke(main, ["status"]).stdout
    assert "backfill" in shown
    assert "none" in shown
