"""The texts that a content carries in itself: a model file's header, and what a picture says of its making."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy.engine import Connection

from embeddings.headers.evidence import HeaderText
from pipelines.home.sealing import Sealer
from pipelines.intake.model_files import header_texts
from pipelines.intake.picture_texts import infotexts


def file_texts(connection: Connection, sealer: Sealer, contents: Collection[str]) -> dict[str, tuple[HeaderText, ...]]:
    """Return the texts in these contents, each with its place (``header:...``, ``infotext:...``)."""
    headers, pictures = header_texts(connection, sealer, contents), infotexts(connection, sealer, contents)
    return {one: (*headers.get(one, ()), *pictures.get(one, ())) for one in headers.keys() | pictures.keys()}
