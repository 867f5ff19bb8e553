"""A decoding process that an upload has taken over may say anything, and nothing of it is stored in clear (I8, I9)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from embeddings.errors import UnscannableError
from embeddings.faults import DECODER_CRASH
from embeddings.headers.reading import NOTES, ReadHeader
from embeddings.infotext.read import Infotext
from embeddings.sandbox import exchange
from embeddings.sandbox.headers import SandboxedHeaderReader
from embeddings.sandbox.infotext import SandboxedInfotextReader
from embeddings.sandbox.process import Reply
from tests.embeddings.infotext_files import LIMITS
from tests.embeddings.test_sandbox import READING


class Saying:
    """A pool whose processes say this."""

    def __init__(self, facts: dict[str, Any], payload: bytes) -> None:
        self.reply = Reply(exchange.LAST, facts, np.frombuffer(payload, dtype=np.uint8))

    def results(self, *_: object, **__: object) -> Iterator[Reply]:
        return iter((self.reply,))


HEADER: dict[str, Any] = {
    "json_bytes": 2,
    "payload_bytes": 2**40,
    "tensors": 0,
    "text_bytes": 2,
    "has_picture": False,
    "picture_problem": None,
    "notes": sorted(NOTES),
}
SAID: dict[str, Any] = {"texts": [], "hashes": [], "versions": [], "problem": "too_large"}


def header_of(**facts: object) -> ReadHeader:
    pool: Any = Saying(HEADER | facts, b"[]")
    return SandboxedHeaderReader(pool)(b"{}", file_bytes=None, limits=READING)


def infotext_of(**said: object) -> Infotext:
    pool: Any = Saying({}, json.dumps(SAID | said).encode())
    return SandboxedInfotextReader(pool)(b"", limits=LIMITS)


def test_what_readers_say_is_believed() -> None:
    assert header_of().notes == tuple(sorted(NOTES))
    assert header_of(picture_problem="thumbnail").picture_problem == "thumbnail"
    assert infotext_of().problem == "too_large"


@pytest.mark.parametrize(
    "facts",
    [
        {"notes": ["Jane.Doe"]},
        {"notes": [["repeated_key"]]},
        {"notes": ["repeated_key"] * 6},
        {"picture_problem": "Jane.Doe"},
        {"picture_problem": ["thumbnail"]},
        {"json_bytes": 2**31},
        {"tensors": 2**31},
        {"payload_bytes": 2**63},
        {"tensors": -1},
    ],
)
def test_i8_what_no_header_reader_says_is_refused(facts: dict[str, object]) -> None:
    with pytest.raises(UnscannableError) as refused:
        header_of(**facts)
    assert refused.value.reason == DECODER_CRASH
    assert "Jane" not in str(refused.value)


@pytest.mark.parametrize(
    "said",
    [
        {"problem": "Jane.Doe"},
        {"problem": ["too_large"]},
        {"hashes": [f"{number:010x}" for number in range(129)]},
        {"versions": [str(number) for number in range(129)]},
    ],
)
def test_i8_what_no_infotext_reader_says_is_refused(said: dict[str, object]) -> None:
    with pytest.raises(UnscannableError) as refused:
        infotext_of(**said)
    assert refused.value.reason == DECODER_CRASH
