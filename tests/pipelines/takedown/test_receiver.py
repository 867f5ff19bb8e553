"""The development receiver keeps one case per key, durably, and believes only what is signed."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
from pathlib import Path
from typing import Any

import httpx
import pytest

from embeddings.errors import ConfigError
from pipelines.takedown import signing
from pipelines.takedown.receiver import MAX_BODY_BYTES, TOLERANCE_SECONDS, Receiver
from tests.pipelines.takedown.delivering import OTHER_SECRET, SECRET, START


def message(key: str = "key-1", **changes: Any) -> bytes:
    names = ("item_id", "content_sha256", "subject_id", "policy_version", "due_at")
    data = dict.fromkeys(names, "x") | {"key": key, "action": "takedown", "withdraws": None}
    return json.dumps({"type": "takedown.requested", "data": data | changes}).encode()


def withdrawal(key: str) -> bytes:
    return message(f"not-{key}", action="withdrawal", withdraws={"key": key})


def post(
    receiver: Receiver, body: bytes, *, key: str | None = None, age: int = 0, secret: str = SECRET, path: str = ""
) -> int:
    stamp = int(START.timestamp()) - age
    headers = signing.signature_headers([secret], "msg_1", stamp, body)
    headers["idempotency-key"] = json.loads(body)["data"]["key"] if key is None else key
    return httpx.post(receiver.url + path, content=body, headers=headers, trust_env=False).status_code


def test_a_repeat_is_answered_like_the_first_and_opens_no_second_case(receiver: Receiver) -> None:
    assert [post(receiver, message()) for _ in range(3)] == [200, 200, 200]
    assert receiver.answer()["counts"] == {"takedowns": 1, "blocks": 0, "withdrawals": 0, "open": 1, "repeats": 2}


def test_another_body_under_the_same_key_is_a_conflict(receiver: Receiver) -> None:
    assert post(receiver, message()) == 200
    assert post(receiver, message(item_id="other")) == 409
    assert [case["item_id"] for case in receiver.cases()] == ["x"]


def test_a_bad_or_stale_signature_opens_no_case(receiver: Receiver) -> None:
    assert post(receiver, message(), secret=OTHER_SECRET) == 401
    assert post(receiver, message(), age=TOLERANCE_SECONDS + 60) == 401
    assert httpx.post(receiver.url, content=message(), trust_env=False).status_code == 401
    assert receiver.cases() == []


@pytest.mark.parametrize(
    "body",
    [
        message(action="other"),
        message(action="withdrawal"),
        message(action="withdrawal", withdraws={}),
        b'{"data": {"key": "key-1"}}',
    ],
)
def test_a_signed_message_that_makes_no_sense_is_refused(receiver: Receiver, body: bytes) -> None:
    assert post(receiver, body) == 400
    assert receiver.cases() == []


def test_the_key_of_the_header_must_be_the_key_of_the_body(receiver: Receiver) -> None:
    assert post(receiver, message(), key="key-2") == 400
    assert post(receiver, message(), key="") == 400


def test_a_body_beyond_the_limit_is_refused_unread(receiver: Receiver) -> None:
    address = httpx.URL(receiver.url)
    connection = http.client.HTTPConnection(address.host, address.port)
    connection.putrequest("POST", address.path)
    connection.putheader("content-length", str(MAX_BODY_BYTES + 1))
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()


def test_other_paths_are_not_found(receiver: Receiver) -> None:
    assert post(receiver, message(), path="/other") == 404
    assert httpx.get(receiver.url, trust_env=False).status_code == 404


def test_a_withdrawal_closes_its_case_in_either_order(receiver: Receiver) -> None:
    for body in (message("first"), withdrawal("first"), withdrawal("second"), message("second")):
        assert post(receiver, body) == 200
    assert receiver.answer()["counts"] == {"takedowns": 2, "blocks": 0, "withdrawals": 2, "open": 0, "repeats": 0}


def test_the_cases_can_be_listed_over_http(receiver: Receiver) -> None:
    post(receiver, message())
    assert httpx.get(receiver.url.replace("/takedowns", "/cases"), trust_env=False).json() == receiver.answer()


def test_a_restarted_receiver_still_knows_its_cases(tmp_path: Path) -> None:
    log = tmp_path / "new" / "cases.jsonl"
    with Receiver("127.0.0.1", 0, [SECRET], log_path=log, now=lambda: START) as receiver:
        post(receiver, message())
        before = receiver.cases()
    with Receiver("127.0.0.1", 0, [SECRET], log_path=log, now=lambda: START) as receiver:
        assert post(receiver, message()) == 200
        assert post(receiver, message(item_id="other")) == 409
        assert receiver.cases() == before
    assert len(log.read_bytes().splitlines()) == 1
    assert log.stat().st_mode & 0o077 == 0


def test_a_line_cut_short_by_a_crash_was_never_answered_and_is_dropped(tmp_path: Path) -> None:
    log = tmp_path / "cases.jsonl"
    with Receiver("127.0.0.1", 0, [SECRET], log_path=log, now=lambda: START) as receiver:
        post(receiver, message("key-1"))
        post(receiver, message("key-2"))
    os.truncate(log, log.stat().st_size - 10)
    with Receiver("127.0.0.1", 0, [SECRET], log_path=log, now=lambda: START) as receiver:
        assert [case["key"] for case in receiver.cases()] == ["key-1"]
        assert post(receiver, message("key-2")) == 200
    assert [json.loads(line)["key"] for line in log.read_text().splitlines()] == ["key-1", "key-2"]


def test_a_case_that_cannot_be_stored_is_not_acknowledged(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        assert post(receiver, message()) == 500
    assert receiver.cases() == []
    assert post(receiver, message()) == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "service.test"])
def test_the_receiver_listens_on_loopback_only(host: str) -> None:
    with pytest.raises(ConfigError, match="loopback"):
        Receiver(host, 0, [SECRET], log_path=None)


def test_a_slow_sender_holds_nobody() -> None:
    with Receiver("127.0.0.1", 0, [SECRET], log_path=None, now=lambda: START, request_seconds=600) as receiver:
        address = httpx.URL(receiver.url)
        with socket.create_connection((address.host, address.port)) as slow:
            slow.sendall(b"POST /takedowns HTTP/1.1\r\nx: ")
            assert post(receiver, message()) == 200


def test_a_request_that_drips_in_is_left_at_the_deadline() -> None:
    with Receiver("127.0.0.1", 0, [SECRET], log_path=None, request_seconds=0.3) as receiver:
        address = httpx.URL(receiver.url)
        with socket.create_connection((address.host, address.port)) as slow, contextlib.suppress(ConnectionError):
            slow.sendall(b"POST /takedowns HTTP/1.1\r\nx: ")
            while dripped(slow):
                pass
    assert receiver.cases() == []


def dripped(connection: socket.socket) -> bool:
    """Send a byte; False once the receiver has hung up."""
    connection.sendall(b"x")
    connection.settimeout(0.01)
    try:
        return connection.recv(1) != b""
    except TimeoutError:
        return True


def test_a_connection_beyond_the_limit_is_closed_unread() -> None:
    with Receiver("127.0.0.1", 0, [SECRET], log_path=None, request_seconds=60, connections=1) as receiver:
        address = httpx.URL(receiver.url)
        with socket.create_connection((address.host, address.port)) as first:
            first.sendall(b"GET /cases HTTP/1.1\r\n\r\n")
            assert first.recv(12) == b"HTTP/1.1 200"
            with socket.create_connection((address.host, address.port)) as second:
                assert second.recv(1) == b""


@pytest.mark.parametrize(
    "content",
    [
        b"\x89PNG\r\n\x1a\n binary",
        b"no line's end",
        b"[1]\n",
        b"{}\n",
        b'{"key": 1}\nnot json\n',
        b"[" * 100_000 + b"\n",
    ],
    ids=["picture", "text", "list", "no case", "then text", "deep"],
)
def test_a_file_that_is_no_log_of_cases_is_refused_and_left_as_it_was(tmp_path: Path, content: bytes) -> None:
    other = tmp_path / "precious.bin"
    other.write_bytes(content)
    with pytest.raises(ConfigError, match="other than cases"):
        Receiver("127.0.0.1", 0, [SECRET], log_path=other)
    assert other.read_bytes() == content
