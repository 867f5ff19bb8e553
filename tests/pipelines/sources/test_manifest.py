from __future__ import annotations

import gzip
import json
import os
import tempfile
from collections.abc import Iterable
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embeddings.errors import ConfigError, CorruptionError, FetchError, ItemError
from pipelines.sources import FetchSettings, Item, ItemSource, open_source
from tests.pipelines.sources.server import BODY, serving
from tests.pipelines.sources.strategies import DOCUMENTS

SETTINGS = FetchSettings(timeout_seconds=5.0, allowed_hosts=(), allow_private_addresses=False)
MOMENT = "2026-03-04T05:06:07Z"


def source_of(manifest: Path, settings: FetchSettings = SETTINGS) -> ItemSource:
    return open_source(f"manifest:{manifest}", settings=settings)


def write_lines(manifest: Path, rows: Iterable[object]) -> Path:
    lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    data = b"".join(line + b"\n" for line in lines)
    manifest.write_bytes(gzip.compress(data) if manifest.suffix == ".gz" else data)
    return manifest


def items_of(manifest: Path) -> list[Item]:
    items = list(source_of(manifest).items(None))
    assert len({item.item_id for item in items}) == len(items)
    return items


def row(item_id: object = "1", **fields: object) -> dict[str, object]:
    return {"id": item_id, "path": "a.png", "received_at": MOMENT, **fields}


@pytest.mark.parametrize("name", ["m.jsonl", "m.ndjson", "m.jsonl.gz", "M.JSONL"])
def test_each_line_is_an_item_with_its_metadata(name: str, tmp_path: Path) -> None:
    full = row(7, kind="model", uploader=12, title="T", tags=["a"], nsfw_level=4, sha256="ab", unknown=1)
    by_url = {"id": "8", "url": "https://cdn.example/a?x=1", "received_at": MOMENT, "deleted": True}
    first, second = items_of(write_lines(tmp_path / name, [full, b"", b"  ", by_url]))
    assert (first.item_id, first.kind, first.uploader, first.title, first.tags) == ("7", "model", "12", "T", ("a",))
    assert (first.nsfw_level, first.revision, first.problem) == ("4", "ab", None)
    assert first.received_at == datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
    assert (second.locator, second.deleted, second.problem) == ("https://cdn.example/a?x=1", True, None)


def test_a_byte_order_mark_and_carriage_returns_do_no_harm(tmp_path: Path) -> None:
    manifest = tmp_path / "m.jsonl"
    manifest.write_bytes(b"\xef\xbb\xbf" + b"\r\n".join(json.dumps(row(name)).encode() for name in "ab"))
    assert [(item.item_id, item.problem) for item in items_of(manifest)] == [("a", None), ("b", None)]


