"""``likeness source check`` says beforehand what a listing is read as, and repeats nothing that stands in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from pipelines.cli import main
from pipelines.sources import FetchSettings, open_source
from pipelines.sources.check import SourceReport, check_source
from tests.pipelines.sources.folders import source_of

SETTINGS = FetchSettings(timeout_seconds=5.0, allowed_hosts=("cdn.example",), allow_private_addresses=False)
DAY = "2026-11-30T10:00:00Z"


def manifest(folder: Path, *rows: dict[str, Any] | str, name: str = "m.jsonl") -> Path:
    (folder / "a.png").write_bytes(b"x")
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    (folder / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", errors="surrogateescape")
    return folder / name


def checked(path: Path, most: int = 20) -> SourceReport:
    return check_source(open_source(f"manifest:{path}", settings=SETTINGS), most=most)


def row(item_id: object, **more: Any) -> dict[str, Any]:
    return {"id": item_id, "path": "a.png", "received_at": DAY, **more}


def run(*words: str, home: Path) -> Result:
    return CliRunner().invoke(main, ["source", "check", *words, "--home", str(home)])


def test_a_sound_listing_is_said_to_be_sound(tmp_path: Path) -> None:
    rows = [
        row(4384.0, kind="LORA", updated_at=DAY),
        row("b", tags="a, b", deleted=0, received_at="2026-11-30 10:00:00 UTC"),
        row("c", path=None, url="https://cdn.example/c", received_at=1796032800),
        {"id": "d", "kind": "bounty", "title": "T", "received_at": "2026-11-30"},
        {"id": "e", "deleted": 1},
        row("f", updated_at="2026-11-30"),
        row("f", updated_at="2026-12-01"),
    ]
    found = checked(manifest(tmp_path, *rows))
    assert (found.sound, found.wrong, found.rows) == (True, {}, 7)
    assert found.kinds == {"bounty": 1, "image": 5, "model": 1}
    assert found.dates == {"date": 1, "epoch_seconds": 1, "iso": 4, "missing": 1}
    assert found.adapted == {"deleted": 2, "id": 1, "kind": 1, "tags": 1}
    assert (found.deletions, found.deletions_unordered, found.text_only) == (1, 1, 1)
    assert (found.updated_at, found.generation, found.unordered, found.repeated_in_order) == (3, 0, 4, 1)
    assert checked(manifest(tmp_path, {"generation": 7}, *rows)).unordered == 0


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (row("x", prompt=float("nan")), "field prompt"),
        (row("x", received_at="soon"), "field received_at"),
        (row("x", received_at=None), "no received_at"),
        (row("x", received_at="1970-01-01"), "implausible received_at"),
        (row("x", deleted="maybe"), "field deleted"),
        (row("x", kind="spell"), "field kind"),
        (row("x", title="a\udcff"), "field title"),
        (row("x", path="none.png"), "content missing"),
        (row("x", path="../../etc/passwd"), "content outside_source"),
        (row("x", path=None), "no content"),
        (row("x", path=None, url="https://other.example/a"), "content host_not_allowed"),
        (row("x", path=None, url="https://"), "content bad_url"),
        (row(None), "field id"),
        (row("first"), "repeated id"),
        ('{"id": "x", "path": "a.png", "received_at": "2026-11-30", "prompt": "hal', "row read in part"),
        ("no json", "unreadable row"),
    ],
    ids=str,
)
def test_what_would_be_lost_is_named_with_its_row(line: dict[str, Any] | str, what: str, tmp_path: Path) -> None:
    found = checked(manifest(tmp_path, row("first"), line, row("last")))
    assert (found.sound, what in found.wrong) == (False, True)
    assert (found.wrong[what].count, found.wrong[what].rows) == (1, (2,))


@pytest.mark.parametrize("name", ["is_deleted", "deletedAt", "removed"])
def test_a_deletion_in_a_field_that_nobody_reads_is_said(name: str, tmp_path: Path) -> None:
    rows = [row("a", width=3), row("b", **{name: True, "height": 4, "<script>": 1})]
    found = checked(manifest(tmp_path, *rows))
    assert found.unread == dict(sorted({"height": 1, name: 1, "width": 1}.items()))
    assert {what: one.count for what, one in found.wrong.items()} == {f"unread field {name}": 1}
    pq.write_table(pa.Table.from_pylist(rows[1:]), tmp_path / "m.parquet")
    assert f"unread field {name}" in checked(tmp_path / "m.parquet").wrong


def test_only_so_many_rows_are_named_and_all_are_counted(tmp_path: Path) -> None:
    found = checked(manifest(tmp_path, *(row(str(n), tags=5.5) for n in range(50))), most=3)
    assert (found.wrong["field tags"].count, found.wrong["field tags"].rows) == (50, (1, 2, 3))


def test_parquet_and_folders_are_checked_as_well(tmp_path: Path) -> None:
    rows = [{"id": "a", "path": "a.png", "received_at": DAY}, {"id": "b", "path": "b.png", "received_at": "soon"}]
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/a.png").write_bytes(b"x")
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "folder/m.parquet")
    found = checked(tmp_path / "folder/m.parquet")
    assert {what: one.rows for what, one in found.wrong.items()} == {"content missing": (2,), "field received_at": (2,)}
    (tmp_path / "folder/a.png.json").write_text('{"kind": "spell"}')
    found = check_source(source_of(tmp_path / "folder"), most=5)
    assert (found.rows, found.dates, set(found.wrong)) == (2, {"file": 2}, {"field kind"})


def test_i8_the_command_says_it_without_a_home_and_repeats_nothing(tmp_path: Path) -> None:
    home = tmp_path / "none"
    secrets = row("conspicuous-id", title="Eileen Collins\udcff", uploader=float("nan"), prompt={"secret": 1})
    path = manifest(tmp_path, secrets, row("conspicuous-id", path="secret.png"))
    for words in ((), ("--json",), ("--limit", "1")):
        found = run(str(path), *words, home=home)
        assert (found.exit_code, found.exception.__class__) == (1, SystemExit)
        assert not {"Eileen", "conspicuous", "secret"} & set(found.output.replace('"', " ").split())
        assert "content missing" in found.output
    assert json.loads(run(str(path), "--json", home=home).stdout)["wrong"]["field uploader"] == {
        "count": 1,
        "rows": [1],
    }
    assert not home.exists()
    sound = manifest(tmp_path, row("a"), name="sound.jsonl")
    for place in (str(sound), f"manifest:{sound}"):
        assert run(place, home=home).exit_code == 0
    (tmp_path / "folder").mkdir()
    assert run(str(tmp_path / "folder"), home=home).exit_code == 0
    assert run(str(tmp_path / "nowhere.jsonl"), home=home).exit_code == 2


def test_hosts_and_kinds_are_those_of_the_settings(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    path = manifest(tmp_path, row("a", path=None, url="https://own.example/a", kind="Spell"))
    assert run(str(path), home=home).exit_code == 1
    settings = '[fetch]\nallowed_hosts = ["own.example"]\n[sources]\nkinds = { spell = "model" }\n'
    (home / "likeness.toml").write_text(settings)
    found = run(str(path), "--json", home=home)
    assert (found.exit_code, json.loads(found.stdout)["kinds"]) == (0, {"model": 1})
    (home / "likeness.toml").write_text('[sources]\nkinds = { spell = "spell" }\n')
    assert run(str(path), home=home).exit_code == 2
