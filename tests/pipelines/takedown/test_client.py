"""Delivery over real sockets to a service that misbehaves: each outcome, seen on the outbox's row."""

from __future__ import annotations

import base64
import email.utils
import socket
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embeddings.errors import ConfigError
from pipelines.database import Database
from pipelines.takedown.client import retry_after_seconds
from tests.pipelines.exchange.peer import Ticks
from tests.pipelines.takedown import scripted
from tests.pipelines.takedown.delivering import (
    OTHER_SECRET,
    SECRET,
    START,
    Clock,
    dispatch_once,
    enqueue,
    http_client,
    official_verify,
    only_row,
    rows,
)

pytestmark = pytest.mark.any_database

SHORT = 0.2
"""Seconds until a silent service counts as timed out; nothing depends on how long it really takes."""


def deliver(
    database: Database, clock: Clock, step: scripted.Step, *, timeout_seconds: float = 20.0
) -> scripted.ScriptedService:
    enqueue(database)
    with (
        scripted.scripted_service([step]) as service,
        http_client(service.url, timeout_seconds=timeout_seconds, now=clock) as client,
    ):
        dispatch_once(database, client, clock)
    return service


@pytest.mark.parametrize(
    ("step", "state", "result"),
    [
        pytest.param(scripted.answer(200), "done", "200", id="200"),
        pytest.param(scripted.answer(204), "done", "204", id="204"),
        pytest.param(scripted.answer(202, body=b"x" * 2**20), "done", "202", id="huge body"),
        pytest.param(scripted.answer(400), "pending", "400", id="400"),
        pytest.param(scripted.answer(500, body=b"a stack trace"), "pending", "500", id="500"),
        pytest.param(scripted.answer(410), "pending", "410", id="410"),
        pytest.param(scripted.cut_after_the_status, "pending", "connection_lost", id="cut in the middle"),
        pytest.param(scripted.hang_up, "pending", "connection_lost", id="hung up"),
        pytest.param(scripted.answer(999, "content-encoding: gzip"), "pending", "999", id="999"),
    ],
)
def test_only_a_complete_success_makes_the_message_done(
    database: Database, clock: Clock, step: scripted.Step, state: str, result: str
) -> None:
    deliver(database, clock, step)
    row = only_row(database)
    assert (row.state, row.last_result, row.attempts) == (state, result, 1)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_a_failure_and_is_not_followed(database: Database, clock: Clock, status: int) -> None:
    with scripted.scripted_service([scripted.answer(200)]) as elsewhere:
        deliver(database, clock, scripted.answer(status, f"location: {elsewhere.url}"))
        assert elsewhere.requests == []
    assert (only_row(database).state, only_row(database).last_result) == ("pending", str(status))


def test_a_silent_service_times_out(database: Database, clock: Clock) -> None:
    deliver(database, clock, scripted.say_nothing, timeout_seconds=SHORT)
    assert (only_row(database).state, only_row(database).last_result) == ("pending", "timeout")


def test_a_service_that_is_not_there_is_tried_again(database: Database, clock: Clock) -> None:
    with scripted.scripted_service([]) as service:
        pass
    enqueue(database)
    with http_client(service.url) as client:
        dispatch_once(database, client, clock)
    assert (only_row(database).state, only_row(database).last_result) == ("pending", "connection_failed")


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("as_date", [False, True])
def test_retry_after_is_honoured_as_seconds_and_as_a_date(
    database: Database, clock: Clock, status: int, as_date: bool
) -> None:
    until = clock() + timedelta(hours=2)
    value = email.utils.format_datetime(until, usegmt=True) if as_date else "7200"
    deliver(database, clock, scripted.answer(status, f"retry-after: {value}"))
    assert only_row(database).next_attempt_at == until


def test_retries_repeat_id_key_and_body_and_renew_the_timestamp(database: Database, clock: Clock) -> None:
    enqueue(database)
    steps = [scripted.answer(500), scripted.cut_after_the_status, scripted.answer(200)]
    with scripted.scripted_service(steps) as service, http_client(service.url, now=clock) as client:
        for _ in steps:
            dispatch_once(database, client, clock)
            clock.advance(seconds=30)
    row = only_row(database)
    assert row.state == "done"
    for attempt, request in enumerate(service.requests):
        assert request.body == row.body.encode()
        assert request.headers["webhook-id"] == row.message_id
        assert request.headers["idempotency-key"] == row.key
        assert request.headers["content-type"] == "application/json"
        assert request.headers["webhook-timestamp"] == str(int(START.timestamp()) + 30 * attempt)
        sent_at = START + timedelta(seconds=30 * attempt)
        official_verify(SECRET, request.body.decode(), request.headers, now=sent_at)
    assert len({request.headers["webhook-signature"] for request in service.requests}) == 3


