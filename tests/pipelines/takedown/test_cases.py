"""The service's list of open cases is an answer like any other: read within bounds, or not at all."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from dataclasses import replace

import pytest

from embeddings.errors import ConfigError, NotReadyError
from pipelines.settings.config import ExchangeConfig
from pipelines.takedown.cases import fetch_open_keys
from tests.pipelines.exchange.peer import saying, standing
from tests.pipelines.takedown.delivering import CONFIG

CASE = {"key": "k1", "action": "takedown", "open": True}
SMALL = replace(CONFIG, max_cases_bytes=4 * 2**20, max_cases_parts=10_000)


def answer(body: bytes, *headers: str, status: int = 200, kind: str = "application/json") -> list[bytes]:
    lines = [f"HTTP/1.1 {status} Scripted", f"content-type: {kind}", f"content-length: {len(body)}", *headers, "", ""]
    return ["\r\n".join(lines).encode(), body]


def cases(*given: object) -> bytes:
    return json.dumps({"cases": given}).encode()


def fetched(words: Iterable[bytes]) -> set[str]:
    with saying(lambda: words) as port:
        url = f"http://127.0.0.1:{port}/cases"
        return fetch_open_keys(url, config=SMALL, head=ExchangeConfig(), clock=standing)


def test_the_open_cases_with_an_effect_are_the_keys() -> None:
    others = [CASE | {"key": "k2", "open": False}, CASE | {"key": "k3", "action": "withdrawal"}]
    block = CASE | {"key": "k4", "action": "generator.block"}
    kinds = ("application/json", "application/json; charset=utf-8", "application/problem+json")
    for kind in kinds:
        assert "k1" in fetched(answer(cases(CASE, *others, block), kind=kind))
    assert not {"k2", "k3"} & fetched(answer(cases(CASE, *others, block)))
    assert fetched(answer(cases())) == set()


HOSTILE = {
    "a gzip bomb": (answer(gzip.compress(bytes(50 * 2**20)), "content-encoding: gzip"), "compressed"),
    "a million nested lists": (answer(b'{"cases": ' + b"[" * 10**6 + b"]" * 10**6 + b"}"), "too_complex"),
    "nesting below the limit of parts": (answer(b"[" * 5000 + b"]" * 5000), "too_complex"),
    "a million entries": (answer(cases(*[0] * 10**6)), "too_complex"),
    "a huge length": (
        [b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9999999999\r\n\r\n"],
        "larger",
    ),
    "more than allowed": (answer(b'"' + b"x" * 5 * 2**20 + b'"'), "larger"),
    "a redirect": (answer(b"", "location: https://elsewhere.test/", status=302), "answered 302"),
    "a fault": (answer(b"", status=500), "answered 500"),
    "nothing": (answer(b"", status=204), "answered 204"),
    "a login page": (answer(b"<html>", kind="text/html"), "not application/json"),
    "no kind": ([b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"], "not application/json"),
    "no JSON": (answer(b"<html>"), "corrupt"),
    "not UTF-8": (answer(b"\xff"), "UTF-8"),
    "a key twice": (answer(b'{"cases": [], "cases": []}'), "corrupt"),
    "a number of a million digits": (answer(b'{"cases": ' + b"9" * 10**6 + b"}"), "corrupt"),
    "a list": (answer(b"[]"), "no list of cases"),
    "no cases": (answer(b"{}"), "no list of cases"),
    "null": (answer(b'{"cases": null}'), "no list of cases"),
    "a case without its action": (answer(cases({"key": "x"})), "lacks"),
    "a key that is a list": (answer(cases(CASE | {"key": ["x"]})), "lacks"),
    "a case that is none": (answer(cases("x")), "lacks"),
}


@pytest.mark.parametrize(("words", "said"), HOSTILE.values(), ids=HOSTILE)
def test_i7_an_unreadable_list_of_cases_is_not_an_empty_one(words: list[bytes], said: str) -> None:
    with pytest.raises(NotReadyError, match=said):
        fetched(words)


def test_i7_a_list_that_breaks_off_is_not_a_shorter_one() -> None:
    def cut() -> Iterable[bytes]:
        yield from answer(cases(CASE))[:1]
        yield b"{"
        raise ConnectionError

    with pytest.raises(NotReadyError, match="connection failed"):
        fetched(cut())


def test_a_list_over_http_from_elsewhere_is_refused() -> None:
    with pytest.raises(ConfigError, match="LIKENESS_TAKEDOWN_CASES_URL must begin with https"):
        fetch_open_keys("http://service.test/cases", config=SMALL, head=ExchangeConfig())
