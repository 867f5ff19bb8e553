"""What the scanner's decoding processes may be asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from embeddings.sandbox.header_work import HEADER_WORK, READ_HEADER
from embeddings.sandbox.image_work import DECODE_IMAGE, IMAGE_WORK
from embeddings.sandbox.infotext_work import INFOTEXT_WORK, READ_INFOTEXT
from embeddings.sandbox.work import Work

WORK: Final[Mapping[str, Work]] = {
    DECODE_IMAGE: IMAGE_WORK,
    READ_HEADER: HEADER_WORK,
    READ_INFOTEXT: INFOTEXT_WORK,
}