def test_during_rotation_a_service_with_either_secret_accepts(database: Database, clock: Clock) -> None:
    enqueue(database)
    with scripted.scripted_service([scripted.answer(200)]) as service:
        both = [SECRET, OTHER_SECRET]
        with http_client(service.url, secrets=both, now=clock) as client:
            dispatch_once(database, client, clock)
    (request,) = service.requests
    for secret in both:
        official_verify(secret, request.body.decode(), request.headers)


def test_a_proxy_in_the_environment_does_not_divert_takedowns(
    database: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with scripted.scripted_service([scripted.answer(200)]) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        deliver(database, clock, scripted.answer(200))
        assert proxy.requests == []


@pytest.mark.parametrize("bad", scripted.ENDLESS, ids=lambda bad: bad.__name__)
def test_i6_one_delivery_that_never_ends_does_not_hold_the_next(
    database: Database, clock: Clock, bad: scripted.Step
) -> None:
    enqueue(database, "held up")
    enqueue(database, "next", now=START + timedelta(seconds=1))
    clock.advance(seconds=1)
    with (
        scripted.scripted_service([bad, scripted.answer(200)]) as service,
        http_client(service.url, now=clock, clock=Ticks()) as client,
    ):
        dispatch_once(database, client, clock)
    first, second = rows(database)
    assert (first.state, second.state) == ("pending", "done")
    assert first.last_result in ("timeout", "answer_too_large")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ftp://service.test/",
        "https://user:hidden@service.test/",
        "http://",
        "http://[hidden",
        "https://x:99999/hidden",
        "http://service.test/hidden",
        "http://10.0.0.1/hidden",
        "http://127.0.0.1.hidden.test/",
        "http://localhost.hidden.test/",
        "http://[::ffff:127.0.0.1]/hidden",
        "http://2130706433/hidden",
        "http://0.0.0.0/hidden",
    ],
)
def test_an_unusable_address_is_an_error_that_does_not_repeat_it(url: str) -> None:
    with pytest.raises(ConfigError, match="LIKENESS_TAKEDOWN_URL") as caught:
        http_client(url)
    assert "hidden" not in str(caught.value)


def test_http_is_refused_because_anybody_on_the_way_could_acknowledge() -> None:
    with pytest.raises(ConfigError, match="anybody on the way can acknowledge"):
        http_client("http://service.test/")


@pytest.mark.parametrize(
    "url",
    ["https://service.test/", "http://127.0.0.1:1/", "http://127.1.2.3/", "http://[::1]:8/x", "http://localhost/"],
)
def test_https_and_this_machine_are_usable(url: str) -> None:
    http_client(url).close()


def test_i9_localhost_that_resolves_elsewhere_is_not_connected_to(
    database: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    enqueue(database)
    elsewhere = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 80))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: elsewhere)
    with http_client("http://localhost/", now=clock) as client:
        dispatch_once(database, client, clock)
    assert only_row(database).last_result == "connection_failed"


def test_the_endpoint_is_named_by_its_whole_address() -> None:
    names = set()
    for url in ("https://service.test/a", "https://service.test/b", "https://other.test/a"):
        with http_client(url) as client:
            names.add(client.endpoint_id)
            assert "test" not in client.endpoint_id
    assert len(names) == 3


def test_secrets_are_checked_before_anything_is_sent() -> None:
    for secrets in ([], [base64.b64encode(bytes(32)).decode()]):
        with pytest.raises(ConfigError, match="secret"):
            http_client("https://service.test/", secrets=secrets)


dates = st.builds(
    "{}, {} {} {} {}:{}:{} {}".format,
    st.sampled_from(["Mon", "X", ""]),
    st.integers(-1, 40),
    st.sampled_from(["Jan", "Feb", "13"]),
    st.integers(-1, 10**6),
    st.integers(0, 30),
    st.integers(0, 70),
    st.integers(0, 70),
    st.sampled_from(["GMT", "-0000", "+9999", "+" + "9" * 30, "Z", ""]),
)


@given(value=st.one_of(st.text(), st.integers().map(str), dates))
def test_no_retry_after_whatever_it_says_breaks_the_dispatcher(value: str) -> None:
    now: datetime = START
    seconds = retry_after_seconds(value, now=now)
    assert seconds is None or seconds >= 0
