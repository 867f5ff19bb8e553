from __future__ import annotations

import errno
import json
import os
import socket
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embeddings.errors import FetchError, UnscannableError
from pipelines.sources import Item
from pipelines.sources.contained import path_bytes, path_text
from tests.pipelines.sources.folders import items_of, reason_of, source_of


def test_links_within_the_root_are_followed_and_links_out_are_refused(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "sub").mkdir(parents=True)
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    (root / "sub/real").write_bytes(b"real")
    links = {
        "inner": "sub/real",
        "through": "folder/real",
        "folder": "sub",
        "out": outside / "secret",
        "up": "../outside/secret",
        "exit": outside,
        "broken": "nowhere",
        "ring": "ring",
        "self": ".",
    }
    for name, target in links.items():
        (root / name).symlink_to(target)
    items = items_of(root)
    problems = {name: item.problem for name, item in items.items()}
    assert problems == {
        "inner": None,
        "through": None,
        "folder": "not_a_file",
        "self": "not_a_file",
        "out": "outside_source",
        "up": "outside_source",
        "exit": "outside_source",
        "broken": "missing",
        "ring": "outside_source",
        "sub/real": None,
    }
    for name, problem in problems.items():
        if problem is None:
            assert source_of(root).fetch(items[name], max_bytes=10) == b"real"
        else:
            assert reason_of(root, items[name]) == f"fetch_failed:{problem}"


def test_a_linked_side_car_outside_the_root_is_not_read(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "secret").write_text('{"title": "secret"}')
    (root / "a.png").write_bytes(b"x")
    (root / "a.png.json").symlink_to("../secret")
    (item,) = items_of(root).values()
    assert (item.title, item.problem) == (None, "sidecar_invalid")


@pytest.mark.parametrize(
    "locator", ["../secret", "a/../../secret", "/etc/passwd", "", ".", "\\x2e\\x2e/secret", "a\\x00"]
)
def test_a_forged_locator_does_not_leave_the_root(locator: str, tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "a").mkdir(parents=True)
    (tmp_path / "secret").write_bytes(b"secret")
    item = Item(item_id="1", kind="image", received_at=datetime(2026, 1, 1, tzinfo=UTC), locator=locator)
    assert reason_of(root, item) in {"fetch_failed:outside_source", "fetch_failed:not_a_file", "fetch_failed:missing"}


def test_a_folder_swapped_for_a_link_after_listing_leads_nowhere(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "sub/a").write_bytes(b"mine")
    (tmp_path / "other").mkdir()
    (tmp_path / "other/a").write_bytes(b"secret")
    (item,) = items_of(root).values()
    (root / "sub/a").unlink()
    (root / "sub").rmdir()
    (root / "sub").symlink_to(tmp_path / "other")
    assert reason_of(root, item) == "fetch_failed:outside_source"


def test_pipes_and_sockets_are_counted_and_never_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        items = items_of(tmp_path)
        assert {item.problem for item in items.values()} == {"not_a_file"}
        assert len(items) == 2
        for item in items.values():
            assert reason_of(tmp_path, item) == "fetch_failed:not_a_file"


def test_a_file_that_is_gone_at_fetch_time_is_missing(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    (item,) = items_of(tmp_path).values()
    (tmp_path / "a").unlink()
    assert reason_of(tmp_path, item) == "fetch_failed:missing"


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not bind root")
def test_what_may_not_be_read_is_denied_and_still_counted(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    (tmp_path / "shut").mkdir()
    (tmp_path / "a").chmod(0)
    (tmp_path / "shut").chmod(0)
    items = items_of(tmp_path)
    assert {name: item.problem for name, item in items.items()} == {"a": None, "shut": "denied"}
    assert reason_of(tmp_path, items["a"]) == "fetch_failed:denied"
    assert reason_of(tmp_path, items["shut"]) in {"fetch_failed:denied", "fetch_failed:not_a_file"}
    (tmp_path / "shut").chmod(0o700)


@pytest.mark.parametrize(("code", "reason"), [(errno.EACCES, "denied"), (errno.EIO, "io"), (errno.ESTALE, "io")])
def test_an_error_of_the_file_system_becomes_a_reason(
    code: int, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bad").write_bytes(b"x")
    (tmp_path / "shut").mkdir()
    really_open = os.open

    def failing_open(path: bytes, flags: int, **rest: int) -> int:
        if path in (b"bad", b"shut"):
            raise OSError(code, "simulated")
        return really_open(path, flags, **rest)

    monkeypatch.setattr(os, "open", failing_open)
    items = items_of(tmp_path)
    assert {name: item.problem for name, item in items.items()} == {"bad": None, "shut": reason}
    assert reason_of(tmp_path, items["bad"]) == f"fetch_failed:{reason}"


def test_a_file_is_refused_one_byte_above_the_limit(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    (item,) = items_of(tmp_path).values()
    assert source_of(tmp_path).fetch(item, max_bytes=5) == b"12345"
    assert reason_of(tmp_path, item, max_bytes=4) == "unscannable:too_large"


def test_a_file_that_claims_no_size_is_read_no_further_than_the_limit() -> None:
    source = source_of(Path("/proc/self"))
    item = Item(item_id="1", kind="image", received_at=datetime(2026, 1, 1, tzinfo=UTC), locator="status")
    assert source.fetch(item, max_bytes=1 << 20).startswith(b"Name:")
    with pytest.raises(UnscannableError, match="too_large"):
        source.fetch(item, max_bytes=10)


def test_file_names_that_are_not_utf8_are_stored_and_fetched(tmp_path: Path) -> None:
    names = [b"caf\xe9.png", b"back\\slash", b"back\\xe9", "caf\u00e9.png".encode(), b"line\nbreak"]
    for name in names:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(name)
    items = items_of(tmp_path)
    assert "caf\\xe9.png" in items
    for item in items.values():
        stored = Item.from_record(json.loads(json.dumps(item.to_record()).encode()))
        assert stored.item_id.encode().decode() == item.item_id
        assert source_of(tmp_path).fetch(stored, max_bytes=100) == path_bytes(item.locator)


@given(st.binary(max_size=30))
def test_the_text_form_of_a_path_is_reversible_and_valid_utf8(path: bytes) -> None:
    assert path_bytes(path_text(path).encode().decode()) == path


def test_an_error_names_no_file(tmp_path: Path) -> None:
    item = Item(item_id="jane", kind="image", received_at=datetime(2026, 1, 1, tzinfo=UTC), locator="jane.png")
    with pytest.raises(FetchError) as raised:
        source_of(tmp_path).fetch(item, max_bytes=1)
    assert str(raised.value) == "missing"
    assert raised.value.__suppress_context__


def test_reading_piece_by_piece_leads_nowhere_else(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.write_bytes(b"secret")
    (root / "out").symlink_to(outside)
    (root / "file").write_bytes(b"0123456789")
    source, items = source_of(root), items_of(root)
    with source.open(items["file"], whole=True) as reading:
        assert (reading.size, reading.read(4), reading.read(100), reading.read(1)) == (10, b"0123", b"456789", b"")
    with pytest.raises(FetchError, match="outside_source"), source.open(items["out"], whole=False):
        pass
