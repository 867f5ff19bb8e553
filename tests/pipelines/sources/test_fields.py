"""Single fields are read in the forms that exports write them in, and one that cannot be read costs itself."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.sources import FetchSettings, Item, open_source
from pipelines.sources.json_rows import read_objects
from pipelines.sources.moments import read_moment
from pipelines.sources.values import read_flag, read_identifier, read_kind, read_text, read_words
from tests.pipelines.sources.strategies import VALUES

SETTINGS = FetchSettings(timeout_seconds=5.0, allowed_hosts=(), allow_private_addresses=False)
MOMENT = datetime(2026, 11, 30, 10, tzinfo=UTC)
SECONDS = int(MOMENT.timestamp())


def items_of(manifest: Path, **kinds: Any) -> list[Item]:
    return list(open_source(f"manifest:{manifest}", settings=SETTINGS, kinds=kinds).items(None))


@pytest.mark.parametrize(
    "value",
    [
        *("2026-11-30 10:00:00 UTC", "2026-11-30T10:00:00Z", "2026-11-30t10:00:00z", "2026-11-30T10:00:00.000000000Z"),
        *("2026-11-30T11:00:00+0100", "2026-11-30 11:00+01", "2026-11-30T10:00:00,000Z", " 2026-11-30T10:00:00 "),
        *("2026-11-30T10:00:00+00:00[UTC]", "2026/11/30 10:00:00", "20261130T100000Z", "20261130100000"),
        *("Mon, 30 Nov 2026 10:00:00 GMT", "30 Nov 2026 11:00:00 +0100", "Mon, 30 Nov 2026 10:00:00 -0000"),
        *(SECONDS, float(SECONDS), str(SECONDS), f"{SECONDS}.0", Decimal(SECONDS), SECONDS * 1000, SECONDS * 10**6),
        *(SECONDS * 10**9, str(SECONDS * 1000), f"{SECONDS:e}".replace("1.796033", "1.7960328"), 20261130100000),
        *(MOMENT, MOMENT.replace(tzinfo=None), MOMENT.astimezone(timezone(timedelta(hours=5)))),
    ],
    ids=repr,
)
def test_every_usual_form_of_a_time_is_read(value: object) -> None:
    found = read_moment(value)
    assert found is not None
    assert (found[0], found[0].tzinfo) == (MOMENT, UTC)


@pytest.mark.parametrize("value", ["2026-11-30", "2026/11/30", "20261130", 20261130, date(2026, 11, 30), "2026-W49-1"])
def test_a_date_alone_is_its_midnight_in_utc(value: object) -> None:
    found = read_moment(value)
    assert found is not None
    assert found[0] == MOMENT.replace(hour=0)


@pytest.mark.parametrize(
    "value",
    [
        *(None, "", " ", "soon", True, 0, 5, -1, -SECONDS, 10**7, 10**30, float("nan"), float("inf"), Decimal("NaN")),
        *("03/04/2026", "0000-00-00 00:00:00", "2026-02-30", "2026-13-01", "2026-11-30 10:00:00 IST", "10:00"),
        *("2026-11-30 25:00:00", "2026-11-30 24:00:01", "2026-11-30 10:61", "0001-01-01T00:00+23:00", "9" * 400),
        *("\u0662\u0660\u0662\u0666-11-30", [2026, 11, 30], {"$date": 1}, b"2026-11-30", "Mon, 99 Nov 2026 10:00:00"),
    ],
    ids=repr,
)
def test_what_is_no_date_or_more_than_one_is_not_read(value: object) -> None:
    assert read_moment(value) is None


@given(st.datetimes(min_value=datetime(1974, 1, 1), max_value=datetime(2286, 1, 1)), st.integers(0, 3))
def test_time_since_1970_is_read_in_every_unit(moment: datetime, unit: int) -> None:
    exact = moment.replace(microsecond=0, tzinfo=UTC)
    found = read_moment(int(exact.timestamp()) * 1000**unit)
    assert found is not None
    assert found[0] == exact


@given(VALUES)
def test_no_value_makes_a_reader_fail(value: Any) -> None:
    for read in (read_moment, read_identifier, read_words, read_flag):
        read(value)
    read_text(value, 10)
    read_kind(value, {})


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        *(
            (4384, "4384"),
            (4384.0, "4384"),
            (1e3, "1000"),
            (-7.0, "-7"),
            (Decimal("4384.00"), "4384"),
            ("4384", "4384"),
        ),
        *((2**53 - 1, str(2**53 - 1)), (float(2**53 - 1), str(2**53 - 1)), (2**63, str(2**63)), (0, "0")),
        *((4384.5, None), (float(2**53), None), (1e300, None), (float("nan"), None), (float("inf"), None)),
        *((True, None), ([4384], None), ("", None), ("  ", None), ("a\x00", None), ("\ud800", None), ("x" * 513, None)),
    ],
    ids=repr,
)
def test_an_id_is_a_string_or_a_whole_number_in_whatever_type(value: object, expected: str | None) -> None:
    assert read_identifier(value).read == expected


@pytest.mark.parametrize(
    "value",
    [True, 1, 1.0, Decimal(1), "1", "true", "TRUE", " True ", "t", "yes", "Y", "on", "2026-11-30", MOMENT, SECONDS],
)
def test_a_flag_that_is_set_is_read(value: object) -> None:
    assert read_flag(value).read is True


@pytest.mark.parametrize("value", [False, 0, 0.0, "0", "false", "F", "no", "n", "off"])
def test_a_flag_that_is_not_set_is_read(value: object) -> None:
    assert read_flag(value).read is False


@pytest.mark.parametrize("value", [None, "", "maybe", 2, -1, 0.5, float("nan"), [], "deleted", 1984])
def test_a_flag_that_says_neither_says_nothing(value: object) -> None:
    assert read_flag(value).read is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (["a", "b"], ("a", "b")),
        (("a",), ("a",)),
        ("a, b,,c d ", ("a", "b", "c d")),
        ("one", ("one",)),
        ('["a", "b, c"]', ("a", "b, c")),
        ("[not json, at all", ("[not json", "at all")),
        ([1984, 7.0], ("1984", "7")),
        ([{"id": 3, "name": "a"}, "b"], ("a", "b")),
        ([None, "a", {}, float("nan")], ("a",)),
        (None, ()),
        ("", ()),
        ({"a": 1}, ()),
        (5.5, ()),
    ],
    ids=repr,
)
def test_words_are_a_list_or_one_text(value: object, expected: tuple[str, ...]) -> None:
    assert read_words(value).read == expected


def test_a_platforms_own_names_for_kinds_are_settings(tmp_path: Path) -> None:
    rows = [{"id": str(n), "path": "a", "kind": kind} for n, kind in enumerate(["Motion-Preset", "LORA", "Spell"])]
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, rows)))
    source = open_source(f"manifest:{tmp_path / 'm.jsonl'}", settings=SETTINGS, kinds={"motion preset": "bounty"})
    assert [item.kind for item in source.items(None)] == ["bounty", "model", "image"]


def test_a_text_keeps_what_of_it_can_be_read() -> None:
    (fields,) = read_objects(
        b'{"prompt": "Eileen\xff Collins", "title": "\xfe", "id": "a\xff"}', ("prompt", "title", "id")
    )
    values = dict(fields.pairs)
    assert read_text(values["prompt"], 100).read == "Eileen\ufffd Collins"
    assert (read_text(values["title"], 100).read, read_identifier(values["id"]).read) == (None, None)


@given(st.dictionaries(st.sampled_from(["id", "title", "tags", "deleted"]), VALUES), st.data())
def test_an_object_that_is_cut_short_gives_whole_fields_or_none(fields: dict[str, object], data: st.DataObject) -> None:
    text = json.dumps(fields)
    cut = text[: data.draw(st.integers(0, len(text)))]
    for found in read_objects(cut.encode(), tuple(fields)):
        assert [name for name, _ in found.pairs] == list(fields)[: len(found.pairs)]
        for name, value in found.pairs:
            assert json.dumps(value, default=str) == json.dumps(json.loads(json.dumps(fields[name])), default=str) or (
                "NaN" in json.dumps(fields[name]) or "Infinity" in json.dumps(fields[name])
            )


@given(st.binary(max_size=80))
def test_no_bytes_make_the_reader_of_rows_fail(data: bytes) -> None:
    for text in (data, b"{" + data, b'{"id": ' + data, b'{"id": "a", "x": ' + data + b', "deleted": true}'):
        read_objects(text, ("id", "deleted"))


def test_parquet_columns_of_every_type_are_read_as_what_they_say(tmp_path: Path) -> None:
    columns = {
        "id": pa.array([1.0, 2.0, 4384.0]),
        "parent_model": pa.array([Decimal("4384.00"), Decimal("7.50"), None], pa.decimal128(10, 2)),
        "uploader": pa.array([9, None, 2**40], pa.int64()),
        "deleted": pa.array([1, 0, None], pa.int8()),
        "received_at": pa.array([SECONDS * 1000] * 3, pa.int64()),
        "updated_at": pa.array([MOMENT.replace(tzinfo=None)] * 3, pa.timestamp("ns")),
        "tags": pa.array(["a,b", None, "c"]).dictionary_encode(),
        "trigger_words": pa.array([[{"name": "x"}], [], None], pa.list_(pa.struct([("name", pa.string())]))),
        "nsfw_level": pa.array([4.0, float("nan"), None]),
        "path": pa.array(["p"] * 3, pa.large_string()),
    }
    table = pa.table(columns).replace_schema_metadata({"generation": "2026-11-30T10:00:00Z"})
    pq.write_table(table, tmp_path / "m.parquet")
    one, two, three = items_of(tmp_path / "m.parquet")
    assert [item.item_id for item in (one, two, three)] == ["1", "2", "4384"]
    assert [item.parent_model for item in (one, two, three)] == ["4384", None, None]
    assert [item.uploader for item in (one, two, three)] == ["9", None, str(2**40)]
    assert [(item.deleted, item.listed.undeleted) for item in (one, two, three)] == [
        (True, False),
        (False, True),
        (False, False),
    ]
    assert {item.received_at for item in (one, two, three)} == {MOMENT}
    assert {(item.listed.updated_at, item.listed.generation) for item in (one, two, three)} == {
        (MOMENT, SECONDS * 10**6)
    }
    assert (one.tags, one.trigger_words, three.tags, one.nsfw_level) == (("a", "b"), ("x",), ("c",), "4")
    assert (one.listed.bad, two.listed.bad, three.listed.bad) == ((), ("nsfw_level", "parent_model"), ())


@pytest.mark.parametrize("name", ["m.jsonl", "m.jsonl.gz"])
def test_a_first_line_with_nothing_but_a_generation_is_no_row(name: str, tmp_path: Path) -> None:
    lines = [{"generation": 41}, {"id": "a", "path": "a"}, {"id": "b", "path": "b", "generation": "2026-11-30"}]
    data = "\n".join(map(json.dumps, lines)).encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    one, two = items_of(tmp_path / name)
    assert (one.item_id, one.listed.generation) == ("a", 41)
    assert two.listed.generation == int(MOMENT.replace(hour=0).timestamp()) * 10**6


def test_a_generation_that_cannot_be_read_is_said_once(tmp_path: Path) -> None:
    lines = [{"generation": "newest"}, {"id": "a", "path": "a"}, {"id": "b", "path": "b"}]
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert [item.listed.bad for item in items_of(tmp_path / "m.jsonl")] == [("generation",), ()]
