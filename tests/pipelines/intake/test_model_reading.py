"""What is known of a model file whatever its header does to whoever reads it."""

from __future__ import annotations

import hashlib
import pickle
import struct

import pytest

from embeddings.errors import UnscannableError
from embeddings.faults import DECODER_TIMEOUT
from embeddings.headers.reading import ReadHeader, ReadingLimits
from pipelines.intake.model_reading import FoundContent, read_model
from pipelines.settings.config import ModelFilesConfig
from pipelines.sources.reading import BytesReading

CONFIG = ModelFilesConfig()
GGUF = struct.pack("<4sIQQ", b"GGUF", 3, 0, 0)
PICKLED = pickle.dumps({"name": "a style"}, protocol=2)


def slow_reader(data: bytes, *, file_bytes: int | None, limits: ReadingLimits) -> ReadHeader:
    raise UnscannableError(DECODER_TIMEOUT)


def read_slowly(data: bytes) -> FoundContent:
    return read_model(BytesReading(data), config=CONFIG, max_image_bytes=1 << 20, header_reader=slow_reader)


@pytest.mark.parametrize("data", [GGUF, PICKLED], ids=["GGUF", "pickle"])
def test_a_file_over_which_the_reader_fails_has_its_digest_and_the_reason(data: bytes) -> None:
    file = read_slowly(data).model_file
    assert file is not None
    status = f"unscannable:{DECODER_TIMEOUT}"
    assert (file.identity, file.status, file.item_status) == (hashlib.sha256(data).digest(), status, status)
    assert (file.texts, file.header_sha256) == ((), None)
