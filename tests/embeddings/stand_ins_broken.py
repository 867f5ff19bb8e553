"""A decoder that works as long as it is not confined: the machine's fault, and no upload's."""

from __future__ import annotations

from collections.abc import Iterator

from embeddings.sandbox.image_work import DECODE_IMAGE, IMAGE_WORK
from embeddings.sandbox.work import Facts, Result, Work
from tests.embeddings.stand_ins import NOTHING, open_file


def decode_with_a_file(facts: Facts, data: bytes) -> Iterator[Result]:
    """Open a file for each picture."""
    open_file()
    yield Result({}, NOTHING, last=True)


WORK = {DECODE_IMAGE: Work(decode_with_a_file, IMAGE_WORK.controls)}
