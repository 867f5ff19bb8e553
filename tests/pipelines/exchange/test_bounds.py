"""Whatever a peer does, an exchange with it ends: by its deadline, and before it has taken more than it may."""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Callable, Iterable

import httpcore
import pytest

from pipelines.exchange.allowance import DeadlineError, OversizeError
from pipelines.exchange.client import USUAL_HEADERS, BoundedClient
from pipelines.exchange.limits import HeadLimits
from tests.pipelines.exchange.peer import Ticks, saying, standing

USUAL = HeadLimits()
WIDE = HeadLimits(max_header_fields=10**9, max_header_bytes=10**12)
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n"
CLOSE = b"connection: close\r\n"


def for_ever(head: bytes, word: bytes) -> Callable[[], Iterable[bytes]]:
    return lambda: itertools.chain([head], itertools.repeat(word))


def get(
    port: int, client: BoundedClient, *, seconds: float = 30.0, max_bytes: int = 1000, scheme: str = "http"
) -> bytes:
    url = httpcore.URL(f"{scheme}://127.0.0.1:{port}/")
    with client.allowance.within(seconds), client.exchange("GET", url, USUAL_HEADERS) as response:
        return client.body(response, max_bytes=max_bytes)


HINT = b"HTTP/1.1 103 Early Hints\r\nlink: </style.css>\r\n\r\n"
ENDLESS = {
    "interim answers": for_ever(b"", HINT),
    "interim answers of single bytes": lambda: itertools.cycle([b"%c" % byte for byte in HINT]),
    "a body": for_ever(OK + CLOSE + b"\r\n", b"x"),
    "chunks": for_ever(CHUNKED, b"1\r\nx\r\n"),
    "chunk extensions": for_ever(CHUNKED, b"1;" + b"e" * 50_000 + b"\r\nx\r\n"),
}
ENDLESS_LINES = {
    "header fields": for_ever(OK, b"a: b\r\n"),
    "one header field": for_ever(OK + b"a: ", b"b"),
    "a status line": for_ever(b"", b"H"),
    "one chunk extension": for_ever(CHUNKED + b"1;", b"e"),
    "trailers": for_ever(CHUNKED + b"0\r\n", b"a: b\r\n"),
}


@pytest.mark.parametrize("say", ENDLESS.values(), ids=ENDLESS)
def test_an_answer_without_an_end_is_over_at_the_deadline(say: Callable[[], Iterable[bytes]]) -> None:
    with saying(say) as port, pytest.raises(DeadlineError):
        get(port, BoundedClient(head=WIDE, clock=Ticks()), max_bytes=10**12)


@pytest.mark.parametrize("say", ENDLESS.values(), ids=ENDLESS)
def test_an_answer_without_an_end_is_over_when_it_has_sent_too_much(say: Callable[[], Iterable[bytes]]) -> None:
    with saying(say) as port, pytest.raises(OversizeError):
        get(port, BoundedClient(head=USUAL, clock=standing))


@pytest.mark.parametrize("say", ENDLESS_LINES.values(), ids=ENDLESS_LINES)
def test_a_line_or_a_head_without_an_end_is_over_as_well(say: Callable[[], Iterable[bytes]]) -> None:
    for client in (BoundedClient(head=USUAL, clock=standing), BoundedClient(head=WIDE, clock=Ticks())):
        with saying(say) as port, pytest.raises((DeadlineError, httpcore.RemoteProtocolError)):
            get(port, client, max_bytes=10**12)


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"content-length: %d\r\n\r\n" % 10**15,
        OK + b"content-length: %s\r\n\r\n" % (b"9" * 400),
        OK + b"a: b\r\n" * 101 + b"content-length: 1\r\n\r\nx",
        OK + b"a: %s\r\ncontent-length: 1\r\n\r\nx" % (b"b" * 65536),
    ],
    ids=["a petabyte", "a length of 400 digits", "101 fields", "a long field"],
)
def test_too_large_an_answer_is_refused_by_its_head(answer: bytes) -> None:
    with saying(lambda: [answer]) as port, pytest.raises((OversizeError, httpcore.RemoteProtocolError)):
        get(port, BoundedClient(head=USUAL, clock=standing))


@pytest.mark.parametrize("size", [0, 1, 1000])
def test_a_body_up_to_the_limit_arrives_whole_even_in_chunks_of_one_byte(size: int) -> None:
    with saying(lambda: [HINT * 3, CHUNKED, *[b"1\r\nx\r\n"] * size, b"0\r\n\r\n"]) as port:
        assert get(port, BoundedClient(head=USUAL, clock=standing), max_bytes=1000) == b"x" * size


def test_an_exchange_after_one_that_took_too_long_has_time_and_room_of_its_own() -> None:
    turns = iter([for_ever(b"", HINT)(), [OK + b"content-length: 1\r\n\r\nx"]])
    client = BoundedClient(head=USUAL, clock=Ticks())
    with saying(lambda: next(turns)) as port:
        with pytest.raises((DeadlineError, OversizeError)):
            get(port, client)
        assert get(port, client) == b"x"


SHORT = 0.2
"""Real seconds where a peer does nothing at all; nothing depends on how long it really takes."""


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_peer_that_never_says_anything_is_left_at_the_deadline(scheme: str) -> None:
    with saying(list, listen=False) as port, pytest.raises(httpcore.TimeoutException):
        get(port, BoundedClient(head=USUAL), seconds=SHORT, scheme=scheme)


def test_a_peer_that_takes_no_request_is_left_at_the_deadline() -> None:
    with saying(list, listen=False) as port, pytest.raises(httpcore.TimeoutException):
        post(port, BoundedClient(head=USUAL), bytes(64 * 2**20), seconds=SHORT)


def post(port: int, client: BoundedClient, body: bytes, *, seconds: float) -> None:
    headers = [*USUAL_HEADERS, (b"content-length", b"%d" % len(body))]
    url = httpcore.URL(f"http://127.0.0.1:{port}/")
    with client.allowance.within(seconds), client.exchange("POST", url, headers, body):
        raise AssertionError("nothing was answered")


def test_a_resolver_that_does_not_answer_is_left_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()

    def resolve(*_: object, **__: object) -> list[object]:
        over.wait()
        return []

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with pytest.raises(DeadlineError):
        get(80, BoundedClient(head=USUAL), seconds=SHORT)
    over.set()
