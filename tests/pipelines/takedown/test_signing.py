"""Signatures agree with the official Standard Webhooks library, and nothing else passes."""

from __future__ import annotations

import base64
from datetime import datetime, timedelta

import pytest
import standardwebhooks
from hypothesis import given
from hypothesis import strategies as st

from embeddings.errors import ConfigError
from pipelines.takedown import signing
from tests.pipelines.takedown.delivering import OTHER_SECRET, SECRET, START, official_verify

NOW = START
STAMP = int(NOW.timestamp())


def verified(headers: dict[str, str], body: bytes, *secrets: str, now: datetime = NOW) -> bool:
    return signing.verify(secrets or [SECRET], headers, body, now=now, tolerance_seconds=300)


@given(
    body=st.text(alphabet=st.characters(codec="utf-8")), message_id=st.from_regex(r"msg_[0-9a-f]{32}", fullmatch=True)
)
def test_the_official_library_makes_the_same_signature(body: str, message_id: str) -> None:
    official = standardwebhooks.Webhook(SECRET).sign(message_id, NOW, body)
    assert signing.sign(SECRET, message_id, STAMP, body.encode()) == official


def test_the_official_library_accepts_our_headers_during_rotation() -> None:
    body = b'{"type":"takedown.requested"}'
    headers = signing.signature_headers([SECRET, OTHER_SECRET], "msg_1", STAMP, body)
    assert len(headers[signing.SIGNATURE_HEADER].split()) == 2
    for secret in (SECRET, OTHER_SECRET):
        official_verify(secret, body.decode(), headers)


def test_what_the_official_library_signs_is_verified_with_the_old_and_the_new_secret() -> None:
    signature = standardwebhooks.Webhook(OTHER_SECRET).sign("msg_1", NOW, "{}")
    headers = {"Webhook-Id": "msg_1", "Webhook-Timestamp": str(STAMP), "Webhook-Signature": f"v1a,x {signature}"}
    assert verified(headers, b"{}", SECRET, OTHER_SECRET)
    assert not verified(headers, b"{}", SECRET)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (signing.ID_HEADER, "msg_2"),
        (signing.ID_HEADER, ""),
        (signing.TIMESTAMP_HEADER, str(STAMP + 1)),
        (signing.TIMESTAMP_HEADER, "-1"),
        (signing.TIMESTAMP_HEADER, "9" * 400),
        (signing.TIMESTAMP_HEADER, "²"),
        (signing.SIGNATURE_HEADER, ""),
        (signing.SIGNATURE_HEADER, "v1,é"),
        (signing.SIGNATURE_HEADER, "v1,\udc80"),
    ],
)
def test_an_altered_header_is_not_verified(name: str, value: str) -> None:
    headers = signing.signature_headers([SECRET], "msg_1", STAMP, b"{}")
    assert verified(headers, b"{}")
    assert not verified(headers | {name: value}, b"{}")


def test_an_altered_body_is_not_verified() -> None:
    assert not verified(signing.signature_headers([SECRET], "msg_1", STAMP, b"{}"), b"{ }")


@pytest.mark.parametrize(("seconds", "accepted"), [(300, True), (301, False), (-300, True), (-301, False)])
def test_a_timestamp_beyond_the_tolerance_is_not_verified(seconds: int, accepted: bool) -> None:
    headers = signing.signature_headers([SECRET], "msg_1", STAMP, b"{}")
    assert verified(headers, b"{}", now=NOW + timedelta(seconds=seconds)) is accepted


@pytest.mark.parametrize(
    "secret",
    [
        SECRET.removeprefix("whsec_"),
        "whsec_" + "!" * 32,
        "whsec_" + base64.b64encode(bytes(23)).decode(),
        "whsec_" + base64.b64encode(bytes(65)).decode(),
        "whsec_é" + "A" * 31,
    ],
)
def test_a_malformed_secret_is_an_error_that_does_not_repeat_it(secret: str) -> None:
    with pytest.raises(ConfigError) as caught:
        signing.sign(secret, "msg_1", STAMP, b"{}")
    assert secret.removeprefix("whsec_")[:8] not in str(caught.value)


def test_no_secret_at_all_is_an_error_and_not_an_open_door() -> None:
    with pytest.raises(ConfigError):
        signing.verify([], {}, b"{}", now=NOW, tolerance_seconds=300)
