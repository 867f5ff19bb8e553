from __future__ import annotations

import json
import os
import tempfile
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipelines.sources import Item
from tests.pipelines.sources.folders import items_of, source_of
from tests.pipelines.sources.strategies import DOCUMENTS


def test_every_file_is_an_item_hidden_and_nested_ones_too(tmp_path: Path) -> None:
    (tmp_path / "deep/er").mkdir(parents=True)
    for name in ("b.png", ".hidden", "deep/a.safetensors", "deep/er/x", "lonely.json"):
        (tmp_path / name).write_bytes(name.encode())
    items = items_of(tmp_path)
    assert list(items) == [".hidden", "b.png", "lonely.json", "deep/a.safetensors", "deep/er/x"]
    assert {item.problem for item in items.values()} == {None}
    assert {name: item.kind for name, item in items.items() if item.kind == "model"} == {"deep/a.safetensors": "model"}
    for name, item in items.items():
        assert source_of(tmp_path).fetch(item, max_bytes=100) == name.encode()


def test_a_side_car_gives_the_metadata_and_is_no_item(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"x")
    fields = {
        "id": 17,
        "kind": "bounty_entry",
        "parent_model": "m1",
        "uploader": "u1",
        "received_at": "2026-03-04T23:30:00-02:00",
        "title": "t\x00\ud800" + "t" * 2000,
        "prompt": "p" * 70_000,
        "tags": ["a" * 300] * 1001,
        "trigger_words": ["w"],
        "nsfw_level": 4,
        "deleted": True,
    }
    (tmp_path / "photo.jpg.json").write_text(json.dumps(fields))
    (item,) = items_of(tmp_path).values()
    assert (item.item_id, item.kind, item.parent_model, item.uploader) == ("17", "bounty_entry", "m1", "u1")
    assert item.received_at == datetime(2026, 3, 5, 1, 30, tzinfo=UTC)
    assert item.title is not None
    assert item.title[:4] == "t\ufffd\ufffdt"
    assert (len(item.title), len(item.prompt or ""), len(item.tags), len(item.tags[0])) == (1000, 64_000, 1000, 256)
    assert (item.trigger_words, item.nsfw_level, item.deleted, item.problem) == (("w",), "4", True, None)


def test_a_side_car_by_stem_counts_only_where_one_file_has_that_stem(tmp_path: Path) -> None:
    for name in ("one.jpg", "two.jpg", "two.png", "three.jpg"):
        (tmp_path / name).write_bytes(b"x")
    for name in ("one.json", "two.json", "three.json", "three.jpg.json"):
        (tmp_path / name).write_text(json.dumps({"title": name}))
    titles = {name: item.title for name, item in items_of(tmp_path).items()}
    assert titles == {
        "one.jpg": "one.json",
        "two.jpg": None,
        "two.png": None,
        "two.json": None,
        "three.jpg": "three.jpg.json",
        "three.json": None,
    }


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"title": "a", "title": "b"}',
        '{"x": NaN}',
        "[" * 100_000,
        '{"x": "' + "y" * (1 << 20) + '"}',
        '{"x": ' + "9" * 5000 + "}",
    ],
    ids=["empty", "cut", "list", "repeat", "nan", "deep", "large", "digits"],
)
def test_a_side_car_that_is_no_sound_json_object_costs_only_the_metadata(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"x")
    (tmp_path / "a.png.json").write_text(text)
    (item,) = items_of(tmp_path).values()
    assert (item.item_id, item.problem) == ("a.png", "sidecar_invalid")
    assert source_of(tmp_path).fetch(item, max_bytes=1) == b"x"


@pytest.mark.parametrize(
    "fields",
    [
        {"id": ""},
        {"id": "x" * 513},
        {"id": "a\x00"},
        {"id": True},
        {"id": 1.5},
        {"tags": {"a": 1}},
        {"tags": ["a", None]},
        {"prompt": {}},
        {"deleted": "perhaps"},
        {"deleted": 2},
        {"kind": "spell"},
        {"received_at": 5},
        {"received_at": "0001-01-01T00:00+23:00"},
    ],
    ids=str,
)
def test_one_bad_field_costs_itself_and_the_others_are_kept(fields: dict[str, object], tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"x")
    (tmp_path / "a.png.json").write_text(json.dumps({"title": "kept", **fields}))
    (item,) = items_of(tmp_path).values()
    assert (item.item_id, item.title, item.problem, item.deleted) == ("a.png", "kept", "sidecar_invalid", False)


def test_a_day_selects_by_utc_date_and_a_date_alone_is_midnight(tmp_path: Path) -> None:
    for name, moment in {"a": "2026-03-04", "b": "2026-03-04T23:59:59", "c": "2026-03-05T00:30+01:00"}.items():
        (tmp_path / name).write_bytes(b"x")
        (tmp_path / f"{name}.json").write_text(json.dumps({"received_at": moment}))
    (tmp_path / "d").write_bytes(b"x")
    os.utime(tmp_path / "d", (0, 0))
    source = source_of(tmp_path)
    assert [item.item_id for item in source.items(date(2026, 3, 4))] == ["a", "b", "c"]
    assert [item.item_id for item in source.items(date(1970, 1, 1))] == ["d"]


def test_a_claimed_id_never_hides_another_item(tmp_path: Path) -> None:
    for name in ("a", "b", "victim"):
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "a.json").write_text('{"id": "victim"}')
    (tmp_path / "b.json").write_text('{"id": "victim"}')
    items = items_of(tmp_path)
    assert {name: (item.locator, item.problem) for name, item in items.items()} == {
        "victim": ("a", None),
        "b": ("b", "duplicate_id"),
        "victim#2": ("victim", "duplicate_id"),
    }
    day = items["b"].received_at.date()
    assert [item.item_id for item in source_of(tmp_path).items(day)] == list(items)


def test_the_revision_changes_with_the_content(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    (before,) = items_of(tmp_path).values()
    (tmp_path / "a").write_bytes(b"xy")
    (after,) = items_of(tmp_path).values()
    assert before.revision != after.revision


def test_a_path_longer_than_an_id_keeps_a_short_distinct_id(tmp_path: Path) -> None:
    folder = tmp_path / ("d" * 250) / ("e" * 250)
    folder.mkdir(parents=True)
    for name in ("f" * 250 + "1", "f" * 250 + "2"):
        (folder / name).write_bytes(name[-1:].encode())
    items = items_of(tmp_path)
    assert all(len(name) <= 512 for name in items)
    assert {source_of(tmp_path).fetch(item, max_bytes=9) for item in items.values()} == {b"1", b"2"}


def test_a_time_beyond_the_calendar_does_not_stop_the_listing(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    os.utime(tmp_path / "a", ns=(0, 2**60))
    (item,) = items_of(tmp_path).values()
    assert item.received_at.tzinfo is UTC


@given(st.lists(DOCUMENTS, max_size=4))
@example([b"\x89PNG\r\n\x1a\n"])  # a picture in disguise is an upload of its own
def test_whatever_side_cars_contain_each_file_is_one_item_that_can_be_stored_and_fetched(sidecars: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for number, sidecar in enumerate(sidecars):
            (root / f"{number}.png").write_bytes(b"x")
            (root / f"{number}.png.json").write_bytes(sidecar)
        items = list(items_of(root).values())
        assert len([item for item in items if item.locator.endswith(".png")]) == len(sidecars)
        for item in items:
            json.dumps(item.to_record(), ensure_ascii=False).encode()
            content = source_of(root).fetch(Item.from_record(item.to_record()), max_bytes=100_000)
            assert content == (root / item.locator).read_bytes()