def test_a_manifest_of_nothing_but_a_byte_order_mark_is_empty(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_bytes(b"\xef\xbb\xbf")
    assert items_of(tmp_path / "m.jsonl") == []


@pytest.mark.parametrize(
    "line",
    [b"{", b"[]", b"null", b"\xff\xfe", b'{"id": "1", "id": "2"}', b'{"id": NaN}', b"[" * 100_000, b"x" * (1 << 21)],
    ids=["cut", "list", "null", "bytes", "repeat", "nan", "deep", "large"],
)
def test_a_line_that_is_no_sound_json_object_is_counted_under_an_opaque_id(line: bytes, tmp_path: Path) -> None:
    manifest = write_lines(tmp_path / "m.jsonl", [row("a"), line, row("b")])
    os.utime(manifest, (0, 0))
    before, bad, after = items_of(manifest)
    assert (before.problem, after.problem) == (None, None)
    assert (bad.item_id, bad.problem, bad.locator) == ("row-2@m.jsonl", "row_invalid", "")
    assert bad.received_at == datetime(1970, 1, 1, tzinfo=UTC)
    with pytest.raises(FetchError, match="row_invalid"):
        source_of(manifest).fetch(bad, max_bytes=1)


@pytest.mark.parametrize(
    "change",
    [
        {"id": None},
        {"id": ""},
        {"id": "x" * 513},
        {"id": True},
        {"id": 4384.5},
        {"path": None},
        {"path": 5},
        {"path": "a\x00"},
        {"path": "https://cdn.example/a"},
        {"path": None, "url": "/etc/passwd"},
    ],
    ids=str,
)
def test_a_row_that_cannot_be_fetched_or_named_is_invalid_and_keeps_the_rest(
    change: dict[str, object], tmp_path: Path
) -> None:
    (item,) = items_of(write_lines(tmp_path / "m.jsonl", [row(**{"item_id": "7"}) | {"uploader": "u"} | change]))
    assert (item.problem, item.uploader) == ("row_invalid", "u")
    assert item.item_id == ("row-1@m.jsonl" if "id" in change else "7")


@pytest.mark.parametrize(
    "change",
    [
        {"received_at": "soon"},
        {"updated_at": "soon"},
        {"generation": "newest"},
        {"tags": 5.5},
        {"tags": ["a", None]},
        {"title": {}},
        {"kind": "spell"},
        {"deleted": "perhaps"},
        {"deleted": 2},
        {"uploader": float("nan")},
        {"nsfw_level": float("inf")},
        {"sha256": True},
        {"path": 5, "url": "https://cdn.example/a"},
    ],
    ids=str,
)
def test_a_bad_field_costs_itself_and_not_the_picture(change: dict[str, object], tmp_path: Path) -> None:
    (item,) = items_of(write_lines(tmp_path / "m.jsonl", [row("7", parent_model="m") | change]))
    assert (item.item_id, item.problem, item.parent_model, item.deleted) == ("7", "bad_field", "m", False)
    assert (item.has_content, item.listed.bad) == (True, (next(iter(change)),))


@pytest.mark.parametrize("fields", [{"deleted": True}, {"kind": "bounty"}, {"kind": "bounty_entry"}])
def test_a_deleted_item_or_a_bounty_needs_no_content(fields: dict[str, object], tmp_path: Path) -> None:
    manifest = write_lines(tmp_path / "m.jsonl", [{"id": "1", "received_at": MOMENT, **fields}])
    (item,) = items_of(manifest)
    assert (item.problem, item.has_content) == (None, False)
    with pytest.raises(FetchError, match="missing"):
        source_of(manifest).fetch(item, max_bytes=1)


def test_a_repeated_id_stays_a_separate_item(tmp_path: Path) -> None:
    items = items_of(write_lines(tmp_path / "m.jsonl", [row("a"), row("a#row-3"), row("a"), row("a"), b"{"]))
    assert [(item.item_id, item.problem) for item in items] == [
        ("a", None),
        ("a#row-3", None),
        ("a#row-3+", "duplicate_id"),
        ("a#row-4", "duplicate_id"),
        ("row-5@m.jsonl", "row_invalid"),
    ]


def test_a_day_selects_its_rows_and_those_that_have_no_day(tmp_path: Path) -> None:
    rows = [row("a"), row("b", received_at="2026-03-05"), b"{", row("c", received_at="2026-03-05T01:00+02:00")]
    source = source_of(write_lines(tmp_path / "m.jsonl", rows))
    assert [item.item_id for item in source.items(date(2026, 3, 4))] == ["a", "row-3@m.jsonl", "c"]
    assert [item.item_id for item in source.items(date(2026, 3, 5))] == ["b", "row-3@m.jsonl"]


def test_paths_are_relative_to_the_manifest_and_do_not_escape_it(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (tmp_path / "secret").write_bytes(b"secret")
    (root / "sub/a b\\x41.png").write_bytes(b"mine")
    (root / "link").symlink_to("../secret")
    paths = ["sub/a b\\x41.png", "sub/../sub/a b\\x41.png", "../secret", "/etc/passwd", "link", "none", "sub", "./"]
    rows = [row(number, path=path) for number, path in enumerate(paths)]
    source = source_of(write_lines(root / "m.jsonl", rows))
    outcomes: list[object] = []
    for item in source.items(None):
        try:
            outcomes.append(source.fetch(Item.from_record(item.to_record()), max_bytes=10))
        except ItemError as error:
            outcomes.append(error.reason)
    outside = ["outside_source"] * 3
    assert outcomes == [b"mine", b"mine", *outside, "missing", "not_a_file", "not_a_file"]


def test_a_url_is_fetched_only_from_an_allowed_host(tmp_path: Path) -> None:
    with serving() as (host, _):
        manifest = write_lines(tmp_path / "m.jsonl", [{"id": "1", "url": f"http://{host}/ok", "received_at": MOMENT}])
        (item,) = items_of(manifest)
        with pytest.raises(FetchError, match="host_not_allowed"):
            source_of(manifest).fetch(item, max_bytes=100)
        allowed = FetchSettings(timeout_seconds=5.0, allowed_hosts=(host,), allow_private_addresses=True)
        assert source_of(manifest, allowed).fetch(item, max_bytes=100) == BODY


def test_a_parquet_manifest_gives_the_same_items_as_json_lines(tmp_path: Path) -> None:
    rows = [row(str(n), title=f"t{n}", tags=["a", "b"], nsfw_level=n, deleted=n == 2, sha256="ab") for n in range(3000)]
    lines = items_of(write_lines(tmp_path / "m.jsonl", rows))
    table = pa.Table.from_pylist(rows)
    moments = pa.array([datetime(2026, 3, 4, 5, 6, 7)] * len(rows), pa.timestamp("ns"))
    pq.write_table(table, tmp_path / "a.parquet")
    pq.write_table(table.set_column(2, "received_at", moments), tmp_path / "b.parquet")
    assert items_of(tmp_path / "a.parquet") == lines
    assert items_of(tmp_path / "b.parquet") == lines


def test_a_parquet_cell_without_a_python_value_costs_its_row_only(tmp_path: Path) -> None:
    broken = pa.Array.from_buffers(
        pa.string(), 2, [None, pa.array([0, 1, 2], pa.int32()).buffers()[1], pa.py_buffer(b"\xffb")]
    )
    columns = {
        "id": pa.array([b"\x01", b"\x02"]).cast(pa.binary()),
        "title": broken,
        "path": pa.array(["a", "b"]),
        "received_at": pa.array([0, 2**62], pa.timestamp("us", "Nowhere/Else")),
        "sha256": pa.array([b"\xab", b"\xcd"]),
    }
    pq.write_table(pa.table(columns), tmp_path / "m.parquet")
    first, second = items_of(tmp_path / "m.parquet")
    assert (first.item_id, first.problem, first.title, first.revision) == ("row-1@m.parquet", "row_invalid", None, "ab")
    assert first.received_at == datetime(1970, 1, 1, tzinfo=UTC)
    assert (second.problem, second.title) == ("row_invalid", "b")


def test_a_parquet_manifest_without_ids_is_a_config_error(tmp_path: Path) -> None:
    pq.write_table(pa.table({"path": ["a"]}), tmp_path / "m.parquet")
    with pytest.raises(ConfigError, match="id"):
        list(source_of(tmp_path / "m.parquet").items(None))


@pytest.mark.parametrize("name", ["m.parquet", "m.jsonl.gz"])
def test_a_manifest_that_is_cut_short_stops_the_listing_loudly(name: str, tmp_path: Path) -> None:
    manifest = tmp_path / name
    if name.endswith("gz"):
        write_lines(manifest, [row(os.urandom(20).hex()) for _ in range(1000)])
    else:
        pq.write_table(pa.Table.from_pylist([row(str(n)) for n in range(1000)]), manifest)
    manifest.write_bytes(manifest.read_bytes()[:-100])
    with pytest.raises(CorruptionError):
        list(source_of(manifest).items(None))


def test_a_manifest_that_is_gone_is_not_an_empty_one(tmp_path: Path) -> None:
    manifest = write_lines(tmp_path / "m.jsonl", [row()])
    source = source_of(manifest)
    manifest.unlink()
    with pytest.raises(CorruptionError):
        list(source.items(None))


@given(st.lists(DOCUMENTS, max_size=6))
def test_whatever_the_lines_contain_each_is_one_item_that_can_be_stored_and_fetched(documents: list[bytes]) -> None:
    lines = [line for document in documents for line in document.split(b"\n") if line.strip()]
    with tempfile.TemporaryDirectory() as folder:
        manifest = write_lines(Path(folder) / "m.jsonl", [row("first"), *lines])
        items = items_of(manifest)
        assert len(items) == len(lines) + 1
        source = source_of(manifest)
        for item in items:
            json.dumps(item.to_record(), ensure_ascii=False).encode()
            with pytest.raises(ItemError):
                source.fetch(Item.from_record(item.to_record()), max_bytes=1)


@given(st.lists(DOCUMENTS, max_size=6))
def test_reading_a_manifest_twice_gives_the_same_items(lines: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        manifest = write_lines(Path(folder) / "m.jsonl.gz", lines)
        assert items_of(manifest) == items_of(manifest)
