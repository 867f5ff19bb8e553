"""What a scanner and its decoding process say to each other, byte by byte.

Both map one piece of memory, the *arena*: what is asked and the upload's bytes lie at its beginning, the answer and the
pixels behind them. Over a pair of sockets go heads of fixed size alone, which say how long each part is. Facts travel
as JSON: nothing that a decoder says is unpickled, and whoever reads an answer checks every number in it, because a
decoder that an upload has taken over may say anything.
"""

from __future__ import annotations

import json
import os
import struct
from typing import Any, Final

CALL: Final = 1
NEXT: Final = 2
STOP: Final = 3
CONTROL: Final = 4

RESULT: Final = 1
LAST: Final = 2
"""A result after which there is none."""
END: Final = 3
ITEM_ERROR: Final = 4
FAULT: Final = 5

ASK: Final = struct.Struct("<IIQd")
"""What, bytes of JSON, bytes of the upload, seconds that the answer may take."""
ANSWER: Final = struct.Struct("<IIQ")
"""What, bytes of JSON, bytes of pixels."""
ALIGNED: Final = 64
MOST_FACTS: Final = 1 << 20
"""Bytes of the JSON of a question or of an answer beside its payload."""


def behind(position: int) -> int:
    """Return the first aligned position that is not before ``position``."""
    return -(-position // ALIGNED) * ALIGNED


def pack(facts: dict[str, Any]) -> bytes:
    """Facts as JSON. Raises ``ValueError`` where they are too many."""
    data = json.dumps(facts).encode()
    if len(data) > MOST_FACTS:
        raise ValueError("too much to say in an answer")
    return data


def unpack(data: bytes) -> dict[str, Any]:
    """Return facts from JSON. Raises ``ValueError`` for anything else."""
    facts = json.loads(data)
    if not isinstance(facts, dict):
        raise ValueError("no facts")
    return facts


def read_exactly(descriptor: int, count: int) -> bytes:
    """Read ``count`` bytes. Raises ``EOFError`` when the other side is gone."""
    data = b""
    while len(data) < count:
        piece = os.read(descriptor, count - len(data))
        if not piece:
            raise EOFError
        data += piece
    return data
