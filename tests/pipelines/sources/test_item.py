from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embeddings.errors import ConfigError, CorruptionError
from pipelines.sources import KINDS, FetchSettings, Item, open_source

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
MAYBE = st.none() | TEXT
ITEMS = st.builds(
    Item,
    item_id=TEXT,
    kind=st.sampled_from(KINDS),
    received_at=st.datetimes(timezones=st.just(UTC)),
    locator=TEXT,
    parent_model=MAYBE,
    uploader=MAYBE,
    title=MAYBE,
    prompt=MAYBE,
    tags=st.lists(TEXT, max_size=3).map(tuple),
    trigger_words=st.lists(TEXT, max_size=3).map(tuple),
    nsfw_level=MAYBE,
    revision=MAYBE,
    deleted=st.booleans(),
    problem=MAYBE,
)


@given(ITEMS)
def test_an_item_survives_the_round_trip_through_json(item: Item) -> None:
    assert Item.from_record(json.loads(json.dumps(item.to_record()))) == item


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "spell"},
        {"received_at": "yesterday"},
        {"received_at": "2026-01-01"},
        {"tags": "a"},
        {"deleted": 1},
        {"title": 3},
        {"item_id": None},
    ],
)
def test_a_record_that_was_not_written_by_to_record_is_corruption(change: dict[str, object]) -> None:
    item = Item(item_id="1", kind="image", received_at=datetime(2026, 1, 1, tzinfo=UTC), locator="a.png")
    with pytest.raises(CorruptionError):
        Item.from_record(item.to_record() | change)


def test_an_item_shown_in_a_log_gives_no_name_prompt_or_url_away() -> None:
    item = Item(
        item_id="secret/jane.png",
        kind="image",
        received_at=datetime(2026, 1, 1, tzinfo=UTC),
        locator="https://cdn.example/secret?token=secret",
        title="secret",
        prompt="secret",
        tags=("secret",),
        trigger_words=("secret",),
        uploader="secret",
        parent_model="secret",
    )
    assert "secret" not in repr(item)


def test_an_item_refuses_a_time_without_a_zone() -> None:
    with pytest.raises(ValueError, match="UTC"):
        Item(item_id="1", kind="image", received_at=datetime(2026, 1, 1), locator="")


@pytest.mark.parametrize("uri", ["", "directory:", "directory", "ftp:x", "civitai:x", "./folder", "manifest:"])
def test_an_unknown_source_is_refused_with_the_kinds_that_exist(uri: str, settings: FetchSettings) -> None:
    with pytest.raises(ConfigError, match="directory:PATH or manifest:PATH"):
        open_source(uri, settings=settings)


@pytest.mark.parametrize("uri", ["directory:{}/none", "manifest:{}/none.jsonl", "manifest:{}", "manifest:{}/x.csv"])
def test_a_missing_root_or_manifest_is_a_config_error(uri: str, tmp_path: Path, settings: FetchSettings) -> None:
    (tmp_path / "x.csv").write_text("id")
    with pytest.raises(ConfigError):
        open_source(uri.format(tmp_path), settings=settings)


@pytest.mark.parametrize("hosts", [("*.example",), ("a/b",), ("user@host",), ("",), ("::1",), ("host:99999",)])
def test_an_allowed_host_that_could_not_match_is_refused_at_once(hosts: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").touch()
    with pytest.raises(ConfigError, match="allowed_hosts"):
        open_source(
            f"manifest:{tmp_path / 'm.jsonl'}",
            settings=FetchSettings(timeout_seconds=1, allowed_hosts=hosts, allow_private_addresses=False),
        )


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf")])
def test_a_fetch_needs_a_finite_deadline(seconds: float) -> None:
    with pytest.raises(ConfigError, match="timeout_seconds"):
        FetchSettings(timeout_seconds=seconds, allowed_hosts=(), allow_private_addresses=False)
