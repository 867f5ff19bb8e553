"""Model files made by hand, for what no writer would write."""

from __future__ import annotations

import base64
import json
import struct


def tensor(start: int, stop: int, dtype: str = "U8", shape: list[int] | None = None) -> dict[str, object]:
    """An entry of the header; of bytes, unless said otherwise."""
    return {"dtype": dtype, "shape": [stop - start] if shape is None else shape, "data_offsets": [start, stop]}


def model_file(metadata: dict[str, str] | None = None, *, payload: bytes = b"\x01\x02\x03\x04") -> bytes:
    """A sound file of one tensor."""
    fields: dict[str, object] = {"weight": tensor(0, len(payload))}
    return assemble(json.dumps(fields if metadata is None else {"__metadata__": metadata, **fields}), payload)


def assemble(header: str | bytes, payload: bytes = b"") -> bytes:
    """Length, this header whatever it is, payload."""
    data = header.encode() if isinstance(header, str) else header
    return struct.pack("<Q", len(data)) + data + payload


def data_url(image: bytes, kind: str = "jpeg") -> str:
    """As ``modelspec.thumbnail`` has it."""
    return f"data:image/{kind};base64,{base64.b64encode(image).decode()}"
