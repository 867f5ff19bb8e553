"""A change of pack: everything gets vectors of the new models, and nothing found by the old ones is lost meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from embeddings.errors import NotReadyError
from pipelines.backfill import backfill, backfill_templates
from pipelines.backfill_state import read_backfill
from pipelines.database.tables import items, runs, templates
from pipelines.hits import list_hits
from pipelines.ledger import Scope
from pipelines.registry import erase
from pipelines.scan import scan_pending
from pipelines.sweep import measure_coverage, sweep
from pipelines.workspace import Workspace
from tests.fakes import WHITE, fake_canary, fake_models, person, picture
from tests.platform_actions import enrol, source_of, upload

NEW = "fake-2"


def change_pack(workspace: Workspace) -> Workspace:
    """As if the configuration named another pack."""
    workspace.models = fake_models(NEW)  # type: ignore[misc]
    workspace.canary = fake_canary(NEW)  # type: ignore[misc]
    return workspace


def statuses(workspace: Workspace) -> dict[str, str]:
    with workspace.database.read() as connection:
        return {row.item_id: row.status for row in connection.execute(sa.select(items).where(items.c.live))}


def models_of_hits(workspace: Workspace) -> set[str]:
    with workspace.database.read() as connection:
        return {hit.model_id for hit in list_hits(connection)}


def coverage(workspace: Workspace) -> float:
    with workspace.database.read() as connection:
        return measure_coverage(connection, workspace, Scope(None, None)).fraction


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
    assert sorted(statuses(workspace).values()) == ["clean", "hit", "no_face"]
    assert left(workspace) == (0, 0)
    return change_pack(workspace)


def test_until_the_backfill_the_old_results_stand_and_coverage_says_what_is_missing(swept: Workspace) -> None:
    assert left(swept) == (2, 3)
    assert coverage(swept) == 0.0
    assert models_of_hits(swept) == {"fake-1"}
    assert sorted(statuses(swept).values()) == ["clean", "hit", "no_face"]


def test_a_sweep_before_the_templates_are_ready_stops_and_says_what_to_run(swept: Workspace, uploads: Path) -> None:
    with pytest.raises(NotReadyError, match="likeness models backfill"):
        sweep(swept, source_of(uploads), day=None)
    assert models_of_hits(swept) == {"fake-1"}
    assert sorted(statuses(swept).values()) == ["clean", "hit", "no_face"]


def test_a_backfill_ends_in_the_state_of_a_sweep_with_the_new_models(swept: Workspace) -> None:
    before = statuses(swept)
    summary = backfill(swept, actor="tester")
    assert (summary.templates, summary.items, summary.hits) == (2, 3, 1)
    assert left(swept) == (summary.subjects_missing, summary.items_outdated) == (0, 0)
    assert coverage(swept) == 1.0
    assert statuses(swept) == before
    assert models_of_hits(swept) == {NEW}
    again = backfill(swept, actor="tester")
    assert (again.templates, again.items, again.hits) == (0, 0, 0)


def test_between_embedding_and_comparing_no_status_and_no_hit_is_lost(swept: Workspace) -> None:
    before = statuses(swept)
    backfill_templates(swept, actor="tester")
    scan_pending(swept, Scope(None, None))
    assert statuses(swept) == before
    assert models_of_hits(swept) == {"fake-1"}
    assert coverage(swept) < 1.0
    backfill(swept, actor="tester")
    assert coverage(swept) == 1.0
    assert models_of_hits(swept) == {NEW}


def test_what_cannot_be_fetched_any_more_keeps_its_old_result_and_is_counted(swept: Workspace, uploads: Path) -> None:
    before = statuses(swept)
    for file in uploads.iterdir():
        if file.suffix != ".json":
            file.unlink()
    summary = backfill(swept, actor="tester")
    assert summary.items_outdated == 3
    assert statuses(swept) == before
    assert models_of_hits(swept) == {"fake-1"}
    assert coverage(swept) < 1.0


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
