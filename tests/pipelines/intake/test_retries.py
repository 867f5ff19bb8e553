"""A fault that passes becomes no status that stays: tries are spread over days, and every end of them is stated."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from embeddings.errors import ConfigError
from pipelines.database.tables import audit, items
from pipelines.home.workspace import Workspace
from pipelines.intake.ledger import Scope
from pipelines.intake.retries import after_try, ask_again, retry_is_due
from pipelines.runs.rescan import rescan
from pipelines.runs.status import read_status
from pipelines.runs.sweep import SweepSummary, sweep
from pipelines.scan import again, faces
from pipelines.settings.config import Config, FetchConfig, SweepConfig, load_config
from tests.conftest import Clock, environment_for
from tests.fakes import person, picture
from tests.pipelines.intake.model_server import ModelServer
from tests.pipelines.report.rows import add_item
from tests.platform_actions import enrol, source_of, upload

LOGIN_PAGE = b"<!doctype html><title>Sign in</title><form action='/login'></form>\n"
GOOD = picture(person(1))
SWEEP = SweepConfig()
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def sweep_urls(workspace: Workspace, server: ModelServer, tmp_path: Path) -> Callable[..., SweepSummary]:
    """Sweeps a manifest of URLs of one server."""
    fetch = FetchConfig(timeout_seconds=5.0, allowed_hosts=(server.host,), allow_private_addresses=True)
    workspace.config = replace(workspace.config, fetch=fetch)
    enrol(workspace, person(1), days=300)

    def swept(*paths: str, kind: str = "image") -> SweepSummary:
        lines = [
            {"id": path, "kind": kind, "url": f"http://{server.host}/{path}", "received_at": "2026-02-27"}
            for path in paths
        ]
        manifest = tmp_path / "urls.jsonl"
        manifest.write_text("\n".join(json.dumps(line) for line in lines), encoding="utf-8")
        return sweep(workspace, f"manifest:{manifest}", day=None)

    return swept


def row(workspace: Workspace, item_id: str) -> Any:
    with workspace.database.read() as connection:
        return connection.execute(sa.select(items).where(items.c.item_id == item_id)).one()


@pytest.mark.parametrize("kind", ["image", "model"])
@pytest.mark.parametrize("bad", [LOGIN_PAGE, GOOD[:-200], b""], ids=["login page", "cut", "empty"])
def test_i1_what_a_server_sent_for_a_night_costs_no_item(
    bad: bytes, kind: str, server: ModelServer, sweep_urls: Callable[..., SweepSummary], clock: Clock
) -> None:
    server.content = bad
    first = sweep_urls("whole?1", "whole?2", kind=kind)
    assert (first.unscannable, first.unsettled) == (2, 2)
    server.content = GOOD
    clock.forward(hours=24)
    second = sweep_urls("whole?1", "whole?2", kind=kind)
    assert (second.hit, second.unscannable, second.unsettled) == (2, 0, 0)


def test_tries_are_counted_by_time_however_often_somebody_sweeps(
    workspace: Workspace, server: ModelServer, sweep_urls: Callable[..., SweepSummary], clock: Clock
) -> None:
    server.content = LOGIN_PAGE
    tried, start = [], clock()
    for hour in (0, 0.9, 1, 5.9, 6, 23, 24, 25, 71, 72, 200):
        clock.time = start + timedelta(hours=hour)
        before = len(server.asked)
        for _ in range(2):
            sweep_urls("whole")
        tried += [hour] * (len(server.asked) - before)
    assert tried == [0, *SWEEP.retry_hours]
    settled = row(workspace, "whole")
    assert (settled.status, settled.attempts, settled.retry_at) == ("unscannable:format", 5, None)


def test_a_long_pause_is_not_followed_by_all_tries_at_once(
    server: ModelServer, sweep_urls: Callable[..., SweepSummary], clock: Clock
) -> None:
    server.content = LOGIN_PAGE
    sweep_urls("whole")
    clock.forward(days=9)
    for _ in range(5):
        sweep_urls("whole")
    assert len(server.asked) == 2


@pytest.mark.parametrize("path", ["gone", "redirect", "cut", "packed", "unsatisfied"])
def test_every_way_not_to_be_had_is_tried_again(
    path: str, workspace: Workspace, server: ModelServer, sweep_urls: Callable[..., SweepSummary], clock: Clock
) -> None:
    server.content = GOOD
    assert sweep_urls(path).fetch_failed == 1
    assert row(workspace, path).retry_at == clock() + timedelta(hours=1)
    clock.forward(hours=1)
    before = len(server.asked)
    assert sweep_urls(path).unsettled == 1
    assert len(server.asked) == before + 1


def test_a_local_file_that_cannot_be_read_is_settled_at_once(workspace: Workspace, uploads: Path) -> None:
    enrol(workspace, person(1))
    upload(uploads, "cut.png", GOOD[:-200])
    upload(uploads, "page.png", LOGIN_PAGE)
    summary = sweep(workspace, source_of(uploads), day=None)
    assert (summary.unscannable, summary.unsettled) == (2, 0)


def test_a_local_file_that_cannot_be_had_is_tried_again(workspace: Workspace, uploads: Path, clock: Clock) -> None:
    enrol(workspace, person(1))
    upload(uploads, "a.png", GOOD)
    (uploads / "a.png").rename(uploads.parent / "away")
    (uploads / "a.png").symlink_to(uploads.parent / "elsewhere")
    assert sweep(workspace, source_of(uploads), day=None).unsettled == 1
    (uploads / "a.png").unlink()
    (uploads.parent / "away").rename(uploads / "a.png")
    clock.forward(hours=1)
    assert sweep(workspace, source_of(uploads), day=None).hit == 1


def test_whole_files_that_are_refused_are_settled_by_the_same_bytes_after_a_day() -> None:
    def end(reason: str, *, same: bool) -> int:
        failed = 0
        while True:
            tries = after_try(
                f"unscannable:{reason}", failed=failed, remote=True, same_bytes=same, now=NOW, config=SWEEP
            )
            failed = tries.failed
            if tries.again_at is None:
                return failed

    for reason in ("too_many_pixels", "too_much_memory", "too_complex", "thumbnail"):
        assert end(reason, same=True) == 4
        assert end(reason, same=False) == 5
    assert end("truncated", same=True) == end("format", same=True) == 5


@pytest.mark.parametrize("reason", ["bad_url", "row_invalid"])
def test_what_the_listing_says_is_settled_at_once(reason: str) -> None:
    tries = after_try(f"fetch_failed:{reason}", failed=0, remote=True, same_bytes=False, now=NOW, config=SWEEP)
    assert (tries.failed, tries.again_at) == (1, None)


def test_i12_a_try_noted_by_a_clock_that_was_ahead_is_due(workspace: Workspace, clock: Clock) -> None:
    due = retry_is_due(items.c.retry_at, now=clock(), config=Config())
    with workspace.database.write() as tx:
        for hours in (-1, 1, 47, 24 * 400):
            add_item(tx, str(hours), status="fetch_failed:timeout")
            at = clock() + timedelta(hours=hours)
            tx.execute(sa.update(items).where(items.c.item_id == str(hours)).values(retry_at=at))
        found = set(tx.execute(sa.select(items.c.item_id).where(due)).scalars())
    assert found == {"-1", str(24 * 400)}


def test_settled_items_are_asked_for_again_on_request_and_the_chain_says_so(
    workspace: Workspace, server: ModelServer, sweep_urls: Callable[..., SweepSummary], clock: Clock
) -> None:
    server.content = LOGIN_PAGE
    sweep_urls("whole", "gone")
    for _ in range(5):
        clock.forward(days=3)
        settled = sweep_urls("whole", "gone")
    assert (settled.unsettled, settled.unscannable, settled.fetch_failed) == (0, 1, 1)
    server.content = GOOD
    everything = Scope(None, None).where()
    assert ask_again(workspace, everything, reason="thumbnail", actor="tester") == 0
    assert ask_again(workspace, everything, reason="format", actor="tester") == 1
    assert ask_again(workspace, everything, reason=None, actor="tester") == 1, "what waits already is left alone"
    with workspace.database.read() as connection:
        rows = connection.execute(sa.select(audit.c.facts).where(audit.c.action == "items.retry").order_by(audit.c.seq))
        assert [json.loads(facts)["items"] for facts in rows.scalars()] == [0, 1, 1]
    again = sweep_urls("whole", "gone")
    assert (again.hit, again.fetch_failed, again.unsettled) == (1, 1, 1)


def test_the_status_counts_what_is_not_settled_apart(
    workspace: Workspace, server: ModelServer, sweep_urls: Callable[..., SweepSummary]
) -> None:
    server.content = LOGIN_PAGE
    assert sweep_urls("whole").coverage == 1.0
    status = read_status(workspace)
    assert (status.items, status.items_unsettled, status.coverage) == (1, 1, 1.0)


def test_i12_a_login_page_during_a_rescan_loses_no_hit(
    workspace: Workspace, server: ModelServer, sweep_urls: Callable[..., SweepSummary], clock: Clock
) -> None:
    corpus = replace(workspace.config.corpus, mode="none")
    workspace.config = replace(workspace.config, corpus=corpus)
    server.content = picture(person(1), person(2))
    assert sweep_urls("whole").hits == 1
    server.content = LOGIN_PAGE
    late = enrol(workspace, person(2))
    rescan(workspace)
    kept = row(workspace, "whole")
    assert (kept.status, kept.content_sha256 is not None) == ("fetch_failed:changed", True)
    server.content = picture(person(1), person(2))
    clock.forward(hours=1)
    assert sweep_urls("whole").hits == 2
    assert late


@pytest.mark.parametrize("stage", ["scan", "match"])
def test_an_item_behind_a_url_that_ended_its_process_is_tried_again(
    stage: str, workspace: Workspace, server: ModelServer, sweep_urls: Callable[..., SweepSummary], clock: Clock
) -> None:
    server.content = LOGIN_PAGE if stage == "scan" else GOOD
    sweep_urls("whole")
    clock.forward(hours=1)
    refuse = {"scan": faces.refuse_item, "match": again.refuse_item}[stage]
    refuse(workspace, "whole", "scanner_killed")
    refused = row(workspace, "whole")
    failed = 2 if stage == "scan" else 1
    pause = timedelta(hours=SWEEP.retry_hours[failed - 1] - (0, *SWEEP.retry_hours)[failed - 1])
    assert (refused.status, refused.attempts) == ("unscannable:scanner_killed", failed)
    assert refused.retry_at == clock() + pause
    server.content = GOOD
    clock.forward(hours=pause.total_seconds() / 3600)
    assert sweep_urls("whole").hit == 1


def test_a_local_item_that_ended_its_process_is_settled_at_once(workspace: Workspace, uploads: Path) -> None:
    enrol(workspace, person(1))
    upload(uploads, "a.png", GOOD)
    sweep(workspace, source_of(uploads), day=None)
    again.refuse_item(workspace, "a.png", "scanner_killed")
    settled = row(workspace, "a.png")
    assert (settled.status, settled.attempts, settled.retry_at) == ("unscannable:scanner_killed", 1, None)


@pytest.mark.parametrize("hours", [[], [1, 1], [0, 5], [24, 6]])
def test_retry_hours_have_to_grow(hours: list[int], tmp_path: Path) -> None:
    (tmp_path / "likeness.toml").write_text(f"[sweep]\nretry_hours = {hours}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="retry_hours"):
        load_config(environment_for(tmp_path))
