"""Reading a model file's header as work for a confined process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Final

import numpy as np

from embeddings.headers.evidence import TextLimits
from embeddings.headers.reading import ReadingLimits, read_header
from embeddings.headers.safetensors import HeaderLimits
from embeddings.sandbox.work import Facts, Result, Work

READ_HEADER: Final = "read_header"
HEADER_SIZES: Final = ("json_bytes", "payload_bytes", "tensors")


def _read(facts: Facts, data: bytes) -> Iterator[Result]:
    asked = facts["limits"]
    limits = ReadingLimits(HeaderLimits(**asked["header"]), TextLimits(**asked["texts"]), asked["thumbnail_bytes"])
    read = read_header(data, file_bytes=facts["file_bytes"], limits=limits)
    texts = json.dumps([[one.place, one.text] for one in read.texts]).encode()
    sizes = {name: getattr(read, name) for name in HEADER_SIZES} | {"text_bytes": len(texts)}
    own = sizes | {"has_picture": read.picture is not None, "picture_problem": read.picture_problem}
    own |= {"notes": list(read.notes)}
    yield Result(own, np.frombuffer(texts + (read.picture or b""), dtype=np.uint8), last=True)


def _controls() -> Iterator[tuple[Facts, bytes]]:
    data = b'{"__metadata__":{"ss_output_name":"control","ss_tag_frequency":"{}"}}'
    limits = ReadingLimits(HeaderLimits(max_bytes=1024, max_tensors=1), TextLimits(100, 1, 0.5), 1024)
    yield {"limits": asdict(limits), "file_bytes": None}, data


HEADER_WORK: Final = Work(_read, _controls)
